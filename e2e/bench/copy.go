package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"saoluu/internal/command"
)

// copies compares paying the copies that a second target is owed of one night with
// a restic that copies the very same snapshots, out of the same repository into
// another copy of the same empty one.
func copies(ctx context.Context, b *bench) error {
	const n = 20
	size := int64(16 << 20)
	if b.quick {
		size = 2 << 20
	}
	night, err := b.newNight(ctx, n, size)
	if err != nil {
		return err
	}
	var settledCost []float64
	pairs, err := b.inTurn(func(round int) (cost, error) {
		s, err := night.site(ctx, b, round)
		if err != nil {
			return cost{}, err
		}
		before, err := s.second.count()
		if err != nil {
			return cost{}, err
		}
		all, err := spend(ctx, s.command("upkeep", "second"))
		if err != nil {
			return all, err
		}
		if after, err := s.second.count(); err != nil || after-before < n {
			return all, fmt.Errorf("%d of %d copies were made: %w", after-before, n, err)
		}
		rest, err := spend(ctx, s.command("upkeep", "second"))
		settledCost = append(settledCost, rest.wall.Seconds())
		return all.minus(rest), err
	}, func(round int) (cost, error) {
		s, err := night.site(ctx, b, round)
		if err != nil {
			return cost{}, err
		}
		to, err := night.empty.fresh(filepath.Join(b.dir, "bare-second"))
		if err != nil {
			return cost{}, err
		}
		return counted(to, n, func() (cost, error) { return spend(ctx, to.copying(s.repo, night.made)) })
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d runs, %d MiB, to restic copy", n, n*size>>20)
	b.add(what+": wall", "x", atMost(1.05), each(pairs, wallRatio)...)
	b.add(what+": processor", "x", nil, each(pairs, cpuRatio)...)
	b.add("restic copy: wall", "s", nil, each(pairs, func(p pair) float64 { return p.bare.wall.Seconds() })...)
	b.add("an upkeep that owes nothing, which is subtracted", "s", nil, settledCost...)
	return nil
}

// A night is what copies is measured with: a repository that holds the data
// already, so that saving them again is quick, and an empty one.
type night struct {
	seed, empty repository
	jobs        []job
	round       int      // of the site that stands
	standing    site     // whose second target is owed everything
	made        []string // snapshots that its night made
}

func (b *bench) newNight(ctx context.Context, n int, size int64) (*night, error) {
	w := &night{round: -1}
	var paths []string
	for i := range n {
		tree := filepath.Join(b.dir, "trees", fmt.Sprintf("%02d", i))
		if err := office(tree, 160, size, byte(i+1)); err != nil {
			return nil, err
		}
		w.jobs, paths = append(w.jobs, filesJob(i, tree)), append(paths, tree)
	}
	var err error
	if w.seed, w.empty, err = b.newPair(ctx); err != nil {
		return nil, err
	}
	_, err = command.Run(ctx, w.seed.command(append([]string{"backup"}, paths...)...))
	return w, err
}

// site makes a site whose second target was away for one night. Both sides of a
// round work with the same one.
func (w *night) site(ctx context.Context, b *bench, round int) (site, error) {
	if w.round == round {
		return w.standing, nil
	}
	repo, err := w.seed.fresh(filepath.Join(b.dir, "ours"))
	if err != nil {
		return site{}, err
	}
	second, err := w.empty.fresh(filepath.Join(b.dir, "ours-second"))
	if err != nil {
		return site{}, err
	}
	before, err := repo.snapshots()
	if err != nil {
		return site{}, err
	}
	s, err := b.newSiteOf(ctx, "site", repo, second, 4, w.jobs)
	if err != nil {
		return s, err
	}
	// What only a target's first upkeep does is done before.
	if _, err := command.Run(ctx, s.command("upkeep", "second")); err != nil {
		return s, err
	}
	if err := os.Rename(second.path, second.path+".away"); err != nil {
		return s, err
	}
	var exit *command.ExitError
	_, err = command.Run(ctx, s.command("backup", "--all"))
	if !errors.As(err, &exit) || exit.Code != owesCopies {
		return s, fmt.Errorf("a night with a target away ended otherwise than with copies owed: %w", err)
	}
	if err := os.Rename(second.path+".away", second.path); err != nil {
		return s, err
	}
	after, err := repo.snapshots()
	w.made = slices.DeleteFunc(after, func(id string) bool { return slices.Contains(before, id) })
	w.round, w.standing = round, s
	return s, err
}

// owesCopies is the exit status of a backup whose copies are owed.
const owesCopies = 3

// snapshots lists the ids of all snapshots, by their files.
func (r repository) snapshots() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.path, "snapshots"))
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, err
}

// copying is a call of restic that copies snapshots from another repository.
func (r repository) copying(from repository, ids []string) command.Cmd {
	c := r.command(append([]string{"copy", "--"}, ids...)...)
	c.Env = append(c.Env, "RESTIC_FROM_REPOSITORY="+from.path, "RESTIC_FROM_PASSWORD_FILE="+from.password)
	return c
}
