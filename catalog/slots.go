package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Slots yields the slots that q selects, by due time. After an error it yields
// nothing more. With AsOf a slot shows the state it had then.
func (c *Catalog) Slots(ctx context.Context, q SlotQuery) iter.Seq2[SlotRow, error] {
	asOf := asOfSeconds(q.AsOf)
	where, args := []string{`s.planned<=?`}, []any{asOf}
	add := func(condition string, value any) {
		where, args = append(where, condition), append(args, value)
	}
	switch {
	case q.Job != "":
		add(`s.job=(SELECT id FROM names WHERE name=?)`, q.Job)
	case q.State != SlotOpen || asOf != forever:
		where = append(where, `s.job IN (SELECT id FROM names)`) // lets the range use the key, job by job
	}
	if q.Action != "" {
		n, err := number(actions(), "action", q.Action)
		if err != nil {
			return func(yield func(SlotRow, error) bool) { yield(SlotRow{}, err) }
		}
		add(`s.action=?`, n)
	} else {
		where = append(where, `s.action IN (1,2,3)`)
	}
	if !q.DueFrom.IsZero() {
		add(`s.due>=?`, ceil(q.DueFrom))
	}
	if !q.DueTo.IsZero() {
		add(`s.due<?`, ceil(q.DueTo))
	}
	if q.State == SlotOpen && asOf == forever {
		where = append(where, `s.state=0`)
	}
	direction := ""
	if q.Newest {
		direction = " DESC"
	}
	query := slotColumns + strings.Join(where, ` AND `) + fmt.Sprintf(` ORDER BY s.due%[1]s, j.name%[1]s, s.action%[1]s`, direction)
	return c.slots(ctx, query, args, q.State, q.Limit, asOf)
}

const slotColumns = `SELECT j.name, s.action, s.due, s.state, s.closed, s.run, coalesce(r.name,''), s.was, s.was_closed
	FROM slots s JOIN names j ON j.id=s.job LEFT JOIN names r ON r.id=s.reason WHERE `

// slots yields rows of slotColumns. The state as of an instant is known only
// here, so the limit is applied here as well.
func (c *Catalog) slots(ctx context.Context, query string, args []any, state string, limit int, asOf int64) iter.Seq2[SlotRow, error] {
	return func(yield func(SlotRow, error) bool) {
		const op = "read slots"
		rows, err := c.read.QueryContext(ctx, query, args...)
		if err != nil {
			yield(SlotRow{}, classify(op, err))
			return
		}
		defer rows.Close()
		for n := 0; rows.Next() && (limit <= 0 || n < limit); {
			s, err := scanSlot(rows, asOf)
			if err == nil && state != "" && s.State != state {
				continue
			}
			n++
			if !yield(s, classify(op, err)) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(SlotRow{}, classify(op, err))
		}
	}
}

func scanSlot(rows *sql.Rows, asOf int64) (SlotRow, error) {
	var action, due, state, closed, was, wasClosed int64
	var s SlotRow
	if err := rows.Scan(&s.Job, &action, &due, &state, &closed, &s.Run, &s.Reason, &was, &wasClosed); err != nil {
		return SlotRow{}, err
	}
	s.Action, s.Due = word(actions(), action), instant(due)
	if closed > asOf { // what ended it was not known yet
		state, closed, s.Run, s.Reason = was, wasClosed, "", ""
	}
	if closed > asOf {
		state, closed = slotOpen, 0
	}
	s.State, s.Closed = word(slotStates(), state), instant(closed)
	return s, nil
}

// DueSlots returns the open slots due at or before now, oldest first. A limit of
// 0 means all.
func (c *Catalog) DueSlots(ctx context.Context, now time.Time, limit int) ([]SlotRow, error) {
	return collect(c.slots(ctx, slotColumns+`s.state=0 AND s.due<=? ORDER BY s.due, j.name, s.action`, []any{now.Unix()}, "", limit, forever))
}

// NextDue returns when the earliest open slot is due, the zero time when there
// is none. It may lie in the past.
func (c *Catalog) NextDue(ctx context.Context) (time.Time, error) {
	var due int64
	err := c.read.QueryRowContext(ctx, `SELECT coalesce(min(due),0) FROM slots INDEXED BY slots_open WHERE state=0`).Scan(&due)
	return instant(due), classify("read the next slot", err)
}

// PlannedUntil returns the instant up to which the last plan made slots, the zero
// time before the first plan. It goes back when a plan was made by a clock that
// was ahead and is made anew.
func (c *Catalog) PlannedUntil(ctx context.Context) (time.Time, error) {
	var until int64
	err := c.read.QueryRowContext(ctx, `SELECT coalesce((SELECT value FROM kept WHERE name='planned'),0)`).Scan(&until)
	return instant(until), classify("read the plan", err)
}
