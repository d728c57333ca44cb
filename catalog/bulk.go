package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
)

// batchRows is how many rows one statement writes in bulk.
const batchRows = 32

// A batch is rows on their way into one table.
type batch struct {
	head, row, tail string // of the statement
	args            []any
	rows            int
}

// insert writes a row, in bulk together with others of the same statement. In
// bulk whoever reads rows back has to writeBatches first.
func (p *projection) insert(ctx context.Context, head, row, tail string, args ...any) error {
	if !p.bulk {
		return p.w.exec(ctx, head+row+tail, args...)
	}
	b, ok := p.batches[head]
	if !ok {
		b = &batch{head: head, row: row, tail: tail}
		p.batches[head] = b
	}
	b.args = append(b.args, args...)
	if b.rows++; b.rows < batchRows {
		return nil
	}
	err := p.w.exec(ctx, head+strings.Repeat(row+",", batchRows-1)+row+tail, b.args...)
	b.args, b.rows = b.args[:0], 0
	return err
}

// writeBatches writes what insert has kept back.
func (p *projection) writeBatches(ctx context.Context) error {
	for _, head := range sortedKeys(p.batches) {
		b := p.batches[head]
		if b.rows == 0 {
			continue
		}
		for args := range slices.Chunk(b.args, len(b.args)/b.rows) {
			if err := p.w.exec(ctx, b.head+b.row+b.tail, args...); err != nil {
				return err
			}
		}
		b.args, b.rows = b.args[:0], 0
	}
	return nil
}

// A goodRun is what a bulk projection remembers of a good run, as long as there
// is no index to find it by.
type goodRun struct {
	t   int64
	run string
}

func (p *projection) noteGood(r *runRow) {
	if p.bulk {
		p.goods[r.job] = append(p.goods[r.job], goodRun{r.t, r.run})
	}
}

func (p *projection) dropGood(r *runRow) {
	p.goods[r.job] = slices.DeleteFunc(p.goods[r.job], func(g goodRun) bool { return g.run == r.run })
}

// newestGood returns a job's newest good run that can still be restored and the
// instant it stands for, "" when there is none.
func (p *projection) newestGood(ctx context.Context, job int64) (run string, t int64, err error) {
	if p.bulk {
		if len(p.goods[job]) == 0 {
			return "", 0, nil
		}
		newest := slices.MaxFunc(p.goods[job], func(a, b goodRun) int {
			return cmp.Or(cmp.Compare(a.t, b.t), cmp.Compare(a.run, b.run))
		})
		return newest.run, newest.t, nil
	}
	row, err := p.w.row(ctx, `SELECT run, t FROM runs WHERE job=? AND good=1 AND invalidated=0 AND pruned=0 ORDER BY t DESC, run DESC LIMIT 1`, job)
	if err != nil {
		return "", 0, err
	}
	if err := row.Scan(&run, &t); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", 0, err
	}
	return run, t, nil
}
