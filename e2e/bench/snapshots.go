package main

import (
	"context"
	"fmt"
	"path/filepath"

	"saoluu/internal/command"
)

// snapshots compares a small job in a repository of 5,120 snapshots with the same
// in one of five. The snapshots are made by restic: "rewrite --new-host" writes
// every snapshot once more under another host name (restic manual, "Rewriting
// existing snapshots"), so ten calls make 5,120 out of five.
func snapshots(ctx context.Context, b *bench) error {
	doublings := 10
	if b.quick {
		doublings = 6
	}
	trees, err := configTrees(b.dir+"/trees", 1, 20)
	if err != nil {
		return err
	}
	few, err := b.newRepository(ctx, "few")
	if err != nil {
		return err
	}
	for range 5 {
		if _, err := command.Run(ctx, few.command("backup", "--force", trees[0])); err != nil {
			return err
		}
	}
	many, err := few.fresh(filepath.Join(b.dir, "many"))
	if err != nil {
		return err
	}
	for i := range doublings {
		if _, err := command.Run(ctx, many.command("rewrite", "--new-host", fmt.Sprintf("host-%d", i))); err != nil {
			return err
		}
	}
	n, err := many.count()
	if err != nil {
		return err
	}
	if n != 5<<doublings {
		return fmt.Errorf("%d snapshots were made, not %d", n, 5<<doublings)
	}
	jobs := []job{filesJob(0, trees[0])}
	crowded, err := b.newSite(ctx, "crowded", many, 4, jobs)
	if err != nil {
		return err
	}
	empty, err := b.newSite(ctx, "empty", few, 4, jobs)
	if err != nil {
		return err
	}
	pairs, err := b.warmTurn(func(int) (cost, error) { return spend(ctx, crowded.command("backup", "--all")) },
		func(int) (cost, error) { return spend(ctx, empty.command("backup", "--all")) })
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("a job with %d snapshots to one with 5", n), "x", atMost(1.1), each(pairs, wallRatio)...)
	b.add("the same, processor", "x", nil, each(pairs, cpuRatio)...)
	pairs, err = b.warmTurn(func(int) (cost, error) { return spend(ctx, many.command("backup", trees[0])) },
		func(int) (cost, error) { return spend(ctx, few.command("backup", trees[0])) })
	if err != nil {
		return err
	}
	b.add("the same of a bare restic, which looks for the parent itself", "x", nil, each(pairs, wallRatio)...)
	return nil
}

// warmTurn is inTurn after one round that does not count: caches are filled and
// a parent is known.
func (b *bench) warmTurn(ours, bare func(int) (cost, error)) ([]pair, error) {
	if _, err := ours(0); err != nil {
		return nil, err
	}
	if _, err := bare(0); err != nil {
		return nil, err
	}
	return b.inTurn(ours, bare)
}
