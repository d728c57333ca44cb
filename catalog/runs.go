package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"
)

// forever is later than any instant a catalog holds.
const forever = math.MaxInt64

// asOfSeconds returns the seconds of asOf, forever for the zero time.
func asOfSeconds(asOf time.Time) int64 {
	if asOf.IsZero() {
		return forever
	}
	return asOf.Unix()
}

const runColumns = `r.run, r.at0, r.seq, r.seq0, r.invalidated, r.pruned, r.held, r.copies`

// Run returns one run, finished or not, or an error that wraps ErrMissing.
func (c *Catalog) Run(ctx context.Context, id string) (Run, error) {
	for r, err := range c.runs(ctx, `r.run=?`, []any{id}, "", forever) {
		return r, err
	}
	return Run{}, fmt.Errorf("run %q: %w", id, ErrMissing)
}

// LastGood returns the newest good run of a job that can still be restored from
// somewhere, or an error that wraps ErrMissing.
func (c *Catalog) LastGood(ctx context.Context, job string) (Run, error) {
	where := `r.job=(SELECT id FROM names WHERE name=?) AND r.good=1 AND r.invalidated=0 AND r.pruned=0`
	for r, err := range c.runs(ctx, where, []any{job}, `ORDER BY r.t DESC, r.run DESC LIMIT 1`, forever) {
		return r, err
	}
	return Run{}, fmt.Errorf("good run of job %q: %w", job, ErrMissing)
}

// Runs yields the runs that q selects. After an error it yields nothing more.
func (c *Catalog) Runs(ctx context.Context, q RunQuery) iter.Seq2[Run, error] {
	var where []string
	var args []any
	add := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	ranged := !q.From.IsZero() || !q.To.IsZero()
	switch {
	case q.Job != "":
		add(`r.job=(SELECT id FROM names WHERE name=?)`, q.Job)
	case ranged:
		add(`r.job IN (SELECT job FROM job_state)`) // lets the range use the index, job by job
	}
	if q.Run != "" {
		add(`r.run=?`, q.Run)
	}
	if !q.From.IsZero() {
		add(`r.t>=?`, ceil(q.From))
	}
	if !q.To.IsZero() {
		add(`r.t<?`, ceil(q.To))
	}
	asOf := asOfSeconds(q.AsOf)
	if q.GoodOnly {
		add(`r.good=1 AND r.at<=? AND (r.invalidated=0 OR r.invalidated>?)`, asOf, asOf)
	} else if asOf != forever {
		add(`((r.at<>0 AND r.at<=?) OR (r.seq0>=0 AND r.at0<=?))`, asOf, asOf)
	}
	if q.NotGood {
		add(`r.good=0 AND r.at<>0`)
	}
	order := `ORDER BY r.t%[1]s, r.run%[1]s`
	if q.Job == "" && !ranged {
		order = `ORDER BY r.run%[1]s` // nearly the same, without sorting the whole history
	}
	direction := ""
	if q.Newest {
		direction = " DESC"
	}
	order = fmt.Sprintf(order, direction)
	if q.Limit > 0 {
		order += fmt.Sprintf(` LIMIT %d`, q.Limit)
	}
	if len(where) == 0 {
		add(`true`)
	}
	return c.runs(ctx, strings.Join(where, ` AND `), args, order, asOf)
}

// ceil returns the first whole second at or after t.
func ceil(t time.Time) int64 { return t.Add(time.Second - time.Nanosecond).Unix() }

// runs yields the runs of a condition as they were known at asOf.
func (c *Catalog) runs(ctx context.Context, where string, args []any, order string, asOf int64) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		const op = "read runs"
		rows, err := c.read.QueryContext(ctx, `SELECT `+runColumns+`, l.entry FROM runs r
			JOIN ledger l ON l.seq = CASE WHEN r.seq>=0 AND (r.at<=? OR r.seq0<0) THEN r.seq ELSE r.seq0 END WHERE `+where+` `+order,
			append([]any{asOf}, args...)...)
		if err != nil {
			yield(Run{}, classify(op, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			r, err := c.scanRun(ctx, rows, asOf)
			if !yield(r, classify(op, err)) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Run{}, classify(op, err))
		}
	}
}

func (c *Catalog) scanRun(ctx context.Context, rows *sql.Rows, asOf int64) (Run, error) {
	var at0, seq, seq0, invalidated, pruned int64
	var id, copies string
	var r Run
	var line []byte
	if err := rows.Scan(&id, &at0, &seq, &seq0, &invalidated, &pruned, &r.Held, &copies, &line); err != nil {
		return Run{}, err
	}
	e, err := Entry{JSON: line}.Decode()
	if err != nil {
		return Run{}, err
	}
	switch e := e.(type) {
	case RunFinished:
		r.RunFinished, r.Seq = e, seq
	case RunStarted:
		r.Seq = seq0
		r.RunFinished = RunFinished{Run: e.Run, Job: e.Job, Due: e.Due, Trigger: e.Trigger, State: RunRunning, StartedAt: instant(at0)}
		return r, nil
	default:
		return Run{}, fmt.Errorf("the entry of run %q is of kind %q", id, e.Kind())
	}
	if invalidated <= asOf {
		r.Invalidated = instant(invalidated)
	}
	if pruned <= asOf {
		r.Pruned = instant(pruned)
	}
	return r, c.amend(ctx, &r, copies, asOf)
}

// amend adds to a run what happened to its copies after it had finished.
func (c *Catalog) amend(ctx context.Context, r *Run, text string, asOf int64) error {
	copies, err := unpackCopies(text)
	if err != nil {
		return err
	}
	var partial []string // a part of them has been deleted, whatever their own events say
	for _, target := range sortedKeys(copies) {
		state := copies[target]
		if asOf == forever && state.State == stateIncomplete && state.Gone == 0 {
			partial = append(partial, target)
		}
		if state.Gone != 0 && state.Gone <= asOf {
			if r.Gone == nil {
				r.Gone = map[string]time.Time{}
			}
			r.Gone[target] = instant(state.Gone)
		}
		if state.Seq == 0 || state.At > asOf {
			continue
		}
		entry, err := c.Entry(ctx, state.Seq)
		if err != nil {
			return err
		}
		e, err := entry.Decode()
		if err != nil {
			return err
		}
		if late, ok := e.(CopyFinished); ok {
			r.replaceCopy(late.Copy)
		}
	}
	for _, target := range partial {
		r.spoilCopy(target)
	}
	return nil
}

// spoilCopy marks a copy that lacks a part.
func (r *Run) spoilCopy(target string) {
	for i := range r.Copies {
		if r.Copies[i].Target == target && r.Copies[i].State == RunComplete {
			r.Copies[i].State = RunIncomplete
		}
	}
}

func (r *Run) replaceCopy(late Copy) {
	for i := range r.Copies {
		if r.Copies[i].Target == late.Target {
			r.Copies[i] = late
			return
		}
	}
	r.Copies = append(r.Copies, late)
}

// LatestSnapshot returns the newest snapshot of a part of a job on a target, ""
// when there is none.
func (c *Catalog) LatestSnapshot(ctx context.Context, job, target, part string) (string, error) {
	const op = "read the latest snapshot"
	rows, err := c.read.QueryContext(ctx, `SELECT r.copies FROM runs r INDEXED BY runs_job WHERE r.job=(SELECT id FROM names WHERE name=?)
		AND instr(r.copies, '"i":')>0 ORDER BY r.t DESC, r.run DESC LIMIT 50`, job)
	if err != nil {
		return "", classify(op, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return "", classify(op, err)
		}
		copies, err := unpackCopies(text)
		if err != nil {
			return "", classify(op, err)
		}
		if c := copies[target]; c.State == stateComplete && c.Snapshots[part] != "" {
			return c.Snapshots[part], nil
		}
	}
	return "", classify(op, rows.Err())
}

// newestLooked bounds how many runs are looked through for a copy, newest first.
const newestLooked = 400

// LatestCopy returns the instant of the data of the newest good run of a job whose
// copy on a target is complete; the zero time when none of its newest runs has one.
func (c *Catalog) LatestCopy(ctx context.Context, job, target string) (time.Time, error) {
	for run, err := range c.Runs(ctx, RunQuery{Job: job, GoodOnly: true, Newest: true, Limit: newestLooked}) {
		if err != nil {
			return time.Time{}, err
		}
		for _, copied := range run.Copies {
			if copied.Target == target && copied.State == RunComplete && run.Gone[target].IsZero() {
				return run.ConsistentAt, nil
			}
		}
	}
	return time.Time{}, nil
}

// SnapshotsOf returns everything the catalog believes to be on a target, by run:
// what a re-read has to find there.
func (c *Catalog) SnapshotsOf(ctx context.Context, target string) ([]SnapshotRow, error) {
	var out []SnapshotRow
	err := each(ctx, c.read, `SELECT r.run, j.name, r.at, r.copies FROM runs r JOIN names j ON j.id=r.job
		WHERE instr(r.copies, '"i":')>0 ORDER BY r.run`, nil, func(rows *sql.Rows) error {
		var run, job, text string
		var at int64
		if err := rows.Scan(&run, &job, &at, &text); err != nil {
			return err
		}
		copies, err := unpackCopies(text)
		if err != nil {
			return err
		}
		c := copies[target]
		if c.At != 0 {
			at = c.At
		}
		for _, part := range sortedKeys(c.Snapshots) {
			out = append(out, SnapshotRow{Run: run, Job: job, Part: part, Snapshot: c.Snapshots[part], State: word(runStates(), c.State), At: instant(at)})
		}
		return nil
	})
	return out, classify(fmt.Sprintf("read the snapshots of target %q", target), err)
}

// Unfinished returns the runs and tests that have started and not finished, in
// the order they began: after a start, those that died.
func (c *Catalog) Unfinished(ctx context.Context) ([]StartedRun, []StartedTest, error) {
	var runs []StartedRun
	var tests []StartedTest
	query := `SELECT l.seq, l.at, l.entry FROM runs r JOIN ledger l ON l.seq=r.seq0 WHERE r.state=0
		UNION ALL SELECT l.seq, l.at, l.entry FROM tests t JOIN ledger l ON l.seq=t.seq0 WHERE t.verdict=0 ORDER BY 1`
	err := each(ctx, c.read, query, nil, func(rows *sql.Rows) error {
		var seq, at int64
		var line []byte
		if err := rows.Scan(&seq, &at, &line); err != nil {
			return err
		}
		e, err := Entry{JSON: line}.Decode()
		switch e := e.(type) {
		case RunStarted:
			runs = append(runs, StartedRun{e, seq, instant(at)})
		case TestStarted:
			tests = append(tests, StartedTest{e, seq, instant(at)})
		}
		return err
	})
	return runs, tests, classify("read unfinished work", err)
}
