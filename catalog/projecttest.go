package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"saoluu/internal/fault"
)

func (p *projection) startTest(ctx context.Context, seq int64, e TestStarted) error {
	job, err := p.name(ctx, e.Job)
	if err != nil {
		return err
	}
	source, err := p.name(ctx, "")
	if err != nil {
		return err
	}
	n, err := p.next(ctx, &p.nextTest, `SELECT coalesce(max(n),0) FROM tests`)
	if err != nil {
		return err
	}
	err = p.w.exec(ctx, `INSERT INTO tests(n, test, job, run, source, verdict, finished, at, seq, seq0, consistent, blamed) VALUES(?,?,?,?,?,0,0,0,-1,?,0,0)`,
		n, e.Test, job, e.Run, source, seq)
	if isConstraint(err) {
		return fault.New(fault.Refused, fmt.Sprintf("start test %q", e.Test), errors.New("there is such a test already"), "")
	}
	return err
}

func (p *projection) finishTest(ctx context.Context, seq, at int64, e TestFinished) error {
	if err := p.putTest(ctx, seq, at, e); err != nil {
		return err
	}
	j, err := p.job(ctx, e.Job)
	if err != nil {
		return err
	}
	j.LastTest, j.LastVerdict, j.LastLevel, j.LastTestAt, j.dirty = e.Test, e.Verdict, e.Level, e.FinishedAt, true
	j.LastUncompared = uncompared(e)
	if e.Verdict == VerdictPassed && !e.FinishedAt.Before(j.LastPassedAt) {
		j.LastPassedAt, j.LastPassedRun = e.FinishedAt, e.Run
	}
	if e.Verdict == VerdictFailed {
		if err := p.fault(ctx, at, e); err != nil {
			return err
		}
	}
	return p.endSlots(ctx, at, e.Job, ActionTest, e.Test, e.Due, e.Covers, e.Verdict == VerdictPassed)
}

// AssertionUncompared is what a restore test says of the tables that it could not compare
// for want of facts: how many of how many.
const AssertionUncompared = "tables not compared"

// uncompared returns how many those are; 0 when it does not say.
func uncompared(e TestFinished) int {
	for _, a := range e.Assertions {
		if a.Name == AssertionUncompared {
			first, _, _ := strings.Cut(a.Actual, " ")
			n, _ := strconv.Atoi(first)
			return n
		}
	}
	return 0
}

// fault takes what a failed test proved bad out of the good.
func (p *projection) fault(ctx context.Context, at int64, e TestFinished) error {
	switch e.Blames {
	case BlamesNothing:
		return nil
	case BlamesCopy:
	default:
		return p.invalidate(ctx, at, e.Run)
	}
	r, err := p.run(ctx, e.Run)
	if err != nil || r == nil {
		return err
	}
	return p.loseCopy(ctx, at, r, e.Target)
}

func (p *projection) invalidate(ctx context.Context, at int64, run string) error {
	r, err := p.run(ctx, run)
	if err != nil || r == nil || r.invalidated != 0 {
		return err
	}
	r.invalidated = at
	return p.spoil(ctx, r)
}

func (p *projection) putTest(ctx context.Context, seq, at int64, e TestFinished) error {
	job, err := p.name(ctx, e.Job)
	if err != nil {
		return err
	}
	source, err := p.name(ctx, e.Source)
	if err != nil {
		return err
	}
	verdict, err := number(verdicts(), "verdict", e.Verdict)
	if err != nil {
		return err
	}
	blamed, err := p.blamed(ctx, e)
	if err != nil {
		return err
	}
	row, err := p.w.row(ctx, `SELECT n, verdict FROM tests WHERE test=?`, e.Test)
	if err != nil {
		return err
	}
	var n, was int64
	switch err := row.Scan(&n, &was); {
	case errors.Is(err, sql.ErrNoRows):
		if n, err = p.next(ctx, &p.nextTest, `SELECT coalesce(max(n),0) FROM tests`); err != nil {
			return err
		}
		return p.w.exec(ctx, `INSERT INTO tests(n, test, job, run, source, verdict, finished, at, seq, seq0, consistent, blamed) VALUES(?,?,?,?,?,?,?,?,?,-1,?,?)`,
			n, e.Test, job, e.Run, source, verdict, unix(e.FinishedAt), at, seq, unix(e.ConsistentAt), blamed)
	case err != nil:
		return err
	}
	// As with runs: a test closed as unknown after a crash may end after all.
	if was != verdictRunning && word(verdicts(), was) != VerdictUnknown {
		return fault.New(fault.Refused, fmt.Sprintf("finish test %q", e.Test), errors.New("it has finished already"), "")
	}
	return p.w.exec(ctx, `UPDATE tests SET run=?, source=?, verdict=?, finished=?, at=?, seq=?, consistent=?, blamed=? WHERE n=?`,
		e.Run, source, verdict, unix(e.FinishedAt), at, seq, unix(e.ConsistentAt), blamed, n)
}

// blamed returns the number of the target whose copy a test proved damaged.
func (p *projection) blamed(ctx context.Context, e TestFinished) (int64, error) {
	if e.Verdict != VerdictFailed || e.Blames != BlamesCopy {
		return 0, nil
	}
	return p.name(ctx, e.Target)
}
