package calendar

import (
	"math/bits"
	"time"

	"github.com/adhocore/gronx"
)

// A Schedule says when something is due, by the clock of the site. The written
// forms are those of ParseSchedule. The zero Schedule is never due. Schedules
// are immutable and cheap to copy; compare them with Equal.
type Schedule struct {
	rule rule
	text string // canonical
}

// A rule computes on clock readings, which have no jumps; Schedule turns them
// into instants.
type rule interface {
	next(after time.Time) (time.Time, bool)  // the first reading after
	prev(before time.Time) (time.Time, bool) // the last reading before
	monthly() bool                           // every month contains a reading
}

// IsZero reports whether s is the schedule that is never due.
func (s Schedule) IsZero() bool { return s.rule == nil }

// Equal reports whether s and other are due at the same times because they are
// written the same, apart from case, spaces and order.
func (s Schedule) Equal(other Schedule) bool { return s.text == other.text }

// String returns the canonical text, which ParseSchedule reads back as an equal
// schedule; "" for the zero Schedule.
func (s Schedule) String() string { return s.text }

// MarshalText returns the text of String.
func (s Schedule) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalText reads what ParseSchedule reads.
func (s *Schedule) UnmarshalText(text []byte) error {
	parsed, err := ParseSchedule(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// Next returns the first due instant strictly after the given one, judged by
// the clock of loc; the zero time if there is none.
func (s Schedule) Next(after time.Time, loc *time.Location) time.Time {
	if s.IsZero() {
		return time.Time{}
	}
	w, ok := s.rule.next(lastWallUpTo(after, loc))
	if !ok {
		return time.Time{}
	}
	return instantOf(w, loc)
}

// Prev returns the last due instant strictly before the given one, judged by
// the clock of loc; the zero time if there is none.
func (s Schedule) Prev(before time.Time, loc *time.Location) time.Time {
	if s.IsZero() {
		return time.Time{}
	}
	w, ok := s.rule.prev(firstWallFrom(before, loc))
	if !ok {
		return time.Time{}
	}
	return instantOf(w, loc)
}

// Between returns every due instant t with from <= t < to, in order.
func (s Schedule) Between(from, to time.Time, loc *time.Location) []time.Time {
	var due []time.Time
	for t := s.Next(from.Add(-1), loc); !t.IsZero() && t.Before(to); t = s.Next(t, loc) {
		due = append(due, t)
	}
	return due
}

// DueIn reports whether m contains a due instant.
func (s Schedule) DueIn(m Month, loc *time.Location) bool {
	t := s.Next(m.Start(loc).Add(-1), loc)
	return !t.IsZero() && t.Before(m.End(loc))
}

// AtLeastMonthly reports whether every calendar month contains a due time. For
// cron text it looks at the five years from 2024, a leap year.
func (s Schedule) AtLeastMonthly() bool { return !s.IsZero() && s.rule.monthly() }

// every is due each step from an offset after midnight. The step divides the
// day, so the readings of all days are the same.
type every struct {
	step, offset time.Duration
}

func (e every) next(after time.Time) (time.Time, bool) {
	return e.lastOf(after).Add(e.step), true
}

func (e every) prev(before time.Time) (time.Time, bool) {
	return e.lastOf(before.Add(-1)), true
}

// lastOf returns the last reading not after w.
func (e every) lastOf(w time.Time) time.Time {
	first := midnight(w).Add(e.offset)
	if first.After(w) {
		first = first.Add(-day)
	}
	return first.Add(w.Sub(first) / e.step * e.step)
}

func (e every) monthly() bool { return true }

// weekly is due on days of the week at times of day; daily is every weekday.
type weekly struct {
	days  uint8 // bit n: time.Weekday(n)
	times []time.Duration
}

func (r weekly) next(after time.Time) (time.Time, bool) {
	for d := midnight(after); ; d = d.AddDate(0, 0, 1) {
		if r.days&(1<<d.Weekday()) == 0 {
			continue
		}
		if w, ok := firstAfter(d, r.times, after); ok {
			return w, true
		}
	}
}

func (r weekly) prev(before time.Time) (time.Time, bool) {
	for d := midnight(before); ; d = d.AddDate(0, 0, -1) {
		if r.days&(1<<d.Weekday()) == 0 {
			continue
		}
		if w, ok := lastBefore(d, r.times, before); ok {
			return w, true
		}
	}
}

func (r weekly) monthly() bool { return true }

// yearly is due on days of months at times of day. A day that a month does not
// have is its last day, so that no month is skipped.
type yearly struct {
	days  [12]uint32 // per month from January; bit n: day n
	times []time.Duration
}

func (r yearly) next(after time.Time) (time.Time, bool) {
	for m := MonthOf(after, time.UTC); ; m = m.Next() {
		for days := r.daysOf(m); days != 0; days &= days - 1 {
			d := Date{m.Year, m.Month, bits.TrailingZeros32(days)}.Start(time.UTC)
			if w, ok := firstAfter(d, r.times, after); ok {
				return w, true
			}
		}
	}
}

func (r yearly) prev(before time.Time) (time.Time, bool) {
	for m := MonthOf(before, time.UTC); ; m = m.Add(-1) {
		for days := r.daysOf(m); days != 0; {
			last := 31 - bits.LeadingZeros32(days)
			days &^= 1 << last
			d := Date{m.Year, m.Month, last}.Start(time.UTC)
			if w, ok := lastBefore(d, r.times, before); ok {
				return w, true
			}
		}
	}
}

// daysOf returns the due days of m, those after its end moved to its last day.
func (r yearly) daysOf(m Month) uint32 {
	days := r.days[m.Month-1]
	inside := uint32(1)<<(m.Days()+1) - 1
	if days&^inside != 0 {
		days = days&inside | 1<<m.Days()
	}
	return days
}

func (r yearly) monthly() bool {
	for _, days := range r.days {
		if days == 0 {
			return false
		}
	}
	return true
}

// cron is five-field text that ParseSchedule has checked.
type cron string

func (c cron) next(after time.Time) (time.Time, bool) {
	t, err := gronx.NextTickAfter(string(c), after.Truncate(time.Second), false)
	return t, err == nil
}

func (c cron) prev(before time.Time) (time.Time, bool) {
	whole := before.Truncate(time.Second)
	t, err := gronx.PrevTickBefore(string(c), whole, !whole.Equal(before))
	return t.Truncate(time.Minute), err == nil
}

func (c cron) monthly() bool {
	s := Schedule{rule: c}
	m := Month{2024, time.January}
	for range 5 * 12 {
		if !s.DueIn(m, time.UTC) {
			return false
		}
		m = m.Next()
	}
	return true
}

// midnight returns the reading 00:00 of the day of w.
func midnight(w time.Time) time.Time { return w.Truncate(day) }

// firstAfter returns the first of the times of day d that is after the reading.
func firstAfter(d time.Time, times []time.Duration, after time.Time) (time.Time, bool) {
	for _, t := range times {
		if w := d.Add(t); w.After(after) {
			return w, true
		}
	}
	return time.Time{}, false
}

// lastBefore returns the last of the times of day d that is before the reading.
func lastBefore(d time.Time, times []time.Duration, before time.Time) (time.Time, bool) {
	for i := len(times) - 1; i >= 0; i-- {
		if w := d.Add(times[i]); w.Before(before) {
			return w, true
		}
	}
	return time.Time{}, false
}
