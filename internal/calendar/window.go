package calendar

import (
	"strings"
	"time"
)

// A Window is a part of every day, written "20:00-06:00": it begins at the first
// clock reading and ends before the second, on the next day when that is earlier.
// The zero Window is the whole day.
type Window struct {
	from, to time.Duration // since midnight by the clock; equal only in the zero Window
}

// IsZero reports whether w is the whole day.
func (w Window) IsZero() bool { return w == Window{} }

// Equal reports whether w and other are the same part of a day.
func (w Window) Equal(other Window) bool { return w == other }

// String returns a text that UnmarshalText reads back as the same value, "" for
// the whole day.
func (w Window) String() string {
	if w.IsZero() {
		return ""
	}
	return clockText(w.from) + "-" + clockText(w.to)
}

func clockText(d time.Duration) string {
	return time.Time{}.Add(d).Format("15:04")
}

// Opens returns the clock reading at which w begins, as in "20:00".
func (w Window) Opens() string { return clockText(w.from) }

// MarshalText returns the text of String.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads what String writes.
func (w *Window) UnmarshalText(text []byte) error {
	hint := `write it as "20:00-06:00"`
	if len(text) == 0 {
		*w = Window{}
		return nil
	}
	first, second, ok := strings.Cut(string(text), "-")
	from, err := time.Parse("15:04", strings.TrimSpace(first))
	to, other := time.Parse("15:04", strings.TrimSpace(second))
	if !ok || err != nil || other != nil {
		return invalid("window", string(text), "not two clock readings", hint)
	}
	midnight := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) // what time.Parse counts from
	next := Window{from.Sub(midnight), to.Sub(midnight)}
	if next.from == next.to {
		return invalid("window", string(text), "it has no length", "leave it out for the whole day")
	}
	*w = next
	return nil
}

// Open returns when the window that is open at t ends by the clock of loc, or
// when the next one begins: until is after t. The whole day never ends, and until
// is the zero time then.
func (w Window) Open(t time.Time, loc *time.Location) (open bool, until time.Time) {
	if w.IsZero() {
		return true, time.Time{}
	}
	today := DateOf(t, loc)
	for day := -1; day <= 2; day++ {
		date := today.AddDays(day).Start(time.UTC)
		begin, end := instantOf(date.Add(w.from), loc), instantOf(date.Add(w.to), loc)
		if w.to <= w.from {
			end = instantOf(today.AddDays(day+1).Start(time.UTC).Add(w.to), loc)
		}
		switch {
		case begin.After(t):
			return false, begin
		case end.After(t):
			return true, end
		}
	}
	return false, t.Add(24 * time.Hour) // a window that a changed clock leaves out for days
}
