package history

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// Diff returns the difference of two contents of a file in the unified form, with what is
// secret in it masked: that a masked line is another now shows, what it is does not. nil
// content means that there was none. Instead of lines it says why there are none.
func Diff(file string, before, after []byte) string {
	switch {
	case withheld(file):
		return "(not shown: the file holds secrets)\n"
	case !isText(before) || !isText(after):
		return "(not shown: not text)\n"
	}
	lines := interned{}
	old, now := lines.masked(before), lines.masked(after)
	return lines.plain(diff.Diff("before", old, "after", now))
}

// interned numbers lines, so that two that are masked to the same text are still told
// apart when they are compared.
type interned map[string]int

// mark comes before the number of a line. No text has it.
const mark = "\x00"

func (n interned) masked(content []byte) []byte {
	if len(content) == 0 {
		return nil
	}
	text := string(content)
	var out bytes.Buffer
	shown := Mask(text)
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if _, known := n[line]; !known {
			n[line] = len(n)
		}
		fmt.Fprintf(&out, "%s%s%d\n", shown[i], mark, n[line])
	}
	return out.Bytes()
}

// plain takes the numbers out again, and the line that names the program's arguments.
func (n interned) plain(text []byte) string {
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		if shown, number, ok := strings.Cut(strings.TrimSuffix(line, "\n"), mark); ok {
			if _, err := strconv.Atoi(number); err == nil {
				line = shown + "\n"
			}
		}
		if !strings.HasPrefix(line, "diff ") {
			out.WriteString(line)
		}
	}
	return out.String()
}
