package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/gofrs/flock"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

// maxInterrupted is how often a slot is taken up again after its run was cut
// off, on top of its retries: a job that brings the machine down must not do so
// at every start.
const maxInterrupted = 3

// Recover puts right what a process left when it died: its runs and tests are
// closed as interrupted, its scratch folders and sandboxes removed, the stale
// locks of its dead restic cleared, and its deletions written down as far as they
// came. What living processes do is left alone, so
// it may be called at any time; two callers wait for each other.
func (r *Runner) Recover(ctx context.Context) (interrupted int, err error) {
	turn := flock.New(StatePath(r.Config, "locks", "recover"))
	if err := turn.Lock(); err != nil {
		return 0, fault.New(fault.Failed, "look for interrupted runs", err, "check paths.state")
	}
	defer func() { err = errors.Join(err, turn.Unlock()) }()
	events, err := r.interruptions(ctx)
	if err != nil {
		return 0, err
	}
	if len(events) > 0 {
		if _, err := r.Catalog.Append(ctx, events...); err != nil {
			return 0, err
		}
	}
	_, collected := r.tester().Collect(ctx)
	problems := []error{collected}
	// What says that somebody died goes last: this process may die here too.
	if n, err := r.cutOff(); n > 0 || err != nil {
		problems = append(problems, err, r.clearLocks(ctx), r.settleAll(ctx))
	}
	return len(events), errors.Join(append(problems, r.sweep(ctx))...)
}

// interruptions returns the ends of runs and tests whose process is gone. A run is
// let go after its end was written, so what is unfinished still after its process
// was found gone was cut off.
func (r *Runner) interruptions(ctx context.Context) ([]catalog.Event, error) {
	runs, tests, err := r.Catalog.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	for _, id := range unfinishedIDs(runs, tests) {
		busy, err := r.alive(id)
		if err != nil {
			return nil, err
		}
		gone[id] = !busy
	}
	runs, tests, err = r.Catalog.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	var events []catalog.Event
	for _, s := range runs {
		if gone[s.Run] {
			events = append(events, r.interruptedRun(s))
		}
	}
	for _, s := range tests {
		if gone[s.Test] {
			events = append(events, r.interruptedTest(s))
		}
	}
	return events, nil
}

func unfinishedIDs(runs []catalog.StartedRun, tests []catalog.StartedTest) []string {
	var ids []string
	for _, s := range runs {
		ids = append(ids, s.Run)
	}
	for _, s := range tests {
		ids = append(ids, s.Test)
	}
	return ids
}

func (r *Runner) interruptedTest(s catalog.StartedTest) catalog.TestFinished {
	return catalog.TestFinished{
		Test: s.Test, Job: s.Job, Run: s.Run, Target: s.Target, Trigger: s.Trigger, Source: r.Config.Jobs[s.Job].Source.Type,
		StartedAt: s.At, FinishedAt: r.Now().UTC(), Verdict: catalog.VerdictUnknown, Host: r.Host,
		Error: "the process was ended while it ran", ErrorKind: string(fault.Cancelled),
	}
}

// interruptedRun is the end of a run whose process died. Its slot stays open for
// another try, unless tries have been cut off again and again.
func (r *Runner) interruptedRun(s catalog.StartedRun) catalog.RunFinished {
	job := r.Config.Jobs[s.Job]
	last := s.Due == nil || s.Attempt >= job.Retries+1+maxInterrupted
	return catalog.RunFinished{
		Run: s.Run, Job: s.Job, Class: job.Class, Category: job.Category, Due: s.Due, Trigger: s.Trigger,
		LastAttempt: last, State: catalog.RunInterrupted, StartedAt: s.At, FinishedAt: r.Now().UTC(),
		Error: "the process was ended while it ran", ErrorKind: string(fault.Cancelled),
		Hint:   "nothing needs doing: the next run catches up",
		Engine: catalog.Tool{Name: "restic", Version: r.Engine.Version, SHA256: r.Engine.SHA256},
	}
}

// clearWait bounds how long a start waits to be alone with a repository. Upkeep
// clears what is left then.
const clearWait = 30 * time.Second

// clearLocks removes stale locks from every target that is there.
func (r *Runner) clearLocks(ctx context.Context) error {
	var problems []error
	for name := range r.Config.Targets {
		p, err := r.place(ctx, name)
		if err == nil {
			err = p.target.Ready(ctx)
		}
		if err != nil {
			continue // a target that is away is told by its jobs; upkeep clears it when it is back
		}
		limit, cancel := context.WithTimeout(ctx, clearWait)
		err = r.clearLock(limit, p, "a process that used it was cut off")
		cancel()
		if limit.Err() == nil || ctx.Err() != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// clearLock removes a target's stale locks by plain "unlock", which leaves locks
// of living processes and of other hosts alone. Our own children are gone: the
// kernel killed them with their parent. But restic takes a process for living
// until somebody has reaped it, so what is left is looked at again for a while.
func (r *Runner) clearLock(ctx context.Context, p place, why string) error {
	removed := 0
	for try := range reapTries {
		n, left, err := r.Engine.Unlock(ctx, p.target.Repo())
		removed += n
		if err != nil {
			return err
		}
		if left == 0 || try == reapTries-1 {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(reapPause):
		}
	}
	if removed == 0 {
		return nil
	}
	_, err := r.Catalog.Append(ctx, catalog.LockRemoved{Target: p.name, Why: why})
	return err
}

// How often, and after which pause, a lock that is left is looked at again: the
// first process of a container may take seconds to reap the dead.
const (
	reapTries = 4
	reapPause = time.Second
)
