package compliance

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

const (
	rereadDays   = 31  // within which a target is read back, of those recorded before they said so
	offlineDays  = 186 // the same for media that are plugged in now and then (requirements on verification)
	shortWindows = 3   // in a row that left something undone
)

// rereadEvery is the time within which all of a target is to be read back.
func rereadEvery(row catalog.TargetRow) calendar.Period {
	every := calendar.Period{Days: rereadDays}
	var said calendar.Period
	if err := said.UnmarshalText([]byte(row.Reread)); err == nil && !said.IsZero() {
		every = said
	}
	if offline := (calendar.Period{Days: offlineDays}); row.Type == "removable" && every.Cmp(offline) < 0 {
		return offline
	}
	return every
}

// before is the beginning of the day that lies a period before an instant.
func before(p calendar.Period, t time.Time, loc *time.Location) time.Time {
	return calendar.DateOf(t, loc).AddMonths(-p.Months).AddDays(-p.Days).Start(loc)
}

// coverageView tells what the re-reads of late have shown of a target.
type coverageView interface {
	Coverage(ctx context.Context, target string, from, asOf time.Time) (catalog.Coverage, error)
}

// cover reads how much of each target was read back within its period.
func (p *posture) cover(ctx context.Context, view coverageView) error {
	p.covered = map[string]catalog.Coverage{}
	for _, row := range p.inv.Targets {
		from := before(rereadEvery(row), p.now, p.loc)
		c, err := view.Coverage(ctx, row.Name, from, p.now.Add(clockTolerant))
		if err != nil {
			return fmt.Errorf("read how much of %q was read back: %w", row.Name, err)
		}
		p.covered[row.Name] = c
	}
	return nil
}

// percent is how much of a target was read back within its period, in a hundred,
// and whether that is too little: everything should have been by now.
func (p *posture) percent(row catalog.TargetRow) (percent int, behind bool) {
	c := p.covered[row.Name]
	from := before(rereadEvery(row), p.now, p.loc)
	percent = c.Percent(from, p.now.Add(clockTolerant))
	return percent, percent < 100 && !c.First.IsZero() && c.First.Before(from)
}

// readBack judges whether a target is read back in time, and whether its window is
// long enough for what has to be done in it.
func (p *posture) readBack(row catalog.TargetRow, r *reasons) {
	if percent, behind := p.percent(row); behind {
		r.add(Warning, "only %d%% of it was read back within %s", percent, rereadEvery(row))
	}
	c := p.covered[row.Name]
	days := calendar.AgeDays(before(rereadEvery(row), p.now, p.loc), p.now, p.loc)
	if need := c.Monthly(days); row.Egress > 0 && need > row.Egress {
		r.add(Warning, "its egress budget of %s a month cannot cover reading it back within %s, which takes about %s",
			calendar.Bytes(row.Egress), rereadEvery(row), humanize.Bytes(uint64(need)))
	}
	if row.Egress > 0 && c.Spared != "" {
		r.add(Warning, "because of its egress budget %s last time", c.Spared)
	}
	if row.Window != "" && c.Nights >= shortWindows {
		r.add(Warning, "its window %s has been too short %d times in a row: %s left undone", row.Window, c.Nights, c.Waits)
	}
}
