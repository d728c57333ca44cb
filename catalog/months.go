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
	// Good and voided runs are told apart by when the invalidation was written.
	query := `WITH m(i, a, b) AS (VALUES ` + strings.Join(ranges, ",") + `)
		SELECT n.name, m.i,
			sum(r.good=1 AND (r.invalidated=0 OR r.invalidated>?1) AND r.finished<=r.t+?2),
			sum(r.good=0 AND r.at<>0), sum(r.good=1 AND r.invalidated<>0 AND r.invalidated<=?1),
			coalesce(min(CASE WHEN r.good=1 AND (r.invalidated=0 OR r.invalidated>?1) AND r.finished<=r.t+?2 THEN r.t END),0),
			coalesce(max(CASE WHEN r.good=1 AND (r.invalidated=0 OR r.invalidated>?1) AND r.finished<=r.t+?2 THEN r.t END),0)
		FROM job_state s JOIN names n ON n.id=s.job CROSS JOIN m CROSS JOIN runs r INDEXED BY runs_job
		ON r.job=s.job AND r.t>=m.a AND r.t<m.b AND r.at<>0 AND r.at<=?1
		GROUP BY n.name, m.i ORDER BY n.name, m.i`
	var months []Month
	err := each(ctx, c.read, query, []any{asOfSeconds(asOf), int64(creditWithin / time.Second)}, func(rows *sql.Rows) error {
		var m Month
		var i, first, last int64
		err := rows.Scan(&m.Job, &i, &m.Good, &m.Bad, &m.Voided, &first, &last)
		m.Start, m.First, m.Last = starts[i], instant(first), instant(last)
		months = append(months, m)
		return err
	})
	return months, classify("read months", err)
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
