package compliance

import (
	"strings"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// readEach reads one of t groups a day, the last one on the day before now.
func readEach(t *testing.T, k *kept, n, of, until int, waits string) {
	t.Helper()
	for i := range n {
		when := at(t, now).AddDate(0, 0, i-n+1-until)
		k.tests.checks = append(k.tests.checks, catalog.Check{At: when, CheckFinished: catalog.CheckFinished{
			Target: testTarget, N: i%of + 1, Of: of, Due: &when, State: catalog.RunComplete, FinishedAt: when, Waits: waits,
		}})
	}
}

func TestReadBackInTime(t *testing.T) {
	tests := []struct {
		name   string
		change func(k *kept)
		want   State
		why    string
	}{
		{"everything, by a hair", func(k *kept) { readEach(t, k, 56, 28, 0, "") }, Good, ""},
		{"begun lately", func(k *kept) { readEach(t, k, 5, 28, 0, "") }, Good, ""},
		{"stopped four days ago", func(k *kept) { readEach(t, k, 56, 28, 4, "") }, Good, ""},
		{"stopped five days ago", func(k *kept) { readEach(t, k, 56, 28, 5, "") }, Warning, "only 96% of it was read back within 31d"},
		{"stopped long ago", func(k *kept) { readEach(t, k, 28, 28, 40, "") }, Warning, "only 0% of it was read back within 31d"},
		{"a shorter period", func(k *kept) { readEach(t, k, 56, 28, 0, ""); k.inv.Targets[0].Reread = "14d" }, Warning, "only 5"},
		{"a medium is plugged in now and then", func(k *kept) { readEach(t, k, 56, 28, 90, ""); k.inv.Targets[0].Type = "removable" }, Good, ""},
		{"a window too short", func(k *kept) { readEach(t, k, 56, 28, 0, "3 owed copies"); k.inv.Targets[0].Window = "20:00-06:00" }, Warning,
			"its window 20:00-06:00 has been too short 32 times in a row: 3 owed copies left undone"},
		{"a window too short once", func(k *kept) {
			readEach(t, k, 55, 28, 1, "")
			readEach(t, k, 1, 28, 0, "3 owed copies")
			k.inv.Targets[0].Window = "20:00-06:00"
		}, Good, ""},
	}
	for _, tt := range tests {
		k := healthy(t)
		tt.change(k)
		s, err := Posture(t.Context(), k, at(t, now))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Targets[0]; got.State != tt.want || !strings.Contains(got.Why, tt.why) {
			t.Errorf("%s: %s (%s), %d%%", tt.name, got.State, got.Why, got.Covered)
		}
	}
}

// A period reaches back by the calendar, to the beginning of the day.
func TestBefore(t *testing.T) {
	loc, err := calendar.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range [][3]string{
		{"31d", "2026-05-20T10:00:00+07:00", "2026-04-19T00:00:00+07:00"},
		{"3mo", "2026-05-31T23:00:00+07:00", "2026-02-28T00:00:00+07:00"},
	} {
		var p calendar.Period
		if err := p.UnmarshalText([]byte(tt[0])); err != nil {
			t.Fatal(err)
		}
		when, err := time.Parse(time.RFC3339, tt[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := before(p, when, loc).Format(time.RFC3339); got != tt[2] {
			t.Errorf("%s before %s: %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
}
