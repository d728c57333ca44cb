package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
)

// compare holds what the target lists against what the catalog knows, both ways.
// A snapshot the catalog knows and the target lacks is missing: what should exist
// decides, not what is found there. A run or a checkpoint of this site that the
// ledger does not know means that the state is older than its targets, as after a
// copy of it was put back; that is told in older, and the error is for a
// comparison that could not be made.
// What a deletion had planned that was cut off is no loss: it is ended first.
func (r *Runner) compare(ctx context.Context, to place, done *Upkept) (older, err error) {
	release, err := r.alone(ctx, targetPlan(to.name))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	check := &done.CheckFinished
	planned, err := r.leaving(ctx, to.name)
	if err != nil {
		return nil, err
	}
	known, err := r.Catalog.SnapshotsOf(ctx, to.name)
	if err != nil {
		return nil, err
	}
	listed, err := r.Engine.Snapshots(ctx, to.target.Repo(), restic.Filter{})
	if err != nil {
		return nil, err
	}
	if err := r.settle(ctx, to, listed); err != nil {
		return nil, err
	}
	done.Listed = len(listed)
	held := map[string]bool{}
	for _, s := range listed {
		held[s.ID] = true
	}
	for _, k := range known {
		if k.State != catalog.RunFailed && !held[k.Snapshot] && !planned[k.Snapshot] {
			check.Missing = append(check.Missing, k.Snapshot)
		}
	}
	anchors, err := r.Catalog.Anchors(ctx, r.Now())
	if err != nil {
		return nil, err
	}
	for _, a := range anchors {
		if a.Target == to.name && !held[a.Snapshot] {
			check.Missing = append(check.Missing, a.Snapshot)
		}
	}
	return r.behind(ctx, to, listed)
}

// behind says whether a target knows more of this site than the ledger does.
func (r *Runner) behind(ctx context.Context, to place, listed []restic.Snapshot) (older, err error) {
	size, err := r.Catalog.TreeSize(ctx)
	if err != nil {
		return nil, err
	}
	opened, err := r.Catalog.Entry(ctx, 0)
	if err != nil {
		return nil, err
	}
	// What is from before the state was brought back is known from here alone.
	recovered, err := r.Catalog.LastRecovered(ctx)
	if err != nil {
		return nil, err
	}
	since := opened.At
	if recovered.At.After(since) {
		since = recovered.At
	}
	seen, lost := map[string]bool{}, map[string]bool{}
	for _, s := range listed {
		if s.Tag("site") != r.Config.Site.Code {
			continue
		}
		if ahead(s, size, since) {
			return tooOld(to.name, fmt.Sprintf("it holds a checkpoint of a ledger with %s entries, and the ledger has %d", s.Tag("size"), size)), nil
		}
		run := s.Tag("run")
		if run == "" || seen[run] {
			continue
		}
		seen[run] = true
		switch _, err := r.Catalog.Run(ctx, run); {
		case errors.Is(err, catalog.ErrMissing) && s.Time.Before(recovered.At):
			lost[run] = true
		case errors.Is(err, catalog.ErrMissing):
			return tooOld(to.name, fmt.Sprintf("it holds run %s, which the ledger does not know", run)), nil
		case err != nil:
			return nil, err
		}
	}
	return nil, r.adoptLost(ctx, to.name, listed, lost)
}

// adoptLost writes down runs that were made after the copy of the state that was
// brought back.
func (r *Runner) adoptLost(ctx context.Context, target string, listed []restic.Snapshot, lost map[string]bool) error {
	var found []catalog.RecoveredSnapshot
	for _, s := range listed {
		if lost[s.Tag("run")] {
			found = append(found, catalog.RecoveredSnapshot{Target: target, ID: s.ID, Time: s.Time, Tags: s.Tags})
		}
	}
	if len(found) == 0 {
		return nil
	}
	_, err := r.Catalog.RebuildFromSnapshots(ctx, found)
	return err
}

// ahead reports whether a snapshot is a checkpoint of this ledger, made after it
// was opened, that counts more entries than there are. Checkpoints from before
// belong to a ledger that was lost.
func ahead(s restic.Snapshot, size int64, opened time.Time) bool {
	n, err := strconv.ParseInt(s.Tag("size"), 10, 64)
	return err == nil && n > size && s.Time.After(opened)
}

func tooOld(target, what string) error {
	return fault.New(fault.Verification, fmt.Sprintf("target %q", target), fmt.Errorf("the state is older than it: %s", what),
		"find out who put old state back; the newest ledger is the one the target's checkpoint speaks of")
}

func missing(check *catalog.CheckFinished) error {
	if len(check.Missing) == 0 {
		return nil
	}
	return fault.New(fault.Verification, fmt.Sprintf("target %q", check.Target),
		fmt.Errorf("%d snapshots that were made are not there", len(check.Missing)),
		"find out who deleted them; the runs they belong to are no longer good")
}

// sameRepository fails when another repository lies where the enrolled one was.
func (r *Runner) sameRepository(ctx context.Context, to place) error {
	state, err := r.Catalog.TargetState(ctx, to.name)
	if err != nil {
		return err
	}
	id, err := r.repositoryID(ctx, to)
	if err != nil {
		return err
	}
	if id != state.Repository {
		return fault.New(fault.WrongTarget, fmt.Sprintf("target %q", to.name),
			fmt.Errorf("it holds repository %.10s, and %.10s was enrolled", id, state.Repository), "find out who replaced it, and bring the enrolled one back")
	}
	return nil
}
