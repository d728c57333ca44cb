package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/restic"
)

// A rota says how the packs of a target are read back: in groups by the first
// byte of their ids, so many nights for all of them. It fills the period but for
// a tenth, and a day at least, so that nights may be missed.
type rota struct {
	groups int // 1 to catalog.PackValues
	nights int // within which every group has its turn
	most   int // groups in one night, to make up for nights that were missed
}

// rotaOf makes the rota of a period.
func rotaOf(period calendar.Period) rota {
	days := shortest(period)
	slack := max(1, days/10)
	r := rota{nights: max(1, days-slack)}
	r.groups = min(r.nights, catalog.PackValues)
	r.most = max((r.groups+3)/4, slack+1)
	return r
}

// shortest is the length of a period in days when its months are the shortest
// there are.
func shortest(p calendar.Period) int {
	const common = 2027 // a year without 29 February
	least := 0
	for month := time.January; month <= time.December; month++ {
		first := calendar.Date{Year: common, Month: month, Day: 1}
		if n := first.AddMonths(p.Months).AddDays(p.Days).DaysSince(first); least == 0 || n < least {
			least = n
		}
	}
	return least
}

// choose returns the groups to read now, in order, and at least one. It follows
// from what was read alone. Groups come in the order in which they were read last,
// as many as it takes for those that follow to have a night of their own in time.
// What was found damaged or could not be read is tried again besides, so that it
// does not hold the others up.
func (r rota) choose(c *catalog.Coverage, now time.Time, loc *time.Location) []int {
	var regular, again []turn
	for n := 1; n <= r.groups; n++ {
		if t := turnOf(n, r.groups, c, now); t.failed {
			again = append(again, t)
		} else {
			regular = append(regular, t)
		}
	}
	slices.SortStableFunc(regular, func(a, b turn) int { return cmp.Or(a.read.Compare(b.read), b.never-a.never) })
	slices.SortStableFunc(again, func(a, b turn) int { return a.tried.Compare(b.tried) })
	need := 1
	for i, t := range regular {
		left := max(1, r.nights-calendar.AgeDays(t.read, now, loc)+1)
		need = max(need, (i+left)/left) // i+1 groups in so many nights
	}
	var groups []int
	for _, t := range slices.Concat(regular[:min(need, r.most, len(regular))], again[:min(r.most, len(again))]) {
		groups = append(groups, t.group)
	}
	return groups
}

// A turn is what is known of one group.
type turn struct {
	group  int
	read   time.Time // all of it was read at or after this
	tried  time.Time // last
	never  int       // packs, by first byte, that were never read
	failed bool      // some of it was tried in vain since it was read
}

// turnOf looks at the packs of a group. What was never read counts from when
// reading began, and what was read in the future, by a clock that was ahead, from
// the beginning of time: it proves nothing.
func turnOf(n, groups int, c *catalog.Coverage, now time.Time) turn {
	t := turn{group: n, read: now}
	for b := range catalog.PacksOf(n, groups) {
		at := c.Whole[b]
		if at.IsZero() {
			at = c.First
			t.never++
		}
		if at.After(now) {
			at = time.Time{}
		}
		if at.Before(t.read) && !(at.IsZero() && c.First.IsZero()) {
			t.read = at
		}
		if c.Tried[b].After(t.tried) {
			t.tried = c.Tried[b]
		}
		t.failed = t.failed || c.Tried[b].After(c.Whole[b])
	}
	return t
}

// turns returns the groups of a target to read now, and of how many. A medium that
// is plugged in now and then is read as a whole when it is, unless that was done
// within half the period.
func turns(t config.Target, period calendar.Period, c *catalog.Coverage, now time.Time, loc *time.Location) ([]int, int) {
	r := rotaOf(period)
	whole := c.Oldest()
	fresh := !whole.IsZero() && !whole.After(now) && 2*calendar.AgeDays(whole, now, loc) < shortest(period)
	if t.Type == "removable" && !fresh {
		return []int{1}, 1
	}
	return r.choose(c, now, loc), r.groups
}

// reread reads the groups of packs whose turn it is. Each is written down as soon
// as it was read, but for the last, which check tells; when one was damaged, that
// one is told last. It ends with inside, at the latest.
func (r *Runner) reread(ctx, inside context.Context, to place, done *Upkept) error {
	check := &done.CheckFinished
	before, err := r.Catalog.Checks(ctx, to.name, r.Now())
	if err != nil {
		return err
	}
	purse, err := r.purse(ctx, to.name, before)
	if err != nil {
		return err
	}
	cover := catalog.Covered(before)
	groups, of := turns(r.Config.Targets[to.name], r.Config.RereadEvery(to.name), &cover, r.Now(), r.Config.Site.Location)
	var problems []error
	var bad *catalog.CheckFinished
	for i, n := range groups {
		left := count(len(groups)-i, "group of packs", "groups of packs")
		if windowOver(inside) {
			done.wait(left)
			break
		}
		if !purse.allows(cover.Fetch(n, of)) {
			check.Spared = left + " not read back"
			break
		}
		one := catalog.CheckFinished{Target: to.name, N: n, Of: of, State: catalog.RunSkipped, StartedAt: r.Now().UTC()}
		r.show(Progress{Job: to.name, Step: fmt.Sprintf("re-read group %d of %d", n, of)})
		err := r.readGroup(inside, to, &one)
		purse.take(one.Fetched)
		check.Fetched = one.Fetched
		if windowOver(inside) && one.State == catalog.RunSkipped {
			done.wait(left)
			one.State, check.Fetched = catalog.RunInterrupted, 0
			_, err = r.Catalog.Append(context.WithoutCancel(ctx), one)
			problems = append(problems, err)
			break
		}
		problems = append(problems, err)
		check.N, check.Of, check.State = one.N, one.Of, one.State
		if one.State == catalog.RunSkipped {
			break // it could not look, and would not at the next group
		}
		done.Read = append(done.Read, n)
		if one.State == catalog.RunFailed && bad == nil {
			bad = &one
		}
		if i == len(groups)-1 && (bad == nil || bad.N == n) {
			break
		}
		if _, err := r.Catalog.Append(context.WithoutCancel(ctx), one); err != nil {
			return errors.Join(errors.Join(problems...), err)
		}
		check.Fetched = 0 // it stands there
	}
	conclude(check, bad)
	return errors.Join(append(problems, r.idle(inside, to.name, purse, cover.Fetch(groups[0], of), done))...)
}

// idle says why nothing was read back, when neither damage nor trouble kept it.
func (r *Runner) idle(inside context.Context, target string, purse *purse, next int64, done *Upkept) error {
	switch {
	case len(done.Read) > 0:
		return nil
	case windowOver(inside):
		return r.unread(target)
	case done.Spared != "":
		return purse.empty("nothing was read back", next)
	}
	return nil
}

// conclude makes the event that ends an upkeep tell the damage that was found, and
// what is missing.
func conclude(check, bad *catalog.CheckFinished) {
	if bad != nil && check.State == catalog.RunComplete {
		check.N, check.State = bad.N, bad.State
	}
	if len(check.Missing) > 0 && check.State == catalog.RunComplete {
		check.State = catalog.RunFailed
	}
}

// readGroup reads one group of packs.
func (r *Runner) readGroup(ctx context.Context, to place, one *catalog.CheckFinished) error {
	repo := to.target.Repo()
	repo.Meter = &restic.Meter{}
	report, err := r.Engine.Check(ctx, repo, restic.CheckOptions{Subset: one.N, Of: one.Of})
	one.FinishedAt, one.Fetched = r.Now().UTC(), repo.Meter.Bytes()
	if err != nil {
		return err
	}
	one.State = catalog.RunComplete
	if report.Sound() {
		return nil
	}
	one.State = catalog.RunFailed
	problem := fault.New(fault.Damaged, fmt.Sprintf("target %q", to.name),
		fmt.Errorf("re-read group %d of %d: %d error(s), %d damaged pack(s)", one.N, one.Of, report.Errors, len(report.BrokenPacks)),
		"test the newest runs on the other targets, and find out what damaged this storage")
	one.Error, one.ErrorKind, one.Hint = fault.Public(problem), string(fault.KindOf(problem)), fault.HintOf(problem)
	return problem
}
