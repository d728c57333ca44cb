package catalog

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// JobStates returns the posture of every job the catalog has ever heard of, by
// name. A slot is overdue when it is still open more than grace after its due
// time. It reads kept state and open slots alone, whatever the history's length.
func (c *Catalog) JobStates(ctx context.Context, now time.Time, grace time.Duration) ([]JobState, error) {
	var states []JobState
	index := map[int64]int{}
	err := each(ctx, c.read, `SELECT s.job, n.name, `+jobColumns+` FROM job_state s JOIN names n ON n.id=s.job ORDER BY n.name`, nil, func(rows *sql.Rows) error {
		var id int64
		var j JobState
		err := scanJob(rows, &j, &id, &j.Job)
		index[id] = len(states)
		states = append(states, j)
		return err
	})
	if err == nil {
		err = c.addRuns(ctx, states, index)
	}
	if err != nil {
		return nil, classify("read the state of jobs", err)
	}
	err = c.openSlots(ctx, now.Add(-grace), func(job int64, action string, open openSlots) {
		i, ok := index[job]
		if !ok {
			return
		}
		switch action {
		case ActionBackup:
			states[i].NextDue = open.next
		case ActionTest:
			states[i].NextTestDue = open.next
		default:
			return
		}
		states[i].Overdue += open.overdue
		if open.overdue > 0 && (states[i].OldestOverdue.IsZero() || open.next.Before(states[i].OldestOverdue)) {
			states[i].OldestOverdue = open.next
		}
	})
	return states, classify("read the state of jobs", err)
}

// addRuns adds the run under way and where the newest good one lies.
func (c *Catalog) addRuns(ctx context.Context, states []JobState, index map[int64]int) error {
	err := each(ctx, c.read, `SELECT job, run FROM runs INDEXED BY runs_open WHERE state=0 ORDER BY t, run`, nil, func(rows *sql.Rows) error {
		var job int64
		var run string
		err := rows.Scan(&job, &run)
		if i, ok := index[job]; ok {
			states[i].Running = run
		}
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, c.read, `SELECT s.job, r.copies FROM job_state s JOIN runs r ON r.run=s.last_good_run`, nil, func(rows *sql.Rows) error {
		var job int64
		var text string
		if err := rows.Scan(&job, &text); err != nil {
			return err
		}
		copies, err := unpackCopies(text)
		i, ok := index[job]
		if err != nil || !ok {
			return err
		}
		for _, target := range sortedKeys(copies) {
			if c := copies[target]; c.State == stateComplete && c.Gone == 0 {
				states[i].LastGoodOn = append(states[i].LastGoodOn, target)
			}
		}
		return nil
	})
}

// JobState returns the posture of one job, with only its name when the catalog
// has not heard of it. Running, LastGoodOn, NextDue, NextTestDue and the
// overdue fields are not set.
func (c *Catalog) JobState(ctx context.Context, job string) (JobState, error) {
	j := JobState{Job: job}
	row := c.read.QueryRowContext(ctx, `SELECT `+jobColumns+` FROM job_state s JOIN names n ON n.id=s.job WHERE n.name=?`, job)
	if err := scanJob(row, &j); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return JobState{}, classify("read the state of a job", err)
	}
	return j, nil
}

// TargetStates returns the posture of every target the catalog has ever heard
// of, by name.
func (c *Catalog) TargetStates(ctx context.Context, now time.Time, grace time.Duration) ([]TargetState, error) {
	var states []TargetState
	index := map[int64]int{}
	err := each(ctx, c.read, `SELECT s.target, n.name, `+targetColumns+` FROM target_state s JOIN names n ON n.id=s.target ORDER BY n.name`, nil, func(rows *sql.Rows) error {
		var id int64
		var t TargetState
		err := scanTarget(rows, &t, &id, &t.Target)
		index[id] = len(states)
		states = append(states, t)
		return err
	})
	if err != nil {
		return nil, classify("read the state of targets", err)
	}
	err = c.openSlots(ctx, now.Add(-grace), func(job int64, action string, open openSlots) {
		if i, ok := index[job]; ok && action == ActionUpkeep {
			states[i].NextDue, states[i].Overdue = open.next, open.overdue
		}
	})
	return states, classify("read the state of targets", err)
}

// TargetState returns what is known of one target, with only its name when the
// catalog has not heard of it. NextDue and Overdue are not set.
func (c *Catalog) TargetState(ctx context.Context, target string) (TargetState, error) {
	t := TargetState{Target: target}
	row := c.read.QueryRowContext(ctx, `SELECT `+targetColumns+` FROM target_state s JOIN names n ON n.id=s.target WHERE n.name=?`, target)
	if err := scanTarget(row, &t); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return TargetState{}, classify("read the state of a target", err)
	}
	return t, nil
}

// openSlots are the open slots of one job and action.
type openSlots struct {
	next    time.Time
	overdue int
}

func (c *Catalog) openSlots(ctx context.Context, before time.Time, do func(job int64, action string, open openSlots)) error {
	return each(ctx, c.read, `SELECT job, action, min(due), sum(due<?) FROM slots INDEXED BY slots_open WHERE state=0 GROUP BY job, action`,
		[]any{before.Unix()}, func(rows *sql.Rows) error {
			var job, action, due int64
			var open openSlots
			err := rows.Scan(&job, &action, &due, &open.overdue)
			open.next = instant(due)
			do(job, word(actions(), action), open)
			return err
		})
}
