package jobs

import (
	"sync"
	"time"
)

// Limits from requirements, common ground: a wall clock that runs back by more
// than backLimit or jumps by more than jumpLimit against the monotonic clock
// makes the evidence of that window suspect.
const (
	backLimit = 5 * time.Second
	jumpLimit = 5 * time.Minute
)

// A Clock compares the wall clock with the monotonic one.
type Clock struct {
	Wall func() time.Time
	Mono func() time.Duration // time since some fixed instant; never set back

	mu       sync.Mutex
	started  bool
	wall     time.Time
	mono     time.Duration
	jumpedAt time.Duration // Mono reading of the last jump
	jumped   bool
	untold   []Jump
}

// A Jump is a move of the wall clock that time does not make.
type Jump struct {
	Before time.Time // what the clock would have shown
	After  time.Time // what it showed
}

// Jumps looks at the clocks and returns the jumps that it has not returned
// before, whoever looked when they were seen.
func (c *Clock) Jumps() []Jump {
	c.Look()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.untold
	c.untold = nil
	return all
}

// Look reads both clocks and reports a jump since the last look.
func (c *Clock) Look() (before, after time.Time, jumped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, mono := c.Wall().Round(0), c.Mono()
	expected := c.wall.Add(mono - c.mono)
	drift := wall.Sub(expected)
	jumped = c.started && (drift < -backLimit || drift > jumpLimit)
	c.started, c.wall, c.mono = true, wall, mono
	if jumped {
		c.jumped, c.jumpedAt = true, mono
		c.untold = append(c.untold, Jump{expected, wall})
	}
	return expected, wall, jumped
}

// Mark looks at the clocks and returns a reading to ask JumpedSince about later.
func (c *Clock) Mark() time.Duration {
	c.Look()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono
}

// JumpedSince reports whether the wall clock has jumped since the mark: what was
// dated in between is suspect.
func (c *Clock) JumpedSince(mark time.Duration) bool {
	c.Look()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jumped && c.jumpedAt > mark
}
