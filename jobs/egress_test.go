package jobs

import (
	"testing"
	"time"

	"saoluu/catalog"
)

func TestPurse(t *testing.T) {
	tests := []struct {
		purse *purse
		bytes int64
		want  bool
	}{
		{nil, 1 << 60, true},
		{&purse{budget: 100}, 0, true}, // nobody knows how much it will be
		{&purse{budget: 100}, 100, true},
		{&purse{budget: 100}, 101, false},
		{&purse{budget: 100, spent: 60}, 40, true},
		{&purse{budget: 100, spent: 60}, 41, false},
		{&purse{budget: 100, spent: 100}, 0, false},
	}
	for _, tt := range tests {
		if got := tt.purse.allows(tt.bytes); got != tt.want {
			t.Errorf("%+v, %d bytes: %v", tt.purse, tt.bytes, got)
		}
	}
}

// What a part will take follows from what was measured, in whatever division, and
// what was not is taken to be like the rest.
func TestWhatAPartTakes(t *testing.T) {
	at := time.Date(2026, 12, 1, 6, 0, 0, 0, time.UTC)
	var c catalog.Coverage
	if c.Fetch(1, 28) != 0 || c.Monthly(31) != 0 {
		t.Error("something is known before anything was measured")
	}
	c.Add(catalog.CheckFinished{N: 1, Of: 2, State: catalog.RunComplete, FinishedAt: at, Fetched: 128_000})
	c.Add(catalog.CheckFinished{N: 2, Of: 4, State: catalog.RunFailed, FinishedAt: at, Fetched: 192_000})
	c.Add(catalog.CheckFinished{N: 4, Of: 4, State: catalog.RunSkipped, FinishedAt: at, Fetched: 1}) // it could not look
	tests := []struct {
		n, of int
		want  int64
	}{{1, 2, 128_000}, {1, 4, 64_000}, {2, 4, 192_000}, {4, 4, 64 * (128*1000 + 64*3000) / 192}, {1, 256, 1000}}
	for _, tt := range tests {
		if got := c.Fetch(tt.n, tt.of); got < tt.want-1 || got > tt.want+1 {
			t.Errorf("group %d of %d: %d, want %d", tt.n, tt.of, got, tt.want)
		}
	}
	if all, month := c.Fetch(1, 1), c.Monthly(31); all != month || c.Monthly(62) != all/2 {
		t.Errorf("all takes %d, a month %d", all, month)
	}
}
