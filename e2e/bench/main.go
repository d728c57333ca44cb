// Command bench measures saoluu beside what it stands on: a bare restic, a restic
// that does nothing, a bare SQLite. "make bench" runs it.
//
//	go run ./e2e/bench [--only NAME,…] [--rounds N] [--quick]
//
// What can be a ratio is one: both sides run in turn, on the same data, in the
// same minute, so that a slow or busy machine weighs on both. The table shows the
// median, the span over the rounds, and the goal; a goal missed is a word in the
// table, not an error. The exit status is 1 only when something could not be
// measured.
//
// Everything needed is made below build/bench by generators with fixed seeds,
// and removed. docs/reference/benchmarks.md says what each line means.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// A measurement is one group of lines of the table.
type measurement struct {
	name   string
	what   string
	rounds int // without --rounds
	quick  int // the same with --quick
	run    func(context.Context, *bench) error
}

// measurements are all there are, in the order they are made.
func measurements() []measurement {
	return []measurement{
		{"overhead", "own cost of a job, beside a restic that does nothing", 7, 3, overhead},
		{"small", "20 small jobs with a snapshot each, beside a loop of restic", 5, 2, small},
		{"copy", "a night's runs to a second target, beside restic copying the same snapshots", 5, 2, copies},
		{"second", "20 small jobs with a second target, beside a loop of restic and one restic copy", 5, 2, second},
		{"calls", "how often a job calls restic, and what for", 1, 1, calls},
		{"snapshots", "a job in a repository of 5,000 snapshots, beside an almost empty one", 7, 3, snapshots},
		{"stream", "a stream through the pump, beside restic reading the same command", 5, 2, stream},
		{"first", "first backup of a large tree, beside restic", 5, 1, first},
		{"postgres", "a PostgreSQL database: nights, restore tests and growth, beside its own tools", 5, 1, postgres},
		{"mariadb", "a MariaDB database: the same", 5, 1, mariadb},
		{"image", "a disk in blocks, beside restic reading its used half as a stream", 3, 1, image},
		{"boot", "the restore test of a disk that boots, beside restic and QEMU", 3, 1, boot},
		{"ledger", "an append, beside a bare commit of SQLite", 5, 2, ledger},
		{"daemon", "a daemon of 10,000 jobs", 3, 1, daemon},
		{"catalog", "a catalog of 1,000,000 runs of 1,000 jobs", 7, 3, large},
	}
}

// A bench is one run of this program.
type bench struct {
	root    string // of the source tree
	dir     string // scratch folder of the measurement under way
	rounds  int    // of the measurement under way
	quick   bool
	name    string // of the measurement under way
	figures []figure
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	only := flag.String("only", "", "`NAMES` of measurements, separated by commas")
	rounds := flag.Int("rounds", 0, "how often each is repeated; 0 for its own number")
	quick := flag.Bool("quick", false, "smaller data and fewer rounds: an order of magnitude")
	flag.Usage = usage
	flag.Parse()
	root, err := sourceTree()
	if err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	top := filepath.Join(root, "build", "bench")
	defer os.Remove(top) // each measurement has removed its own folder; another bench may be at work
	b := &bench{root: root, quick: *quick}
	var problems []error
	for _, m := range chosen {
		b.name, b.dir, b.rounds = m.name, filepath.Join(top, m.name), m.rounds
		if *quick {
			b.rounds = m.quick
		}
		if *rounds > 0 {
			b.rounds = *rounds
		}
		if err := b.measure(ctx, m); err != nil {
			problems = append(problems, fmt.Errorf("%s could not be measured: %w", m.name, err))
			fmt.Fprintf(os.Stderr, "bench: %v\n", problems[len(problems)-1])
		}
		if ctx.Err() != nil {
			break
		}
	}
	printTable(os.Stdout, b.figures, machine(*quick))
	return errors.Join(problems...)
}

// measure makes one measurement in a fresh folder.
func (b *bench) measure(ctx context.Context, m measurement) error {
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o711); err != nil { // the user of throwaway servers passes through it
		return err
	}
	b.say("%s", m.what)
	err := m.run(ctx, b)
	return errors.Join(err, os.RemoveAll(b.dir))
}

// say tells on standard error what is being done.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: %s: %s\n", b.name, fmt.Sprintf(format, args...))
}

func usage() {
	fmt.Fprintf(os.Stderr, "usage: go run ./e2e/bench [--only NAME,…] [--rounds N] [--quick]\n\n")
	flag.PrintDefaults()
	fmt.Fprintf(os.Stderr, "\nmeasurements:\n")
	for _, m := range measurements() {
		fmt.Fprintf(os.Stderr, "  %-10s %s\n", m.name, m.what)
	}
}

func choose(only string) ([]measurement, error) {
	if only == "" {
		return measurements(), nil
	}
	var chosen []measurement
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, m := range measurements() {
			if m.name == name {
				chosen, found = append(chosen, m), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no measurement is called %q; see --help", name)
		}
	}
	return chosen, nil
}

// sourceTree finds the folder with go.mod, and in it the two programs.
func sourceTree() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it inside the source tree")
		}
		dir = filepath.Dir(dir)
	}
	for _, program := range []string{"saoluu", "restic"} {
		if _, err := os.Stat(filepath.Join(dir, "bin", program)); err != nil {
			return "", fmt.Errorf("bin/%s is missing: run \"make build\"", program)
		}
	}
	return dir, nil
}
