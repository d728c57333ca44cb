package jobs

import (
	"context"
	"slices"
	"sync"
	"time"

	"saoluu/catalog"
	"saoluu/config"
)

const (
	// copyBatch bounds how many runs are copied by one run of restic, so that a copy
	// that is cut off loses little of what was written to the catalog.
	copyBatch = 50
	// copyGather is how long a run that has its first copy waits for the runs that
	// are still at theirs: of a night of small jobs, some come every second.
	copyGather = 5 * time.Second
	// copyPatience is how long a run waits for the copy that is under way before the
	// runs that wait are copied beside it: one that takes hours keeps nobody waiting.
	copyPatience = time.Minute
	// copyByItself is from how many added bytes on a run is copied by itself. Calling
	// restic costs about a second, which it then hardly notices; and others need not
	// wait for it.
	copyByItself = 64 << 20
)

// Resting is how many runs, whose data are on their first target, may wait for
// their copies to the others without taking the place of another run.
const Resting = copyBatch

// A copier makes the copies between two targets for all runs of the process. What
// is asked of it while it copies, or while others are about to ask, goes together in
// its next call of restic, which costs the same for many as for one. The zero value
// is ready.
type copier struct {
	mu       sync.Mutex
	expected int      // runs that are about to ask
	next     []*batch // not begun, oldest first
	current  *batch   // the one that the next wait for; nil when none
}

// copyAsked is one run to be copied.
type copyAsked struct {
	job  string
	have catalog.Copy
}

// copyFunc copies runs by one call of restic and returns the ids in the destination.
type copyFunc func(context.Context, []copyAsked) (map[string]string, error)

// A batch is what one call of restic copies.
type batch struct {
	config *config.Config
	asked  []*copyAsked // those that left before it was begun are not among them
	here   int          // how many runs still wait for it
	ripe   bool         // waits no longer for those that are expected
	timer  *time.Timer  // makes it ripe
	copy   func() (map[string]string, error)
	cancel context.CancelCauseFunc // of copy
	done   chan struct{}           // closed when made and err are set
	made   map[string]string
	err    error
}

// expect says that a run is about to ask, by copy, or not to after all, by dismiss.
func (c *copier) expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected++
}

// dismiss says that a run that was expected does not ask.
func (c *copier) dismiss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected--
	c.begin()
}

// copy has a run that was expected copied, together with all others that wait, by one
// call of do for all of them. It returns the ids in the destination and how many went together.
// Runs of another configuration are never among them. When ctx ends, the others'
// copies go on; do is ended when nobody waits for it any more.
func (c *copier) copy(ctx context.Context, conf *config.Config, asked copyAsked, do copyFunc) (made map[string]string, together int, err error) {
	b := c.join(ctx, conf, &asked, do)
	select {
	case <-b.done:
	case <-ctx.Done():
		if !c.leave(b, &asked, context.Cause(ctx)) {
			return nil, 1, context.Cause(ctx)
		}
		<-b.done // restic is ended in order before its run is
	}
	return b.made, len(b.asked), b.err
}

// join puts a run into the newest batch that has not begun, or into a new one, and
// begins the oldest when nothing is under way.
func (c *copier) join(ctx context.Context, conf *config.Config, asked *copyAsked, do copyFunc) *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b *batch
	if n := len(c.next); n > 0 && c.next[n-1].config == conf && len(c.next[n-1].asked) < copyBatch {
		b = c.next[n-1]
	} else {
		b = newBatch(ctx, conf, do)
		b.timer = time.AfterFunc(copyGather, func() { c.ripen(b) })
		c.next = append(c.next, b)
	}
	b.asked, b.here = append(b.asked, asked), b.here+1
	c.expected--
	c.begin()
	return b
}

// newBatch returns an empty batch. It does not end with ctx, which is that of the
// run that came first: it is everybody's.
func newBatch(ctx context.Context, conf *config.Config, do copyFunc) *batch {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	b := &batch{config: conf, cancel: cancel, done: make(chan struct{})}
	b.copy = func() (map[string]string, error) {
		var all []copyAsked
		for _, asked := range b.asked {
			all = append(all, *asked)
		}
		return do(ctx, all)
	}
	return b
}

// ripen lets a batch begin without those that are expected.
func (c *copier) ripen(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.ripe = true
	c.begin()
}

// begin starts the oldest batch when none is under way, unless others are expected
// to join it. c.mu is held.
func (c *copier) begin() {
	if c.current != nil || len(c.next) == 0 {
		return
	}
	b := c.next[0]
	if c.expected > 0 && !b.ripe && len(b.asked) < copyBatch && len(c.next) == 1 {
		return
	}
	c.current, c.next = b, c.next[1:]
	b.timer.Stop()
	late := time.AfterFunc(copyPatience, func() { c.over(b) })
	go func() {
		b.made, b.err = b.copy()
		late.Stop()
		b.cancel(nil)
		close(b.done)
		c.over(b)
	}()
}

// over lets those go that wait for b.
func (c *copier) over(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == b {
		c.current = nil
		c.begin()
	}
}

// leave takes a run that waits no longer out of its batch, which ends for why when
// it was the last one; then leave reports true.
func (c *copier) leave(b *batch, asked *copyAsked, why error) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.here--
	if i := slices.Index(c.next, b); i >= 0 {
		b.asked = slices.DeleteFunc(b.asked, func(other *copyAsked) bool { return other == asked })
		if b.here == 0 {
			c.next = slices.Delete(c.next, i, i+1)
			b.timer.Stop()
			b.err = why
			close(b.done)
		}
	}
	if b.here == 0 {
		b.cancel(why)
	}
	return b.here == 0
}
