package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"saoluu/internal/command"
)

// second compares a night of small jobs, each copied to a second target, with a
// loop of restic over the same trees and one restic copy of what it made.
func second(ctx context.Context, b *bench) error {
	const n = 20
	trees, err := configTrees(b.dir+"/trees", n, 20)
	if err != nil {
		return err
	}
	bare, bareSecond, err := b.newPair(ctx)
	if err != nil {
		return err
	}
	repo, err := bare.fresh(filepath.Join(b.dir, "ours"))
	if err != nil {
		return err
	}
	to, err := bareSecond.fresh(filepath.Join(b.dir, "ours-second"))
	if err != nil {
		return err
	}
	repo, log, err := repo.logged(b.dir)
	if err != nil {
		return err
	}
	var jobs []job
	for i, tree := range trees {
		jobs = append(jobs, filesJob(i, tree))
	}
	s, err := b.newSiteOf(ctx, "site", repo, to, 4, jobs)
	if err != nil {
		return err
	}
	var copied []float64
	pairs, err := b.inTurn(func(int) (cost, error) {
		if err := os.Remove(log); err != nil {
			return cost{}, err
		}
		c, err := counted(to, n, func() (cost, error) {
			return counted(repo, n, func() (cost, error) { return spend(ctx, s.command("backup", "--all")) })
		})
		if err != nil {
			return c, err
		}
		calls, err := verbs(log)
		copied = append(copied, float64(calls["copy"]))
		return c, err
	}, func(int) (cost, error) {
		return counted(bareSecond, n, func() (cost, error) {
			return counted(bare, n, func() (cost, error) { return timed(func() error { return bareNight(ctx, bare, bareSecond, trees) }) })
		})
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d jobs and their copies, to the loop and one copy", n)
	b.add(what+": wall", "x", nil, each(pairs, wallRatio)...)
	b.add(what+": processor", "x", nil, each(pairs, cpuRatio)...)
	b.add("ours: wall", "s", nil, each(pairs, func(p pair) float64 { return p.ours.wall.Seconds() })...)
	b.add("the loop and one copy: wall", "s", nil, each(pairs, func(p pair) float64 { return p.bare.wall.Seconds() })...)
	b.add(fmt.Sprintf("calls of restic copy for %d runs", n), "", nil, copied...)
	return nil
}

// bareNight is the night as an administrator would write it.
func bareNight(ctx context.Context, from, to repository, trees []string) error {
	before, err := from.snapshots()
	if err != nil {
		return err
	}
	for _, tree := range trees {
		if _, err := command.Run(ctx, from.command("backup", tree)); err != nil {
			return err
		}
	}
	after, err := from.snapshots()
	if err != nil {
		return err
	}
	_, err = command.Run(ctx, to.copying(from, slices.DeleteFunc(after, func(id string) bool { return slices.Contains(before, id) })))
	return err
}

// newPair makes two empty repositories between which copies can be made.
func (b *bench) newPair(ctx context.Context) (from, to repository, err error) {
	if from, err = b.newRepository(ctx, "seed"); err != nil {
		return from, to, err
	}
	to = from
	to.path, to.cache = filepath.Join(b.dir, "empty"), filepath.Join(b.dir, "cache-empty")
	c := to.command("init", "--copy-chunker-params")
	c.Env = append(c.Env, "RESTIC_FROM_REPOSITORY="+from.path, "RESTIC_FROM_PASSWORD_FILE="+from.password)
	_, err = command.Run(ctx, c)
	return from, to, err
}
