package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"saoluu/internal/fault"
)

// A Problem is one thing wrong with the configuration.
type Problem struct {
	File   string // as given to Load
	Line   int    // from 1
	Column int    // in characters, from 1
	Text   string // never holds the value of a secret
	Hint   string // one imperative sentence without a final period; may be empty
}

// String returns "file:line:column: text" and, on a line of its own, the hint.
func (p Problem) String() string {
	text := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
	if p.Hint != "" {
		text += "\n    hint: " + p.Hint
	}
	return text
}

// Problems are all the problems of a configuration, in the order of the files
// and of the lines in them. Load returns them inside a fault of Kind Usage.
type Problems []Problem

// Error returns the problems one after another, each on its own lines.
func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return strings.Join(texts, "\n")
}

// A source is one file of a configuration.
type source struct {
	name string
	text []byte
}

// A place is a byte of a source. The zero place is the start of the first file.
type place struct {
	file   int32
	offset int32
}

// A found problem is a Problem before lines are counted, which is done only when
// there are problems at all.
type found struct {
	at   place
	text string
	hint string
	also *place // the other place of the same name
}

// report turns what was found into the error Load returns.
func report(sources []source, all []found) error {
	slices.SortStableFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.at.file, b.at.file), cmp.Compare(a.at.offset, b.at.offset))
	})
	counter := &lineCounter{sources: sources}
	problems := make(Problems, 0, len(all))
	for _, f := range all {
		if f.also != nil {
			line, _ := position(sources[f.also.file].text, int(f.also.offset))
			f.text += fmt.Sprintf("; see also %s:%d", sources[f.also.file].name, line)
		}
		line, column := counter.position(f.at)
		problem := Problem{sources[f.at.file].name, line, column, f.text, f.hint}
		if !slices.Contains(problems[max(0, len(problems)-8):], problem) {
			problems = append(problems, problem)
		}
	}
	return fault.New(fault.Usage, "", problems, "")
}

// position returns the line and column of a byte.
func position(text []byte, offset int) (line, column int) {
	before := text[:min(offset, len(text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte{'\n'}), 1 + utf8.RuneCount(before[start:])
}

// A lineCounter finds lines of places that come in order, without counting the
// same lines again.
type lineCounter struct {
	sources []source
	last    place
	lines   int
}

func (c *lineCounter) position(at place) (line, column int) {
	if at.file != c.last.file {
		c.last, c.lines = place{file: at.file}, 0
	}
	text := c.sources[at.file].text
	end := min(int(at.offset), len(text))
	c.lines += bytes.Count(text[min(int(c.last.offset), end):end], []byte{'\n'})
	c.last = at
	_, column = position(text[lineStart(text, end):], end-lineStart(text, end))
	return c.lines + 1, column
}

func lineStart(text []byte, offset int) int {
	return bytes.LastIndexByte(text[:offset], '\n') + 1
}

// suggest returns a hint naming the known word that was probably meant, or else
// all of them.
func suggest(word string, known []string) string {
	best, distance := "", min(1+max(1, len(word)/3), len(word))
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) == 0:
		return "there is none yet"
	case len(known) > 24:
		return fmt.Sprintf("there are %d to choose from", len(known))
	default:
		return "known are: " + strings.Join(known, ", ")
	}
}

// editDistance counts the bytes to insert, remove, replace or exchange with
// their neighbour to make one short word of another.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(replaced, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
