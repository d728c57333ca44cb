package jobs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/retention"
	"saoluu/targets"
)

// A presence is what lies of one run on one target.
type presence struct {
	job       string
	whole     bool
	written   time.Time // when the copy was written down
	snapshots map[string]string
}

// A survey is what is known to lie where.
type survey struct {
	r       *Runner
	on      map[string]map[string]presence // by target and run
	runs    map[string]catalog.Run
	at      map[string]time.Time // by run: its time for retention
	tested  map[string]bool      // runs with a passed restore test
	inUse   map[string]bool      // runs that a restore test is reading
	version map[string]bool      // runs that hold a configuration as it was before or after a change
	locked  map[string]time.Time // by snapshot of the surveyed target: when its storage lets go
	sound   map[string]bool      // targets whose copies count elsewhere
	media   map[string]catalog.MediumState
	surveys string // the target that is planned
}

// survey reads what lies on all targets. What is gone from the surveyed one, or
// is being deleted from another, does not lie there.
func (r *Runner) survey(ctx context.Context, target string, gone map[string]bool) (*survey, error) {
	s := &survey{
		r: r, surveys: target, on: map[string]map[string]presence{}, runs: map[string]catalog.Run{}, at: map[string]time.Time{},
		tested: map[string]bool{}, inUse: map[string]bool{}, version: map[string]bool{}, locked: map[string]time.Time{}, sound: map[string]bool{},
	}
	var err error
	if s.media, _, err = r.Catalog.Media(ctx, r.Now()); err != nil {
		return nil, err
	}
	for name := range r.Config.Targets {
		leaving := gone
		if name != target {
			var err error
			if leaving, err = r.leaving(ctx, name); err != nil {
				return nil, err
			}
		}
		if err := s.look(ctx, name, leaving); err != nil {
			return nil, err
		}
	}
	if err := s.date(ctx); err != nil {
		return nil, err
	}
	_, tests, err := r.Catalog.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tests {
		s.inUse[t.Run] = true
	}
	changes, err := r.Catalog.ConfigChanges(ctx, r.Now())
	if err != nil {
		return nil, err
	}
	for _, ofJob := range changes {
		for _, change := range ofJob {
			s.version[change.Run], s.version[change.Before] = true, true
		}
	}
	return s, nil
}

// usable reports whether a target's medium, if it lies on one, still is in use:
// nothing on one that is lost or withdrawn counts.
func usable(t config.Target, media map[string]catalog.MediumState) bool {
	return t.Type != "removable" || media[t.Medium].Usable()
}

// leaving returns the snapshots of a target that a plan is about to delete.
func (r *Runner) leaving(ctx context.Context, target string) (map[string]bool, error) {
	leaving := map[string]bool{}
	plan, _, err := r.Catalog.Unapplied(ctx, target)
	for _, row := range plan.Removed {
		for _, id := range row.Snapshots {
			leaving[id] = true
		}
	}
	return leaving, err
}

// look reads what the catalog knows of one target.
func (s *survey) look(ctx context.Context, target string, gone map[string]bool) error {
	state, err := s.r.Catalog.TargetState(ctx, target)
	if err != nil {
		return err
	}
	keys, err := s.r.Catalog.KeyStates(ctx, s.r.Now())
	if err != nil {
		return err
	}
	s.sound[target] = state.LastCheck != catalog.RunFailed && !keys[target].Shut(state.Repository) && usable(s.r.Config.Targets[target], s.media)
	rows, err := s.r.Catalog.SnapshotsOf(ctx, target)
	if err != nil {
		return err
	}
	here := map[string]presence{}
	for _, row := range rows {
		p, seen := here[row.Run]
		if !seen {
			p = presence{job: row.Job, whole: true, snapshots: map[string]string{}}
		}
		p.whole = p.whole && row.State == catalog.RunComplete && !gone[row.Snapshot]
		if row.At.After(p.written) {
			p.written = row.At
		}
		if !gone[row.Snapshot] {
			p.snapshots[row.Part] = row.Snapshot
		}
		here[row.Run] = p
	}
	maps.DeleteFunc(here, func(_ string, p presence) bool { return len(p.snapshots) == 0 })
	s.on[target] = here
	return nil
}

// date reads the runs and gives each its time. A run that a clock dated back
// behind one that was written before it counts as taken with that one: it must
// not look old enough to go.
func (s *survey) date(ctx context.Context) error {
	byJob := map[string][]catalog.Run{}
	for _, here := range s.on {
		for id, p := range here {
			if _, read := s.runs[id]; read {
				continue
			}
			run, err := s.r.Catalog.Run(ctx, id)
			if err != nil {
				return err
			}
			s.runs[id] = run
			byJob[p.job] = append(byJob[p.job], run)
		}
	}
	now := s.r.Now()
	for job, runs := range byJob {
		slices.SortFunc(runs, func(a, b catalog.Run) int { return cmp.Compare(a.Seq, b.Seq) })
		var latest time.Time
		for _, run := range runs {
			at := takenAt(run)
			if at.Before(latest) && !run.Recovered {
				at = latest
			} else if !at.After(now) {
				latest = at
			}
			s.at[run.Run] = at
		}
		if err := s.tests(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

// tests notes which runs of a job have passed a restore test.
func (s *survey) tests(ctx context.Context, job string) error {
	for t, err := range s.r.Catalog.Tests(ctx, catalog.TestQuery{Job: job, Verdict: catalog.VerdictPassed}) {
		if err != nil {
			return err
		}
		s.tested[t.Run] = true
	}
	return nil
}

// A locker is a target whose storage refuses to delete a snapshot for a time.
type locker interface {
	// LockedUntil returns until when these snapshots cannot be deleted; those
	// that can be are left out.
	LockedUntil(ctx context.Context, snapshots []string) (map[string]time.Time, error)
}

var _ locker = (*targets.S3)(nil)

// locks asks the surveyed target for what it holds on to, of what would go. One that
// cannot tell, or does not now, holds on to what is written for as long as the
// configuration says.
func (s *survey) locks(ctx context.Context) error {
	to, err := s.r.place(ctx, s.surveys)
	if err != nil {
		return err
	}
	if target, can := to.target.(locker); can {
		var locked map[string]time.Time
		if locked, err = target.LockedUntil(ctx, s.surplus()); err == nil {
			s.locked = locked
			return nil
		}
	}
	period := s.r.Config.Targets[s.surveys].ObjectLock.Std()
	for _, p := range s.on[s.surveys] {
		for _, id := range p.snapshots {
			if period > 0 {
				s.locked[id] = p.written.Add(period)
			}
		}
	}
	return err
}

// surplus lists the snapshots of the surveyed target that would go if nothing were
// locked: few, where all may be many.
func (s *survey) surplus() (ids []string) {
	for _, name := range s.jobsOn(s.surveys) {
		job, ok := s.r.Config.Jobs[name]
		if !ok {
			continue
		}
		plan := retention.Make(retention.Request{
			Backups: s.wanted(s.surveys, name, job), Rules: Rules(s.r.Config.Classes[job.Class]), Now: s.r.Now(), Location: s.r.Config.Site.Location,
		})
		for _, d := range plan.Surplus() {
			ids = slices.AppendSeq(ids, maps.Values(d.Snapshots))
		}
	}
	return ids
}

func (s *survey) jobsOn(target string) []string {
	names := map[string]bool{}
	for _, p := range s.on[target] {
		names[p.job] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// backups lists what lies of a job on a target.
func (s *survey) backups(target, job string) []retention.Backup {
	var all []retention.Backup
	for id, p := range s.on[target] {
		if p.job == job {
			all = append(all, s.backup(target, id, p))
		}
	}
	return all
}

func (s *survey) backup(target, id string, p presence) retention.Backup {
	run := s.runs[id]
	b := retention.Backup{
		Run: id, At: s.at[id], Good: run.State == catalog.RunComplete && run.Invalidated.IsZero() && p.whole,
		Invalidated: run.State == catalog.RunComplete && !run.Invalidated.IsZero(),
		Held:        run.Held, Tested: s.tested[id], InUse: s.inUse[id], Version: s.version[id], Snapshots: p.snapshots,
	}
	if was, known := s.r.Config.Classes[run.Class]; known && run.Class != s.r.Config.Jobs[run.Job].Class {
		b.Promised = was.KeepMin
	}
	for name, here := range s.on {
		if name != target && s.sound[name] && here[id].whole {
			b.Elsewhere++
		}
	}
	if target == s.surveys {
		for _, snapshot := range p.snapshots {
			if until := s.locked[snapshot]; until.After(b.LockedUntil) {
				b.LockedUntil = until
			}
		}
	}
	return b
}

// wanted is backups, with what the rules keep on other targets.
func (s *survey) wanted(target, name string, job config.Job) []retention.Backup {
	keeps := map[string]bool{}
	for other := range s.on {
		if other == target {
			continue
		}
		plan := retention.Make(retention.Request{
			Backups: s.backups(other, name), Rules: Rules(s.r.Config.Classes[job.Class]), Now: s.r.Now(), Location: s.r.Config.Site.Location,
		})
		for _, d := range plan.Decisions {
			keeps[d.Run] = keeps[d.Run] || d.Keep
		}
	}
	all := s.backups(target, name)
	for i := range all {
		all[i].Wanted = keeps[all[i].Run]
	}
	return all
}
