package command

import (
	"bytes"
	"fmt"
	"strings"
)

// maxLine bounds one line of output, in bytes: a file name with all its
// metadata stays far below, a program gone mad does not take our memory.
const maxLine = 16 << 20

// tailBytes is how much of the end of stderr is kept: the end says why.
const tailBytes = 4096

// A lineWriter hands what is written to it to fn, line by line.
type lineWriter struct {
	fn   func([]byte) error
	part []byte // a line not yet ended
	err  error  // the first error; sticky
}

func (w *lineWriter) Write(p []byte) (int, error) {
	for rest := p; w.err == nil; {
		line, after, found := bytes.Cut(rest, []byte{'\n'})
		if !found {
			w.keep(rest)
			break
		}
		if len(w.part) > 0 {
			w.keep(line)
			line = w.part
		}
		if w.err == nil {
			w.err = w.fn(line)
		}
		w.part = w.part[:0]
		rest = after
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

func (w *lineWriter) keep(p []byte) {
	if len(w.part)+len(p) > maxLine {
		w.err = fmt.Errorf("a line of output is longer than %d bytes", maxLine)
		return
	}
	w.part = append(w.part, p...)
}

// flush hands over a last line that had no line feed.
func (w *lineWriter) flush() {
	if len(w.part) > 0 {
		w.err = w.fn(w.part)
		w.part = nil
	}
}

// A limitedBuffer refuses to grow over its limit.
type limitedBuffer struct {
	buf   []byte
	limit int64
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if int64(len(b.buf)+len(p)) > b.limit {
		return 0, fmt.Errorf("output is longer than %d bytes", b.limit)
	}
	b.buf = append(b.buf, p...)
	return len(p), nil
}

// A tail keeps the last bytes written to it, and a little more, so that a
// secret cut in two by the limit is still recognised.
type tail struct {
	keep int
	buf  []byte
}

func newTail(secrets []string) *tail {
	longest := 0
	for _, s := range secrets {
		longest = max(longest, len(s))
	}
	return &tail{keep: tailBytes + longest}
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.keep {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.keep:]...)
	}
	return len(p), nil
}

func (t *tail) text(secrets []string) string {
	raw := t.buf
	if len(raw) > t.keep {
		raw = raw[len(raw)-t.keep:]
	}
	s := Blank(string(raw), secrets)
	if len(s) > tailBytes {
		s = s[len(s)-tailBytes:]
	}
	return strings.ToValidUTF8(s, "?")
}

// Blank replaces every secret in s by three stars.
func Blank(s string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}

// tellingLine returns the last line of s or, where that is no more than a detail in the
// manner of PostgreSQL's programs ("NAME: detail: …"), the error it belongs to with its
// first detail, which holds what the server said.
func tellingLine(s string) string {
	last := lastLine(s)
	name, _, ok := strings.Cut(last, ": detail: ")
	if !ok || strings.Contains(name, " ") {
		return last
	}
	at := strings.LastIndex("\n"+s, "\n"+name+": error: ")
	if at < 0 {
		return last
	}
	line, rest, _ := strings.Cut(s[at:], "\n")
	detail, _, _ := strings.Cut(rest, "\n")
	if text, ok := strings.CutPrefix(detail, name+": detail: "); ok {
		line += " " + text
	}
	return lastLine(line)
}

// lastLine returns the last line of s that is not blank, cut to 500 bytes.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	s = strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}
