package calendar_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"saoluu/internal/calendar"
	"saoluu/internal/fault"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := calendar.Zone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func schedule(t testing.TB, text string) calendar.Schedule {
	t.Helper()
	s, err := calendar.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScheduleBetween(t *testing.T) {
	const hcm = "Asia/Ho_Chi_Minh"
	tests := []struct {
		text     string
		zone     string
		from, to string
		want     []string
	}{
		{"hourly", hcm, "2026-05-01T22:30", "2026-05-02T01:00", []string{"2026-05-01T23:00+0700", "2026-05-02T00:00+0700"}},
		{"hourly at :15", hcm, "2026-05-01T23:15", "2026-05-02T00:16", []string{"2026-05-01T23:15+0700", "2026-05-02T00:15+0700"}},
		{"every 8h", hcm, "2026-05-01T07:00", "2026-05-02T08:00", []string{"2026-05-01T08:00+0700", "2026-05-01T16:00+0700", "2026-05-02T00:00+0700"}},
		{"daily at 01:00,13:00", hcm, "2026-05-01T01:00", "2026-05-02T01:00", []string{"2026-05-01T01:00+0700", "2026-05-01T13:00+0700"}},
		{"weekly on mon,thu at 02:00", hcm, "2026-05-01T00:00", "2026-05-11T02:00", []string{"2026-05-04T02:00+0700", "2026-05-07T02:00+0700"}},
		{"monthly on 31 at 02:00", hcm, "2026-01-31T02:00", "2026-05-01T00:00", []string{"2026-01-31T02:00+0700", "2026-02-28T02:00+0700", "2026-03-31T02:00+0700", "2026-04-30T02:00+0700"}},
		{"monthly on 29,30,31 at 02:00", hcm, "2028-02-01T00:00", "2028-03-30T00:00", []string{"2028-02-29T02:00+0700", "2028-03-29T02:00+0700"}},
		{"monthly on last at 02:00", hcm, "2028-02-01T00:00", "2028-03-01T00:00", []string{"2028-02-29T02:00+0700"}},
		{"quarterly on 31 at 03:00", hcm, "2026-01-01T00:00", "2026-12-31T00:00", []string{"2026-01-31T03:00+0700", "2026-04-30T03:00+0700", "2026-07-31T03:00+0700", "2026-10-31T03:00+0700"}},
		{"half-yearly on 5 at 03:00", hcm, "2026-01-01T00:00", "2026-12-31T00:00", []string{"2026-01-05T03:00+0700", "2026-07-05T03:00+0700"}},
		{"yearly on 12-31,02-29 at 03:00", hcm, "2027-01-01T00:00", "2028-03-01T00:00", []string{"2027-02-28T03:00+0700", "2027-12-31T03:00+0700", "2028-02-29T03:00+0700"}},
		{"30 2 * * mon-fri", hcm, "2026-05-01T00:00", "2026-05-05T00:00", []string{"2026-05-01T02:30+0700", "2026-05-04T02:30+0700"}},
		{"0 0 l * *", hcm, "2026-02-01T00:00", "2026-04-01T00:00", []string{"2026-02-28T00:00+0700", "2026-03-31T00:00+0700"}},
		// The clock of Berlin goes from 02:00 to 03:00 on 2026-03-29 and from
		// 03:00 back to 02:00 on 2026-10-25.
		{"daily at 02:30", "Europe/Berlin", "2026-03-28T12:00", "2026-03-31T00:00", []string{"2026-03-29T03:00+0200", "2026-03-30T02:30+0200"}},
		{"daily at 02:30", "Europe/Berlin", "2026-10-24T12:00", "2026-10-27T00:00", []string{"2026-10-25T02:30+0200", "2026-10-26T02:30+0100"}},
		{"every 30m", "Europe/Berlin", "2026-03-29T01:00", "2026-03-29T04:00", []string{"2026-03-29T01:00+0100", "2026-03-29T01:30+0100", "2026-03-29T03:00+0200", "2026-03-29T03:30+0200"}},
		{"hourly", "Europe/Berlin", "2026-10-25T01:00", "2026-10-25T04:00", []string{"2026-10-25T01:00+0200", "2026-10-25T02:00+0200", "2026-10-25T03:00+0100"}},
		{"30 2 * * *", "Europe/Berlin", "2026-03-29T00:00", "2026-03-31T00:00", []string{"2026-03-29T03:00+0200", "2026-03-30T02:30+0200"}},
		// Samoa had no 30 December 2011.
		{"daily at 05:00", "Pacific/Apia", "2011-12-29T00:00", "2012-01-01T00:00", []string{"2011-12-29T05:00-1000", "2011-12-31T00:00+1400", "2011-12-31T05:00+1400"}},
	}
	for _, tt := range tests {
		t.Run(tt.zone+" "+tt.text, func(t *testing.T) {
			loc := zone(t, tt.zone)
			at := func(text string) time.Time {
				instant, err := time.ParseInLocation("2006-01-02T15:04", text, loc)
				if err != nil {
					t.Fatal(err)
				}
				return instant
			}
			var got []string
			for _, due := range schedule(t, tt.text).Between(at(tt.from), at(tt.to), loc) {
				got = append(got, due.In(loc).Format("2006-01-02T15:04-0700"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("due times (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFastScheduleCountsFromMidnight(t *testing.T) {
	loc := zone(t, "Asia/Ho_Chi_Minh")
	after := time.Date(2026, 5, 1, 3, 4, 5, 600, loc)
	got := schedule(t, "every 10s").Next(after, loc)
	if want := time.Date(2026, 5, 1, 3, 4, 10, 0, loc); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestScheduleCanonicalText(t *testing.T) {
	tests := []struct{ text, want string }{
		{"Hourly", "hourly"},
		{"hourly at :05", "hourly at :05"},
		{"every 900s", "every 15m"},
		{"daily  at 13:00,1:00", "daily at 01:00,13:00"},
		{"weekly on Sunday,mon at 02:00", "weekly on mon,sun at 02:00"},
		{"monthly on last,1 at 02:00", "monthly on 1,31 at 02:00"},
		{"quarterly on 1 at 03:00", "quarterly on 1 at 03:00"},
		{"half-yearly on 1 at 03:00", "half-yearly on 1 at 03:00"},
		{"yearly on 12-31,06-30 at 03:00", "yearly on 06-30,12-31 at 03:00"},
		{"0 2 * jan mon", "0 2 * JAN MON"},
	}
	for _, tt := range tests {
		s := schedule(t, tt.text)
		if s.String() != tt.want {
			t.Errorf("%q: got %q, want %q", tt.text, s, tt.want)
		}
		if again := schedule(t, s.String()); !again.Equal(s) {
			t.Errorf("%q: %q reads back as %q", tt.text, s, again)
		}
	}
}

func TestScheduleRefused(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "empty"},
		{"sometimes", "known word"},
		{"hourly at 15", `"at :15"`},
		{"hourly at :60", `"at :15"`},
		{"every 7m", "cannot be divided"},
		{"every 500ms", "cannot be divided"},
		{"every 48h", "cannot be divided"},
		{"every", "one duration"},
		{"daily", "time of day is missing"},
		{"daily at 24:00", "not a time of day"},
		{"daily at 1:0", "not a time of day"},
		{"daily at", "time of day is missing"},
		{"weekly at 02:00", `comes "on"`},
		{"weekly on someday at 02:00", "not a day of the week"},
		{"monthly on 0 at 02:00", "not a day of the month"},
		{"monthly on 32 at 02:00", "not a day of the month"},
		{"yearly on 02-30 at 02:00", "not a month and day"},
		{"yearly on 31 at 02:00", "not a month and day"},
		{"60 * * * *", "cron field minute"},
		{"* * * * mon,8", "cron field weekday"},
		{"5-1 * * * *", "cron field minute"},
		{"*/0 * * * *", "cron field minute"},
		{"3/5 * * * *", "cron field minute"},
		{"* * * *", "known word"},
		{"0 0 30 2 *", "never due"},
		{"@daily", "known word"},
	}
	for _, tt := range tests {
		_, err := calendar.ParseSchedule(tt.text)
		if err == nil {
			t.Errorf("%q was taken", tt.text)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %q, want it to contain %q", tt.text, err, tt.want)
		}
		if fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
			t.Errorf("%q: kind %q, hint %q", tt.text, fault.KindOf(err), fault.HintOf(err))
		}
	}
}

func TestAtLeastMonthly(t *testing.T) {
	tests := []struct {
		text string
		want bool
	}{
		{"every 10s", true},
		{"daily at 01:00", true},
		{"weekly on sun at 02:00", true},
		{"monthly on 31 at 02:00", true},
		{"quarterly on 1 at 03:00", false},
		{"half-yearly on 1 at 03:00", false},
		{"yearly on 12-31 at 03:00", false},
		{"0 2 1 * *", true},
		{"0 2 31 * *", false},
		{"0 2 29 * *", false},
		{"0 2 l * *", true},
		{"0 2 * 1-6 *", false},
	}
	for _, tt := range tests {
		if got := schedule(t, tt.text).AtLeastMonthly(); got != tt.want {
			t.Errorf("%q: got %v, want %v", tt.text, got, tt.want)
		}
	}
	if (calendar.Schedule{}).AtLeastMonthly() {
		t.Error("the zero schedule covers no month")
	}
}

func TestZeroScheduleIsNeverDue(t *testing.T) {
	var s calendar.Schedule
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	if !s.IsZero() || !s.Next(now, time.UTC).IsZero() || !s.Prev(now, time.UTC).IsZero() {
		t.Error("the zero schedule is due")
	}
	if got := s.Between(now, now.AddDate(1, 0, 0), time.UTC); got != nil {
		t.Errorf("due at %v", got)
	}
}

// texts generates one schedule of every form.
var texts = rapid.Custom(func(t *rapid.T) string {
	clock := rapid.SampledFrom([]string{"00:00", "01:00", "02:30", "03:00", "13:45", "23:59", "02:00,02:15,22:00"}).Draw(t, "clock")
	monthDay := rapid.SampledFrom([]string{"1", "15", "28", "29", "30", "31", "last", "1,15", "29,30,31"}).Draw(t, "day")
	return rapid.SampledFrom([]string{
		"hourly", "hourly at :30", "every 15m", "every 90m", "every 6h", "every 24h",
		"daily at " + clock, "weekly on sun at " + clock, "weekly on mon,thu at " + clock,
		"monthly on " + monthDay + " at " + clock, "quarterly on " + monthDay + " at " + clock,
		"half-yearly on " + monthDay + " at " + clock, "yearly on 02-29,12-31 at " + clock,
		"*/20 * * * *", "30 2 * * *", "0 3 29 2 *", "15 1,13 1-7 * mon", "0 0 l * *",
	}).Draw(t, "form")
})

// instants lie near the clock changes of 2025-2027 and elsewhere.
var instants = rapid.Custom(func(t *rapid.T) time.Time {
	base := rapid.SampledFrom([]time.Time{
		time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC),   // Berlin, forward
		time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC),  // Berlin, back
		time.Date(2026, 4, 4, 15, 0, 0, 0, time.UTC),   // Lord Howe, back by 30 minutes
		time.Date(2026, 10, 3, 15, 30, 0, 0, time.UTC), // Lord Howe, forward by 30 minutes
		time.Date(2011, 12, 30, 10, 0, 0, 0, time.UTC), // Apia, a day left out
		time.Date(2028, 2, 28, 17, 0, 0, 0, time.UTC),  // a leap day begins in Hà Nội
	}).Draw(t, "base")
	return base.Add(time.Duration(rapid.Int64Range(-int64(72*time.Hour), int64(72*time.Hour)).Draw(t, "shift")))
})

var zones = rapid.SampledFrom([]string{"Asia/Ho_Chi_Minh", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "UTC"})

func TestNextAndPrevAgree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := schedule(t, texts.Draw(r, "schedule"))
		loc := zone(t, zones.Draw(r, "zone"))
		at := instants.Draw(r, "at")
		next := s.Next(at, loc)
		if !next.After(at) {
			r.Fatalf("%s: next %v is not after %v", s, next, at)
		}
		if prev := s.Prev(next, loc); prev.After(at) {
			r.Fatalf("%s: %v lies between %v and its next %v", s, prev, at, next)
		}
		if again := s.Next(s.Prev(next, loc), loc); !again.Equal(next) {
			r.Fatalf("%s: next of the previous of %v is %v", s, next, again)
		}
		prev := s.Prev(at, loc)
		if !prev.Before(at) {
			r.Fatalf("%s: previous %v is not before %v", s, prev, at)
		}
		if again := s.Prev(s.Next(prev, loc), loc); !again.Equal(prev) {
			r.Fatalf("%s: previous of the next of %v is %v", s, prev, again)
		}
	})
}

func TestBetweenIsConsistent(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := schedule(t, texts.Draw(r, "schedule"))
		loc := zone(t, zones.Draw(r, "zone"))
		from := instants.Draw(r, "from")
		middle := from.Add(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(r, "first")))
		to := middle.Add(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(r, "second")))
		whole := s.Between(from, to, loc)
		parts := append(s.Between(from, middle, loc), s.Between(middle, to, loc)...)
		if diff := cmp.Diff(whole, parts); diff != "" {
			r.Fatalf("%s: whole and parts differ:\n%s", s, diff)
		}
		for i, due := range whole {
			if due.Before(from) || !due.Before(to) || (i > 0 && !due.After(whole[i-1])) {
				r.Fatalf("%s: %v is out of order or out of bounds", s, due)
			}
		}
	})
}

func TestMonthlyNeverSkipsAMonth(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dayOfMonth := rapid.SampledFrom([]string{"28", "29", "30", "31", "last"}).Draw(r, "day")
		s := schedule(t, "monthly on "+dayOfMonth+" at 02:00")
		loc := zone(t, zones.Draw(r, "zone"))
		m := calendar.Month{Year: rapid.IntRange(1995, 2105).Draw(r, "year"), Month: time.Month(rapid.IntRange(1, 12).Draw(r, "month"))}
		due := s.Between(m.Start(loc), m.End(loc), loc)
		if len(due) != 1 || !s.DueIn(m, loc) {
			r.Fatalf("%s in %s: due at %v", s, m, due)
		}
	})
}

// A cron line that says the same as a plain form must be due at the same times.
func TestCronAgreesWithPlainForms(t *testing.T) {
	pairs := [][2]string{
		{"30 2 * * *", "daily at 02:30"},
		{"0 3 * * 0", "weekly on sun at 03:00"},
		{"0 3 * * 1,4", "weekly on mon,thu at 03:00"},
		{"15 2 L * *", "monthly on last at 02:15"},
		{"0 4 1 1,4,7,10 *", "quarterly on 1 at 04:00"},
		{"0 0 31 12 *", "yearly on 12-31 at 00:00"},
		{"*/15 * * * *", "every 15m"},
	}
	rapid.Check(t, func(r *rapid.T) {
		pair := rapid.SampledFrom(pairs).Draw(r, "pair")
		loc := zone(t, zones.Draw(r, "zone"))
		at := instants.Draw(r, "at")
		cron, plain := schedule(t, pair[0]), schedule(t, pair[1])
		if a, b := cron.Next(at, loc), plain.Next(at, loc); !a.Equal(b) {
			r.Fatalf("next after %v: %q says %v, %q says %v", at, pair[0], a, pair[1], b)
		}
		if a, b := cron.Prev(at, loc), plain.Prev(at, loc); !a.Equal(b) {
			r.Fatalf("previous before %v: %q says %v, %q says %v", at, pair[0], a, pair[1], b)
		}
	})
}

func FuzzSchedule(f *testing.F) {
	f.Add("daily at 01:00")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := calendar.ParseSchedule(text)
		if err != nil {
			return
		}
		again, err := calendar.ParseSchedule(s.String())
		if err != nil || !again.Equal(s) {
			t.Fatalf("%q is written %q, which reads as %q, %v", text, s, again, err)
		}
		at := time.Date(2026, 3, 29, 0, 59, 59, 1, time.UTC)
		next := s.Next(at, time.UTC)
		if !next.After(at) || !s.Prev(next.Add(1), time.UTC).Equal(next) {
			t.Fatalf("%q: next %v, previous of it %v", text, next, s.Prev(next.Add(1), time.UTC))
		}
	})
}
