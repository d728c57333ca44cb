package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/retention"
)

// clockDoubt is how long nothing is deleted after the clock was seen to jump.
const clockDoubt = 24 * time.Hour

// An Approval is a second person's word that one exact plan may be applied
// although more goes at once than may without it.
type Approval struct {
	Digest string // of the plan; empty: no approval
	By     string // who approves
	Asked  string // account that runs the command
}

// A Retention is what would be deleted from one target.
type Retention struct {
	Target  string
	Plans   []retention.Plan // by job, in order
	Left    map[string]int   // jobs that are not in the configuration, and their backups: left alone
	Unknown int              // snapshots there that the catalog does not know: left alone
}

// Rules are those of a class, for package retention.
func Rules(c config.Class) retention.Rules {
	k := c.Keep
	return retention.Rules{
		Last: k.Last, Hourly: k.Hourly, Daily: k.Daily, Weekly: k.Weekly, Monthly: k.Monthly, Yearly: k.Yearly,
		KeepMin: c.KeepMin, KeepMax: c.KeepMax, Copies: c.Copies, Share: c.ApproveOver,
	}
}

// KeepUntil returns until when retention does not delete a run, whatever else it
// finds: the longer of what its job's class says now and what the class it was
// made under says. ok is false when neither names a minimum.
func KeepUntil(c *config.Config, run catalog.Run) (until time.Time, ok bool) {
	for _, name := range []string{run.Class, c.Jobs[run.Job].Class} {
		class, known := c.Classes[name]
		if !known || class.KeepMin.IsZero() {
			continue
		}
		if end := Rules(class).KeepUntil(takenAt(run), c.Site.Location); end.After(until) {
			until, ok = end, true
		}
	}
	return until, ok
}

// takenAt is the instant a run's data stand for, its start when there are none.
func takenAt(run catalog.Run) time.Time {
	if run.State == catalog.RunComplete && !run.ConsistentAt.IsZero() {
		return run.ConsistentAt
	}
	return run.StartedAt
}

// PlanRetention says what would be deleted from a target now, and why nothing
// would be. Nothing is touched; the target is only listed. When it cannot be, the
// plan is what the catalog alone tells, and comes with the error.
func (r *Runner) PlanRetention(ctx context.Context, target string) (Retention, error) {
	to, err := r.place(ctx, target)
	if err != nil {
		return Retention{}, err
	}
	gone := map[string]bool{}
	listed, looked := r.list(ctx, to)
	known, err := r.Catalog.SnapshotsOf(ctx, target)
	if err != nil {
		return Retention{}, err
	}
	if looked == nil {
		gone = missingFrom(known, listed)
	}
	state, err := r.Catalog.TargetState(ctx, target)
	if err != nil {
		return Retention{}, err
	}
	storage := ""
	switch {
	case state.LastCheck == catalog.RunFailed:
		storage = "its last re-read found damage or missing backups"
	case looked != nil:
		storage = "it cannot be listed"
	case len(gone) > 0:
		storage = fmt.Sprintf("%d snapshots that were made are not there", len(gone))
	}
	plan, err := r.planRetention(ctx, target, gone, storage, Approval{})
	if err != nil {
		return Retention{}, err
	}
	for _, s := range listed {
		if s.Tag("run") != "" && !slices.ContainsFunc(known, func(k catalog.SnapshotRow) bool { return k.Snapshot == s.ID }) {
			plan.Unknown++
		}
	}
	if looked != nil {
		looked = fault.New(fault.Unknown, fmt.Sprintf("list target %q", target), looked, fault.HintOf(looked))
	}
	return plan, looked
}

// planRetention plans every job that has backups on a target. gone names
// snapshots that the catalog knows and the target lacks; storage says what else
// is wrong with the target.
func (r *Runner) planRetention(ctx context.Context, target string, gone map[string]bool, storage string, a Approval) (Retention, error) {
	s, err := r.survey(ctx, target, gone)
	if err != nil {
		return Retention{}, err
	}
	clock, err := r.clockDoubted(ctx)
	if err != nil {
		return Retention{}, err
	}
	out := Retention{Target: target, Left: map[string]int{}}
	for _, name := range s.jobsOn(target) {
		job, ok := r.Config.Jobs[name]
		if !ok {
			out.Left[name] = len(s.backups(target, name))
			continue
		}
		q := retention.Request{
			Target: target, Job: name, Backups: s.wanted(target, name, job), Rules: Rules(r.Config.Classes[job.Class]),
			Now: r.Now(), Location: r.Config.Site.Location, ClockSuspect: clock, Storage: storage,
			AppendOnly: r.Config.Targets[target].AppendOnly,
		}
		if q.Failing, err = r.failing(ctx, name); err != nil {
			return Retention{}, err
		}
		plan := retention.Make(q)
		if a.Digest != "" && a.Digest == plan.Digest {
			q.Approved = a.Digest
			plan = retention.Make(q)
		}
		out.Plans = append(out.Plans, plan)
	}
	return out, nil
}

// failing says why a job does not bring good backups now, "" when it does.
func (r *Runner) failing(ctx context.Context, job string) (string, error) {
	state, err := r.Catalog.JobState(ctx, job)
	if err != nil {
		return "", err
	}
	day := func(t time.Time) string { return t.In(r.Config.Site.Location).Format("2006-01-02 15:04") }
	switch {
	case state.Failures > 0:
		return fmt.Sprintf("job %q has been failing since %s", job, day(state.FailingSince)), nil
	case state.LastVerdict == catalog.VerdictFailed:
		return fmt.Sprintf("the restore test of job %q of %s failed", job, day(state.LastTestAt)), nil
	}
	shrunk, err := r.Catalog.Shrunk(ctx, r.Now())
	if err != nil {
		return "", err
	}
	if s, ok := shrunk[job]; ok && s.Run == state.LastGoodRun {
		return fmt.Sprintf("the newest backup of job %q saved far less than run %s before it", job, s.Before), nil
	}
	return "", nil
}

// clockDoubted says why times cannot be trusted now, "" when they can.
func (r *Runner) clockDoubted(ctx context.Context) (string, error) {
	now := r.Now()
	if r.Clock != nil && r.Clock.JumpedSince(r.Clock.Mark()-clockDoubt) {
		return "the clock has jumped within the last day", nil
	}
	var last time.Time
	for entry, err := range r.Catalog.Entries(ctx, 0, catalog.ClockJumped{}.Kind()) {
		if err != nil {
			return "", err
		}
		if age := now.Sub(entry.At); age < clockDoubt && age > -clockDoubt {
			last = entry.At
		}
	}
	if !last.IsZero() {
		return "the clock jumped at " + last.In(r.Config.Site.Location).Format("2006-01-02 15:04"), nil
	}
	return "", nil
}

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
	locked  map[string]time.Time // by snapshot of the surveyed target: when its storage lets go
	sound   map[string]bool      // targets whose copies count elsewhere
	surveys string               // the target that is planned
}

// survey reads what lies on all targets. What is gone from the surveyed one, or
// is being deleted from another, does not lie there.
func (r *Runner) survey(ctx context.Context, target string, gone map[string]bool) (*survey, error) {
	s := &survey{
		r: r, surveys: target, on: map[string]map[string]presence{}, runs: map[string]catalog.Run{}, at: map[string]time.Time{},
		tested: map[string]bool{}, inUse: map[string]bool{}, locked: map[string]time.Time{}, sound: map[string]bool{},
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
	return s, s.locks(ctx)
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
	s.sound[target] = state.LastCheck != catalog.RunFailed
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

// locks asks the surveyed target for what it holds on to. One that cannot tell
// holds on to what is written for as long as the configuration says.
func (s *survey) locks(ctx context.Context) error {
	to, err := s.r.place(ctx, s.surveys)
	if err != nil {
		return err
	}
	period := s.r.Config.Targets[s.surveys].ObjectLock.Std()
	var ids []string
	for _, p := range s.on[s.surveys] {
		for _, id := range p.snapshots {
			ids = append(ids, id)
			if period > 0 {
				s.locked[id] = p.written.Add(period)
			}
		}
	}
	target, can := to.target.(locker)
	if !can {
		return nil
	}
	s.locked, err = target.LockedUntil(ctx, ids)
	return err
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
		Held:        run.Held, Tested: s.tested[id], InUse: s.inUse[id], Snapshots: p.snapshots,
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

// worthCopying leaves out the runs whose copies retention would delete from the
// target as soon as they were there.
func (r *Runner) worthCopying(ctx context.Context, target string, owed []catalog.Run) ([]catalog.Run, error) {
	if len(owed) == 0 {
		return nil, nil
	}
	s, err := r.survey(ctx, target, nil)
	if err != nil {
		return nil, err
	}
	for _, run := range owed {
		if _, known := s.runs[run.Run]; known {
			s.on[target][run.Run] = presence{job: run.Job, whole: true}
		}
	}
	drop := map[string]bool{}
	for _, name := range s.jobsOn(target) {
		plan := retention.Make(retention.Request{
			Backups: s.backups(target, name), Rules: Rules(r.Config.Classes[r.Config.Jobs[name].Class]), Now: r.Now(), Location: r.Config.Site.Location,
		})
		for _, d := range plan.Surplus() {
			drop[d.Run] = true
		}
	}
	return slices.DeleteFunc(owed, func(run catalog.Run) bool { return drop[run.Run] }), nil
}

// approvalMissed tells that an approval was of no plan of the target.
func approvalMissed(all Retention, a Approval) error {
	if a.Digest == "" || slices.ContainsFunc(all.Plans, func(p retention.Plan) bool { return p.Digest == a.Digest }) {
		return nil
	}
	return fault.New(fault.Refused, fmt.Sprintf("approve plan %s for target %q", a.Digest, all.Target),
		errors.New("there is no such plan: what would be deleted has changed since"), fmt.Sprintf("look at \"saoluu upkeep --dry-run %s\" again", all.Target))
}
