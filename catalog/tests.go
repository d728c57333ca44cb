package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Tests yields the finished restore tests that q selects, in the order they
// finished. After an error it yields nothing more.
func (c *Catalog) Tests(ctx context.Context, q TestQuery) iter.Seq2[Test, error] {
	where, args := []string{`t.verdict<>0`}, []any{}
	add := func(condition string, value any) {
		where, args = append(where, condition), append(args, value)
	}
	if q.Job != "" {
		add(`t.job=(SELECT id FROM names WHERE name=?)`, q.Job)
	}
	if q.Run != "" {
		add(`t.run=?`, q.Run)
	}
	if q.Source != "" {
		add(`t.source=(SELECT id FROM names WHERE name=?)`, q.Source)
	}
	if q.Verdict != "" {
		// Not a parameter: SQLite prepares a query again for the value of one that
		// the condition of an index depends on.
		where = append(where, fmt.Sprintf(`t.verdict=%d`, slices.Index(verdicts(), q.Verdict)))
	}
	if !q.From.IsZero() {
		add(`t.finished>=?`, ceil(q.From))
	}
	if !q.To.IsZero() {
		add(`t.finished<?`, ceil(q.To))
	}
	if !q.AsOf.IsZero() {
		add(`t.at<=?`, q.AsOf.Unix())
	}
	direction := ""
	if q.Newest {
		direction = " DESC"
	}
	order := fmt.Sprintf(` ORDER BY t.finished%[1]s, t.n%[1]s`, direction)
	if q.Limit > 0 {
		order += fmt.Sprintf(` LIMIT %d`, q.Limit)
	}
	query := `SELECT t.seq, l.entry FROM tests t JOIN ledger l ON l.seq=t.seq WHERE ` + strings.Join(where, ` AND `) + order
	return decoded(ctx, c, "read restore tests", query, args, func(e TestFinished, seq, _ int64) Test { return Test{e, seq} })
}

// FailedTests returns the restore tests that failed within [from, to), as known
// at asOf, in the order they finished. It reads kept state alone. What Answered
// means by a newer backup is later data, and between those of the same instant, or
// of none, the later run.
func (c *Catalog) FailedTests(ctx context.Context, from, to, asOf time.Time) ([]FailedTest, error) {
	var failed []FailedTest
	err := each(ctx, c.read, `SELECT f.test, j.name, f.run, f.consistent, f.finished, coalesce(b.name,''),
			EXISTS (SELECT 1 FROM tests p INDEXED BY tests_job WHERE p.job=f.job AND p.verdict=1 AND p.finished>=f.finished AND p.finished<?2 AND p.at<=?3
				AND CASE WHEN p.consistent<>0 AND f.consistent<>0 AND p.consistent<>f.consistent THEN p.consistent>f.consistent ELSE p.run>=f.run END)
		FROM tests f INDEXED BY tests_failed JOIN names j ON j.id=f.job LEFT JOIN names b ON b.id=f.blamed
		WHERE f.verdict=2 AND f.finished>=?1 AND f.finished<?2 AND f.at<=?3 ORDER BY f.finished, f.n`,
		[]any{ceil(from), ceil(to), asOfSeconds(asOf)}, func(rows *sql.Rows) error {
			var t FailedTest
			var consistent, finished int64
			err := rows.Scan(&t.Test, &t.Job, &t.Run, &consistent, &finished, &t.Blamed, &t.Answered)
			t.ConsistentAt, t.FinishedAt = instant(consistent), instant(finished)
			failed = append(failed, t)
			return err
		})
	return failed, classify("read the failed restore tests", err)
}

// Checks returns the finished re-reads of a target, oldest first, as known at asOf.
func (c *Catalog) Checks(ctx context.Context, target string, asOf time.Time) ([]Check, error) {
	query, args := marked(kindCheck, asOf)
	query += ` AND m.subject=(SELECT id FROM names WHERE name=?) ORDER BY m.seq`
	return collect(decoded(ctx, c, fmt.Sprintf("read the re-reads of target %q", target), query, append(args, target),
		func(e CheckFinished, seq, at int64) Check { return Check{e, seq, instant(at)} }))
}

// Coverage returns what the re-reads of a target that were written between two
// instants have shown. First is when the first of all was written.
func (c *Catalog) Coverage(ctx context.Context, target string, from, asOf time.Time) (Coverage, error) {
	op := fmt.Sprintf("read the re-reads of target %q", target)
	query, args := marked(kindCheck, asOf)
	query += ` AND m.subject=(SELECT id FROM names WHERE name=?) AND m.at>=? ORDER BY m.seq`
	checks, err := collect(decoded(ctx, c, op, query, append(args, target, ceil(from)),
		func(e CheckFinished, seq, at int64) Check { return Check{e, seq, instant(at)} }))
	if err != nil {
		return Coverage{}, err
	}
	covered := Covered(checks)
	err = each(ctx, c.read, `SELECT m.at FROM marks m WHERE m.kind=? AND m.at<=? AND m.subject=(SELECT id FROM names WHERE name=?) ORDER BY m.seq LIMIT 1`,
		[]any{kindCheck, asOfSeconds(asOf), target}, func(rows *sql.Rows) error {
			var at int64
			err := rows.Scan(&at)
			covered.First = instant(at)
			return err
		})
	return covered, classify(op, err)
}

// Anchors returns the checkpoints put on targets, oldest first, as known at asOf.
func (c *Catalog) Anchors(ctx context.Context, asOf time.Time) ([]Anchor, error) {
	query, args := marked(kindAnchor, asOf)
	return collect(decoded(ctx, c, "read anchored checkpoints", query+` ORDER BY m.seq`, args,
		func(e CheckpointAnchored, seq, at int64) Anchor { return Anchor{e, seq, instant(at)} }))
}

// Compared returns the newest comparison of the tables with the ledger, as known
// at asOf. It is read from the ledger alone: a table that somebody changed must
// not hide that it was found.
func (c *Catalog) Compared(ctx context.Context, asOf time.Time) (Comparison, error) {
	found, err := collect(decoded(ctx, c, "read the newest comparison with the ledger",
		`SELECT seq, entry FROM ledger WHERE kind=? AND kind>=16 AND at<=? ORDER BY seq DESC LIMIT 1`, []any{kindCompared, asOfSeconds(asOf)},
		func(e CatalogCompared, seq, at int64) Comparison { return Comparison{e, seq, instant(at)} }))
	if err != nil || len(found) == 0 {
		return Comparison{}, err
	}
	return found[0], nil
}

// Controls returns the newest negative control of each kind of source, as known
// at asOf.
func (c *Catalog) Controls(ctx context.Context, asOf time.Time) (map[string]Control, error) {
	return newestBy(ctx, c, "read negative controls", kindControl, asOf,
		func(e ControlFinished, _, at int64) Control { return Control{e, instant(at)} }, func(row Control) string { return row.Source })
}

// Shrunk returns, by job, the newest good run that saved far less than those
// before it, as known at asOf.
func (c *Catalog) Shrunk(ctx context.Context, asOf time.Time) (map[string]RunShrank, error) {
	return newestBy(ctx, c, "read the runs that shrank", kindShrank, asOf,
		func(e RunShrank, _, _ int64) RunShrank { return e }, func(e RunShrank) string { return e.Job })
}

// A ChallengeRow is the newest attempt to delete from a target.
type ChallengeRow struct {
	DeletionChallenged
	Seq int64
	At  time.Time // of the entry
}

// Challenges returns, by target, the newest attempt to delete what must not be
// deletable, as known at asOf.
func (c *Catalog) Challenges(ctx context.Context, asOf time.Time) (map[string]ChallengeRow, error) {
	return newestBy(ctx, c, "read attempts to delete", kindChallenge, asOf,
		func(e DeletionChallenged, seq, at int64) ChallengeRow { return ChallengeRow{e, seq, instant(at)} },
		func(row ChallengeRow) string { return row.Target })
}

// Renewals returns, by target, the newest renewal of locks, as known at asOf.
func (c *Catalog) Renewals(ctx context.Context, asOf time.Time) (map[string]LocksRenewed, error) {
	return newestBy(ctx, c, "read renewed locks", kindRenewal, asOf,
		func(e LocksRenewed, _, _ int64) LocksRenewed { return e }, func(e LocksRenewed) string { return e.Target })
}

// newestBy reads the newest entry of a rare kind of each subject.
func newestBy[E Event, R any](ctx context.Context, c *Catalog, op string, kind int, asOf time.Time, row func(e E, seq, at int64) R, subject func(R) string) (map[string]R, error) {
	query, args := newestMarked(kind, asOf)
	list, err := collect(decoded(ctx, c, op, query, args, row))
	newest := make(map[string]R, len(list))
	for _, one := range list {
		newest[subject(one)] = one
	}
	return newest, err
}

// newestMarked is the query of the newest entry of a rare kind of each subject.
func newestMarked(kind int, asOf time.Time) (string, []any) {
	query, args := marked(kind, asOf)
	return query + ` AND m.seq=(SELECT max(seq) FROM marks x WHERE x.kind=m.kind AND x.subject=m.subject AND x.at<=?) ORDER BY m.seq`,
		append(args, asOfSeconds(asOf))
}

// marked is the query of the entries of a rare kind that have a subject.
func marked(kind int, asOf time.Time) (string, []any) {
	return `SELECT m.seq, l.entry FROM marks m JOIN ledger l ON l.seq=m.seq WHERE m.kind=? AND m.at<=?`, []any{kind, asOfSeconds(asOf)}
}

// decoded yields the events of a query for seq and entry, each as a row.
func decoded[E Event, R any](ctx context.Context, c *Catalog, op, query string, args []any, row func(e E, seq, at int64) R) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var none R
		rows, err := c.read.QueryContext(ctx, query, args...)
		if err != nil {
			yield(none, classify(op, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			r, err := decodeRow(rows, row)
			if !yield(r, classify(op, err)) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, classify(op, err))
		}
	}
}

func decodeRow[E Event, R any](rows *sql.Rows, row func(e E, seq, at int64) R) (R, error) {
	var none R
	var seq int64
	var line []byte
	if err := rows.Scan(&seq, &line); err != nil {
		return none, err
	}
	entry, err := entryOf(line)
	if err != nil {
		return none, err
	}
	e, err := entry.Decode()
	if err != nil {
		return none, err
	}
	typed, ok := e.(E)
	if !ok {
		return none, fmt.Errorf("entry %d is of kind %q", seq, entry.Kind)
	}
	return row(typed, seq, unix(entry.At)), nil
}

func collect[R any](rows iter.Seq2[R, error]) ([]R, error) {
	var list []R
	for r, err := range rows {
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}
