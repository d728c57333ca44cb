package compliance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"saoluu/internal/calendar"
)

// A scope reads the keys of one table. What is missing or of the wrong type is
// recorded as a problem of the document and read as the zero value, so that one
// pass finds all problems.
type scope struct {
	doc  *document
	path string
	keys map[string]any
}

// get marks a key as known and returns its value.
func (s *scope) get(key string) (any, bool) {
	s.doc.used[join(s.path, key)] = true
	value, ok := s.keys[key]
	return value, ok
}

func (s *scope) has(key string) bool {
	_, ok := s.keys[key]
	return ok
}

// errorf records a problem with a key.
func (s *scope) errorf(key, format string, args ...any) {
	s.doc.errorf(join(s.path, key), format, args...)
}

// missing records that the table lacks a key.
func (s *scope) missing(key string) {
	s.doc.errorf(s.path, "missing field %q", key)
}

// read returns the value of a key as a T, or the zero value and false.
func read[T any](s *scope, key, what string) (T, bool) {
	var zero T
	value, ok := s.get(key)
	if !ok {
		return zero, false
	}
	typed, ok := value.(T)
	if !ok {
		s.errorf(key, "field %q must be %s", key, what)
		return zero, false
	}
	return typed, true
}

// text returns a string that must be there and not be empty.
func (s *scope) text(key string) string {
	value, _ := read[string](s, key, "a text")
	if !s.has(key) {
		s.missing(key)
	} else if _, isText := s.keys[key].(string); isText && strings.TrimSpace(value) == "" {
		s.errorf(key, "field %q is empty", key)
	}
	return value
}

// optional returns a string that may be missing.
func (s *scope) optional(key string) string {
	value, _ := read[string](s, key, "a text")
	return value
}

// word returns one of a closed set of words, or fallback when the key is missing.
func (s *scope) word(key, fallback string, allowed ...string) string {
	value, ok := read[string](s, key, "a text")
	if !ok {
		if fallback == "" && !s.has(key) {
			s.missing(key)
		}
		return fallback
	}
	if !slices.Contains(allowed, value) {
		s.errorf(key, "field %q is %q, must be one of %s", key, value, strings.Join(allowed, ", "))
	}
	return value
}

// outcome returns one of the outcomes a pack may name. Pass is never among them.
func (s *scope) outcome(key string, fallback Outcome) Outcome {
	return Outcome(s.word(key, string(fallback), string(Warn), string(Fail)))
}

// number returns a whole number within bounds, or fallback when the key is missing.
func (s *scope) number(key string, fallback, low, high int) int {
	value, ok := read[int64](s, key, "a whole number")
	if !ok {
		return fallback
	}
	if value < int64(low) || value > int64(high) {
		s.errorf(key, "field %q is %d, must be %d to %d", key, value, low, high)
		return fallback
	}
	return int(value)
}

// factor returns a number of at least 1.
func (s *scope) factor(key string, fallback float64) float64 {
	value, ok := s.get(key)
	if !ok {
		return fallback
	}
	var f float64
	switch n := value.(type) {
	case float64:
		f = n
	case int64:
		f = float64(n)
	}
	if !(f >= 1 && f <= 100) {
		s.errorf(key, "field %q must be a number from 1 to 100", key)
		return fallback
	}
	return f
}

func (s *scope) boolean(key string, fallback bool) bool {
	value, ok := read[bool](s, key, "true or false")
	if !ok {
		return fallback
	}
	return value
}

// words returns a list of texts, each of them allowed. With no allowed words
// any text will do.
func (s *scope) words(key string, allowed ...string) []string {
	list, _ := read[[]any](s, key, "a list of texts")
	out := make([]string, 0, len(list))
	for i, element := range list {
		at := join(join(s.path, key), strconv.Itoa(i))
		text, ok := element.(string)
		switch {
		case !ok || text == "":
			s.doc.errorf(at, "field %q must be a list of texts", key)
		case len(allowed) > 0 && !slices.Contains(allowed, text):
			s.doc.errorf(at, "field %q has %q, must be among %s", key, text, strings.Join(allowed, ", "))
		case slices.Contains(out, text):
			s.doc.errorf(at, "field %q has %q twice", key, text)
		default:
			out = append(out, text)
		}
	}
	return out
}

// date returns a local date; the zero Date when the key is missing.
func (s *scope) date(key string) calendar.Date {
	d, ok := read[toml.LocalDate](s, key, "a date such as 2024-09-25")
	if !ok {
		return calendar.Date{}
	}
	return calendar.Date{Year: d.Year, Month: time.Month(d.Month), Day: d.Day}
}

// instant reads a local date (01:00 by the given clock) or a time with an offset.
func (s *scope) instant(key string, loc *time.Location) time.Time {
	value, ok := s.get(key)
	if !ok {
		return time.Time{}
	}
	t, err := instantOf(value, loc)
	if err != nil {
		s.errorf(key, "field %q: %v", key, err)
	}
	return t
}

// instants reads a list of what instant reads.
func (s *scope) instants(key string, loc *time.Location) []time.Time {
	list, _ := read[[]any](s, key, "a list of dates")
	out := make([]time.Time, 0, len(list))
	for i, element := range list {
		t, err := instantOf(element, loc)
		if err != nil {
			s.doc.errorf(join(join(s.path, key), strconv.Itoa(i)), "field %q: %v", key, err)
			continue
		}
		out = append(out, t)
	}
	return out
}

func instantOf(value any, loc *time.Location) (time.Time, error) {
	switch v := value.(type) {
	case toml.LocalDate:
		return time.Date(v.Year, time.Month(v.Month), v.Day, 1, 0, 0, 0, loc), nil
	case toml.LocalDateTime:
		return v.AsTime(loc), nil
	case time.Time:
		return v, nil
	default:
		return time.Time{}, fmt.Errorf("must be a date or a time, not %T", value)
	}
}

// table returns a sub-table; an empty one when the key is missing.
func (s *scope) table(key string) *scope {
	keys, _ := read[map[string]any](s, key, "a table")
	return &scope{doc: s.doc, path: join(s.path, key), keys: keys}
}

// tables returns an array of tables.
func (s *scope) tables(key string) []*scope {
	list, _ := read[[]any](s, key, "an array of tables")
	out := make([]*scope, 0, len(list))
	for i, element := range list {
		path := join(join(s.path, key), strconv.Itoa(i))
		keys, ok := element.(map[string]any)
		if !ok {
			s.doc.errorf(path, "field %q must be an array of tables", key)
			continue
		}
		out = append(out, &scope{doc: s.doc, path: path, keys: keys})
	}
	return out
}

// vietnamese returns the mandatory Vietnamese half of a bilingual text.
func (s *scope) vietnamese(key string) string {
	if !s.has(key) {
		s.get(key)
		s.missing(key)
		return ""
	}
	both := s.table(key)
	if _, isTable := s.keys[key].(map[string]any); !isTable {
		return ""
	}
	both.optional("en")
	return both.text("vi")
}
