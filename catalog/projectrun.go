package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"saoluu/internal/fault"
)

func (p *projection) startRun(ctx context.Context, seq, at int64, e RunStarted) error {
	j, err := p.job(ctx, e.Job)
	if err != nil {
		return err
	}
	n, err := p.next(ctx, &p.nextRun, `SELECT coalesce(max(n),0) FROM runs`)
	if err != nil {
		return err
	}
	r := &runRow{n: n, run: e.Run, job: j.id, state: stateRunning, t: at, at0: at, seq: -1, seq0: seq}
	if !p.bulk {
		if err := p.putRun(ctx, r); err != nil {
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
	r, err := p.run(ctx, e.Run)
	if err != nil {
		return err
	}
	if r == nil {
		n, err := p.next(ctx, &p.nextRun, `SELECT coalesce(max(n),0) FROM runs`)
		if err != nil {
			return err
		}
		r = &runRow{n: n, run: e.Run, job: j.id, seq0: -1}
	}
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
	counts := r.good && r.invalidated == 0
	if r.good {
		r.t = unix(e.ConsistentAt)
	}
	if counts {
		p.noteGood(r)
	}
	if err := p.putRun(ctx, r); err != nil {
		return err
	}
	delete(p.runs, e.Run)
	for _, c := range e.Copies {
		if err := p.putCopy(ctx, r.n, seq, at, c); err != nil {
			return err
		}
		if err := p.noteCopy(ctx, c, e); err != nil {
			return err
		}
	}
	j.finish(e, counts)
	if e.LastAttempt || counts {
		return p.endSlots(ctx, at, e.Job, ActionBackup, e.Run, e.Due, e.Covers, counts)
	}
	return nil
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
		j.LastGoodRun, j.LastGoodAt = e.Run, e.ConsistentAt
	}
}

// noteCopy keeps a target's newest success and what is wrong with it now.
func (p *projection) noteCopy(ctx context.Context, c Copy, e RunFinished) error {
	t, err := p.target(ctx, c.Target)
	if err != nil {
		return err
	}
	t.LastError, t.dirty = c.Error, true
	if c.State == RunComplete && e.FinishedAt.After(t.LastCopyAt) {
		t.LastCopyAt = e.FinishedAt
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
	if err := p.noteCopy(ctx, e.Copy, RunFinished{FinishedAt: e.FinishedAt}); err != nil {
		return err
	}
	return p.putCopy(ctx, r.n, seq, at, e.Copy)
}

// run returns a run's row, nil when there is none.
func (p *projection) run(ctx context.Context, id string) (*runRow, error) {
	if r, ok := p.runs[id]; ok {
		return r, nil
	}
	if err := p.writeBatches(ctx); err != nil {
		return nil, err
	}
	row, err := p.w.row(ctx, `SELECT n, run, job, state, good, t, finished, at, at0, seq, seq0, invalidated, pruned, held FROM runs WHERE run=?`, id)
	if err != nil {
		return nil, err
	}
	r := &runRow{stored: true}
	err = row.Scan(&r.n, &r.run, &r.job, &r.state, &r.good, &r.t, &r.finished, &r.at, &r.at0, &r.seq, &r.seq0, &r.invalidated, &r.pruned, &r.held)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return r, err
}

func (p *projection) putRun(ctx context.Context, r *runRow) error {
	if r.stored {
		if err := p.writeBatches(ctx); err != nil {
			return err
		}
		return p.w.exec(ctx, `UPDATE runs SET state=?, good=?, t=?, finished=?, at=?, seq=?, invalidated=?, pruned=?, held=? WHERE n=?`,
			r.state, r.good, r.t, r.finished, r.at, r.seq, r.invalidated, r.pruned, r.held, r.n)
	}
	err := p.insert(ctx, `INSERT INTO runs(n, run, job, state, good, t, finished, at, at0, seq, seq0, invalidated, pruned, held) VALUES`, `(?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, ``,
		r.n, r.run, r.job, r.state, r.good, r.t, r.finished, r.at, r.at0, r.seq, r.seq0, r.invalidated, r.pruned, r.held)
	if isConstraint(err) {
		return fault.New(fault.Refused, fmt.Sprintf("start run %q", r.run), errors.New("there is such a run already"), "")
	}
	r.stored = true
	return err
}

func (p *projection) putCopy(ctx context.Context, run, seq, at int64, c Copy) error {
	target, err := p.name(ctx, c.Target)
	if err != nil {
		return err
	}
	state, err := number(runStates(), "copy state", c.State)
	if err != nil {
		return err
	}
	return p.insert(ctx, `INSERT OR REPLACE INTO copies(run, target, state, seq, at, pruned, snaps) VALUES`, `(?,?,?,?,?,0,?)`, ``,
		run, target, state, seq, at, packSnapshots(c.Snapshots))
}

// packSnapshots is a small JSON object; "" when there are none.
func packSnapshots(snaps map[string]string) string {
	if len(snaps) == 0 {
		return ""
	}
	text, err := json.Marshal(snaps)
	if err != nil {
		return "" // a map of strings always marshals
	}
	return string(text)
}

func unpackSnapshots(text string) (map[string]string, error) {
	snaps := map[string]string{}
	if text == "" {
		return snaps, nil
	}
	return snaps, json.Unmarshal([]byte(text), &snaps)
}

func (p *projection) applyRetention(ctx context.Context, at int64, e RetentionApplied) error {
	t, err := p.target(ctx, e.Target)
	if err != nil {
		return err
	}
	t.LastError, t.dirty = e.Error, true
	if e.State == RunComplete {
		t.LastPruneAt = instant(at)
	}
	for _, removed := range e.Removed {
		r, err := p.run(ctx, removed.Run)
		if err != nil {
			return err
		}
		if r == nil {
			continue // deleted on the target by a name we never gave
		}
		if err := p.removeCopy(ctx, at, r, t.id, removed.Snapshots); err != nil {
			return err
		}
		left, err := p.copiesLeft(ctx, r)
		if err != nil {
			return err
		}
		if left || r.pruned != 0 {
			continue
		}
		r.pruned = at
		if err := p.spoil(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// lose takes snapshots off a target that a re-read did not find. A run without
// any copy left that way is no good backup any more.
func (p *projection) lose(ctx context.Context, at, target int64, missing []string) error {
	if err := p.writeBatches(ctx); err != nil {
		return err
	}
	rows, err := p.w.conn.QueryContext(ctx, `SELECT r.run, c.snaps FROM copies c JOIN runs r ON r.n=c.run WHERE c.target=? AND c.pruned=0 AND c.snaps<>''`, target)
	if err != nil {
		return err
	}
	hit := map[string]bool{}
	for rows.Next() {
		var run, text string
		if err := rows.Scan(&run, &text); err != nil {
			return errors.Join(err, rows.Close())
		}
		snaps, err := unpackSnapshots(text)
		if err != nil {
			return errors.Join(err, rows.Close())
		}
		for _, id := range snaps {
			if slices.Contains(missing, id) {
				hit[run] = true
			}
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
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
func (p *projection) loseCopy(ctx context.Context, at int64, r *runRow, target int64) error {
	if err := p.removeCopy(ctx, at, r, target, nil); err != nil {
		return err
	}
	left, err := p.copiesLeft(ctx, r)
	if err != nil || left || r.invalidated != 0 {
		return err
	}
	r.invalidated = at
	return p.spoil(ctx, r)
}

// removeCopy takes snapshots off a run's copy, all of them when none is named.
func (p *projection) removeCopy(ctx context.Context, at int64, r *runRow, target int64, ids []string) error {
	row, err := p.w.row(ctx, `SELECT snaps FROM copies WHERE run=? AND target=?`, r.n, target)
	if err != nil {
		return err
	}
	var text string
	if err := row.Scan(&text); errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return err
	}
	snaps, err := unpackSnapshots(text)
	if err != nil {
		return err
	}
	for part, id := range snaps {
		if len(ids) == 0 || slices.Contains(ids, id) {
			delete(snaps, part)
		}
	}
	pruned := at
	if len(snaps) > 0 {
		// A copy without one of its parts restores nothing whole, but what is
		// left of it still has to be known to be deleted one day.
		return p.w.exec(ctx, `UPDATE copies SET state=?, snaps=? WHERE run=? AND target=?`, stateIncomplete, packSnapshots(snaps), r.n, target)
	}
	return p.w.exec(ctx, `UPDATE copies SET pruned=?, snaps='' WHERE run=? AND target=?`, pruned, r.n, target)
}

// copiesLeft reports whether a run can still be restored from somewhere; for a
// run that never was good, whether anything of it is still stored.
func (p *projection) copiesLeft(ctx context.Context, r *runRow) (bool, error) {
	row, err := p.w.row(ctx, `SELECT count(*) FROM copies WHERE run=? AND pruned=0 AND snaps<>'' AND (state=1 OR ?=0)`, r.n, r.good)
	if err != nil {
		return false, err
	}
	var n int64
	err = row.Scan(&n)
	return n > 0, err
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
