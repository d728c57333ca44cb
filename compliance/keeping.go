package compliance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"saoluu/catalog"
)

// keeperView is what is kept of storage that lets nobody delete, and of copies
// that are owed.
type keeperView interface {
	Challenges(ctx context.Context, asOf time.Time) (map[string]catalog.ChallengeRow, error)
	Renewals(ctx context.Context, asOf time.Time) (map[string]catalog.LocksRenewed, error)
	LatestCopy(ctx context.Context, job, target string) (time.Time, error)
}

const (
	challengeAge = 15 * 24 * time.Hour // storage is asked to delete once a week; one week may be missed
	debtAge      = 7 * 24 * time.Hour  // a copy may be owed for so long before it counts as missing
)

// kept reads what the lights of targets that keep, and of owed copies, rest on.
// Owed copies are few, so each is looked up by itself.
func (p *posture) kept(ctx context.Context, view keeperView, jobs []catalog.JobState) (err error) {
	if slices.ContainsFunc(p.inv.Targets, func(t catalog.TargetRow) bool { return t.Keeps }) {
		if p.challenges, err = view.Challenges(ctx, p.now.Add(clockTolerant)); err != nil {
			return fmt.Errorf("read attempts to delete: %w", err)
		}
		if p.renewals, err = view.Renewals(ctx, p.now.Add(clockTolerant)); err != nil {
			return fmt.Errorf("read renewed locks: %w", err)
		}
	}
	good := map[string]catalog.JobState{}
	for _, j := range jobs {
		good[j.Job] = j
	}
	p.owed = map[[2]string]time.Time{}
	for _, a := range p.inv.Assets {
		for _, t := range a.Targets {
			if j := good[a.Job]; j.LastGoodRun == "" || slices.Contains(j.LastGoodOn, t) {
				continue
			}
			if p.owed[[2]string{a.Job, t}], err = view.LatestCopy(ctx, a.Job, t); err != nil {
				return fmt.Errorf("read the newest copy of %q on %q: %w", a.Job, t, err)
			}
		}
	}
	return nil
}

// debt judges a copy that is owed: a warning while it may still come, as bad as a
// failing backup after that.
func (p *posture) debt(job, target string, r *reasons) {
	last := p.owed[[2]string{job, target}]
	since := last
	if since.IsZero() {
		since = p.inv.Since[job]
	}
	state := Warning
	if p.now.Sub(since) > debtAge {
		state = Failing
	}
	if m, is := p.media[target]; is && !last.IsZero() && !m.Plugged {
		if p.now.Before(m.DueBack) {
			return // it is filled when it comes back
		}
		if state = Warning; m.State == Failing {
			state = Failing
		}
	}
	if last.IsZero() {
		r.add(state, "the copy of the newest good backup on %q is owed; there has never been one", target)
		return
	}
	r.add(state, "the copy of the newest good backup on %q is owed; the last one there is of %s", target, p.day(last))
}

// keeps judges whether storage that should let nobody delete was asked to, and
// refused, and whether its locks still hold.
func (p *posture) keeps(row catalog.TargetRow, r *reasons) {
	if !row.Keeps {
		return
	}
	last := p.challenges[row.Name]
	switch {
	case last.At.IsZero():
		r.add(Warning, "nobody has tried yet whether its storage refuses to delete")
	case !last.Refused:
		r.add(Failing, "its storage let go of what it must keep, on %s", p.day(last.At))
	case p.now.Sub(last.At) > challengeAge:
		r.add(Warning, "whether its storage refuses to delete was last tried on %s", p.day(last.At))
	}
	if row.LockDays == 0 {
		return
	}
	period := time.Duration(row.LockDays) * 24 * time.Hour
	switch renewed := p.renewals[row.Name]; {
	case renewed.Until.IsZero():
		r.add(Warning, "its locks have not been renewed yet")
	case renewed.Until.Sub(p.now) < period/4:
		r.add(Failing, "its locks end on %s and have not been renewed", p.day(renewed.Until))
	}
}
