package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-co-op/gocron/v2"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
)

// Intervals of the daemon's own work.
const (
	tickEvery    = time.Second      // due slots are looked for
	planEvery    = 10 * time.Minute // slots are made ahead
	recoverEvery = time.Minute      // runs cut off in other processes are closed
	beatEvery    = time.Hour        // the ledger says somebody was watching
	mediaEvery   = 5 * time.Second  // media that are plugged in or pulled out are looked for
	retryFirst   = time.Minute      // wait before the second attempt; doubles after that
)

// A Daemon runs the schedule of one site until its context ends. gocron fires;
// slots decide: what is due is read from the catalog, so a restart, a clock that
// jumps or a tick that comes twice can neither lose nor repeat a run.
type Daemon struct {
	Runner *Runner
	Notify func(state string)             // sd_notify; never nil
	Load   func() (*config.Config, error) // reads the configuration again
	Reload <-chan os.Signal               // asks for it
	Boot   string                         // kernel boot id

	mu     sync.Mutex // of Runner and runsBy, once Run has begun
	runsBy string     // digest of the inventory of Runner's configuration
	queue  *queue
	wg     sync.WaitGroup         // work under way
	stale  chan struct{}          // somebody else has recorded another inventory
	drives atomic.Pointer[string] // as last seen; nil: look in any case
}

// Run runs the schedule. It returns nil when ctx was ended in order, after what
// was under way has been stopped and written down.
func (d *Daemon) Run(ctx context.Context) error {
	d.queue, d.stale = newQueue(Workers(d.Runner.Config)), make(chan struct{}, 1)
	switch err := d.start(ctx); {
	case ctx.Err() != nil:
		return nil // told to stop before it had begun
	case err != nil:
		return err
	}
	scheduler, err := d.schedule(ctx)
	if err != nil {
		return err
	}
	scheduler.Start()
	d.Notify("READY=1")
	debug.FreeOSMemory() // what the start needed is several times what the daemon keeps
	for {
		select {
		case <-d.Reload:
			d.reload(ctx)
			debug.FreeOSMemory()
			continue
		case <-d.stale:
			d.runner().Log.Warn().Msg("a command has put another configuration into force: reading it again")
			d.reload(ctx)
			continue
		case <-ctx.Done():
		}
		break
	}
	d.Notify("STOPPING=1")
	err = scheduler.Shutdown()
	d.wg.Wait()
	_, written := d.Runner.Catalog.Append(context.WithoutCancel(ctx), catalog.DaemonStopped{Reason: context.Cause(ctx).Error()})
	return errors.Join(err, written)
}

// start puts the past in order and makes the first slots.
func (d *Daemon) start(ctx context.Context) error {
	r := d.Runner
	interrupted, err := r.Recover(ctx)
	if err != nil {
		r.Log.Error().Err(err).Str("hint", fault.HintOf(err)).Msg("tidy up after the last process")
	}
	if interrupted > 0 {
		r.Log.Warn().Int("interrupted", interrupted).Msg("closed what the last process left unfinished")
	}
	r.Clock.Look()
	if _, err := r.Catalog.Append(ctx, catalog.DaemonStarted{Version: r.Version, Host: r.Host, Boot: d.Boot}); err != nil {
		return err
	}
	if err := r.SetInventory(ctx); err != nil {
		return err
	}
	d.runsBy = inventory(r.Config).ConfigSHA256
	return r.Plan(ctx)
}

// schedule lets gocron call the daemon's own work.
func (d *Daemon) schedule(ctx context.Context) (gocron.Scheduler, error) {
	scheduler, err := gocron.NewScheduler(gocron.WithLocation(d.Runner.Config.Site.Location))
	if err != nil {
		return nil, err
	}
	for _, w := range []struct {
		name  string
		every time.Duration
		do    func(context.Context) error
	}{
		{"tick", tickEvery, d.tick},
		{"plan", planEvery, func(ctx context.Context) error { return d.runner().Plan(ctx) }},
		{"recover", recoverEvery, d.recover},
		{"beat", beatEvery, d.beat},
		{"look for media", mediaEvery, d.lookForMedia},
	} {
		task := gocron.NewTask(func() { d.report(w.name, w.do(ctx)) })
		_, err := scheduler.NewJob(gocron.DurationJob(w.every), task, gocron.WithName(w.name), gocron.WithSingletonMode(gocron.LimitModeReschedule))
		if err != nil {
			return nil, err
		}
	}
	return scheduler, nil
}

func (d *Daemon) report(name string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		d.runner().Log.Error().Err(err).Str("hint", fault.HintOf(err)).Msg(name)
	}
}

// runner returns the runner of the configuration in force.
func (d *Daemon) runner() *Runner {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Runner
}

func (d *Daemon) recover(ctx context.Context) error {
	_, err := d.runner().Recover(ctx)
	return err
}

func (d *Daemon) beat(ctx context.Context) error {
	_, err := d.runner().Catalog.Append(ctx, catalog.Beat{})
	return err
}

// tick starts what is due and tells systemd that the schedule is being watched.
func (d *Daemon) tick(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	r := d.runner()
	if jumps := r.Clock.Jumps(); len(jumps) > 0 {
		for _, j := range jumps {
			r.Log.Warn().Time("expected", j.Before).Time("found", j.After).Msg("the clock jumped")
			if _, err := r.Catalog.Append(ctx, catalog.ClockJumped{Before: j.Before.UTC(), After: j.After.UTC()}); err != nil {
				return err
			}
		}
		if err := r.Plan(ctx); err != nil {
			return err
		}
		d.queue.reset(Workers(r.Config))
	}
	if now := r.Now(); d.queue.hungry(now) {
		due, err := r.Catalog.DueSlots(ctx, now, 0)
		if err != nil {
			return err
		}
		if agrees, err := d.agrees(ctx, r, len(due)); err != nil || !agrees {
			return err
		}
		d.queue.offer(now, gather(due), len(due))
	}
	d.dispatch(ctx)
	d.Notify(fmt.Sprintf("WATCHDOG=1\nSTATUS=%s", d.queue.status()))
	return nil
}

// agrees reports whether the inventory in force is that of the daemon's own
// configuration, before slots of it are taken up. It is not when a command that
// was run beside the daemon found a changed configuration; then the daemon reads
// it too. One that it cannot take is tried once, and what is due goes on.
func (d *Daemon) agrees(ctx context.Context, r *Runner, due int) (bool, error) {
	if due == 0 {
		return true, nil
	}
	inForce, err := r.Catalog.InventoryDigest(ctx, r.Now())
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if inForce == d.runsBy || inForce == "" {
		return true, nil
	}
	d.runsBy = inForce
	select {
	case d.stale <- struct{}{}:
	default:
	}
	return false, nil
}

// dispatch starts due work while places are free; each piece that ends does so
// again. At most as many as the targets can take are under way at once.
func (d *Daemon) dispatch(ctx context.Context) {
	r := d.runner()
	for ctx.Err() == nil {
		w, ok := d.queue.take(r.Now())
		if !ok {
			return
		}
		d.wg.Go(func() {
			var until time.Time
			if wait := d.do(ctx, r, w); wait > 0 {
				until = r.Now().Add(wait)
			}
			d.queue.done(w, until)
			d.dispatch(ctx)
		})
	}
}

// do runs one piece of work and returns how long to wait before it is looked at
// again; 0 when its slot is closed.
func (d *Daemon) do(ctx context.Context, r *Runner, w work) time.Duration {
	due, err := r.stillDue(ctx, w.slot)
	if err != nil {
		d.report("look at a due slot", err)
		return retryFirst
	}
	if !due {
		return 0
	}
	if !known(r.Config, w.slot) {
		d.report("do what is due", fault.New(fault.Usage, fmt.Sprintf("%s of %q", w.slot.Action, w.slot.Job),
			errors.New("it is not in the configuration that the daemon has"), "reload the daemon with a configuration that can be read"))
		return retryFirst
	}
	if wait := r.closed(w.slot); wait > 0 {
		return wait
	}
	t := Trigger{Due: &w.slot.Due, Covers: w.covers, Word: catalog.TriggerSchedule, Attempt: 1, LastAttempt: true}
	if r.Now().Sub(w.slot.Due) > lateAfter {
		t.Word = catalog.TriggerCatchUp
	}
	var open bool
	var said outcome
	switch w.slot.Action {
	case catalog.ActionBackup:
		said, open, err = d.backup(ctx, r, w, t)
	case catalog.ActionTest:
		var fin TestDone
		fin, err = r.Test(ctx, r.Config.Jobs[w.slot.Job], Pick{}, t)
		said = outcome{{"test", fin.Test}, {"run", fin.Run}, {"verdict", fin.Verdict}}
	case catalog.ActionUpkeep:
		var done Upkept
		done, err = r.Upkeep(ctx, w.slot.Job, t)
		d.drives.Store(nil) // a medium may have gone and come meanwhile
		said = outcome{{"state", done.State}, {"did", done.String()}}
	}
	log := r.Log.Info()
	if err != nil {
		log = r.Log.Error().Err(err).Str("kind", string(fault.KindOf(err))).Str("hint", fault.HintOf(err))
	}
	log = log.Str("job", w.slot.Job).Str("action", w.slot.Action).Time("due", w.slot.Due)
	for _, field := range said {
		log = log.Str(field[0], field[1])
	}
	log.Msg("finished")
	return d.pause(ctx, r, w, open)
}

// pause is how long a piece of work that was done waits before it is looked at
// again. A run that could not be written down is no attempt, and its slot is still
// open although nobody meant it to be: the state folder is full.
func (d *Daemon) pause(ctx context.Context, r *Runner, w work, open bool) time.Duration {
	if open {
		return retryFirst << max(0, min(d.attempts(ctx, r, w)-1, 5))
	}
	if still, err := r.stillDue(ctx, w.slot); err == nil && !still {
		return 0
	}
	return retryFirst
}

// known reports whether a configuration has the job or target of a slot.
func known(c *config.Config, s catalog.Slot) bool {
	_, job := c.Jobs[s.Job]
	_, target := c.Targets[s.Job]
	return job && s.Action != catalog.ActionUpkeep || target && s.Action == catalog.ActionUpkeep
}

// An outcome is what the log says of a finished piece of work: keys and values.
type outcome [][2]string

// lateAfter is when a scheduled run is called a catch-up.
const lateAfter = 5 * time.Minute

// backup makes one attempt at a backup slot and reports whether the slot is
// still open for another.
func (d *Daemon) backup(ctx context.Context, r *Runner, w work, t Trigger) (said outcome, open bool, err error) {
	job := r.Config.Jobs[w.slot.Job]
	t.Attempt = d.attempts(ctx, r, w) + 1
	t.LastAttempt = t.Attempt > job.Retries
	saved := r.Save(ctx, job, t)
	if saved.CopiesOn() && d.queue.rest(w) {
		d.dispatch(ctx)
	}
	fin, err := saved.Finish(ctx)
	return outcome{{"run", fin.Run}, {"state", fin.State}}, fin.State != catalog.RunComplete && !fin.LastAttempt, err
}

// attempts counts the runs that were made for a slot.
func (d *Daemon) attempts(ctx context.Context, r *Runner, w work) int {
	n := 0
	for run, err := range r.Catalog.Runs(ctx, catalog.RunQuery{Job: w.slot.Job, Newest: true, Limit: maxAttempts}) {
		if err != nil {
			d.report("count attempts", err)
			return max(n, 1)
		}
		if run.Due != nil && run.Due.Equal(w.slot.Due) {
			n++
		}
	}
	return n
}

// maxAttempts is more than a slot can have: ten retries by configuration, and
// those that were cut off.
const maxAttempts = 10 + 1 + maxInterrupted

// reload takes a changed configuration, or keeps the last good one and says so.
func (d *Daemon) reload(ctx context.Context) {
	d.Notify("RELOADING=1")
	defer d.Notify("READY=1")
	r := d.runner()
	next, err := d.Load()
	if err == nil && next.Paths != r.Config.Paths {
		err = fault.New(fault.Usage, "reload", errors.New("paths cannot change while the daemon runs"), "restart the daemon")
	}
	if err != nil {
		r.Log.Error().Err(err).Msg("the changed configuration is not taken; the last good one stays in force")
		first, _, _ := strings.Cut(err.Error(), "\n")
		_, written := r.Catalog.Append(ctx, catalog.ConfigRefused{Problems: strings.Count(err.Error(), "\n") + 1, First: first})
		d.report("record the refused configuration", written)
		return
	}
	changed := *r
	changed.Config = next
	if err := changed.SetInventory(ctx); err != nil {
		d.report("reload", err)
		return
	}
	d.mu.Lock()
	d.Runner, d.runsBy = &changed, inventory(next).ConfigSHA256
	d.mu.Unlock()
	d.queue.reset(Workers(next))
	d.report("reload", changed.Plan(ctx))
	r.Log.Info().Msg("configuration reloaded")
}

// Workers is how many pieces of work may run at once: as many as the most
// willing target takes.
func Workers(c *config.Config) int {
	most := 1
	for _, t := range c.Targets {
		most = max(most, t.Parallel)
	}
	return most
}
