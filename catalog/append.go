package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"saoluu/evidence"
	"saoluu/internal/fault"
)

// holdBack is how far the wall clock may lie behind the last entry for the
// entry to take over that entry's time instead. A clock that is disciplined by
// small steps stays within it.
const holdBack = 5 * time.Second

// A querier is what reads need of a database, connection or transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// A writer is the one connection that writes, with what it remembers between
// transactions. What it remembers is right as long as nobody else has appended.
type writer struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
	edge     edge
	last     time.Time // of the last entry
	project  *projection
}

// Append writes events as consecutive ledger entries and brings the derived
// tables up to date, all in one transaction: either everything is on the disk
// when it returns without error, or nothing is there.
//
// Entries carry the time of the clock, and never go back by a clock that
// stumbles: up to 5 seconds behind the last entry they repeat its time. A clock
// further behind has been set, perhaps after standing wrong for days; insisting
// on the old time would hide all new entries from questions about the present.
// Then a ClockJumped entry goes first and time goes on from the new clock.
func (c *Catalog) Append(ctx context.Context, events ...Event) ([]Entry, error) {
	op := "write to the ledger"
	if len(events) == 1 {
		op = fmt.Sprintf("write %s to the ledger", events[0].Kind())
	}
	bodies := make([][]byte, len(events))
	events = slices.Clone(events)
	for i, e := range events {
		var err error
		if events[i], bodies[i], err = encode(e); err != nil {
			return nil, fault.New(fault.Usage, op, err, "")
		}
	}
	var entries []Entry
	err := c.transact(ctx, func(ctx context.Context, w *writer) (err error) {
		entries, err = w.appendAll(ctx, c.options.Now(), events, bodies)
		if errors.Is(err, errStale) { // nothing was written yet
			w.forget()
			if err = w.refresh(ctx); err == nil {
				entries, err = w.appendAll(ctx, c.options.Now(), events, bodies)
			}
		}
		return err
	})
	if err != nil {
		return nil, classify(op, err)
	}
	return entries, nil
}

// errStale says that what the writer remembers is not the ledger any more.
var errStale = errors.New("the ledger was written to by another process")

// appendAll writes the entries of one Append.
func (w *writer) appendAll(ctx context.Context, clock time.Time, events []Event, bodies [][]byte) ([]Entry, error) {
	if w.edge.size < 0 {
		return nil, errStale
	}
	now := second(clock)
	if w.edge.size > 0 && now.Before(w.last) {
		if w.last.Sub(now) <= holdBack {
			now = w.last
		} else if err := w.jump(ctx, now); err != nil {
			return nil, err
		}
	}
	entries := make([]Entry, 0, len(events))
	for i, e := range events {
		entry, err := w.append(ctx, now, e, bodies[i])
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, w.project.flush(ctx)
}

// jump records that the clock was set back.
func (w *writer) jump(ctx context.Context, now time.Time) error {
	e, body, err := encode(ClockJumped{Before: w.last, After: now})
	if err == nil {
		_, err = w.append(ctx, now, e, body)
	}
	return err
}

// append writes one entry and applies it. That nobody else has appended shows
// without asking: the entry's number is free.
func (w *writer) append(ctx context.Context, at time.Time, e Event, body []byte) (Entry, error) {
	entry := Entry{Seq: w.edge.size, At: at, Kind: e.Kind()}
	kind, err := number(kinds(), "event kind", entry.Kind)
	if err != nil {
		return Entry{}, err
	}
	entry.JSON = evidence.FormatEntry(entry.Seq, at, entry.Kind, body)
	hashes := w.edge.add(entry.JSON, nil)
	if err := w.exec(ctx, `INSERT INTO ledger(seq, at, kind, entry, hashes) VALUES(?,?,?,?,?)`, entry.Seq, at.Unix(), kind, entry.JSON, hashes); isConstraint(err) {
		return Entry{}, errStale
	} else if err != nil {
		return Entry{}, err
	}
	w.last = at
	return entry, w.project.apply(ctx, entry.Seq, at.Unix(), e)
}

// transact runs do inside one write transaction. The context ends only the
// waiting for the lock: an append is short, and a half-cancelled commit cannot
// be told from a failed one.
func (c *Catalog) transact(ctx context.Context, do func(context.Context, *writer) error) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readOnly {
		return fault.New(fault.Refused, "write to the catalog", errors.New("it was opened for reading"), "")
	}
	if err := c.needWriter(ctx); err != nil {
		return err
	}
	w := c.writer
	if err := w.begin(ctx); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	defer func() {
		if err != nil {
			w.forget()
			if rolled := w.exec(ctx, `ROLLBACK`); rolled != nil {
				_ = c.dropWriter() // closing ends the transaction as well
			}
		}
	}()
	if err := do(ctx, w); err != nil {
		return err
	}
	return w.exec(ctx, `COMMIT`)
}

// begin takes the write lock, waiting for other processes up to lockPatience.
func (w *writer) begin(ctx context.Context) error {
	for waited := time.Duration(0); ; waited += lockWait {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := w.exec(context.WithoutCancel(ctx), `BEGIN IMMEDIATE`)
		if err == nil || !isBusy(err) || waited >= lockPatience {
			return err
		}
	}
}

func (c *Catalog) needWriter(ctx context.Context) error {
	if c.writer != nil {
		return nil
	}
	conn, err := c.write.Conn(ctx)
	if err != nil {
		return err
	}
	c.writer = &writer{conn: conn, prepared: map[string]*sql.Stmt{}}
	c.writer.forget()
	return nil
}

// dropWriter closes the writing connection; the next use opens a new one.
func (c *Catalog) dropWriter() error {
	if c.writer == nil {
		return nil
	}
	var err error
	for _, s := range c.writer.prepared {
		err = errors.Join(err, s.Close())
	}
	err = errors.Join(err, c.writer.conn.Close())
	c.writer = nil
	return err
}

// refresh makes sure that what is remembered belongs to the ledger as it is.
// Append needs it only when the ledger turns out to have grown.
func (w *writer) refresh(ctx context.Context) error {
	var size, last int64
	row, err := w.row(ctx, `SELECT seq+1, at FROM ledger ORDER BY seq DESC LIMIT 1`)
	if err != nil {
		return err
	}
	if err := row.Scan(&size, &last); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if size == w.edge.size {
		return nil
	}
	w.forget()
	w.last = time.Unix(last, 0).UTC()
	w.edge, err = loadEdge(ctx, w.conn, size)
	return err
}

// forget drops what is remembered; an edge of size -1 is nobody's.
func (w *writer) forget() {
	w.edge = edge{size: -1}
	w.project = newProjection(w)
}

// statement prepares a query once for the life of the connection.
func (w *writer) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := w.prepared[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(ctx, query)
	if err == nil {
		w.prepared[query] = s
	}
	return s, err
}

func (w *writer) exec(ctx context.Context, query string, args ...any) error {
	s, err := w.statement(ctx, query)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(ctx, args...)
	return err
}

func (w *writer) row(ctx context.Context, query string, args ...any) (*sql.Row, error) {
	s, err := w.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryRowContext(ctx, args...), nil
}

// each calls do for every row of a query.
func each(ctx context.Context, q querier, query string, args []any, do func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// unix returns the seconds of t, 0 for the zero time.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// instant is the inverse of unix.
func instant(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
