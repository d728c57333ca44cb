package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// creditWithin is how long after the instant a backup stands for it may finish
// and still count for that instant's month.
const creditWithin = 24 * time.Hour

// Months returns what every month from the one of from up to the last that
// begins before to looked like for every job at asOf: by job, then by month.
// Months of a job without any run are left out.
func (c *Catalog) Months(ctx context.Context, from, to, asOf time.Time) ([]Month, error) {
	starts := c.monthStarts(from, to)
	if len(starts) < 2 {
		return nil, nil
	}
	var ranges []string
	for i := range starts[1:] {
		ranges = append(ranges, fmt.Sprintf("(%d,%d,%d)", i, starts[i].Unix(), starts[i+1].Unix()))
	}
	// One pass a month counts all three at once, 20 bits each: sorting the runs
	// of a year into groups would cost several times as much.
	const inMonth = ` FROM runs r INDEXED BY runs_job WHERE r.job=s.job AND r.t>=m.a AND r.t<m.b AND r.at BETWEEN 1 AND ?1`
	const good = ` AND r.good=1 AND (r.invalidated=0 OR r.invalidated>?1) AND r.finished<=r.t+?2`
	query := `WITH m(i, a, b) AS (VALUES ` + strings.Join(ranges, ",") + `)
		SELECT n.name, m.i,
			(SELECT sum(CASE WHEN r.good=0 THEN 1<<20 WHEN r.invalidated<>0 AND r.invalidated<=?1 THEN 1<<40 ELSE r.finished<=r.t+?2 END)` + inMonth + `) AS counts,
			coalesce((SELECT r.t` + inMonth + good + ` ORDER BY r.t LIMIT 1),0), coalesce((SELECT r.t` + inMonth + good + ` ORDER BY r.t DESC LIMIT 1),0)
		FROM job_state s JOIN names n ON n.id=s.job CROSS JOIN m WHERE counts IS NOT NULL ORDER BY n.name, m.i`
	var months []Month
	err := each(ctx, c.read.DB, query, []any{asOfSeconds(asOf), int64(creditWithin / time.Second)}, func(rows *sql.Rows) error {
		var m Month
		var i, counts, first, last int64
		err := rows.Scan(&m.Job, &i, &counts, &first, &last)
		const mask = 1<<20 - 1
		m.Good, m.Bad, m.Voided = int(counts&mask), int(counts>>20&mask), int(counts>>40)
		m.Start, m.First, m.Last = starts[i], instant(first), instant(last)
		months = append(months, m)
		return err
	})
	return months, classify("read months", err)
}

// GoodSpans returns the first and the last good run of every job in [from, to) as
// known at asOf, by the rule by which Months counts them. Jobs without any are
// left out.
func (c *Catalog) GoodSpans(ctx context.Context, from, to, asOf time.Time) ([]Span, error) {
	const good = `(SELECT r.t FROM runs r INDEXED BY runs_job WHERE r.job=s.job AND r.t>=?1 AND r.t<?2 AND r.good=1
		AND r.at BETWEEN 1 AND ?3 AND (r.invalidated=0 OR r.invalidated>?3) AND r.finished<=r.t+?4 ORDER BY r.t`
	var spans []Span
	err := each(ctx, c.read, `SELECT n.name, `+good+` LIMIT 1) AS first, `+good+` DESC LIMIT 1) FROM job_state s JOIN names n ON n.id=s.job
		WHERE first IS NOT NULL ORDER BY n.name`,
		[]any{ceil(from), ceil(to), asOfSeconds(asOf), int64(creditWithin / time.Second)}, func(rows *sql.Rows) error {
			var s Span
			var first, last int64
			err := rows.Scan(&s.Job, &first, &last)
			s.First, s.Last = instant(first), instant(last)
			spans = append(spans, s)
			return err
		})
	return spans, classify("read the first and last good runs", err)
}

// monthStarts returns the first instants of the months from the one of from on,
// the last one being the first at or after to.
func (c *Catalog) monthStarts(from, to time.Time) []time.Time {
	local := from.In(c.options.Location)
	start := time.Date(local.Year(), local.Month(), 1, 0, 0, 0, 0, c.options.Location)
	starts := []time.Time{start}
	for start.Before(to) {
		start = time.Date(start.Year(), start.Month()+1, 1, 0, 0, 0, 0, c.options.Location)
		starts = append(starts, start)
	}
	return starts
}

// GoodTimes returns the consistent_at of a job's good runs in [from, to), rising,
// as known at asOf: what gaps are measured between.
func (c *Catalog) GoodTimes(ctx context.Context, job string, from, to, asOf time.Time) ([]time.Time, error) {
	var times []time.Time
	err := each(ctx, c.read, `SELECT r.t FROM runs r INDEXED BY runs_job WHERE r.job=(SELECT id FROM names WHERE name=?1) AND r.t>=?2 AND r.t<?3
		AND r.good=1 AND r.at<=?4 AND (r.invalidated=0 OR r.invalidated>?4) ORDER BY r.t`,
		[]any{job, ceil(from), ceil(to), asOfSeconds(asOf)}, func(rows *sql.Rows) error {
			var t int64
			err := rows.Scan(&t)
			times = append(times, instant(t))
			return err
		})
	return times, classify(fmt.Sprintf("read the good runs of job %q", job), err)
}
