package catalog_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/catalog/catalogtest"
)

// TestScale prints figures for a large catalog; SAOLUU_SCALE says how many runs.
func TestScale(t *testing.T) {
	runs, _ := strconv.Atoi(os.Getenv("SAOLUU_SCALE"))
	if runs == 0 {
		t.Skip("SAOLUU_SCALE is not set")
	}
	ctx := t.Context()
	dir := os.Getenv("SAOLUU_SCALE_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	clock := catalogtest.NewClock(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	o := catalog.Options{Path: dir + "/catalog.db", Now: clock.Now, Site: "MAU"}
	took := func(what string, do func() error) {
		t.Helper()
		begin := time.Now()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%-30s %v", what, time.Since(begin).Round(time.Microsecond))
	}
	var c *catalog.Catalog
	if _, err := os.Stat(o.Path); err != nil {
		took("create", func() (err error) { c, err = catalog.Create(ctx, o); return err })
		took("fill", func() error { return catalogtest.Fill(ctx, c, clock, 1000, runs) })
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(o.Path); err == nil {
		t.Logf("file %d bytes, %d a run", info.Size(), info.Size()/int64(runs))
	}
	now := clock.Now()
	took("open", func() (err error) { c, err = catalog.Open(ctx, o); return err })
	took("job states, cold", func() error { s, err := c.JobStates(ctx, now, time.Hour); t.Log(len(s)); return err })
	took("job states, warm", func() error { _, err := c.JobStates(ctx, now, time.Hour); return err })
	took("target states", func() error { _, err := c.TargetStates(ctx, now, time.Hour); return err })
	took("months", func() error { m, err := c.Months(ctx, now.AddDate(-1, 0, 0), now, now); t.Log(len(m)); return err })
	took("good times", func() error {
		n := 0
		for i := range 1000 {
			times, err := c.GoodTimes(ctx, catalogtest.JobName(i), now.AddDate(-1, 0, 0), now, now)
			if err != nil {
				return err
			}
			n += len(times)
		}
		t.Log(n)
		return nil
	})
	took("last good x1000", func() error {
		for i := range 1000 {
			if _, err := c.LastGood(ctx, catalogtest.JobName(i)); err != nil {
				return err
			}
		}
		return nil
	})
	took("newest 50", func() error {
		for _, err := range c.Runs(ctx, catalog.RunQuery{Newest: true, Limit: 50}) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	took("runs of a day", func() error {
		n := 0
		for _, err := range c.Runs(ctx, catalog.RunQuery{From: now.AddDate(0, 0, -1), To: now}) {
			if err != nil {
				return err
			}
			n++
		}
		t.Log(n)
		return nil
	})
	took("snapshots of target", func() error { s, err := c.SnapshotsOf(ctx, catalogtest.Target); t.Log(len(s)); return err })
	size, _ := c.TreeSize(ctx)
	begin := time.Now()
	took("rebuild", func() error { return c.Rebuild(ctx, nil) })
	t.Logf("rebuild: %.0f events/s of %d", float64(size)/time.Since(begin).Seconds(), size)
	if os.Getenv("SAOLUU_SCALE_VERIFY") != "" {
		took("verify", func() error {
			r, err := c.Verify(ctx, func(p catalog.Problem) { t.Errorf("%+v", p) })
			t.Logf("%+v", r)
			return err
		})
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
