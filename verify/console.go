package verify

import (
	"bytes"
	"regexp"
	"sync"
)

// Bounds of what is kept of a console, in bytes: its beginning says how the machine
// started, its end why it did not go on. A guest may write without end.
const (
	consoleHead = 128 << 10
	consoleTail = 128 << 10
	// consoleWindow is where the marker is looked for: the last bytes that came.
	consoleWindow = 8 << 10
)

// A console takes what a machine writes on its serial line, and looks for a marker in
// what comes after look was called: before, a boot menu may say anything.
type console struct {
	marker *regexp.Regexp
	found  chan struct{} // closed when the marker came

	mu      sync.Mutex
	looking bool
	head    []byte
	tail    []byte
	dropped int64
	window  []byte
	seen    bool

	listening bool   // what comes is heard
	heard     []byte // since then; of much its beginning and its end
	news      chan struct{}
}

func newConsole(marker *regexp.Regexp) *console {
	return &console{marker: marker, found: make(chan struct{}), news: make(chan struct{}, 1)}
}

// Write never fails.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := p
	if room := consoleHead - len(c.head); room > 0 {
		n := min(room, len(rest))
		c.head, rest = append(c.head, rest[:n]...), rest[n:]
	}
	c.tail = append(c.tail, rest...)
	if over := len(c.tail) - consoleTail; over > 0 {
		c.tail, c.dropped = append(c.tail[:0], c.tail[over:]...), c.dropped+int64(over)
	}
	c.window = append(c.window, p...)
	if over := len(c.window) - consoleWindow; over > 0 {
		over += bytes.IndexByte(c.window[over:], '\n') + 1 // half a line may say another thing
		c.window = append(c.window[:0], c.window[over:]...)
	}
	c.hear(p)
	if c.looking && !c.seen && c.marker.Match(repeated.ReplaceAll(plainText(c.window), nil)) {
		c.seen = true
		close(c.found)
	}
	return len(p), nil
}

// repeated are the lines in which a kernel says what it was told, not what it does
// (Linux, init/main.c).
var repeated = regexp.MustCompile(`(?im)^.*\bcommand line:.*$`)

// look begins to look for the marker, in what comes from now on.
func (c *console) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looking, c.window = true, nil
}

// Bounds of what is heard, in bytes.
const (
	heardHead = 128 << 10
	heardTail = 64 << 10
)

// hear keeps what came for whoever listens.
func (c *console) hear(p []byte) {
	if !c.listening {
		return
	}
	c.heard = append(c.heard, p...)
	if len(c.heard) > heardHead+2*heardTail {
		c.heard = append(c.heard[:heardHead], c.heard[len(c.heard)-heardTail:]...)
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// listen forgets what was heard, and goes on from now.
func (c *console) listen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening, c.heard = true, nil
}

// sofar is what was heard, as a person would read it.
func (c *console) sofar() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(plainText(c.heard))
}

// text is all that was kept.
func (c *console) text() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := bytes.Clone(c.head)
	if c.dropped > 0 {
		text = append(text, "\n[…]\n"...)
	}
	return append(text, c.tail...)
}

// control are the sequences by which a terminal is told to do something (ECMA-48,
// 5.4), and the characters that mean nothing to a reader.
var control = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[()][0-9A-Za-z]|\x1b[ -~]|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]")

// plainText is what a person would read.
func plainText(text []byte) []byte { return control.ReplaceAll(text, nil) }
