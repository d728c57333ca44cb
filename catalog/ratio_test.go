package catalog_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"saoluu/catalog"
)

// TestAppendRatio prints what an Append costs beside a bare commit, taken in
// turns so that both see the same machine; SAOLUU_RATIO says how many.
func TestAppendRatio(t *testing.T) {
	var n int
	if _, err := fmt.Sscan(os.Getenv("SAOLUU_RATIO"), &n); err != nil {
		t.Skip("SAOLUU_RATIO is not set")
	}
	dir := t.TempDir()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bare.db")+"?_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t(n INTEGER PRIMARY KEY, entry BLOB)"); err != nil {
		t.Fatal(err)
	}
	insert, err := db.PrepareContext(t.Context(), "INSERT INTO t(entry) VALUES(?)")
	if err != nil {
		t.Fatal(err)
	}
	now := day
	c, err := catalog.Create(t.Context(), catalog.Options{Path: filepath.Join(dir, "c.db"), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	row := make([]byte, 900)
	took := map[string][]time.Duration{}
	measure := func(what string, do func() error) {
		begin := time.Now()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		took[what] = append(took[what], time.Since(begin))
	}
	for i := range n {
		now = now.Add(time.Second)
		id := fmt.Sprintf("%020d", i)
		r := good(id, day.Add(time.Duration(i)*time.Minute), "nas")
		r.Job, r.Due = fmt.Sprint("job-", i%1000), &r.StartedAt
		bare := func() error { _, err := insert.ExecContext(context.WithoutCancel(t.Context()), row); return err }
		add := func(e catalog.Event) func() error {
			return func() error { _, err := c.Append(t.Context(), e); return err }
		}
		measure("bare", bare)
		measure("slot", add(catalog.SlotsPlanned{Until: now, Slots: []catalog.Slot{{Job: r.Job, Action: catalog.ActionBackup, Due: *r.Due}}}))
		measure("bare", bare)
		measure("start", add(catalog.RunStarted{Run: id, Job: r.Job, Due: r.Due}))
		measure("bare", bare)
		measure("finish", add(r))
		measure("bare", bare)
		measure("beat", add(catalog.Beat{}))
	}
	var base float64
	for _, what := range []string{"bare", "beat", "slot", "start", "finish"} {
		d := took[what]
		slices.Sort(d)
		var sum time.Duration
		for _, x := range d {
			sum += x
		}
		mean := float64(sum) / float64(len(d))
		if what == "bare" {
			base = mean
		}
		t.Logf("%-7s median %v p99 %v mean %v ratio of means %.2f of medians %.2f", what, d[len(d)/2], d[len(d)*99/100], time.Duration(mean), mean/base,
			float64(d[len(d)/2])/float64(took["bare"][len(took["bare"])/2]))
	}
}
