package jobs

import (
	"slices"
	"testing"
	"time"
)

// Two runs of one second are common when a person tries things out: the newer one must
// be the newer one to everybody who sorts by id.
func TestIDsSortByTime(t *testing.T) {
	var ids []string
	now := time.Date(2026, 11, 22, 15, 48, 46, 999_000_000, time.UTC)
	for range 2000 {
		ids = append(ids, newID(now))
		now = now.Add(time.Millisecond)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids made one after another do not sort: %v", ids[:5])
	}
	if same := newID(now); same == newID(now) {
		t.Errorf("two ids of one instant are the same: %s", same)
	}
}
