package calendar_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"saoluu/internal/calendar"
)

// A schedule that is due at all is due again, however long the gap: a search
// that gave up would silence a job for ever.
func TestSparseCronNeverGoesSilent(t *testing.T) {
	for _, text := range []string{"0 0 29 2 *", "59 23 31 12 *", "0 0 31 1,3 *", "0 0 L 2 *", "0 0 29 2 */6", "30 4 31 */7 *", "0 0 1 1 0"} {
		s := schedule(t, text)
		for at := (calendar.Date{Year: 1995, Month: time.January, Day: 1}); at.Year < 2110; at = at.AddDays(17) {
			start := at.Start(time.UTC).Add(7 * time.Hour)
			next, prev := s.Next(start, time.UTC), s.Prev(start, time.UTC)
			if !next.After(start) || !prev.Before(start) || prev.IsZero() {
				t.Fatalf("%q at %v: previous %v, next %v", text, start, prev, next)
			}
			if back := s.Prev(next, time.UTC); back.After(start) {
				t.Fatalf("%q at %v: next %v skips %v", text, start, next, back)
			}
		}
	}
}

// values draws a cron field: every value, or a list of some.
func values(r *rapid.T, name string, low, high int) (text string, allowed []int) {
	if rapid.Bool().Draw(r, name+" restricted") {
		allowed = rapid.SliceOfNDistinct(rapid.IntRange(low, high), 1, 4, rapid.ID[int]).Draw(r, name)
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(allowed), " ", ","), "[]"), allowed
	}
	return "*", nil
}

// The library agrees with reading the five fields minute by minute. A day is due
// by its number or by its weekday when both are restricted.
func TestCronAgreesWithItsFields(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		minuteText, minutes := values(r, "minute", 0, 59)
		hourText, hours := values(r, "hour", 0, 23)
		dayText, days := values(r, "day", 1, 28)
		weekdayText, weekdays := values(r, "weekday", 0, 6)
		has := func(allowed []int, n int) bool { return allowed == nil || slices.Contains(allowed, n) }
		due := func(at time.Time) bool {
			day, weekday := has(days, at.Day()), has(weekdays, int(at.Weekday()))
			if days != nil && weekdays != nil {
				day = slices.Contains(days, at.Day()) || slices.Contains(weekdays, int(at.Weekday()))
				weekday = true
			}
			return has(minutes, at.Minute()) && has(hours, at.Hour()) && day && weekday
		}
		s := schedule(t, minuteText+" "+hourText+" "+dayText+" * "+weekdayText)
		from := time.Date(2026, 2, rapid.IntRange(1, 28).Draw(r, "from"), rapid.IntRange(0, 23).Draw(r, "at"), 30, 15, 0, time.UTC)
		want := from.Truncate(time.Minute).Add(time.Minute)
		for want.Before(from.AddDate(0, 3, 0)) && !due(want) {
			want = want.Add(time.Minute)
		}
		if got := s.Next(from, time.UTC); due(want) && !got.Equal(want) {
			r.Fatalf("%s after %v: got %v, want %v", s, from, got, want)
		}
		if got := s.Prev(want.Add(time.Minute), time.UTC); due(want) && !got.Equal(want) {
			r.Fatalf("%s before %v: got %v", s, want.Add(time.Minute), got)
		}
	})
}
