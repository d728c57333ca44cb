package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"

	"saoluu/evidence"
)

// entryOf takes a stored line apart.
func entryOf(line []byte) (Entry, error) {
	e, err := evidence.SplitEntry(line)
	return Entry{Seq: e.Seq, At: e.At, Kind: e.Kind, JSON: line}, err
}

// Entry returns one ledger entry, or an error that wraps ErrMissing.
func (c *Catalog) Entry(ctx context.Context, seq int64) (Entry, error) {
	var line []byte
	err := c.read.QueryRowContext(ctx, `SELECT entry FROM ledger WHERE seq=?`, seq).Scan(&line)
	if errors.Is(err, sql.ErrNoRows) {
		return Entry{}, fmt.Errorf("entry %d: %w", seq, ErrMissing)
	}
	if err != nil {
		return Entry{}, classify(fmt.Sprintf("read entry %d", seq), err)
	}
	return entryOf(line)
}

// Entries yields the ledger from entry number from on, only the given kinds if
// any are given. After an error it yields nothing more.
func (c *Catalog) Entries(ctx context.Context, from int64, only ...string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		const op = "read the ledger"
		query, args, err := entriesQuery(from, only)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		rows, err := c.read.QueryContext(ctx, query, args...)
		if err != nil {
			yield(Entry{}, classify(op, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var line []byte
			err := rows.Scan(&line)
			var e Entry
			if err == nil {
				e, err = entryOf(line)
			}
			if !yield(e, classify(op, err)) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Entry{}, classify(op, err))
		}
	}
}

func entriesQuery(from int64, only []string) (string, []any, error) {
	query, args := `SELECT entry FROM ledger WHERE seq>=?`, []any{from}
	rare := len(only) > 0
	var places []string
	for _, kind := range only {
		n, err := number(kinds(), "event kind", kind)
		if err != nil {
			return "", nil, err
		}
		rare = rare && n >= firstRare
		places, args = append(places, "?"), append(args, n)
	}
	if len(only) > 0 {
		query += ` AND kind IN (` + strings.Join(places, ",") + `)`
	}
	if rare {
		query += fmt.Sprintf(` AND kind>=%d`, firstRare) // the condition of the index
	}
	return query + ` ORDER BY seq`, args, nil
}
