package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// decodeQuick decodes what the projection needs of an event, and of the most
// frequent kinds nothing else: a rebuild spends half its time here. The body
// must be canonical JSON, as every stored entry is.
func decodeQuick(kind string, body []byte) (Event, error) {
	s := &quick{b: body}
	var e Event
	switch kind {
	case "run-started":
		e = s.runStarted()
	case "run-finished":
		e = s.runFinished()
	case "slots-planned":
		e = s.slotsPlanned()
	default:
		return decode(kind, body)
	}
	if s.failed || s.i != len(s.b) {
		return decode(kind, body) // says what is wrong, if anything is
	}
	return e, nil
}

// quick reads canonical JSON. After a mistake it stands still and failed is set.
type quick struct {
	b      []byte
	i      int
	failed bool
}

func (s *quick) runStarted() RunStarted {
	var e RunStarted
	s.object(func(key []byte) {
		switch string(key) {
		case "job":
			e.Job = s.text()
		case "run":
			e.Run = s.text()
		default:
			s.skip()
		}
	})
	return e
}

func (s *quick) runFinished() RunFinished {
	var e RunFinished
	s.object(func(key []byte) {
		switch string(key) {
		case "consistent_at":
			e.ConsistentAt = s.instant()
		case "copies":
			s.list(func() { e.Copies = append(e.Copies, s.copy()) })
		case "covers":
			s.list(func() { e.Covers = append(e.Covers, s.instant()) })
		case "due":
			t := s.instant()
			e.Due = &t
		case "error":
			e.Error = s.text()
		case "facts":
			e.Facts = s.blob()
		case "finished_at":
			e.FinishedAt = s.instant()
		case "job":
			e.Job = s.text()
		case "last_attempt":
			e.LastAttempt = s.truth()
		case "run":
			e.Run = s.text()
		case "started_at":
			e.StartedAt = s.instant()
		case "state":
			e.State = s.text()
		default:
			s.skip()
		}
	})
	return e
}

// blob reads of facts how many could not be taken.
func (s *quick) blob() *Blob {
	if s.next() != '{' {
		s.skip() // null
		return nil
	}
	var b Blob
	s.object(func(key []byte) {
		switch string(key) {
		case "unread":
			b.Unread = int(s.whole())
		default:
			s.skip()
		}
	})
	return &b
}

func (s *quick) copy() Copy {
	var c Copy
	s.object(func(key []byte) {
		switch string(key) {
		case "error":
			c.Error = s.text()
		case "snapshots":
			if s.next() != '{' {
				s.skip() // null
				return
			}
			c.Snapshots = map[string]string{}
			s.object(func(part []byte) { c.Snapshots[string(part)] = s.text() })
		case "state":
			c.State = s.text()
		case "target":
			c.Target = s.text()
		default:
			s.skip()
		}
	})
	return c
}

func (s *quick) slotsPlanned() SlotsPlanned {
	var e SlotsPlanned
	s.object(func(key []byte) {
		switch string(key) {
		case "slots":
			s.list(func() { e.Slots = append(e.Slots, s.slot()) })
		case "until":
			e.Until = s.instant()
		default:
			s.skip()
		}
	})
	return e
}

func (s *quick) slot() Slot {
	var slot Slot
	s.object(func(key []byte) {
		switch string(key) {
		case "action":
			slot.Action = s.text()
		case "due":
			slot.Due = s.instant()
		case "job":
			slot.Job = s.text()
		default:
			s.skip()
		}
	})
	return slot
}

// next returns the byte at hand, 0 at the end or after a mistake.
func (s *quick) next() byte {
	if s.failed || s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

// take moves over one byte that has to be there.
func (s *quick) take(want byte) {
	if s.next() != want {
		s.failed = true
		return
	}
	s.i++
}

// object calls member for every name, which has to read the value.
func (s *quick) object(member func(key []byte)) {
	s.take('{')
	for more := s.next() != '}'; more && !s.failed; {
		key := s.raw()
		s.take(':')
		member(key)
		if more = s.next() == ','; more {
			s.i++
		}
	}
	s.take('}')
}

// list calls element for every element, which has to read it. null is an empty list.
func (s *quick) list(element func()) {
	if s.next() == 'n' {
		s.skip()
		return
	}
	s.take('[')
	for more := s.next() != ']'; more && !s.failed; {
		element()
		if more = s.next() == ','; more {
			s.i++
		}
	}
	s.take(']')
}

// raw reads a string without escapes; one with escapes is a mistake.
func (s *quick) raw() []byte {
	s.take('"')
	if s.failed {
		return nil
	}
	n := bytes.IndexByte(s.b[s.i:], '"')
	if n < 0 || bytes.IndexByte(s.b[s.i:s.i+n], '\\') >= 0 {
		s.failed = true
		return nil
	}
	text := s.b[s.i : s.i+n]
	s.i += n + 1
	return text
}

// text reads a string.
func (s *quick) text() string {
	begin := s.i
	if text := s.raw(); !s.failed {
		return string(text)
	}
	if begin >= len(s.b) || s.b[begin] != '"' {
		return ""
	}
	s.failed, s.i = false, begin
	s.skip()
	text, err := unescape(s.b[begin:s.i])
	if err != nil {
		s.failed = true
	}
	return text
}

// unescape reads a string literal with escapes.
func unescape(literal []byte) (string, error) {
	var text string
	err := json.Unmarshal(literal, &text)
	return text, err
}

func (s *quick) truth() bool {
	yes := s.next() == 't'
	s.skip()
	return yes
}

// whole reads a whole number.
func (s *quick) whole() int64 {
	begin := s.i
	s.skip()
	n, err := strconv.ParseInt(string(s.b[begin:s.i]), 10, 64)
	if err != nil {
		s.failed = true
	}
	return n
}

// instant reads a time as whole writes it, YYYY-MM-DDThh:mm:ssZ.
func (s *quick) instant() time.Time {
	text := s.raw()
	t, err := parseInstant(text)
	if err != nil {
		s.failed = true
	}
	return t
}

var errInstant = errors.New("malformed time")

func parseInstant(text []byte) (time.Time, error) {
	if len(text) != len("2006-01-02T15:04:05Z") || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':' || text[19] != 'Z' {
		return time.Time{}, errInstant
	}
	var n [6]int
	for i, at := range [6][2]int{{0, 4}, {5, 7}, {8, 10}, {11, 13}, {14, 16}, {17, 19}} {
		v, err := strconv.Atoi(string(text[at[0]:at[1]]))
		if err != nil || v < 0 {
			return time.Time{}, errInstant
		}
		n[i] = v
	}
	return time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, time.UTC), nil
}

// skip moves over one value.
func (s *quick) skip() {
	depth := 0
	for !s.failed && s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			s.skipString()
			if depth == 0 {
				return
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return // the end of what the value stood in
			}
			if depth--; depth == 0 {
				s.i++
				return
			}
		case ',':
			if depth == 0 {
				return
			}
		}
		s.i++
	}
}

func (s *quick) skipString() {
	for s.i++; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case '\\':
			s.i++
		case '"':
			s.i++
			return
		}
	}
	s.failed = true
}
