package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
)

// rereadOf is the number of groups a target's packs are divided into: one is
// re-read each night in a fixed rotation, so that every pack is read within 28
// nights and a month always contains a full pass.
const rereadOf = 28

// Upkeep looks after one target: it clears stale locks, pays copy debts, compares
// what the target holds with what the catalog says, re-reads the next group of
// packs, and anchors the ledger. Every step is tried; the first error is returned
// with the others.
func (r *Runner) Upkeep(ctx context.Context, target string, t Trigger) error {
	check := catalog.CheckFinished{Target: target, Due: t.Due, Covers: t.Covers, StartedAt: r.Now().UTC(), State: catalog.RunSkipped}
	release, err := r.enliven("upkeep-" + newID(check.StartedAt))
	if err != nil {
		return err
	}
	defer release()
	err = r.upkeep(ctx, target, &check)
	if fault.KindOf(err) == fault.Failed && check.State == catalog.RunSkipped {
		err = fault.New(fault.Unknown, "", err, fault.HintOf(err)) // nothing was looked at
	}
	check.FinishedAt = r.Now().UTC()
	if err != nil {
		check.Error, check.ErrorKind, check.Hint = err.Error(), string(fault.KindOf(err)), fault.HintOf(err)
	}
	if ctx.Err() != nil {
		check.State = catalog.RunInterrupted
		check.Due, check.Covers = nil, nil // the slot stays open: the next start takes it up
	}
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), check)
	return errors.Join(err, written)
}

func (r *Runner) upkeep(ctx context.Context, target string, check *catalog.CheckFinished) error {
	to, err := r.place(ctx, target)
	if err != nil {
		return err
	}
	if err := to.target.Ready(ctx); err != nil && fault.KindOf(err) != fault.NoSpace {
		return err
	}
	if err := r.clearLock(ctx, to, "upkeep found a stale lock"); err != nil {
		return err
	}
	if err := r.sameRepository(ctx, to); err != nil {
		return err
	}
	paid := r.payDebts(ctx, to)
	older, err := r.compare(ctx, to, check)
	if err != nil {
		return errors.Join(paid, err)
	}
	read := r.reread(ctx, to, check)
	if older != nil {
		check.State = catalog.RunFailed
		return errors.Join(older, paid, missing(check), read)
	}
	return errors.Join(paid, missing(check), read, r.Anchor(ctx, to.name))
}

// payDebts makes the copies a target lacks, oldest first.
func (r *Runner) payDebts(ctx context.Context, to place) error {
	debts, err := r.debts(ctx, to.name)
	if err != nil {
		return err
	}
	var problems []error
	for _, run := range debts {
		have := goodCopy(run)
		from, err := r.place(ctx, have.Target)
		if err != nil {
			return err
		}
		started := r.Now().UTC()
		copied, err := r.copyRun(ctx, run.Job, *have, from, to)
		if err != nil {
			problems = append(problems, fmt.Errorf("copy run %s of %q to %q: %w", run.Run, run.Job, to.name, err))
		} else if source, err := r.source(r.Config.Jobs[run.Job]); err == nil {
			measure(ctx, source, to, &copied)
		}
		if _, err := r.Catalog.Append(context.WithoutCancel(ctx), catalog.CopyFinished{
			Run: run.Run, Job: run.Job, From: from.name, Copy: copied, StartedAt: started, FinishedAt: r.Now().UTC(),
		}); err != nil {
			return err
		}
	}
	return errors.Join(problems...)
}

// reread reads the group of packs whose turn it is. The turn follows from the
// groups read before, so no group is ever left out.
func (r *Runner) reread(ctx context.Context, to place, check *catalog.CheckFinished) error {
	before, err := r.Catalog.Checks(ctx, to.name, r.Now())
	if err != nil {
		return err
	}
	check.N, check.Of = nextGroup(before), rereadOf
	r.show(Progress{Job: to.name, Step: fmt.Sprintf("re-read group %d of %d", check.N, check.Of)})
	report, err := r.Engine.Check(ctx, to.target.Repo(), restic.CheckOptions{Subset: check.N, Of: check.Of})
	if err != nil {
		return err
	}
	check.State = catalog.RunComplete
	if len(check.Missing) > 0 || !report.Sound() {
		check.State = catalog.RunFailed
	}
	if report.Sound() {
		return nil
	}
	return fault.New(fault.Damaged, fmt.Sprintf("target %q", to.name),
		fmt.Errorf("re-read group %d of %d: %d error(s), %d damaged pack(s)", check.N, check.Of, report.Errors, len(report.BrokenPacks)),
		"test the newest runs on the other targets, and find out what damaged this storage")
}

// nextGroup returns the group after the last one that was really read.
func nextGroup(before []catalog.Check) int {
	for i := len(before) - 1; i >= 0; i-- {
		if c := before[i]; c.State == catalog.RunComplete && c.Of == rereadOf {
			return c.N%rereadOf + 1
		}
	}
	return 1
}

// Anchor signs a checkpoint of the ledger and puts it on a target, as a snapshot
// of its own: a ledger rewritten later contradicts it (39/2024/QĐ-UBND, Điều 14:
// records must be protected).
func (r *Runner) Anchor(ctx context.Context, target string) error {
	to, err := r.place(ctx, target)
	if err != nil {
		return err
	}
	note, point, err := r.Checkpoint(ctx)
	if err != nil {
		return err
	}
	id := "anchor-" + newID(r.Now())
	release, err := r.enliven(id)
	if err != nil {
		return err
	}
	defer release()
	dir, clean, err := r.scratch(id)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "checkpoint.txt")
	if err := os.WriteFile(file, note, 0o600); err != nil {
		return errors.Join(err, clean())
	}
	summary, err := r.Engine.Backup(ctx, to.target.Repo(), restic.BackupRequest{
		Stdin: reader(file), Filename: "checkpoint.txt", Host: r.Host,
		Tags: []string{"saoluu-checkpoint", "site=" + r.Config.Site.Code, fmt.Sprintf("size=%d", point.Size)},
	})
	if err = errors.Join(err, clean()); err != nil {
		return fmt.Errorf("anchor the ledger on %q: %w", target, err)
	}
	_, err = r.Catalog.Append(context.WithoutCancel(ctx), catalog.CheckpointAnchored{
		Target: target, Size: point.Size, Root: point.Root.String(), Snapshot: summary.SnapshotID,
	})
	return err
}
