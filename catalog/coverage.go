package catalog

import (
	"iter"
	"time"
)

// PackValues is how many values the first byte of a pack's id has. A re-read of
// group n of t reads the packs whose first byte leaves the remainder n-1 when it
// is divided by t (restic manual, "Checking integrity and consistency"). The byte
// never changes, so what was read is known byte by byte, whatever t was at the time.
const PackValues = 256

// Coverage is what the re-reads of a target have shown of its packs, by the first
// byte of their ids. Times are those at which a re-read ended; zero for never.
type Coverage struct {
	Whole  [PackValues]time.Time // read and whole, and nothing bad found since
	Bad    [PackValues]time.Time // damage found first, and not read whole since
	Tried  [PackValues]time.Time // somebody last tried to read
	First  time.Time             // the first attempt of all
	Read   time.Time             // the newest group that was read whole
	Groups int                   // into how many groups the packs were divided last
	Cost   [PackValues]float64   // bytes it took to fetch them when they were read last; 0: not measured
	Spared string                // what the egress budget left unread last
	Waits  string                // what the last window left for the next one
	Nights int                   // for how many windows in a row there has been something
}

// Covered goes through the re-reads of a target, oldest first.
func Covered(checks []Check) Coverage {
	var c Coverage
	for _, check := range checks {
		c.Add(check.CheckFinished)
	}
	return c
}

// Add takes one more re-read into account. One that could not look changes
// nothing but when it was tried.
func (c *Coverage) Add(e CheckFinished) {
	if c.First.IsZero() {
		c.First = e.FinishedAt
	}
	if e.Of > 0 {
		c.Groups = e.Of
	}
	if e.Due != nil {
		c.Waits = e.Waits
		if c.Nights++; e.Waits == "" {
			c.Nights = 0
		}
	}
	if e.N > 0 || e.Spared != "" {
		c.Spared = e.Spared
	}
	values := 0
	for range PacksOf(e.N, e.Of) {
		values++
	}
	for b := range PacksOf(e.N, e.Of) {
		c.Tried[b] = e.FinishedAt
		if e.Fetched > 0 && e.State != RunSkipped {
			c.Cost[b] = float64(e.Fetched) / float64(values)
		}
		switch e.State {
		case RunComplete:
			c.Whole[b], c.Bad[b], c.Read = e.FinishedAt, time.Time{}, e.FinishedAt
		case RunFailed:
			c.Whole[b] = time.Time{}
			if c.Bad[b].IsZero() {
				c.Bad[b] = e.FinishedAt
			}
		}
	}
}

// PacksOf yields the first bytes of the packs of group n of t; none when there is
// no such group.
func PacksOf(n, t int) iter.Seq[int] {
	return func(yield func(int) bool) {
		if n < 1 || n > t {
			return
		}
		for b := n - 1; b < PackValues; b += t {
			if !yield(b) {
				return
			}
		}
	}
}

// Percent returns how many in a hundred of the byte values were read whole within
// from and to, rounded down: 100 means all of them.
func (c *Coverage) Percent(from, to time.Time) int {
	n := 0
	for _, at := range c.Whole {
		if !at.IsZero() && !at.Before(from) && !at.After(to) {
			n++
		}
	}
	return n * 100 / PackValues
}

// Oldest returns since when everything has been read whole; the zero time when
// some of it was never, or is damaged.
func (c *Coverage) Oldest() time.Time {
	oldest := c.Whole[0]
	for _, at := range c.Whole {
		if at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// Damaged returns since when damage is known that no re-read has cleared; the
// zero time when there is none.
func (c *Coverage) Damaged() time.Time {
	var first time.Time
	for _, at := range c.Bad {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// Done returns how many of the groups of the last division have been read whole.
func (c *Coverage) Done() int {
	done := 0
	for n := 1; n <= min(c.Groups, PackValues); n++ {
		whole := true
		for b := range PacksOf(n, c.Groups) {
			whole = whole && !c.Whole[b].IsZero()
		}
		if whole {
			done++
		}
	}
	return done
}

// Fetch returns about how many bytes it takes to fetch group n of t, or all with 1
// of 1; 0 when nothing has been measured yet. What was not measured is taken to be
// like the rest.
func (c *Coverage) Fetch(n, t int) int64 {
	known, total := 0, 0.0
	for _, cost := range c.Cost {
		if cost > 0 {
			known, total = known+1, total+cost
		}
	}
	if known == 0 {
		return 0
	}
	sum := 0.0
	for b := range PacksOf(n, t) {
		if c.Cost[b] > 0 {
			sum += c.Cost[b]
		} else {
			sum += total / float64(known)
		}
	}
	return int64(sum)
}

// Monthly returns about how many bytes a month takes in which everything is read
// once in so many days; 0 when nothing has been measured yet.
func (c *Coverage) Monthly(days int) int64 {
	const longest = 31 // days
	return c.Fetch(1, 1) * longest / int64(max(1, days))
}
