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
	return fault.New(fault.Incomplete, "", errors.Join(problems...),
		"run \"saoluu upkeep\" when the target is back; \"saoluu doctor\" says what is wrong with it")
}

// copyRun copies one run's snapshots from one target to another.
func (r *Runner) copyRun(ctx context.Context, job string, have catalog.Copy, from, to place) (catalog.Copy, error) {
	made, err := r.copySnapshots(ctx, job, from, to, []catalog.Copy{have})
	return copyOf(ctx, have, to, made, err)
}

// copySnapshots copies the snapshots of several copies in one run of restic, which
// opens both repositories once, and returns the ids in the destination.
func (r *Runner) copySnapshots(ctx context.Context, label string, from, to place, haves []catalog.Copy) (map[string]string, error) {
	if to.unusable != nil {
		return nil, to.unusable
	}
	if err := to.ready(ctx); err != nil {
		return nil, err
	}
	var ids []string
	for _, have := range haves {
		ids = append(ids, slices.Sorted(maps.Values(have.Snapshots))...)
	}
	step := fmt.Sprintf("copy to %q", to.name)
	var made map[string]string
	err := r.withBoth(ctx, from, to, func(source, destination restic.Repo) (err error) {
		made, err = r.Engine.Copy(ctx, source, destination, restic.CopyRequest{
			IDs: ids,
			OnProgress: func(p restic.Progress) {
				r.show(Progress{Job: label, Step: step, Done: p.BytesDone, Total: p.BytesTotal, Remaining: p.Remaining})
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

// copyBatch bounds how many runs are copied by one run of restic, so that a copy
// that is cut off loses little of what was written to the catalog.
const copyBatch = 50

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
	var haves []catalog.Copy
	for _, run := range runs {
		haves = append(haves, *goodCopy(run))
	}
	made, together := r.copySnapshots(ctx, runs[0].Job, from, to, haves)
	var problems []error
	for i, run := range runs {
		copied, err := copyOf(ctx, haves[i], to, made, together)
		if together != nil && len(runs) > 1 && ctx.Err() == nil {
			copied, err = r.copyRun(ctx, run.Job, haves[i], from, to)
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
