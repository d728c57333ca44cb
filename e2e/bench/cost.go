package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
)

// A cost is what programs took, with all they started and waited for.
type cost struct {
	wall time.Duration
	cpu  time.Duration // user and system
}

func (c cost) minus(d cost) cost { return cost{c.wall - d.wall, c.cpu - d.cpu} }

// milliseconds per n.
func per(d time.Duration, n int) float64 { return float64(d) / float64(n) / float64(time.Millisecond) }

// timed measures what do takes. Programs started by others in this process
// meanwhile would count too: measure one thing at a time.
func timed(do func() error) (cost, error) {
	before := children()
	begin := time.Now()
	err := do()
	return cost{time.Since(begin), children() - before}, err
}

// spend runs one program and measures it.
func spend(ctx context.Context, c command.Cmd) (cost, error) {
	return timed(func() error {
		_, err := command.Run(ctx, c)
		return err
	})
}

// children is the processor time of all programs that have ended.
func children() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u); err != nil {
		return 0 // documented to fail only for a wrong argument (getrusage(2))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A pair is one round of two sides.
type pair struct{ ours, bare cost }

// inTurn runs both sides once a round, each first every other round.
func (b *bench) inTurn(ours, bare func(round int) (cost, error)) ([]pair, error) {
	var pairs []pair
	for i := range b.rounds {
		var p pair
		var err error
		first, second := func() { p.ours, err = ours(i) }, func() { p.bare, err = bare(i) }
		if i%2 == 1 {
			first, second = second, first
		}
		if first(); err == nil {
			second()
		}
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// each turns pairs into figures.
func each(pairs []pair, f func(p pair) float64) []float64 {
	var values []float64
	for _, p := range pairs {
		values = append(values, f(p))
	}
	return values
}

// wallRatio and cpuRatio are ours over bare.
func wallRatio(p pair) float64 { return float64(p.ours.wall) / float64(p.bare.wall) }
func cpuRatio(p pair) float64  { return float64(p.ours.cpu) / float64(p.bare.cpu) }
