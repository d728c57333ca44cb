package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// A Saved is a run under way whose source has been read, well or badly. What is
// left of it are its copies to the other targets and its end: call Finish once.
type Saved struct {
	r       *Runner
	job     config.Job
	fin     catalog.RunFinished
	err     error // of saving
	source  sources.Source
	from    place         // holds the first copy
	others  []place       // should hold one each
	until   time.Time     // the end of the run's total time
	mark    time.Duration // of the clock, when the run began
	release func()        // of the run's lock; nil when the run could not be begun
}

// Save begins a run of a job and saves its source on the first target that is
// ready. The catalog gains a started event before anything else happens; without it
// there is no run. Whatever happens is told by Finish.
func (r *Runner) Save(ctx context.Context, job config.Job, t Trigger) *Saved {
	start, mark := r.Now(), r.Clock.Mark()
	s := &Saved{r: r, job: job, mark: mark, fin: catalog.RunFinished{
		Run: newID(start), Job: job.Name, Class: job.Class, Category: job.Category,
		Due: t.Due, Covers: t.Covers, LastAttempt: t.LastAttempt, Trigger: t.Word,
		State: catalog.RunFailed, StartedAt: start.UTC(),
		Engine: catalog.Tool{Name: "restic", Version: r.Engine.Version, SHA256: r.Engine.SHA256},
	}}
	release, err := r.enliven(s.fin.Run)
	if err != nil {
		s.err = err
		return s
	}
	_, err = r.Catalog.Append(ctx, catalog.RunStarted{
		Run: s.fin.Run, Job: job.Name, Due: t.Due, Trigger: t.Word, Attempt: t.Attempt,
	})
	if err != nil {
		s.err = err
		release()
		return s
	}
	s.release, s.err = release, s.save(ctx)
	if s.err != nil {
		for _, to := range s.others {
			r.Shared.copier(s.from.name, to.name).dismiss()
		}
	}
	return s
}

// save is the backup line up to the first copy: it fills s.fin as far as it gets.
func (s *Saved) save(ctx context.Context) (err error) {
	r, job, fin := s.r, s.job, &s.fin
	limit := r.Config.Engine.TotalTimeout.Std()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, overTime(job.Name, limit))
	defer cancel()
	s.until, _ = ctx.Deadline()
	if err = r.classified(job); err != nil {
		return err
	}
	if s.source, err = r.source(job); err != nil {
		return err
	}
	if s.from, s.others, err = r.firstReady(ctx, job); err != nil {
		return err
	}
	for _, to := range s.others {
		r.Shared.copier(s.from.name, to.name).expect()
	}
	dir, clean, err := r.scratch(fin.Run)
	if err != nil {
		return fault.New(fault.Failed, "make a scratch folder", err, "check paths.scratch")
	}
	payload, err := s.source.Prepare(ctx, dir)
	// What cannot be taken away is named by the folder, for the next start.
	tidy := func(left error) error {
		if left == nil || sources.CleanUp(context.WithoutCancel(ctx), dir) == nil {
			left = errors.Join(left, clean())
		}
		return left
	}
	if err != nil {
		return tidy(err)
	}
	fin.ConsistentAt, fin.Consistency = payload.At.UTC(), payload.Consistency
	err = r.store(ctx, job, fin, s.from, payload)
	err = errors.Join(err, tidy(payload.Release()))
	if len(fin.Copies) == 0 {
		return err
	}
	r.measure(ctx, s.source, s.from, &fin.Copies[0])
	return err
}

// CopiesOn reports whether Finish copies to other targets, and so may wait for
// other runs to do so together with them.
func (s *Saved) CopiesOn() bool { return s.err == nil && len(s.others) > 0 }

// Finish copies a run on and writes its finished event into the catalog, however it
// ended. The returned error is the one in the event, or names the copies that are
// owed; nil only when the run is complete with all its copies.
func (s *Saved) Finish(ctx context.Context) (catalog.RunFinished, error) {
	if s.release == nil {
		return s.fin, s.err
	}
	defer s.release()
	if s.CopiesOn() {
		s.copyOn(ctx)
	}
	r, err := s.r, s.err
	s.fin.FinishedAt = r.Now().UTC()
	s.fin.ClockSuspect = r.Clock.JumpedSince(s.mark)
	r.conclude(ctx, s.job, &s.fin, err)
	if err == nil {
		err = owed(s.fin)
	}
	events := []catalog.Event{s.fin}
	smaller, looked := r.shrank(context.WithoutCancel(ctx), s.fin)
	if smaller != nil {
		events = append(events, *smaller)
		r.Log.Warn().Str("job", s.job.Name).Str("run", s.fin.Run).Int64("bytes", smaller.Bytes).Int64("bytes_before", smaller.BytesBefore).
			Int64("files", smaller.Files).Int64("files_before", smaller.FilesBefore).Str("lacks", strings.Join(smaller.Lacks, " ")).Msg("far less was saved than before, or a part of it is gone")
	}
	changed, compared := r.configChanged(context.WithoutCancel(ctx), s.job, s.fin)
	if changed != nil {
		events = append(events, *changed)
		r.Log.Info().Str("job", s.job.Name).Str("run", s.fin.Run).Int("added", changed.Added).Int("removed", changed.Removed).Int("changed", changed.Changed).
			Str("unknown", changed.Unknown).Msg("the configuration is another than before")
	}
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), events...)
	return s.fin, errors.Join(err, looked, compared, written)
}

// copyOn fills the run's other targets from the first. A copy that fails leaves
// a debt in the run, which is told as loudly as a backup that fails and is paid
// by upkeep.
func (s *Saved) copyOn(ctx context.Context) {
	r := s.r
	ctx, cancel := context.WithDeadlineCause(ctx, s.until, overTime(s.job.Name, r.Config.Engine.TotalTimeout.Std()))
	defer cancel()
	for _, to := range s.others {
		copied, err := r.copyTogether(ctx, s.job.Name, s.fin.Copies[0], s.from, to)
		if err == nil {
			r.measure(ctx, s.source, to, &copied)
		}
		s.fin.Copies = append(s.fin.Copies, copied)
	}
}

// overTime is the cause given to a context whose job ran too long.
func overTime(job string, limit time.Duration) error {
	return fault.New(fault.TimedOut, fmt.Sprintf("job %q", job), fmt.Errorf("over its total time limit of %s; ended", limit),
		"find out what hung, or raise engine.total_timeout")
}

// conclude writes an error and what it means into a run's result. A run that
// was told to stop leaves its slot open, so that the next start catches up.
func (r *Runner) conclude(ctx context.Context, job config.Job, fin *catalog.RunFinished, err error) {
	if err == nil {
		fin.State = catalog.RunComplete
		return
	}
	fin.Error, fin.ErrorKind, fin.Hint = r.public(job, err), string(fault.KindOf(err)), r.hidePaths(job, fault.HintOf(err))
	switch {
	case ctx.Err() != nil && fault.KindOf(context.Cause(ctx)) == fault.Cancelled:
		fin.State, fin.LastAttempt = catalog.RunInterrupted, fin.Trigger == catalog.TriggerManual
	case fault.KindOf(err) == fault.Incomplete:
		fin.State = catalog.RunIncomplete
	default:
		fin.State = catalog.RunFailed
		fin.LastAttempt = fin.LastAttempt || !slices.Contains(passing, fault.KindOf(err))
	}
}

// passing are the kinds of failure that may go away by themselves; the others
// are not tried again inside their slot.
var passing = []fault.Kind{fault.Failed, fault.Absent, fault.Locked, fault.TimedOut, fault.NoSpace, fault.Unknown}
