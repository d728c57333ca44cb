package jobs

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"saoluu/internal/fault"
)

// A stallWatch ends a context when a job's counters have not moved for too
// long. restic prints status lines even while it waits for a dump that hangs,
// so silence is not the sign to look for.
type stallWatch struct {
	count atomic.Int64
	done  context.CancelFunc
}

// watchStall returns a context that ends with fault.TimedOut when moved is not
// called with a new value for limit. Call stop exactly once.
func watchStall(ctx context.Context, limit time.Duration, job string) (context.Context, *stallWatch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &stallWatch{done: func() { cancel(nil) }}
	go w.run(ctx, cancel, limit, job)
	return ctx, w
}

func (w *stallWatch) moved(count int64) { w.count.Store(count) }

func (w *stallWatch) stop() { w.done() }

func (w *stallWatch) run(ctx context.Context, cancel context.CancelCauseFunc, limit time.Duration, job string) {
	ticker := time.NewTicker(limit)
	defer ticker.Stop()
	last := w.count.Load() - 1
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := w.count.Load()
		if now == last {
			cancel(fault.New(fault.TimedOut, fmt.Sprintf("job %q", job),
				fmt.Errorf("nothing moved for %s; ended", limit), "find out what hung, or raise engine.stall_timeout"))
			return
		}
		last = now
	}
}
