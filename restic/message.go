package restic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"saoluu/internal/fault"
)

// maxItems bounds the errors kept of one run: a hundred say as much as a
// million, and the count is kept beside them.
const maxItems = 100

// A Progress is how far a verb has come.
type Progress struct {
	Percent    float64 // 0 to 100; 0 when the total is not known
	BytesDone  int64
	BytesTotal int64 // 0 when not known
	FilesDone  int64
	FilesTotal int64
	Remaining  time.Duration // 0 when not known
}

// An ItemError is one thing that could not be saved or restored.
type ItemError struct {
	Path string // as restic names it
	Op   string // what restic was doing, such as "archival"
	Err  string
}

// Error returns "path: cause". A path too long to be shown is cut, so that the
// cause is.
func (e ItemError) Error() string {
	if len(e.Path) <= maxShown {
		return e.Path + ": " + e.Err
	}
	cut := func(s string) string { return strings.ToValidUTF8(s, "") }
	return cut(e.Path[:maxShown/2]) + "…" + cut(e.Path[len(e.Path)-maxShown/4:]) + ": " + e.reason()
}

// maxShown bounds the path in an error, in bytes.
const maxShown = 200

// status is restic's progress message. The figures of backup and restore have
// different names.
type status struct {
	SecondsElapsed   float64 `json:"seconds_elapsed"`
	SecondsRemaining float64 `json:"seconds_remaining"`
	PercentDone      float64 `json:"percent_done"`
	TotalFiles       int64   `json:"total_files"`
	FilesDone        int64   `json:"files_done"`
	FilesRestored    int64   `json:"files_restored"`
	FilesSkipped     int64   `json:"files_skipped"`
	TotalBytes       int64   `json:"total_bytes"`
	BytesDone        int64   `json:"bytes_done"`
	BytesRestored    int64   `json:"bytes_restored"`
	BytesSkipped     int64   `json:"bytes_skipped"`
}

// progress turns a status into our figures. For a stream restic knows no total
// and guesses the remaining time absurdly; expect is then the caller's guess of
// the length, 0 when there is none.
func (s status) progress(expect int64) Progress {
	p := Progress{
		Percent:   100 * s.PercentDone,
		BytesDone: s.BytesDone + s.BytesRestored + s.BytesSkipped, BytesTotal: s.TotalBytes,
		FilesDone: s.FilesDone + s.FilesRestored + s.FilesSkipped, FilesTotal: s.TotalFiles,
	}
	seconds := s.SecondsRemaining
	if s.TotalBytes == 0 {
		p.Percent, seconds = 0, 0
		if expect > 0 && p.BytesDone > 0 && p.BytesDone <= expect {
			p.BytesTotal = expect
		}
	}
	if p.BytesTotal > 0 && p.BytesDone > 0 && seconds == 0 {
		p.Percent = 100 * float64(p.BytesDone) / float64(p.BytesTotal)
		seconds = s.SecondsElapsed * float64(p.BytesTotal-p.BytesDone) / float64(p.BytesDone)
	}
	const month = 30 * 24 * time.Hour // a guess beyond is no guess
	if seconds > 0 && seconds < month.Seconds() {
		p.Remaining = time.Duration(seconds * float64(time.Second))
	}
	p.Percent = max(0, min(100, p.Percent))
	return p
}

// report hands a status message on and calls kick when it shows progress: restic
// repeats its status every second whether or not anything moves.
func report(m message, expect int64, last *Progress, kick func(), fn func(Progress)) {
	var s status
	if json.Unmarshal(m.raw, &s) != nil {
		return // a figure too large for us is not worth a failed backup
	}
	p := s.progress(expect)
	if p.BytesDone != last.BytesDone || p.FilesDone != last.FilesDone || p.BytesTotal != last.BytesTotal || p.FilesTotal != last.FilesTotal {
		kick()
	}
	*last = p
	if fn != nil {
		fn(p)
	}
}

// A message is one JSON line, decoded as far as its type.
type message struct {
	Type string `json:"message_type"`
	raw  []byte
}

// errNotJSON marks a line that is not what restic prints with --json.
var errNotJSON = errors.New("not a JSON message")

// parseLine decodes one line. A message of an unknown type is fine (the manual
// lets them appear); a line that is no JSON object is errNotJSON.
func parseLine(line []byte) (message, error) {
	m := message{raw: line}
	if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) {
		return m, errNotJSON
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("%w: %v", errNotJSON, err)
	}
	return m, nil
}

// A transcript collects what restic says besides its results. Both streams feed
// it, since which of them carries an error differs between versions.
type transcript struct {
	mu      sync.Mutex
	exit    string      // text of the exit_error message
	items   []ItemError // the first maxItems
	count   int         // of all
	notes   []string    // check's findings and plain lines of stderr, the first maxItems
	last    string      // the newest of all notes
	garbage string      // the first line that should have been JSON and was not
}

// take looks at a message and reports whether it was an error or the like.
func (t *transcript) take(m message) bool {
	switch m.Type {
	case "exit_error":
		var v struct{ Message string }
		if json.Unmarshal(m.raw, &v) == nil {
			t.exit = clean(v.Message)
		}
	case "error":
		t.takeError(m)
	default:
		return false
	}
	return true
}

func (t *transcript) takeError(m message) {
	var v struct {
		Error   struct{ Message string }
		Message string
		During  string
		Item    string
	}
	_ = json.Unmarshal(m.raw, &v) // an error we cannot read is still an error
	switch {
	case v.Item != "" || v.During != "":
		t.item(ItemError{Path: v.Item, Op: v.During, Err: clean(v.Error.Message)})
	case v.Error.Message != "":
		t.note(clean(v.Error.Message))
	default:
		t.note(clean(v.Message))
	}
}

func (t *transcript) item(e ItemError) {
	t.count++
	if len(t.items) < maxItems {
		t.items = append(t.items, e)
	}
}

func (t *transcript) note(s string) {
	if s != "" {
		t.last = s
	}
	if s != "" && len(t.notes) < maxItems {
		t.notes = append(t.notes, s)
	}
}

// skipped is what restic says on stderr, in plain text even with --json, about a
// source path that is not there.
var skipped = regexp.MustCompile(`^(.+) does not exist, skipping$`)

// stderrLine takes one line of stderr: JSON or free text.
func (t *transcript) stderrLine(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m, err := parseLine(line); err == nil {
		t.take(m)
		return
	}
	s := clean(string(line))
	switch sub := skipped.FindStringSubmatch(s); {
	case strings.HasPrefix(s, "subprocess "):
		// The dump's own stderr: its pump reports what matters of it.
	case sub != nil:
		t.item(ItemError{Path: sub[1], Op: "scan", Err: "does not exist"})
	default:
		t.note(s)
	}
}

// stdoutLine takes one line where JSON is due and hands messages that are no
// errors to fn.
func (t *transcript) stdoutLine(line []byte, fn func(message) error) error {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	m, err := parseLine(line)
	t.mu.Lock()
	if err != nil && t.garbage == "" {
		t.garbage = fmt.Sprintf("%.120q", line)
	}
	taken := err != nil || t.take(m)
	t.mu.Unlock()
	if taken {
		return nil
	}
	return fn(m)
}

// unproved is the error for an exit status 0 without the proof it needs.
func (t *transcript) unproved(op, missing string) error {
	why := "restic exited with status 0 but " + missing
	if t.garbage != "" {
		why += "; it printed " + t.garbage
	}
	return fault.New(fault.Failed, op, errors.New(why), "check that the program is a genuine restic")
}

// clean returns the first line of a message without "Fatal: " and trailing
// white space: restic adds stack traces and advice below.
func clean(s string) string {
	s = strings.TrimSpace(s)
	s, _, _ = strings.Cut(s, "\n")
	for {
		cut := strings.TrimPrefix(s, "Fatal: ")
		if cut == s {
			return strings.ToValidUTF8(strings.TrimSpace(s), "?")
		}
		s = cut
	}
}
