package main

import (
	"context"
	"fmt"

	"saoluu/internal/command"
)

// overhead takes what saoluu itself costs: the same jobs over a restic that does
// nothing, less the same calls of that restic alone. A cold command bears the
// start of the program; a job among many, or in the daemon, does not.
func overhead(ctx context.Context, b *bench) error {
	n := 60
	if b.quick {
		n = 20
	}
	trees, err := configTrees(b.dir+"/trees", n, 20)
	if err != nil {
		return err
	}
	repo, err := b.newStub("stub")
	if err != nil {
		return err
	}
	var jobs []job
	for i, tree := range trees {
		jobs = append(jobs, filesJob(i, tree))
	}
	loop := func(n int) func(int) (cost, error) {
		return func(int) (cost, error) {
			return timed(func() error {
				for _, tree := range trees[:n] {
					if _, err := command.Run(ctx, repo.command("--json", "backup", tree)); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	for _, parallel := range []int{1, 4} {
		s, err := b.newSite(ctx, fmt.Sprintf("site-%d", parallel), repo, parallel, jobs)
		if err != nil {
			return err
		}
		pairs, err := b.inTurn(func(int) (cost, error) { return spend(ctx, s.command("backup", "--all")) }, loop(n))
		if err != nil {
			return err
		}
		own := func(p pair) cost { return p.ours.minus(p.bare) }
		b.add(fmt.Sprintf("wall a job of %d, %d at once", n, parallel), "ms", atMost(10), each(pairs, func(p pair) float64 { return per(own(p).wall, n) })...)
		b.add(fmt.Sprintf("processor a job of %d, %d at once", n, parallel), "ms", nil, each(pairs, func(p pair) float64 { return per(own(p).cpu, n) })...)
		if parallel != 1 {
			continue
		}
		pairs, err = b.inTurn(func(int) (cost, error) { return spend(ctx, s.command("backup", jobs[0].name)) }, loop(1))
		if err != nil {
			return err
		}
		b.add("wall of one job as a cold command", "ms", nil, each(pairs, func(p pair) float64 { return per(own(p).wall, 1) })...)
	}
	return nil
}
