package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Version is the "v" of entries.
const Version = 1

// maxEntryBytes bounds an entry that is read from outside: an inventory of
// 10,000 jobs is about 5 MB.
const maxEntryBytes = 64 << 20

// timeLayout is the one spelling of an instant: UTC, whole seconds.
const timeLayout = "2006-01-02T15:04:05Z"

// An Entry is a ledger entry taken apart.
type Entry struct {
	Seq  int64
	At   time.Time // UTC, whole seconds
	Kind string
	Body []byte // canonical JSON object
}

// FormatEntry returns the canonical line of an entry. body must be canonical
// JSON already; at is cut to whole seconds.
func FormatEntry(seq int64, at time.Time, kind string, body []byte) []byte {
	line := make([]byte, 0, len(body)+len(kind)+80)
	line = append(line, `{"at":"`...)
	line = at.UTC().AppendFormat(line, timeLayout)
	line = append(line, `","body":`...)
	line = append(line, body...)
	line = append(line, `,"kind":"`...)
	line = append(line, kind...)
	line = append(line, `","seq":`...)
	line = strconv.AppendInt(line, seq, 10)
	return append(line, `,"v":1}`...)
}

// ParseEntry takes a canonical line apart. What it accepts, FormatEntry prints
// to the same bytes.
func ParseEntry(line []byte) (Entry, error) {
	if len(line) > maxEntryBytes {
		return Entry{}, fmt.Errorf("entry of %d bytes is too long", len(line))
	}
	canonical, err := CanonicalJSON(line)
	if err != nil {
		return Entry{}, fmt.Errorf("entry: %w", err)
	}
	if !bytes.Equal(canonical, line) {
		return Entry{}, errors.New("entry is not in canonical form")
	}
	e, err := SplitEntry(line)
	if err != nil {
		return Entry{}, err
	}
	if !validKind(e.Kind) || e.Seq < 0 || len(e.Body) == 0 || e.Body[0] != '{' {
		return Entry{}, errors.New("entry has a member of the wrong type")
	}
	if again := FormatEntry(e.Seq, e.At, e.Kind, e.Body); !bytes.Equal(again, line) {
		return Entry{}, errors.New("entry has unknown, missing or malformed members")
	}
	// The cuts above could fall inside a string; the body on its own decides.
	if _, err := CanonicalJSON(e.Body); err != nil {
		return Entry{}, errors.New("entry has unknown, missing or malformed members")
	}
	return e, nil
}

// SplitEntry takes a line apart that is known to be canonical, such as one read
// back from a ledger whose hashes hold. It is quick and checks little; the
// result shares memory with line.
func SplitEntry(line []byte) (Entry, error) {
	const head = len(`{"at":"2006-01-02T15:04:05Z","body":`)
	i := bytes.LastIndex(line, []byte(`,"kind":"`))
	if i < head || !bytes.HasSuffix(line, []byte(`,"v":1}`)) {
		return Entry{}, errors.New("not an entry of version 1")
	}
	kind, seq, ok := strings.Cut(string(line[i+len(`,"kind":"`):len(line)-len(`,"v":1}`)]), `","seq":`)
	if !ok {
		return Entry{}, errors.New("entry has unknown, missing or malformed members")
	}
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil {
		return Entry{}, fmt.Errorf("entry: seq %q is not a number", seq)
	}
	at, err := time.Parse(timeLayout, string(line[len(`{"at":"`):len(`{"at":"`)+len(timeLayout)]))
	if err != nil {
		return Entry{}, fmt.Errorf("entry %d: time is malformed", n)
	}
	return Entry{Seq: n, At: at, Kind: kind, Body: line[head:i]}, nil
}

func validKind(kind string) bool {
	for _, r := range kind {
		if r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return kind != ""
}
