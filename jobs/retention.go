package jobs

import (
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
	Leaving []string         // snapshots that nothing keeps but a lock of the storage
	// Archived names, by run, the sets of offline media that hold it. It is told and
	// nothing more: no rule deletes sooner, or keeps longer, because of a set.
	Archived map[string][]string
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
	if err == nil {
		plan.Archived, err = r.Catalog.ArchivedIn(ctx, r.Now())
	}
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
	// Where nothing is deleted anyway, what the configuration says of locks will do.
	if err := s.locks(ctx); err != nil && storage == "" {
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
		if q.Failing == "" && clock == "" && storage == "" {
			out.Leaving = append(out.Leaving, locked(plan, r.Now())...)
		}
	}
	return out, nil
}

// locked lists the snapshots of a plan that wait for a lock to end. Whether so many
// may go at once is asked when they can.
func locked(p retention.Plan, now time.Time) (ids []string) {
	for _, d := range p.Decisions {
		if d.Waiting && d.LockedUntil.After(now) {
			ids = slices.AppendSeq(ids, maps.Values(d.Snapshots))
		}
	}
	return ids
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
