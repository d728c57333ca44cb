package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"saoluu/evidence"
	"saoluu/internal/fault"
)

// replayBatch is how many entries go from the decoding to the applying side at
// a time.
const replayBatch = 512

// rebuildCache is how many KiB of pages the writer may keep meanwhile. Rows go
// to as many places as there are jobs; below this they are written many times.
const rebuildCache = 128 << 10

// Rebuild makes the derived tables anew from the ledger, in one transaction:
// until it ends, and if it fails, the old tables stay. progress, which may be
// nil, is told how many entries are done of how many.
func (c *Catalog) Rebuild(ctx context.Context, progress func(done, total int64)) error {
	const op = "rebuild the catalog"
	interruptible := ctx
	err := c.transact(ctx, func(ctx context.Context, w *writer) error {
		if err := w.refresh(ctx); err != nil {
			return err
		}
		if err := dropDerived(ctx, w); err != nil {
			return err
		}
		if err := w.run(ctx, fmt.Sprintf(`PRAGMA cache_size=-%d`, rebuildCache)); err != nil {
			return err
		}
		p := newProjection(w)
		p.bulk = true
		if err := replay(interruptible, c.read, w.edge.size, progress, func(r replayed) error {
			return p.apply(ctx, r.seq, r.at, r.event)
		}); err != nil {
			return err
		}
		if err := p.flush(ctx); err != nil {
			return err
		}
		return w.run(ctx, derivedIndexes)
	})
	if err != nil {
		return classify(op, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writer != nil {
		// A large rebuild leaves a log and a cache as large; give both back.
		err = errors.Join(c.writer.run(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`), c.dropWriter())
	}
	return classify(op, err)
}

func dropDerived(ctx context.Context, w *writer) error {
	for _, t := range derivedTables() {
		if err := w.run(ctx, `DROP TABLE IF EXISTS `+t[0]); err != nil {
			return err
		}
	}
	return w.run(ctx, derivedSchema)
}

// run executes statements once, without keeping them prepared.
func (w *writer) run(ctx context.Context, statements string) error {
	_, err := w.conn.ExecContext(ctx, statements)
	return err
}

// A replayed is an entry on its way into a projection.
type replayed struct {
	seq, at int64
	kind    int64
	event   Event
	line    []byte
	hashes  []byte
}

// replay reads the first size entries in order and hands them to do. Reading
// and decoding run ahead of do on another core.
func replay(ctx context.Context, q querier, size int64, progress func(done, total int64), do func(replayed) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []replayed, 8)
	failed := make(chan error, 1)
	go func() {
		defer close(batches)
		failed <- decodeAll(ctx, q, size, batches)
	}()
	var done int64
	for batch := range batches {
		for _, r := range batch {
			if err := do(r); err != nil {
				cancel()
				for range batches { // let the other side end
				}
				return fmt.Errorf("entry %d: %w", r.seq, err)
			}
		}
		done += int64(len(batch))
		if progress != nil {
			progress(done, size)
		}
	}
	if err := <-failed; err != nil {
		return err
	}
	if done != size {
		return fault.New(fault.Damaged, "", fmt.Errorf("the ledger has %d of %d entries", done, size), rebuildHint)
	}
	return nil
}

func decodeAll(ctx context.Context, q querier, size int64, batches chan<- []replayed) error {
	batch := make([]replayed, 0, replayBatch)
	send := func() error {
		select {
		case batches <- batch:
			batch = make([]replayed, 0, replayBatch)
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := each(ctx, q, `SELECT seq, at, entry FROM ledger WHERE seq<? ORDER BY seq`, []any{size}, func(rows *sql.Rows) error {
		var r replayed
		var line sql.RawBytes // valid until the next row
		if err := rows.Scan(&r.seq, &r.at, &line); err != nil {
			return err
		}
		parts, err := evidence.SplitEntry(line)
		if err == nil {
			r.event, err = decodeQuick(parts.Kind, parts.Body)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", r.seq, err)
		}
		if batch = append(batch, r); len(batch) == replayBatch {
			return send()
		}
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = send()
	}
	return err
}
