package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/catalog/catalogtest"
)

// ledger compares appending a finished run (entry, tree hashes, tables) with a
// transaction of bare SQLite that inserts a row of the same size, both durable
// when they return (WAL, synchronous FULL).
func ledger(ctx context.Context, b *bench) error {
	const jobs, history, block = 100, 20_000, 100
	clock := catalogtest.NewClock(time.Now().UTC())
	c, err := catalog.Create(ctx, catalog.Options{Path: filepath.Join(b.dir, "catalog.db"), Now: clock.Now, Site: "BENCH"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := catalogtest.Fill(ctx, c, clock, jobs, history); err != nil {
		return err
	}
	bare, err := newBare(ctx, filepath.Join(b.dir, "bare.db"))
	if err != nil {
		return err
	}
	defer bare.Close()
	number, size := 0, 0
	ours := func(int) (cost, error) {
		return timed(func() error {
			for range block {
				clock.Add(time.Second)
				entries, err := c.Append(ctx, finished(number, clock.Now()))
				if err != nil {
					return err
				}
				number, size = number+1, len(entries[0].JSON)
			}
			return nil
		})
	}
	if _, err := ours(0); err != nil { // tells the size of an entry
		return err
	}
	b.rounds *= 4
	pairs, err := b.inTurn(ours, func(int) (cost, error) {
		return timed(func() error { return bare.commits(ctx, block, size) })
	})
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("a finished run of %d bytes, to a bare commit", size), "x", atMost(1.5), each(pairs, wallRatio)...)
	b.add("a bare commit", "ms", nil, each(pairs, func(p pair) float64 { return per(p.bare.wall, block) })...)
	return nil
}

// finished is a run as the daemon records it.
func finished(i int, at time.Time) catalog.RunFinished {
	id := strings.Repeat(fmt.Sprintf("%08x", i), 8)
	return catalog.RunFinished{
		Run: fmt.Sprintf("%s-%06x", at.Format("20060102-150405"), i), Job: catalogtest.JobName(i % 100), Class: "nghiep-vu", Category: "database",
		LastAttempt: true, Trigger: catalog.TriggerManual, State: catalog.RunComplete,
		StartedAt: at, ConsistentAt: at, FinishedAt: at,
		Parts:  []catalog.Part{{Name: "database", State: catalog.RunComplete, Bytes: 1 << 30, SHA256: id}},
		Copies: []catalog.Copy{{Target: catalogtest.Target, State: catalog.RunComplete, Snapshots: map[string]string{"database": id}, AddedBytes: 1 << 20, Encryption: catalog.EncryptionRestic}},
		Engine: catalog.Tool{Name: "restic", Version: "0.19.1"},
	}
}

// A bare is a database with one table and one connection.
type bare struct {
	db     *sql.DB
	conn   *sql.Conn
	insert *sql.Stmt
	next   int
}

func newBare(ctx context.Context, path string) (*bare, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(4000)")
	if err != nil {
		return nil, err
	}
	x := &bare{db: db}
	if x.conn, err = db.Conn(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if _, err = x.conn.ExecContext(ctx, `CREATE TABLE runs(run INTEGER PRIMARY KEY, job INTEGER, at INTEGER, entry BLOB)`); err == nil {
		x.insert, err = x.conn.PrepareContext(ctx, `INSERT INTO runs(run, job, at, entry) VALUES(?,?,?,?)`)
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// commits makes n transactions of one row each.
func (x *bare) commits(ctx context.Context, n, size int) error {
	entry := make([]byte, size)
	for range n {
		if _, err := x.conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
			return err
		}
		if _, err := x.insert.ExecContext(ctx, x.next, x.next%100, x.next, entry); err != nil {
			return err
		}
		if _, err := x.conn.ExecContext(ctx, `COMMIT`); err != nil {
			return err
		}
		x.next++
	}
	return nil
}

// Close closes the database.
func (x *bare) Close() error { return errors.Join(x.conn.Close(), x.db.Close()) }
