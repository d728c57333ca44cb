package restic

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// Lines of copy with -v, which is plain text even with --json. 0.18 does one
// snapshot after the other and does not repeat the source in the line that says
// what was saved; 0.19 names all sources first, and then each where it is saved.
var (
	copyStarts  = regexp.MustCompile(`^snapshot ([0-9a-f]+) of `)
	copySaved   = regexp.MustCompile(`^snapshot ([0-9a-f]+) saved(?:, copied from source snapshot ([0-9a-f]+))?`)
	copySkipped = regexp.MustCompile(`^skipping source snapshot ([0-9a-f]+), was already copied to snapshot ([0-9a-f]+)`)
	copyPacks   = regexp.MustCompile(`(\d+) / (\d+) packs copied`)
)

// A copyReader takes the lines of a copy.
type copyReader struct {
	q      CopyRequest
	kick   func()
	last   string
	source string            // the one being copied, as printed
	short  map[string]string // whole id in the source → id in the destination as printed
}

func (c *copyReader) line(line string) {
	if m := copyPacks.FindStringSubmatch(line); m != nil {
		if m[0] != c.last { // the same line every second is no progress
			c.last = m[0]
			c.kick()
		}
		done, _ := strconv.ParseFloat(m[1], 64)
		total, _ := strconv.ParseFloat(m[2], 64)
		if c.q.OnProgress != nil && total > 0 {
			c.q.OnProgress(Progress{Percent: 100 * done / total})
		}
		return
	}
	c.kick()
	if m := copyStarts.FindStringSubmatch(line); m != nil {
		c.source = m[1]
	} else if m := copySaved.FindStringSubmatch(line); m != nil {
		if source := cmp.Or(m[2], c.source); source != "" {
			c.pair(source, m[1])
		}
		c.source = ""
	} else if m := copySkipped.FindStringSubmatch(line); m != nil {
		c.pair(m[1], m[2])
	}
}

func (c *copyReader) pair(source, destination string) {
	for _, id := range c.q.IDs {
		if strings.HasPrefix(id, source) {
			c.short[id] = destination
		}
	}
}
