package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A purse is what may still be fetched from a target this month to see that it is
// whole. A nil purse has no bottom.
type purse struct {
	target string
	month  calendar.Month
	budget int64 // bytes
	spent  int64
}

// purse counts what the re-reads of a target and its restore tests have fetched
// this month, when it has a budget; nil when it has none.
func (r *Runner) purse(ctx context.Context, target string, checks []catalog.Check) (*purse, error) {
	p := &purse{target: target, budget: int64(r.Config.Targets[target].EgressPerMonth)}
	if p.budget == 0 {
		return nil, nil
	}
	if err := command.Counts(); err != nil {
		return nil, fault.New(fault.Unknown, fmt.Sprintf("target %q", target), fmt.Errorf("its egress budget cannot be kept: %w", err), fault.HintOf(err))
	}
	loc := r.Config.Site.Location
	p.month = calendar.MonthOf(r.Now(), loc)
	from, to := p.month.Start(loc), p.month.End(loc)
	for _, c := range checks {
		if !c.FinishedAt.Before(from) && c.FinishedAt.Before(to) {
			p.spent += c.Fetched
		}
	}
	for t, err := range r.Catalog.Tests(ctx, catalog.TestQuery{From: from, To: to}) {
		if err != nil {
			return nil, err
		}
		if t.Target == target {
			p.spent += t.FetchedBytes
		}
	}
	return p, nil
}

// allows reports whether so many bytes may be fetched. When nobody knows how many
// it will be, something must be left.
func (p *purse) allows(bytes int64) bool {
	return p == nil || p.spent < p.budget && p.spent+bytes <= p.budget
}

// take counts what was fetched.
func (p *purse) take(bytes int64) {
	if p != nil {
		p.spent += bytes
	}
}

// empty is the error of what was not done because not enough is left; next is what
// it would have fetched, 0 when nobody knows.
func (p *purse) empty(what string, next int64) error {
	takes := ""
	if next > 0 {
		takes = fmt.Sprintf(", and the next part takes about %s", humanize.Bytes(uint64(next)))
	}
	return fault.New(fault.Refused, fmt.Sprintf("target %q", p.target),
		fmt.Errorf("%s: of %s that may be fetched in %s, %s have been%s", what, humanize.Bytes(uint64(p.budget)), p.month, humanize.Bytes(uint64(p.spent)), takes),
		"raise egress_per_month of the target, or lengthen reread_every of its classes")
}

// affords returns an error when nothing is left to fetch for a restore test. How
// much one takes is not known before, so it may go over.
func (r *Runner) affords(ctx context.Context, target string) error {
	checks, err := r.Catalog.Checks(ctx, target, r.Now())
	if err != nil {
		return err
	}
	purse, err := r.purse(ctx, target, checks)
	if err == nil && !purse.allows(0) {
		err = purse.empty("no restore test was made", 0)
	}
	return err
}

// BudgetTroubles says of which targets, by name, the egress budget cannot cover the
// period of their classes, as far as has been measured.
func BudgetTroubles(ctx context.Context, c *config.Config, cat *catalog.Catalog, now time.Time) (map[string]string, error) {
	troubles := map[string]string{}
	for name, t := range c.Targets {
		if t.EgressPerMonth == 0 {
			continue
		}
		checks, err := cat.Checks(ctx, name, now)
		if err != nil {
			return nil, err
		}
		cover, every := catalog.Covered(checks), c.RereadEvery(name)
		if need := cover.Monthly(shortest(every)); need > int64(t.EgressPerMonth) {
			troubles[name] = fmt.Sprintf("egress_per_month %s cannot cover reading all of it back within %s, which takes about %s a month",
				t.EgressPerMonth, every, humanize.Bytes(uint64(need)))
		}
	}
	return troubles, nil
}
