package command

import (
	"context"
	"fmt"
	"sync"
	"time"

	"saoluu/internal/fault"
)

// A Watch calls a function when nothing has happened for a while. Its methods
// may be called from several goroutines; on a nil Watch they do nothing.
type Watch struct {
	mu    sync.Mutex
	limit time.Duration
	fire  func()
	timer *time.Timer
	held  int
	end   func() // releases the context of WithStall; nil without one
}

// WithStall returns a context that ends with fault.TimedOut, naming op, when
// Kick has not been called for limit. A limit of 0 watches nothing. Call Stop
// when the work is done; it ends the context too.
func WithStall(ctx context.Context, limit time.Duration, op string) (context.Context, *Watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &Watch{end: func() { cancel(nil) }}
	w.set(limit, func() { cancel(stalled(limit, op)) })
	return ctx, w
}

func stalled(limit time.Duration, op string) error {
	return fault.New(fault.TimedOut, op, fmt.Errorf("no progress for %s", limit),
		"see what it waits for; a slow source or target may need a longer stall limit")
}

// Kick says that something has happened.
func (w *Watch) Kick() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arm()
}

// Hold stops the clock until Release: the waiting is not the watched one's.
func (w *Watch) Hold() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held++
	if w.timer != nil {
		w.timer.Stop()
	}
}

// Release undoes one Hold and starts the clock again.
func (w *Watch) Release() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held--
	w.arm()
}

// Stop ends the watching.
func (w *Watch) Stop() {
	w.set(0, nil)
	if w.end != nil {
		w.end()
	}
}

// set replaces limit and function, and starts the clock.
func (w *Watch) set(limit time.Duration, fire func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.limit, w.fire = limit, fire
	w.arm()
}

func (w *Watch) arm() {
	switch {
	case w.limit <= 0 || w.held > 0:
	case w.timer == nil:
		w.timer = time.AfterFunc(w.limit, w.fire)
	default:
		w.timer.Reset(w.limit)
	}
}
