package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
)

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
	return fault.New(fault.Incomplete, "", errors.Join(problems...),
		"run \"saoluu upkeep\" when the target is back; \"saoluu doctor\" says what is wrong with it")
}

// copyTogether copies one run's snapshots, which its copier expects, with those of the
// runs that want the same at that time, and by themselves when that fails: a run that
// cannot be copied must not keep the others' copies away.
func (r *Runner) copyTogether(ctx context.Context, job string, have catalog.Copy, from, to place) (catalog.Copy, error) {
	copier := r.Shared.copier(from.name, to.name)
	if have.AddedBytes >= copyByItself {
		copier.dismiss()
		return r.copyRun(ctx, job, have, from, to)
	}
	r.show(Progress{Job: job, Step: copyStep(to)})
	made, together, err := copier.copy(ctx, r.Config, copyAsked{job, have},
		func(ctx context.Context, all []copyAsked) (map[string]string, error) {
			return r.copySnapshots(ctx, from, to, all)
		})
	if err != nil && together > 1 && ctx.Err() == nil {
		return r.copyRun(ctx, job, have, from, to)
	}
	return copyOf(ctx, have, to, made, err)
}

// copyRun copies one run's snapshots from one target to another.
func (r *Runner) copyRun(ctx context.Context, job string, have catalog.Copy, from, to place) (catalog.Copy, error) {
	made, err := r.copySnapshots(ctx, from, to, []copyAsked{{job, have}})
	return copyOf(ctx, have, to, made, err)
}

func copyStep(to place) string { return fmt.Sprintf("copy to %q", to.name) }

// copySnapshots copies the snapshots of several runs in one call of restic, which
// opens both repositories once, and returns the ids in the destination.
func (r *Runner) copySnapshots(ctx context.Context, from, to place, all []copyAsked) (map[string]string, error) {
	if to.unusable != nil {
		return nil, to.unusable
	}
	if err := to.ready(ctx); err != nil {
		return nil, err
	}
	var ids []string
	for _, asked := range all {
		ids = append(ids, slices.Sorted(maps.Values(asked.have.Snapshots))...)
	}
	var made map[string]string
	err := r.withBoth(ctx, from, to, func(source, destination restic.Repo) (err error) {
		made, err = r.Engine.Copy(ctx, source, destination, restic.CopyRequest{
			IDs: ids,
			OnProgress: func(p restic.Progress) {
				for _, asked := range all {
					r.show(Progress{Job: asked.job, Step: copyStep(to), Done: p.BytesDone, Total: p.BytesTotal, Remaining: p.Remaining})
				}
			},
		})
		return err
	})
	return made, err
}

// copyOf is the copy that came of copying: what have has, under the ids in made.
func copyOf(ctx context.Context, have catalog.Copy, to place, made map[string]string, err error) (catalog.Copy, error) {
	copied := catalog.Copy{Target: to.name, State: catalog.RunFailed, Snapshots: map[string]string{}, Encryption: catalog.EncryptionRestic}
	for part, id := range have.Snapshots {
		if err == nil {
			err = present(ctx, to, made[id])
		}
		if err == nil {
			copied.Snapshots[part] = made[id]
		}
	}
	if err != nil {
		copied.Error = fault.Public(err)
		return copied, err
	}
	copied.State = catalog.RunComplete
	return copied, nil
}

// payDebts makes the copies a target lacks, oldest first; what comes from the same
// target goes together. It ends with inside, at the latest.
func (r *Runner) payDebts(ctx, inside context.Context, to place, done *Upkept) error {
	debts, err := r.debts(ctx, to.name)
	if err == nil {
		debts, err = r.worthCopying(ctx, to.name, debts)
	}
	if err != nil {
		return err
	}
	batch := copyBatch
	if to.oneByOne {
		batch = 1
	}
	var problems []error
	for len(debts) > 0 && inside.Err() == nil {
		source := goodCopy(debts[0]).Target
		n := 1
		for n < len(debts) && n < batch && goodCopy(debts[n]).Target == source {
			n++
		}
		from, err := r.place(ctx, source)
		if err != nil {
			return err
		}
		err = r.pay(inside, from, to, debts[:n], done)
		if windowOver(inside) && err != nil {
			break
		}
		problems = append(problems, err)
		debts = debts[n:]
	}
	if windowOver(inside) && len(debts) > 0 {
		done.wait(count(len(debts), "owed copy", "owed copies"))
	}
	return errors.Join(problems...)
}

// pay copies runs from one target to another, together, and each by itself when
// that fails: one that cannot be read must not keep the others away.
func (r *Runner) pay(ctx context.Context, from, to place, runs []catalog.Run, done *Upkept) error {
	started := r.Now().UTC()
	var all []copyAsked
	for _, run := range runs {
		all = append(all, copyAsked{run.Job, *goodCopy(run)})
	}
	made, together := r.copySnapshots(ctx, from, to, all)
	var problems []error
	for i, run := range runs {
		copied, err := copyOf(ctx, all[i].have, to, made, together)
		if together != nil && len(runs) > 1 && ctx.Err() == nil {
			copied, err = r.copyRun(ctx, run.Job, all[i].have, from, to)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("copy run %s of %q to %q: %w", run.Run, run.Job, to.name, err))
		} else {
			done.Paid++
			if source, err := r.source(r.Config.Jobs[run.Job]); err == nil {
				r.measure(ctx, source, to, &copied)
			}
		}
		if _, err := r.Catalog.Append(context.WithoutCancel(ctx), catalog.CopyFinished{
			Run: run.Run, Job: run.Job, From: from.name, Copy: copied, StartedAt: started, FinishedAt: r.Now().UTC(),
		}); err != nil {
			return err
		}
	}
	return errors.Join(problems...)
}

// debtsLooked is how many runs of a job are looked at for copies they lack: with an
// hourly job those of six weeks. A target that is new is filled with as many.
const debtsLooked = 1000

// debts lists the good runs that a target should hold and does not, oldest first.
func (r *Runner) debts(ctx context.Context, target string) ([]catalog.Run, error) {
	var owed []catalog.Run
	for name, job := range r.Config.Jobs {
		if !slices.Contains(job.Targets, target) {
			continue
		}
		for run, err := range r.Catalog.Runs(ctx, catalog.RunQuery{Job: name, Newest: true, Limit: debtsLooked}) {
			if err != nil {
				return nil, err
			}
			if run.Invalidated.IsZero() && run.Pruned.IsZero() && goodCopy(run) != nil && !holds(run, target) {
				owed = append(owed, run)
			}
		}
	}
	slices.SortFunc(owed, func(a, b catalog.Run) int {
		return cmp.Or(a.ConsistentAt.Compare(b.ConsistentAt), strings.Compare(a.Run, b.Run))
	})
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
