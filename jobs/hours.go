package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

// errWindowOver is why work is ended that may go on in a target's next window.
var errWindowOver = errors.New("the target's window is over")

// within returns a context that ends with the window of a target, for upkeep that
// is scheduled: what somebody asks for is done at once. Copies that are owed are
// then made one by one, so that the end of a window loses little.
func (r *Runner) within(ctx context.Context, to *place, t Trigger) (context.Context, context.CancelFunc) {
	window := r.Config.Targets[to.name].Window
	if t.Due == nil || window.IsZero() {
		return ctx, func() {}
	}
	to.oneByOne = true
	now := r.Now()
	open, until := window.Open(now, r.Config.Site.Location)
	if !open {
		until = now
	}
	return context.WithTimeoutCause(ctx, until.Sub(now), errWindowOver)
}

// windowOver reports whether ctx ended because a window did.
func windowOver(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), errWindowOver)
}

// wait remembers what is left for the next window.
func (u *Upkept) wait(what string) {
	u.Waits = strings.TrimPrefix(u.Waits+", "+what, ", ")
}

// unread is the error of an upkeep whose window left no time to read anything.
func (r *Runner) unread(target string) error {
	return fault.New(fault.Unknown, fmt.Sprintf("target %q", target),
		fmt.Errorf("nothing was read back: its window %s was over", r.Config.Targets[target].Window),
		"make the window longer, or reread_every of its classes")
}

// closed is how long a slot has to wait for the window of its target; 0 when it is
// open.
func (r *Runner) closed(s catalog.Slot) time.Duration {
	if s.Action != catalog.ActionUpkeep {
		return 0
	}
	now := r.Now()
	open, until := r.Config.Targets[s.Job].Window.Open(now, r.Config.Site.Location)
	if open {
		return 0
	}
	return until.Sub(now)
}
