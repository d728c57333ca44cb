package jobs

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"saoluu/restic"
)

// The newest of each of the newest thirty days stays, by the days of the site.
func TestSurplusSelves(t *testing.T) {
	hanoi := time.FixedZone("ICT", 7*3600)
	var listed []restic.Snapshot
	add := func(id string, at time.Time) { listed = append(listed, restic.Snapshot{ID: id, Time: at}) }
	start := time.Date(2026, 1, 1, 3, 0, 0, 0, hanoi)
	for day := range 40 {
		add(fmt.Sprintf("early-%d", day), start.AddDate(0, 0, day))
		add(fmt.Sprintf("late-%d", day), start.AddDate(0, 0, day).Add(20*time.Hour))
	}
	got := surplusSelves(listed, hanoi)
	if len(got) != 50 {
		t.Fatalf("%d to remove, want 50", len(got))
	}
	for day := range 40 {
		if slices.Contains(got, fmt.Sprintf("late-%d", day)) != (day < 10) {
			t.Errorf("day %d: the newest is kept or removed wrongly", day)
		}
	}
	if got := surplusSelves(nil, hanoi); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}
