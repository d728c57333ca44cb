package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"saoluu/internal/fault"
)

func (p *projection) startRun(ctx context.Context, seq, at int64, e RunStarted) error {
	j, err := p.job(ctx, e.Job)
	if err != nil {
		return err
	}
	r := &runRow{run: e.Run, job: j.id, state: stateRunning, t: at, at0: at, seq: -1, seq0: seq}
	if !p.bulk {
		switch err := p.putRun(ctx, r); {
		case isConstraint(err):
			return fault.New(fault.Refused, fmt.Sprintf("start run %q", e.Run), errors.New("there is such a run already"), "")
		case err != nil:
			return err
		}
	}
	p.runs[e.Run] = r
	return nil
}

func (p *projection) finishRun(ctx context.Context, seq, at int64, e RunFinished) error {
	j, err := p.job(ctx, e.Job)
	if err != nil {
		return err
	}
	r, ok := p.runs[e.Run]
	if !ok {
		r = &runRow{run: e.Run, job: j.id, seq0: -1}
		if p.bulk { // otherwise the row itself shows whether there is one already
			if r, err = p.runOr(ctx, r); err != nil {
				return err
			}
		}
	}
	err = p.endRun(ctx, seq, at, r, e)
	if isConstraint(err) && !ok {
		if r, err = p.runOr(ctx, r); err == nil {
			err = p.endRun(ctx, seq, at, r, e)
		}
	}
	if err != nil {
		return err
	}
	delete(p.runs, e.Run)
	for _, c := range e.Copies {
		if err := p.noteCopy(ctx, c, e.FinishedAt); err != nil {
			return err
		}
	}
	counts := r.good && r.invalidated == 0
	j.finish(e, counts)
	if counts {
		p.noteGood(r)
	}
	if e.LastAttempt || counts {
		return p.endSlots(ctx, at, e.Job, ActionBackup, e.Run, e.Due, e.Covers, counts)
	}
	return nil
}

// endRun writes the row of a run that ended.
func (p *projection) endRun(ctx context.Context, seq, at int64, r *runRow, e RunFinished) (err error) {
	// A run that was closed as interrupted may prove to have lived on in another
	// process; any other end is final.
	if r.state != stateRunning && word(runStates(), r.state) != RunInterrupted {
		return fault.New(fault.Refused, fmt.Sprintf("finish run %q", e.Run), errors.New("it has finished already"), "")
	}
	if r.state, err = number(runStates(), "run state", e.State); err != nil {
		return err
	}
	r.good = e.State == RunComplete && slices.ContainsFunc(e.Copies, func(c Copy) bool { return c.State == RunComplete })
	r.t, r.finished, r.at, r.seq = unix(e.StartedAt), unix(e.FinishedAt), at, seq
	r.pruned = 0 // what was deleted of it before is not what it ended with
	if r.good {
		r.t = unix(e.ConsistentAt)
	}
	for _, c := range e.Copies {
		if err := r.setCopy(c, 0, 0); err != nil {
			return err
		}
	}
	return p.putRun(ctx, r)
}

// finish brings a job's posture up to date with a run that ended.
func (j *jobRow) finish(e RunFinished, good bool) {
	j.dirty = true
	j.LastRun, j.LastState, j.LastFinished, j.LastError = e.Run, e.State, e.FinishedAt, e.Error
	if !good {
		if j.Failures == 0 {
			j.FailingSince = e.FinishedAt
		}
		j.Failures++
		return
	}
	j.Failures, j.FailingSince = 0, instant(0)
	if !e.ConsistentAt.Before(j.LastGoodAt) {
		j.LastGoodRun, j.LastGoodAt, j.LastUnread = e.Run, e.ConsistentAt, 0
		if e.Facts != nil {
			j.LastUnread = e.Facts.Unread
		}
	}
}

// noteCopy keeps a target's newest success and what is wrong with it now.
func (p *projection) noteCopy(ctx context.Context, c Copy, finished time.Time) error {
	t, err := p.target(ctx, c.Target)
	if err != nil {
		return err
	}
	t.LastError, t.dirty = c.Error, true
	if c.State == RunComplete && finished.After(t.LastCopyAt) {
		t.LastCopyAt = finished
	}
	return nil
}

func (p *projection) finishCopy(ctx context.Context, seq, at int64, e CopyFinished) error {
	r, err := p.run(ctx, e.Run)
	if err != nil {
		return err
	}
	if r == nil || r.state == stateRunning {
		return fault.New(fault.Refused, fmt.Sprintf("copy run %q", e.Run), errors.New("there is no such run that has finished"), "")
	}
	if err := p.noteCopy(ctx, e.Copy, e.FinishedAt); err != nil {
		return err
	}
	if err := r.setCopy(e.Copy, seq, at); err != nil {
		return err
	}
	return p.putRun(ctx, r)
}

func (p *projection) applyRetention(ctx context.Context, seq, at int64, e RetentionApplied) error {
	t, err := p.target(ctx, e.Target)
	if err != nil {
		return err
	}
	t.LastError, t.dirty = e.Error, true
	if err := p.mark(ctx, kindRetention, e.Target, seq, at); err != nil {
		return err
	}
	for _, removed := range e.Removed {
		r, err := p.run(ctx, removed.Run)
		if err != nil {
			return err
		}
		if r == nil {
			continue // deleted on the target by a name we never gave
		}
		r.removeCopy(at, e.Target, removed.Snapshots)
		if r.left() || r.pruned != 0 {
			err = p.putRun(ctx, r)
		} else {
			r.pruned = at
			err = p.spoil(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// prune keeps when a target's space was freed last.
func (p *projection) prune(ctx context.Context, seq, at int64, e RepositoryPruned) error {
	t, err := p.target(ctx, e.Target)
	if err != nil {
		return err
	}
	t.LastError, t.dirty = e.Error, true
	if e.State != RunComplete {
		return nil
	}
	t.LastPruneAt = instant(at)
	return p.mark(ctx, kindPruned, e.Target, seq, at)
}

// lose takes snapshots off a target that a re-read did not find.
func (p *projection) lose(ctx context.Context, at int64, target string, missing []string) error {
	if err := p.writeBatches(ctx); err != nil {
		return err
	}
	hit := map[string]bool{}
	err := each(ctx, p.w.conn, `SELECT run, copies FROM runs WHERE instr(copies, '"i":')>0`, nil, func(rows *sql.Rows) error {
		var run, text string
		if err := rows.Scan(&run, &text); err != nil {
			return err
		}
		copies, err := unpackCopies(text)
		if err != nil {
			return err
		}
		for _, id := range copies[target].Snapshots {
			if slices.Contains(missing, id) {
				hit[run] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, run := range sortedKeys(hit) {
		r, err := p.run(ctx, run)
		if err != nil {
			return err
		}
		if err := p.loseCopy(ctx, at, r, target); err != nil {
			return err
		}
	}
	return nil
}

// loseCopy takes a run's copy off a target: one part missing or damaged spoils
// it all. A run without any copy left that way is no good backup any more.
func (p *projection) loseCopy(ctx context.Context, at int64, r *runRow, target string) error {
	r.removeCopy(at, target, nil)
	if r.left() || r.invalidated != 0 {
		return p.putRun(ctx, r)
	}
	r.invalidated = at
	return p.spoil(ctx, r)
}

// spoil writes a run that was invalidated or pruned and lets the job's newest
// good run fall back if it was this one.
func (p *projection) spoil(ctx context.Context, r *runRow) error {
	if err := p.putRun(ctx, r); err != nil {
		return err
	}
	var job string
	row, err := p.w.row(ctx, `SELECT name FROM names WHERE id=?`, r.job)
	if err == nil {
		err = row.Scan(&job)
	}
	if err != nil {
		return err
	}
	p.dropGood(r)
	j, err := p.job(ctx, job)
	if err != nil || j.LastGoodRun != r.run {
		return err
	}
	var t int64
	j.LastGoodRun, t, err = p.newestGood(ctx, r.job)
	j.LastGoodAt, j.dirty = instant(t), true
	return err
}

func (p *projection) hold(ctx context.Context, e HoldSet) error {
	r, err := p.run(ctx, e.Run)
	if err != nil {
		return err
	}
	if r == nil {
		return fault.New(fault.Usage, fmt.Sprintf("hold run %q", e.Run), ErrMissing, `run "saoluu catalog list" to see the runs`)
	}
	r.held = e.Held
	if p.bulk && !r.stored {
		return nil // still running; written when it ends
	}
	return p.putRun(ctx, r)
}
