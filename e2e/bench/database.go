package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
)

// An engine is a database server with data, and what its administrator would type
// without us.
type engine struct {
	dir       string   // its own, short enough for a socket's path; the unprivileged user may write there
	source    string   // keys of the source, TOML
	dump      []string // the best options of its own tool; the dump goes to standard output
	client    []string // reads statements from the standard input
	change    string   // statements that change the hundredth of the rows that came last
	rebuild   string   // shell: a server made, started, loaded from $1 with its defaults, counted, stopped
	testGoal  float64  // a restore test may take so much of rebuild
	borgmatic string   // its hook, YAML
}

// rows is how many the largest table has.
func (b *bench) rows() int {
	if b.quick {
		return 60_000
	}
	return 600_000
}

// databases measures a night, a restore test and the growth of a repository.
func (b *bench) databases(ctx context.Context, e engine) error {
	seed, err := b.newRepository(ctx, "seed")
	if err != nil {
		return err
	}
	if err := b.dumps(ctx, e, seed); err != nil {
		return err
	}
	if err := b.restores(ctx, e, seed); err != nil {
		return err
	}
	return b.growth(ctx, e, seed)
}

// dumps compares a run with the bare pipe: first without facts, which is what a
// command source takes, then with counts of rows, then with digests of all rows.
func (b *bench) dumps(ctx context.Context, e engine, seed repository) error {
	program := fmt.Sprintf("{ type = \"command\", argv = [%s] }", quoted(e.dump))
	sides := []func(int) (cost, error){
		func(int) (cost, error) {
			repo, err := seed.fresh(filepath.Join(b.dir, "bare"))
			if err != nil {
				return cost{}, err
			}
			pipe := repo.command()
			pipe.Argv = []string{"bash", "-c", "set -o pipefail; " + shellLine(e.dump) + " | \"$@\" backup --stdin --stdin-filename dump", "bash", repo.program}
			return counted(repo, 1, func() (cost, error) { return spend(ctx, pipe) })
		},
		b.night(ctx, "program", seed, program),
		b.night(ctx, "counts", seed, e.with("counts")),
		b.night(ctx, "full", seed, e.with("full")),
	}
	borgmatic, err := command.LookPath("borgmatic")
	if err == nil {
		sides = append(sides, b.hook(ctx, borgmatic, e))
	}
	all, err := b.rotate(sides...)
	if err != nil {
		return err
	}
	ratio := func(of, to int) (values []float64) {
		for _, round := range all {
			values = append(values, wallRatio(pair{round[of], round[to]}))
		}
		return values
	}
	b.add("a night without facts, to the bare pipe", "x", atMost(1.03), ratio(1, 0)...)
	b.add("with counts of rows, to without facts", "x", atMost(1.05), ratio(2, 1)...)
	b.add("with digests of all rows, to without facts", "x", atMost(1.6), ratio(3, 1)...)
	b.add("with digests of all rows, to the bare pipe", "x", nil, ratio(3, 0)...)
	if len(sides) > 4 {
		b.add("borgmatic's hook, to the bare pipe", "x", nil, ratio(4, 0)...)
	}
	var bare []float64
	for _, round := range all {
		bare = append(bare, round[0].wall.Seconds())
	}
	b.add("the bare pipe", "s", nil, bare...)
	return nil
}

func (e engine) with(facts string) string { return fmt.Sprintf("{ %s, facts = %q }", e.source, facts) }

// night is a side: the first backup of a site of one job.
func (b *bench) night(ctx context.Context, name string, seed repository, source string) func(int) (cost, error) {
	return func(int) (cost, error) {
		s, err := b.nightSite(ctx, name, seed, source)
		if err != nil {
			return cost{}, err
		}
		unix.Sync()
		return spend(ctx, s.command("backup", "--all"))
	}
}

func (b *bench) nightSite(ctx context.Context, name string, seed repository, source string) (site, error) {
	repo, err := seed.fresh(filepath.Join(b.dir, name+"-repo"))
	if err != nil {
		return site{}, err
	}
	return b.newSite(ctx, name, repo, 4, []job{{"db", source}})
}

// hook is a side: what borgmatic does for a database, by its defaults.
func (b *bench) hook(ctx context.Context, borgmatic string, e engine) func(int) (cost, error) {
	return func(int) (cost, error) {
		dir := filepath.Join(b.dir, "borg")
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "home"), 0o700)); err != nil {
			return cost{}, err
		}
		text := fmt.Sprintf("location:\n    source_directories: [%s]\n    repositories: [%s]\nstorage:\n    encryption_passphrase: not a secret\nhooks:\n%s", filepath.Join(dir, "home"), filepath.Join(dir, "repo"), e.borgmatic)
		config := filepath.Join(dir, "borgmatic.yaml")
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return cost{}, err
		}
		call := func(args ...string) command.Cmd {
			return command.Cmd{
				Argv: append([]string{borgmatic, "--config", config, "--no-color"}, args...),
				Env:  []string{minimalPath, "HOME=" + filepath.Join(dir, "home"), "LC_ALL=C.UTF-8", "PGHOST=" + e.dir}, // as a hostname borgmatic takes no path
			}
		}
		if _, err := command.Run(ctx, call("init", "--encryption", "repokey")); err != nil {
			return cost{}, err
		}
		unix.Sync()
		return spend(ctx, call("create"))
	}
}

// restores compares a restore test with making a server and loading the dump from a
// local file, which proves less: nothing is fetched, and only rows are counted.
func (b *bench) restores(ctx context.Context, e engine, seed repository) error {
	file := filepath.Join(e.dir, "dump")
	if err := b.keep(ctx, e, file); err != nil {
		return err
	}
	for _, facts := range []string{"counts", "full"} {
		s, err := b.nightSite(ctx, facts, seed, e.with(facts))
		if err != nil {
			return err
		}
		if _, err := command.Run(ctx, s.command("backup", "--all")); err != nil {
			return err
		}
		pairs, err := b.warmTurn(func(int) (cost, error) { return spend(ctx, s.command("test", "--all")) },
			func(int) (cost, error) {
				return spend(ctx, asServer(command.Cmd{Argv: []string{"bash", "-ec", e.rebuild, "bash", file}, Env: []string{minimalPath, "HOME=" + e.dir, "LC_ALL=C.UTF-8"}, Dir: e.dir}))
			})
		if err != nil {
			return err
		}
		var g *goal
		if facts == "counts" { // rebuild counts rows and no more
			g = atMost(e.testGoal)
		}
		b.add("a restore test with facts = "+facts+", to loading a local file", "x", g, each(pairs, wallRatio)...)
		if facts == "counts" {
			b.add("loading a local file into a new server", "s", nil, each(pairs, func(p pair) float64 { return p.bare.wall.Seconds() })...)
		}
	}
	return os.Remove(file)
}

// keep writes the dump into a file.
func (b *bench) keep(ctx context.Context, e engine, file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = command.Run(ctx, command.Cmd{Argv: e.dump, Env: []string{minimalPath}, Stdout: f})
	return errors.Join(err, f.Close())
}

// growth says what the next day adds when the newest rows changed.
func (b *bench) growth(ctx context.Context, e engine, seed repository) error {
	s, err := b.nightSite(ctx, "growth", seed, e.with("full"))
	if err != nil {
		return err
	}
	var sizes [3]int64 // before, after the first day, after the second
	for day := range sizes {
		if sizes[day], err = s.repo.bytes(); err != nil {
			return err
		}
		if day == 2 {
			break
		}
		if day == 1 {
			if _, err := command.Run(ctx, command.Cmd{Argv: e.client, Env: []string{minimalPath}, Stdin: strings.NewReader(e.change)}); err != nil {
				return err
			}
		}
		if _, err := command.Run(ctx, s.command("backup", "--all")); err != nil {
			return err
		}
	}
	b.add("the repository's growth when the newest 1 % of rows changed, to day one", "x", atMost(0.12), float64(sizes[2]-sizes[1])/float64(sizes[1]-sizes[0]))
	return nil
}

// rotate runs all sides once a round, beginning with another one each time.
func (b *bench) rotate(sides ...func(round int) (cost, error)) ([][]cost, error) {
	all := make([][]cost, b.rounds)
	for round := range all {
		all[round] = make([]cost, len(sides))
		for i := range sides {
			side := (i + round) % len(sides)
			c, err := sides[side](round)
			if err != nil {
				return nil, fmt.Errorf("round %d, side %d: %w", round+1, side+1, err)
			}
			all[round][side] = c
		}
	}
	return all, nil
}

// newServerFolder makes a folder for a server, near the root so that its socket's
// path is short.
func newServerFolder() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "sb")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o777)
}

// asServer makes a program run as the user of the servers, which must not be root.
func asServer(c command.Cmd) command.Cmd {
	if os.Geteuid() == 0 {
		c.Argv = append([]string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"}, c.Argv...)
	}
	c.Dir = cmp.Or(c.Dir, "/")
	return c
}

func quoted(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, fmt.Sprintf("%q", w))
	}
	return strings.Join(all, ", ")
}

// shellLine spells out a command for a shell.
func shellLine(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(all, " ")
}
