package restic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// holdGate is a process that enters a gate, says so, and stays.
func holdGate(args []string) int {
	how, _ := strconv.Atoi(args[2])
	if _, err := NewGate(args[0], args[1], 2).enter(context.Background(), "hold", way(how)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("in")
	time.Sleep(time.Hour)
	return 0
}

// startHolder starts such a process and waits until it is in.
func startHolder(t *testing.T, dir, name string, w way) *command.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := command.Start(t.Context(), command.Cmd{Argv: []string{self, "hold-gate", dir, name, strconv.Itoa(int(w))}, Stdout: wr})
	wr.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(time.Millisecond) })
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	return p
}

func mustEnter(t *testing.T, g *Gate, w way) held {
	t.Helper()
	h, err := g.enter(t.Context(), "test", w)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// shut reports whether nobody gets in that way now.
func shut(t *testing.T, g *Gate, w way) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*gatePoll)
	defer cancel()
	h, err := g.enter(ctx, "test", w)
	if err == nil {
		h.release()
		return false
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return true
}

func TestGateWays(t *testing.T) {
	for _, tc := range []struct {
		holders []way
		shut    map[way]bool
	}{
		{nil, map[way]bool{light: false, heavy: false, exclusive: false}},
		{[]way{light}, map[way]bool{light: false, heavy: false, exclusive: true}},
		{[]way{heavy}, map[way]bool{light: false, heavy: false, exclusive: true}},
		{[]way{heavy, heavy}, map[way]bool{light: false, heavy: true, exclusive: true}},
		{[]way{exclusive}, map[way]bool{light: true, heavy: true, exclusive: true}},
	} {
		for _, where := range []string{"same gate", "other gate object", "other process"} {
			t.Run(fmt.Sprint(tc.holders, " ", where), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "locks")
				g := NewGate(dir, "nas", 2)
				asked := g
				var free []held
				for _, w := range tc.holders {
					if where == "other process" {
						startHolder(t, dir, "nas", w)
					} else {
						free = append(free, mustEnter(t, g, w))
					}
				}
				if where == "other gate object" {
					asked = NewGate(dir, "nas", 2)
				}
				for w, want := range tc.shut {
					if got := shut(t, asked, w); got != want {
						t.Errorf("way %d shut: %v, want %v", w, got, want)
					}
				}
				if shut(t, NewGate(dir, "other", 2), exclusive) {
					t.Error("another repository's gate is shut too")
				}
				for _, h := range free {
					h.release()
				}
				if len(free) > 0 && shut(t, asked, exclusive) {
					t.Error("still shut after release")
				}
			})
		}
	}
}

func TestDeadHolderIsForgotten(t *testing.T) {
	dir := t.TempDir()
	p := startHolder(t, dir, "nas", exclusive)
	g := NewGate(dir, "nas", 2)
	if !shut(t, g, light) {
		t.Fatal("the holder does not hold")
	}
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	mustEnter(t, g, exclusive).release()
}

// A stream of backups must not keep a prune out for ever.
func TestExclusiveIsNotStarved(t *testing.T) {
	g := NewGate(t.TempDir(), "nas", 2)
	ctx, stop := context.WithCancel(t.Context())
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for ctx.Err() == nil {
				h, err := g.enter(ctx, "backup", heavy)
				if err != nil {
					return
				}
				time.Sleep(2 * gatePoll)
				h.release()
			}
		})
	}
	time.Sleep(2 * gatePoll)
	for range 3 {
		mustEnter(t, g, exclusive).release() // the test's own time limit is the assertion
	}
	stop()
	users.Wait()
}

func TestNeverTooManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	var inside, most, alone atomic.Int32
	var users sync.WaitGroup
	for i := range 12 {
		g := NewGate(dir, "nas", 3)
		w := heavy
		if i%4 == 0 {
			w = exclusive
		}
		users.Go(func() {
			h, err := g.enter(t.Context(), "x", w)
			if err != nil {
				t.Error(err)
				return
			}
			defer h.release()
			n := inside.Add(1)
			if n > most.Load() {
				most.Store(n)
			}
			if w == exclusive && n != 1 {
				alone.Add(1)
			}
			time.Sleep(gatePoll)
			inside.Add(-1)
		})
	}
	users.Wait()
	if most.Load() > 3 || alone.Load() > 0 {
		t.Errorf("%d at once, %d exclusive ones not alone", most.Load(), alone.Load())
	}
}

func TestOppositeCopiesDoNotDeadlock(t *testing.T) {
	dir := t.TempDir()
	a, b := NewGate(dir, "a", 1), NewGate(dir, "b", 1)
	var users sync.WaitGroup
	for i := range 20 {
		x, y := a, b
		if i%2 == 0 {
			x, y = b, a
		}
		users.Go(func() {
			h, err := enterBoth(t.Context(), "copy", heavy, x, y)
			if err != nil {
				t.Error(err)
				return
			}
			h.release()
		})
	}
	users.Wait()
}

func TestGateErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, nil)
	if _, err := NewGate(file, "nas", 1).enter(t.Context(), "back up", light); err == nil {
		t.Error("a file is no folder")
	}
	cause := fault.New(fault.Refused, "window closed", nil, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	g := NewGate(t.TempDir(), "a/b", 1)
	h := mustEnter(t, g, heavy)
	defer h.release()
	cancel(cause)
	for _, w := range []way{heavy, exclusive} {
		_, err := g.enter(ctx, "back up", w)
		if !errors.Is(err, cause) {
			t.Errorf("way %d: %v", w, err)
		}
	}
}
