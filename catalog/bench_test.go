package catalog_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"saoluu/catalog"
)

// BenchmarkBareCommit is the least a durable record costs here: one row of the
// size of an entry, committed with full synchronisation.
func BenchmarkBareCommit(b *testing.B) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(b.Context(), "CREATE TABLE t(n INTEGER PRIMARY KEY, entry BLOB)"); err != nil {
		b.Fatal(err)
	}
	insert, err := db.PrepareContext(b.Context(), "INSERT INTO t(entry) VALUES(?)")
	if err != nil {
		b.Fatal(err)
	}
	row := make([]byte, 900)
	for b.Loop() {
		if _, err := insert.ExecContext(context.WithoutCancel(b.Context()), row); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkAppend(b *testing.B, event func(i int) []catalog.Event) {
	now := day
	c, err := catalog.Create(b.Context(), catalog.Options{Path: filepath.Join(b.TempDir(), "c.db"), Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	i := 0
	for b.Loop() {
		now = now.Add(time.Second)
		for _, e := range event(i) {
			if _, err := c.Append(b.Context(), e); err != nil {
				b.Fatal(err)
			}
		}
		i++
	}
}

func BenchmarkAppendBeat(b *testing.B) {
	benchmarkAppend(b, func(int) []catalog.Event { return []catalog.Event{catalog.Beat{}} })
}

// BenchmarkAppendRun appends both events of a run, in two transactions.
func BenchmarkAppendRun(b *testing.B) {
	benchmarkAppend(b, func(i int) []catalog.Event {
		id := fmt.Sprintf("%020d", i)
		r := good(id, day, "nas")
		r.Job, r.Due = fmt.Sprint("job-", i%1000), &r.StartedAt
		return []catalog.Event{catalog.RunStarted{Run: id, Job: r.Job, Due: r.Due}, r}
	})
}
