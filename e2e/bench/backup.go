package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
)

// first compares the first backup of a tree into a fresh repository.
func first(ctx context.Context, b *bench) error {
	files, bytes := 20_000, int64(2<<30)
	if b.quick {
		files, bytes = 4_000, 256<<20
	}
	tree := filepath.Join(b.dir, "office")
	b.say("making %d files, %d MiB", files, bytes>>20)
	if err := office(tree, files, bytes, 1); err != nil {
		return err
	}
	seed, err := b.newRepository(ctx, "seed")
	if err != nil {
		return err
	}
	var stored [2]int64 // what the last round of each left
	var share []float64 // all of a run to its restic alone
	pairs, err := b.inTurn(func(int) (cost, error) {
		repo, err := seed.fresh(filepath.Join(b.dir, "ours"))
		if err != nil {
			return cost{}, err
		}
		repo, log, err := repo.metered(b.dir)
		if err != nil {
			return cost{}, err
		}
		s, err := b.newSite(ctx, "site", repo, 4, []job{filesJob(0, tree)})
		if err != nil {
			return cost{}, err
		}
		c, err := settled(repo, &stored[0], func() (cost, error) { return spend(ctx, s.command("backup", "--all")) })
		if err != nil {
			return c, err
		}
		restic, err := lastCall(log)
		share = append(share, float64(c.cpu)/float64(restic))
		return c, err
	}, func(int) (cost, error) {
		repo, err := seed.fresh(filepath.Join(b.dir, "bare"))
		if err != nil {
			return cost{}, err
		}
		return settled(repo, &stored[1], func() (cost, error) { return spend(ctx, repo.command("backup", tree)) })
	})
	if err != nil {
		return err
	}
	if ratio := float64(stored[0]) / float64(stored[1]); ratio < 0.99 || ratio > 1.01 {
		return fmt.Errorf("the two did not do the same: %d bytes stored beside %d", stored[0], stored[1])
	}
	what := fmt.Sprintf("%d MiB, ours to restic's", bytes>>20)
	b.add(what+": processor", "x", atMost(1.01), each(pairs, cpuRatio)...)
	b.add("processor of a run, to that of the restic it called", "x", atMost(1.01), share...)
	b.add(what+": wall", "x", atMost(1.02), each(pairs, wallRatio)...)
	b.add("restic alone: processor", "s", nil, each(pairs, func(p pair) float64 { return p.bare.cpu.Seconds() })...)
	b.add("restic alone: wall", "s", nil, each(pairs, func(p pair) float64 { return p.bare.wall.Seconds() })...)
	return nil
}

// settled measures do on a quiet disk: what the other side left in memory is
// written first. It notes how large the repository then is.
func settled(r repository, stored *int64, do func() (cost, error)) (cost, error) {
	unix.Sync()
	c, err := do()
	if err != nil {
		return c, err
	}
	*stored, err = r.bytes()
	return c, err
}

// small compares many small jobs with a loop of restic over the same trees. Both
// leave a snapshot a job; all but the first round find nothing changed.
func small(ctx context.Context, b *bench) error {
	const n = 20
	trees, err := configTrees(b.dir+"/trees", n, 20)
	if err != nil {
		return err
	}
	bare, err := b.newRepository(ctx, "bare")
	if err != nil {
		return err
	}
	var jobs []job
	for i, tree := range trees {
		jobs = append(jobs, filesJob(i, tree))
	}
	for _, parallel := range []int{4, 8} {
		repo, err := bare.fresh(filepath.Join(b.dir, fmt.Sprintf("ours-%d", parallel)))
		if err != nil {
			return err
		}
		s, err := b.newSite(ctx, fmt.Sprintf("site-%d", parallel), repo, parallel, jobs)
		if err != nil {
			return err
		}
		var opening []float64
		pairs, err := b.inTurn(func(int) (cost, error) {
			c, err := spend(ctx, bare.command("cat", "config", "--no-lock"))
			if err != nil {
				return c, err
			}
			opening = append(opening, c.wall.Seconds())
			return counted(repo, n, func() (cost, error) { return spend(ctx, s.command("backup", "--all")) })
		}, func(int) (cost, error) {
			return counted(bare, n, func() (cost, error) {
				return timed(func() error {
					for _, tree := range trees {
						if _, err := command.Run(ctx, bare.command("backup", tree)); err != nil {
							return err
						}
					}
					return nil
				})
			})
		})
		if err != nil {
			return err
		}
		what, g := fmt.Sprintf("%d jobs, %d at once, to the loop", n, parallel), atMost(0.1)
		if parallel == 4 {
			what += " (the default)"
		}
		b.add(what, "x", g, each(pairs, wallRatio)...)
		b.add(fmt.Sprintf("the same, processor, %d at once", parallel), "x", nil, each(pairs, cpuRatio)...)
		b.add("the loop: wall", "s", nil, each(pairs, func(p pair) float64 { return p.bare.wall.Seconds() })...)
		b.add("opening the repository once", "s", nil, opening...) // mostly its key, for which restic chose the cost when it was made
	}
	return nil
}

// counted makes sure that do leaves n more snapshots.
func counted(r repository, n int, do func() (cost, error)) (cost, error) {
	before, err := r.count()
	if err != nil {
		return cost{}, err
	}
	c, err := do()
	if err != nil {
		return c, err
	}
	after, err := r.count()
	if err == nil && after-before != n {
		err = fmt.Errorf("%d snapshots were made, not %d", after-before, n)
	}
	return c, err
}

// calls counts how often restic is called for a part, by a script in its place.
func calls(ctx context.Context, b *bench) error {
	trees, err := configTrees(b.dir+"/trees", 2, 20)
	if err != nil {
		return err
	}
	repo, err := b.newRepository(ctx, "repo")
	if err != nil {
		return err
	}
	repo, log, err := repo.logged(b.dir)
	if err != nil {
		return err
	}
	s, err := b.newSite(ctx, "site", repo, 4, []job{filesJob(0, trees[0]), filesJob(1, trees[1])})
	if err != nil {
		return err
	}
	const nights = 2
	if err := os.Remove(log); err != nil {
		return err
	}
	for range nights {
		if _, err := command.Run(ctx, s.command("backup", "--all")); err != nil {
			return err
		}
	}
	counts, err := verbs(log)
	if err != nil {
		return err
	}
	b.say("verbs: %v", counts)
	total := 0
	for _, n := range counts {
		total += n
	}
	if counts["backup"] == 0 {
		return errors.New("no backup was seen")
	}
	b.add("calls of restic for each part", "", atMost(1), float64(total)/float64(nights*len(trees)))
	b.add("calls of snapshots, stats or list", "", atMost(0), float64(counts["snapshots"]+counts["stats"]+counts["list"]))
	return nil
}

// stream compares a stream read by restic from a command with the same through
// our pump, which counts and hashes it on the way.
func stream(ctx context.Context, b *bench) error {
	size := 1 << 30
	if b.quick {
		size = 256 << 20
	}
	file := filepath.Join(b.dir, "dump")
	if err := dump(file, size); err != nil {
		return err
	}
	seed, err := b.newRepository(ctx, "seed")
	if err != nil {
		return err
	}
	pump := []string{filepath.Join(b.root, "bin", "saoluu"), "pump", "--digest", filepath.Join(b.dir, "digest"), "--"}
	side := func(name string, through []string) func(int) (cost, error) {
		return func(int) (cost, error) {
			repo, err := seed.fresh(filepath.Join(b.dir, name))
			if err != nil {
				return cost{}, err
			}
			args := append([]string{"backup", "--force", "--stdin-filename", "dump", "--stdin-from-command", "--"}, through...)
			return spend(ctx, repo.command(append(args, "/bin/cat", file)...))
		}
	}
	pairs, err := b.inTurn(side("ours", pump), side("bare", nil))
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d MiB, through the pump to not", size>>20)
	b.add(what+": wall", "x", atMost(1.03), each(pairs, wallRatio)...)
	b.add(what+": processor", "x", nil, each(pairs, cpuRatio)...)
	return nil
}

// dump writes one file that compresses like an uncompressed database dump.
func dump(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	m := newMaker(3)
	for written := 0; written < size; written += 1 << 20 {
		block := m.text(1 << 20)
		if (written>>20)%4 == 3 {
			block = m.random(1 << 20)
		}
		if _, err := f.Write(block); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}
