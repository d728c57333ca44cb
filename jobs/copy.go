package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
)

// copyOn fills the run's other targets from the first. A copy that fails leaves
// a debt in the run, which is told as loudly as a backup that fails and is paid
// by upkeep.
func (r *Runner) copyOn(ctx context.Context, fin *catalog.RunFinished, source sources.Source, from place, others []place) {
	for _, to := range others {
		copied, err := r.copyRun(ctx, fin.Job, fin.Copies[0], from, to)
		if err == nil {
			r.measure(ctx, source, to, &copied)
		}
		fin.Copies = append(fin.Copies, copied)
	}
}

// owed returns an error that names the targets which lack their copy of a run
// that is otherwise complete.
func owed(fin catalog.RunFinished) error {
	var problems []error
	for _, c := range fin.Copies {
		if c.State != catalog.RunComplete {
			problems = append(problems, fmt.Errorf("copy to %q is owed: %s", c.Target, c.Error))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return fault.New(fault.Incomplete, "", errors.Join(problems...), "run \"saoluu upkeep\" when the target is back")
}

// copyRun copies one run's snapshots from one target to another.
func (r *Runner) copyRun(ctx context.Context, job string, have catalog.Copy, from, to place) (catalog.Copy, error) {
	copied := catalog.Copy{Target: to.name, State: catalog.RunFailed, Snapshots: map[string]string{}, Encryption: catalog.EncryptionRestic}
	fail := func(err error) (catalog.Copy, error) {
		copied.Error = fault.Public(err)
		return copied, err
	}
	if to.unusable != nil {
		return fail(to.unusable)
	}
	if err := to.ready(ctx); err != nil {
		return fail(err)
	}
	step := fmt.Sprintf("copy to %q", to.name)
	made, err := r.Engine.Copy(ctx, from.target.Repo(), to.target.Repo(), restic.CopyRequest{
		IDs: slices.Sorted(maps.Values(have.Snapshots)),
		OnProgress: func(p restic.Progress) {
			r.show(Progress{Job: job, Step: step, Done: p.BytesDone, Total: p.BytesTotal, Remaining: p.Remaining})
		},
	})
	if err != nil {
		return fail(err)
	}
	for part, id := range have.Snapshots {
		if err := present(ctx, to, made[id]); err != nil {
			return fail(err)
		}
		copied.Snapshots[part] = made[id]
	}
	copied.State = catalog.RunComplete
	return copied, nil
}

// debts lists the good runs that a target should hold and does not, oldest first.
func (r *Runner) debts(ctx context.Context, target string) ([]catalog.Run, error) {
	var owed []catalog.Run
	for name, job := range r.Config.Jobs {
		if !slices.Contains(job.Targets, target) {
			continue
		}
		for run, err := range r.Catalog.Runs(ctx, catalog.RunQuery{Job: name, Newest: true, Limit: 30}) {
			if err != nil {
				return nil, err
			}
			if run.Invalidated.IsZero() && run.Pruned.IsZero() && goodCopy(run) != nil && !holds(run, target) {
				owed = append(owed, run)
			}
		}
	}
	return owed, nil
}

func holds(run catalog.Run, target string) bool {
	for _, c := range run.Copies {
		if c.Target == target && c.State == catalog.RunComplete {
			return true
		}
	}
	return false
}

// goodCopy returns a complete copy of a run, or nil.
func goodCopy(run catalog.Run) *catalog.Copy {
	for i := range run.Copies {
		if run.Copies[i].State == catalog.RunComplete && run.Gone[run.Copies[i].Target].IsZero() {
			return &run.Copies[i]
		}
	}
	return nil
}
