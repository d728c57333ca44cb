package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// lossPause is how long nothing is pruned after snapshots were found missing that
// nobody here deleted: until then what they were made of can be brought back.
const lossPause = 30 * 24 * time.Hour

// A sizer is a target that can tell how much is stored on it.
type sizer interface {
	// StoredBytes returns the size of the repository.
	StoredBytes(ctx context.Context) (int64, error)
}

var _, _ sizer = (*targets.Local)(nil), (*targets.S3)(nil)

// free frees the space of what was deleted from a target, when it is due: the
// configured time after the last time, if anything was deleted since. How much
// was freed is measured where that can be done. It ends with inside, at the latest.
func (r *Runner) free(ctx, inside context.Context, to place, done *Upkept) error {
	due, err := r.pruneDue(ctx, to.name)
	if err != nil || !due {
		return err
	}
	if wait, err := r.mayNotPrune(ctx, to.name, &done.CheckFinished); err != nil || wait {
		return err // told by what stands against it, and by status when it lasts
	}
	if windowOver(inside) {
		done.wait("freeing space")
		return nil
	}
	r.show(Progress{Job: to.name, Step: "free the space of deleted backups"})
	pruned := catalog.RepositoryPruned{Target: to.name, State: catalog.RunFailed, StartedAt: r.Now().UTC(), BytesBefore: stored(ctx, to)}
	report, err := r.Engine.Prune(inside, to.target.Repo(), restic.PruneOptions{})
	pruned.BytesAfter, pruned.FinishedAt = stored(ctx, to), r.Now().UTC()
	if pruned.BytesBefore == 0 || pruned.BytesAfter == 0 {
		pruned.BytesBefore, pruned.BytesAfter = 0, 0
	}
	pruned.Freed, pruned.Remaining = report.Deleted, report.Remaining
	switch {
	case err == nil:
		pruned.State = catalog.RunComplete
	case windowOver(inside):
		done.wait("freeing space")
		pruned.Error, err = fault.Public(err), nil
	default:
		err = fault.New(fault.KindOf(err), fmt.Sprintf("free space on %q", to.name), err, fault.HintOf(err))
		pruned.Error = fault.Public(err)
	}
	done.Pruned = &pruned
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), pruned)
	return errors.Join(err, written)
}

// pruneDue reports whether a target's space has to be freed now.
func (r *Runner) pruneDue(ctx context.Context, target string) (bool, error) {
	since, err := r.Catalog.Unpruned(ctx)
	if err != nil {
		return false, err
	}
	if _, owed := since[target]; !owed {
		return false, nil
	}
	state, err := r.Catalog.TargetState(ctx, target)
	if err != nil {
		return false, err
	}
	now, last := r.Now(), state.LastPruneAt
	next := r.Config.Targets[target].PruneEvery.AddTo(last, r.Config.Site.Location)
	return last.IsZero() || last.After(now) || !now.Before(next), nil
}

// mayNotPrune reports whether what stands against deleting stands against this too.
func (r *Runner) mayNotPrune(ctx context.Context, target string, check *catalog.CheckFinished) (bool, error) {
	storage, err := r.troubled(ctx, target, check)
	if err != nil || storage != "" {
		return true, err
	}
	clock, err := r.clockDoubted(ctx)
	if err != nil || clock != "" {
		return true, err
	}
	return r.lostLately(ctx, target)
}

// lostLately reports whether snapshots were found missing from a target not long ago.
func (r *Runner) lostLately(ctx context.Context, target string) (bool, error) {
	checks, err := r.Catalog.Checks(ctx, target, r.Now())
	if err != nil {
		return false, err
	}
	for _, c := range checks {
		if len(c.Missing) > 0 && r.Now().Sub(c.At) < lossPause {
			return true, nil
		}
	}
	return false, nil
}

// stored measures a target; 0 when it cannot be.
func stored(ctx context.Context, to place) int64 {
	target, can := to.target.(sizer)
	if !can {
		return 0
	}
	n, err := target.StoredBytes(ctx)
	if err != nil {
		return 0 // what cannot be measured is not claimed
	}
	return n
}
