package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/retention"
)

// forgetBatch bounds the copies of one plan in the ledger.
const forgetBatch = 500

// alone takes the lock called name of those who delete; it waits. Plans are made
// one at a time, whatever their target: two that were made side by side could each
// count on the copy that the other deletes.
func (r *Runner) alone(ctx context.Context, name string) (release func() error, err error) {
	if err := os.MkdirAll(StatePath(r.Config, "locks"), 0o700); err != nil {
		return nil, fault.New(fault.Failed, "wait for other deletions to end", err, "check paths.state")
	}
	lock := flock.New(StatePath(r.Config, "locks", name))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return nil, fault.New(fault.KindOf(err), "wait for other deletions to end", err, "check paths.state")
	}
	return lock.Unlock, nil
}

// everyPlan is the lock of those who plan, targetPlan of those who delete from one
// target or compare it with the catalog. It is taken first.
const everyPlan = "retention"

func targetPlan(target string) string { return "retention-" + target }

// retain deletes from a target what its classes no longer keep. The plan goes to
// the ledger first; what the target lists afterwards decides what was deleted.
func (r *Runner) retain(ctx context.Context, to place, done *Upkept, a Approval) (err error) {
	for _, name := range []string{targetPlan(to.name), everyPlan} {
		release, waited := r.alone(ctx, name)
		if waited != nil {
			return waited
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	gone := map[string]bool{}
	for _, id := range done.Missing {
		gone[id] = true
	}
	storage, err := r.troubled(ctx, to.name, &done.CheckFinished)
	if err != nil {
		return err
	}
	all, err := r.planRetention(ctx, to.name, gone, storage, a)
	if err != nil {
		return err
	}
	done.leaving = all.Leaving
	rows, approved, refused := sortOut(all, a)
	problems := []error{approvalMissed(all, a)}
	for _, p := range all.Plans {
		for _, no := range p.Refusals {
			problems = append(problems, refusal(p, no))
		}
		for _, d := range p.Decisions {
			if d.Waiting {
				done.Waiting++
			}
		}
	}
	if len(rows) == 0 && len(refused) > 0 {
		_, err := r.Catalog.Append(ctx, catalog.RetentionApplied{Target: to.name, State: catalog.RunSkipped, Refused: refused, Error: refused[0].Why})
		problems = append(problems, err)
	}
	for batch := range slices.Chunk(rows, forgetBatch) {
		n, err := r.forget(ctx, to, batch, approved, refused)
		done.Removed += n
		if problems = append(problems, err); err != nil {
			break
		}
		approved, refused = nil, nil // they stand in the first batch
	}
	return errors.Join(problems...)
}

// troubled says why nothing may be deleted from a target that was just looked at,
// "" when it is sound.
func (r *Runner) troubled(ctx context.Context, target string, check *catalog.CheckFinished) (string, error) {
	switch {
	case len(check.Missing) > 0:
		return fmt.Sprintf("%d snapshots that were made are not there", len(check.Missing)), nil
	case check.State == catalog.RunFailed:
		return "its re-read found damage", nil
	case check.State != catalog.RunComplete && check.Spared == "":
		return "it could not be re-read", nil
	}
	state, err := r.Catalog.TargetState(ctx, target)
	for _, pack := range state.Damaged {
		if check.Of == 0 || pack%check.Of != check.N-1 {
			return "a part of its packs was damaged when it was read last", err
		}
	}
	return "", err
}

// sortOut turns plans into rows of the ledger.
func sortOut(all Retention, a Approval) (rows []catalog.RemovedRow, approved []catalog.ApprovedPlan, refused []catalog.RefusedRow) {
	for _, p := range all.Plans {
		for _, d := range p.Removals() {
			rows = append(rows, removedRow(p.Job, d))
		}
		if p.Approved && len(p.Refusals) == 0 {
			approved = append(approved, catalog.ApprovedPlan{Job: p.Job, Digest: p.Digest, By: a.By, Asked: a.Asked})
		}
		for _, no := range p.Refusals {
			refused = append(refused, catalog.RefusedRow{Job: p.Job, Rule: string(no.Rule), Why: no.Text, Surplus: len(p.Surplus()), Digest: p.Digest})
		}
	}
	return rows, approved, refused
}

func removedRow(job string, d retention.Decision) catalog.RemovedRow {
	row := catalog.RemovedRow{Run: d.Run, Job: job, TakenAt: d.At.UTC(), Good: d.Good}
	for _, id := range d.Snapshots {
		row.Snapshots = append(row.Snapshots, id)
	}
	slices.Sort(row.Snapshots)
	var why []string
	for _, reason := range d.Reasons {
		why = append(why, reason.String())
	}
	row.Why = strings.Join(why, "; ")
	return row
}

func refusal(p retention.Plan, no retention.Refusal) error {
	return fault.New(fault.Refused, fmt.Sprintf("delete old backups of %q from %q", p.Job, p.Target), errors.New(no.Text), no.Hint)
}

// forget deletes the copies of one batch and writes down which are gone. When the
// target cannot be listed afterwards the plan stays open, and whoever compares the
// target next ends it.
func (r *Runner) forget(ctx context.Context, to place, rows []catalog.RemovedRow, approved []catalog.ApprovedPlan, refused []catalog.RefusedRow) (removed int, err error) {
	plan := catalog.RetentionPlanned{Target: to.name, Removed: rows, Approved: approved}
	if _, err := r.Catalog.Append(ctx, plan); err != nil {
		return 0, err
	}
	var ids []string
	for _, row := range rows {
		ids = append(ids, row.Snapshots...)
	}
	r.show(Progress{Job: to.name, Step: "delete " + count(len(rows), "old backup", "old backups")})
	failed := r.Engine.Forget(ctx, to.target.Repo(), ids)
	listed, err := r.list(ctx, to)
	if err != nil {
		return 0, errors.Join(failed, err)
	}
	applied := applied(plan, listed)
	applied.Refused = refused
	if left := len(ids) - snapshots(applied.Removed); left > 0 {
		if failed == nil {
			failed = fault.New(fault.Failed, fmt.Sprintf("forget snapshots of %q", to.name), fmt.Errorf("%d of %d are still there", left, len(ids)),
				"see whether the storage is append-only, locked or read-only")
		}
		applied.State = catalog.RunFailed
	}
	if failed != nil {
		applied.Error = fault.Public(failed)
	}
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), applied)
	return len(applied.Removed), errors.Join(failed, written)
}

// applied says what of a plan was done, by what the target still lists.
func applied(plan catalog.RetentionPlanned, listed []restic.Snapshot) catalog.RetentionApplied {
	there := map[string]bool{}
	for _, s := range listed {
		there[s.ID] = true
	}
	done := catalog.RetentionApplied{Target: plan.Target, State: catalog.RunComplete}
	for _, row := range plan.Removed {
		row.Snapshots = slices.DeleteFunc(slices.Clone(row.Snapshots), func(id string) bool { return there[id] })
		if len(row.Snapshots) > 0 {
			done.Removed = append(done.Removed, row)
		}
	}
	return done
}

func snapshots(rows []catalog.RemovedRow) int {
	n := 0
	for _, row := range rows {
		n += len(row.Snapshots)
	}
	return n
}

// settle ends a deletion whose process died in it: what it had planned and the
// target no longer lists was deleted by it. The caller holds the target's plan.
func (r *Runner) settle(ctx context.Context, to place, listed []restic.Snapshot) error {
	plan, open, err := r.Catalog.Unapplied(ctx, to.name)
	if err != nil || !open {
		return err
	}
	done := applied(plan, listed)
	done.State, done.Error = catalog.RunInterrupted, "the process was ended while it deleted"
	_, err = r.Catalog.Append(ctx, done)
	return err
}

// settleAll ends the deletions that were cut off on the targets that are there.
// Others wait until they are compared.
func (r *Runner) settleAll(ctx context.Context) error {
	var problems []error
	for name := range r.Config.Targets {
		if _, open, err := r.Catalog.Unapplied(ctx, name); err != nil || !open {
			problems = append(problems, err)
			continue
		}
		problems = append(problems, r.settleOne(ctx, name))
	}
	return errors.Join(problems...)
}

func (r *Runner) settleOne(ctx context.Context, name string) (err error) {
	lock := flock.New(StatePath(r.Config, "locks", targetPlan(name)))
	free, err := lock.TryLock()
	if err != nil || !free {
		return err // who holds it is at it
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	to, err := r.place(ctx, name)
	if err != nil {
		return err
	}
	if err := to.target.Ready(ctx); err != nil {
		return nil // upkeep ends it when the target is back
	}
	listed, err := r.list(ctx, to)
	if err != nil {
		return err
	}
	return r.settle(ctx, to, listed)
}

// list returns the snapshots of a target, also where no lock can be written.
func (r *Runner) list(ctx context.Context, to place) ([]restic.Snapshot, error) {
	repo, err := to.readable(ctx)
	if err != nil {
		return nil, err
	}
	return r.Engine.Snapshots(ctx, repo, restic.Filter{})
}

// missingFrom returns what the catalog knows to be on a target and the target does
// not list.
func missingFrom(known []catalog.SnapshotRow, listed []restic.Snapshot) map[string]bool {
	there := map[string]bool{}
	for _, s := range listed {
		there[s.ID] = true
	}
	gone := map[string]bool{}
	for _, k := range known {
		if !there[k.Snapshot] {
			gone[k.Snapshot] = true
		}
	}
	return gone
}
