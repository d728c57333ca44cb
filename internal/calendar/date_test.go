package calendar_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"saoluu/internal/calendar"
)

func TestZone(t *testing.T) {
	for _, name := range []string{"", "Local", "Mars/Olympus"} {
		if loc, err := calendar.Zone(name); err == nil {
			t.Errorf("%q: got %v", name, loc)
		}
	}
}

func TestAgeDaysCountsLocalDates(t *testing.T) {
	hcm := zone(t, "Asia/Ho_Chi_Minh")
	tests := []struct {
		then, now time.Time
		want      int
	}{
		{time.Date(2026, 5, 1, 23, 59, 0, 0, hcm), time.Date(2026, 5, 2, 0, 1, 0, 0, hcm), 1},
		{time.Date(2026, 5, 1, 0, 1, 0, 0, hcm), time.Date(2026, 5, 1, 23, 59, 0, 0, hcm), 0},
		{time.Date(2026, 1, 31, 12, 0, 0, 0, hcm), time.Date(2026, 3, 3, 1, 0, 0, 0, hcm), 31},
		{time.Date(2026, 5, 2, 0, 0, 0, 0, hcm), time.Date(2026, 5, 1, 0, 0, 0, 0, hcm), -1},
	}
	for _, tt := range tests {
		if got := calendar.AgeDays(tt.then.UTC(), tt.now.UTC(), hcm); got != tt.want {
			t.Errorf("%v to %v: got %d, want %d", tt.then, tt.now, got, tt.want)
		}
	}
}

func TestDate(t *testing.T) {
	d, err := calendar.ParseDate("2028-02-29")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.AddMonths(12).String(); got != "2029-02-28" {
		t.Errorf("one year on: %s", got)
	}
	if got := d.AddMonths(-12).String(); got != "2027-02-28" {
		t.Errorf("one year back: %s", got)
	}
	if got := d.AddDays(1).String(); got != "2028-03-01" {
		t.Errorf("one day on: %s", got)
	}
	if d.Compare(d.AddDays(1)) != -1 || d.IsZero() || !(calendar.Date{}).IsZero() {
		t.Error("wrong order or zero")
	}
	for _, text := range []string{"", "2026-02-29", "29/02/2028", "2026-2-1"} {
		if _, err := calendar.ParseDate(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	var read calendar.Date
	if text, err := d.MarshalText(); err != nil || read.UnmarshalText(text) != nil || read != d {
		t.Errorf("read back %v, %v", read, err)
	}
}

func TestAddMonthsClamps(t *testing.T) {
	hcm := zone(t, "Asia/Ho_Chi_Minh")
	rapid.Check(t, func(r *rapid.T) {
		from := time.Unix(rapid.Int64Range(0, 4e9).Draw(r, "from"), 0)
		n := rapid.IntRange(-600, 600).Draw(r, "months")
		got := calendar.AddMonths(from, n, hcm)
		if want := calendar.MonthOf(from, hcm).Add(n); calendar.MonthOf(got, hcm) != want {
			r.Fatalf("%v and %d months is %v, not in %v", from.In(hcm), n, got.In(hcm), want)
		}
		if day := calendar.DateOf(got, hcm).Day; day != min(calendar.DateOf(from, hcm).Day, calendar.MonthOf(got, hcm).Days()) {
			r.Fatalf("%v and %d months is day %d", from.In(hcm), n, day)
		}
	})
}

func TestMonth(t *testing.T) {
	hcm := zone(t, "Asia/Ho_Chi_Minh")
	m, err := calendar.ParseMonth("2026-12")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Next().String(); got != "2027-01" {
		t.Errorf("next is %s", got)
	}
	if want := time.Date(2026, 11, 30, 17, 0, 0, 0, time.UTC); !m.Start(hcm).Equal(want) {
		t.Errorf("starts at %v, want %v", m.Start(hcm), want)
	}
	if m.Contains(m.End(hcm), hcm) || !m.Contains(m.End(hcm).Add(-1), hcm) || !m.Contains(m.Start(hcm), hcm) {
		t.Error("the bounds are wrong")
	}
	if m.Compare(m.Next()) != -1 {
		t.Error("not before its next")
	}
	for _, text := range []string{"", "2026", "2026-13", "2026-1", "05-2026"} {
		if _, err := calendar.ParseMonth(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	var read calendar.Month
	if text, err := m.MarshalText(); err != nil || read.UnmarshalText(text) != nil || read != m {
		t.Errorf("read back %v, %v", read, err)
	}
}

func TestReportPeriod(t *testing.T) {
	hcm := zone(t, "Asia/Ho_Chi_Minh")
	tests := []struct{ text, first, after string }{
		{"2026-05", "2026-05-01", "2026-06-01"},
		{"2026-Q2", "2026-04-01", "2026-07-01"},
		{"2026-H1", "2026-01-01", "2026-07-01"},
		{"2026-H2", "2026-07-01", "2027-01-01"},
		{"2026", "2026-01-01", "2027-01-01"},
	}
	for _, tt := range tests {
		p, err := calendar.ParseReportPeriod(tt.text)
		if err != nil {
			t.Error(err)
			continue
		}
		from, to := p.Bounds(hcm)
		got := []string{p.String(), from.Format(time.DateTime), to.Format(time.DateTime)}
		if diff := cmp.Diff([]string{tt.text, tt.first + " 00:00:00", tt.after + " 00:00:00"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		months := p.Months()
		if !months[0].Start(hcm).Equal(from) || !months[len(months)-1].End(hcm).Equal(to) {
			t.Errorf("%s: months %v", p, months)
		}
	}
	for _, text := range []string{"", "26", "2026-H3", "2026-Q5", "2026-00", "2026-h1", "last year"} {
		if p, err := calendar.ParseReportPeriod(text); err == nil {
			t.Errorf("%q was read as %v", text, p)
		}
	}
}
