package catalog_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

func all[T any](rows iter.Seq2[T, error]) (any, error) {
	var list []T
	for r, err := range rows {
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

func either[T any](v T, err error) (any, error) { return v, err }

// reads asks a catalog everything that can be asked.
func (f fixture) reads() map[string]func() (any, error) {
	ctx, now := f.ctx, f.clock.Now()
	return map[string]func() (any, error){
		"job states":    func() (any, error) { return either(f.JobStates(ctx, now, 0)) },
		"job state":     func() (any, error) { return either(f.JobState(ctx, "a")) },
		"target states": func() (any, error) { return either(f.TargetStates(ctx, now, 0)) },
		"target state":  func() (any, error) { return either(f.TargetState(ctx, "nas")) },
		"inventory":     func() (any, error) { return either(f.Inventory(ctx, now)) },
		"run":           func() (any, error) { return either(f.Run(ctx, "r1")) },
		"runs":          func() (any, error) { return all(f.Runs(ctx, catalog.RunQuery{})) },
		"runs of a day": func() (any, error) {
			return all(f.Runs(ctx, catalog.RunQuery{From: day, To: now, Newest: true, Limit: 3}))
		},
		"runs not good": func() (any, error) { return all(f.Runs(ctx, catalog.RunQuery{Job: "a", NotGood: true})) },
		"last good":     func() (any, error) { return either(f.LastGood(ctx, "a")) },
		"latest":        func() (any, error) { return either(f.LatestSnapshot(ctx, "a", "nas", "db")) },
		"snapshots":     func() (any, error) { return either(f.SnapshotsOf(ctx, "nas")) },
		"unfinished": func() (any, error) {
			runs, tests, err := f.Unfinished(ctx)
			return []any{runs, tests}, err
		},
		"tests": func() (any, error) {
			return all(f.Tests(ctx, catalog.TestQuery{Job: "a", Run: "r2", Source: "postgres", From: day, To: now, AsOf: now, Newest: true, Limit: 9}))
		},
		"failed tests": func() (any, error) { return either(f.FailedTests(ctx, day, now, now)) },
		"slots":        func() (any, error) { return all(f.Slots(ctx, catalog.SlotQuery{DueFrom: day})) },
		"open slots":   func() (any, error) { return all(f.Slots(ctx, catalog.SlotQuery{State: catalog.SlotOpen})) },
		"due slots":    func() (any, error) { return either(f.DueSlots(ctx, now, 0)) },
		"next due":     func() (any, error) { return either(f.NextDue(ctx)) },
		"planned":      func() (any, error) { return either(f.PlannedUntil(ctx)) },
		"controls":     func() (any, error) { return either(f.Controls(ctx, now)) },
		"checks":       func() (any, error) { return either(f.Checks(ctx, "nas", now)) },
		"anchors":      func() (any, error) { return either(f.Anchors(ctx, now)) },
		"months":       func() (any, error) { return either(f.Months(ctx, day, now, now)) },
		"good spans":   func() (any, error) { return either(f.GoodSpans(ctx, day, now, now)) },
		"good times":   func() (any, error) { return either(f.GoodTimes(ctx, "a", day, now, now)) },
		"entries":      func() (any, error) { return all(f.Entries(ctx, 0)) },
		"entry":        func() (any, error) { return either(f.Entry(ctx, 2)) },
		"size":         func() (any, error) { return either(f.TreeSize(ctx)) },
		"root":         func() (any, error) { return either(f.Root(ctx, 5)) },
		"inclusion":    func() (any, error) { return either(f.ProveInclusion(ctx, 2, 7)) },
		"growth":       func() (any, error) { return either(f.ProveConsistency(ctx, 2, 7)) },
		"notes":        func() (any, error) { return either(f.Checkpoints(ctx)) },
		"note":         func() (any, error) { return either(f.CheckpointAt(ctx, 1)) },
		"facts": func() (any, error) {
			return either(f.Facts(ctx, "1b1ac1ae44bf9d6a13d0a3ef2bb7a5b8f0a2ab34b3f1a7b8e8f6a3f0b6e5d4c3"))
		},
	}
}

// eventful is a closed catalog in which something of everything has happened.
func eventful(t *testing.T) fixture {
	t.Helper()
	f := newCatalog(t)
	due := day.Add(time.Hour)
	f.add(catalog.InventorySet{Assets: []catalog.Asset{{Job: "a"}, {Job: "b"}}, Targets: []catalog.TargetRow{{Name: "nas"}}}, catalog.InventorySet{Assets: []catalog.Asset{{Job: "a"}}})
	f.add(catalog.SlotsPlanned{Until: due, Slots: []catalog.Slot{{Job: "a", Action: catalog.ActionBackup, Due: due}, {Job: "a", Action: catalog.ActionTest, Due: due}, {Job: "a", Action: catalog.ActionBackup, Due: due.Add(1)}}})
	run := good("r1", due, "nas")
	run.Due = &due
	f.add(catalog.RunStarted{Run: "r1", Job: "a", Due: &due}, run, good("r2", due, "nas", "usb"), bad("r3", due, catalog.RunFailed))
	f.add(catalog.TestStarted{Test: "t1", Job: "a", Run: "r2"}, tested("t1", "r2", catalog.VerdictFailed, due))
	f.add(catalog.RunStarted{Run: "r4", Job: "a"}, catalog.TestStarted{Test: "t2", Job: "a", Run: "r1"})
	f.add(catalog.ControlFinished{Control: "c", Source: "postgres"}, catalog.CheckFinished{Target: "nas", State: catalog.RunComplete}, catalog.CheckpointAnchored{Target: "nas"})
	if _, err := f.Checkpoint(f.ctx, f.signer); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutFacts(f.ctx, []byte("facts")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

// A table that is gone must never look like one that is empty: every question
// is answered as before, or by an error.
func TestMissingTableIsNeverAnEmptyOne(t *testing.T) {
	origin := eventful(t)
	whole, err := os.ReadFile(origin.path)
	if err != nil {
		t.Fatal(err)
	}
	copyOf := func(t *testing.T) fixture {
		f := origin
		f.t, f.ctx, f.path = t, t.Context(), filepath.Join(t.TempDir(), "catalog.db")
		if err := os.WriteFile(f.path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	open := func(f fixture) (fixture, error) {
		var err error
		f.Catalog, err = catalog.Open(f.ctx, f.options())
		if err == nil {
			f.t.Cleanup(func() { f.Close() })
		}
		return f, err
	}
	intact, err := open(copyOf(t))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{}
	for name, ask := range intact.reads() {
		answer, err := ask()
		if err != nil && !errors.Is(err, catalog.ErrMissing) {
			t.Fatalf("%s: %v", name, err)
		}
		want[name] = answer
	}
	for _, table := range []string{"names", "runs", "slots", "tests", "marks", "assets", "job_state", "target_state", "kept", "ledger", "facts", "checkpoints"} {
		t.Run(table, func(t *testing.T) {
			f := copyOf(t)
			db := openSQL(t, f.path)
			if _, err := db.ExecContext(f.ctx, "DROP TABLE "+table); err != nil {
				t.Fatal(err)
			}
			db.Close()
			f, err := open(f)
			if err != nil {
				if fault.KindOf(err) != fault.Damaged {
					t.Errorf("open: %v", err)
				}
				return
			}
			for name, ask := range f.reads() {
				answer, err := ask()
				if err == nil && !cmp.Equal(answer, want[name]) || errors.Is(err, catalog.ErrMissing) && !cmp.Equal(answer, want[name]) {
					t.Errorf("%s: another answer and no error: %+v", name, answer)
				}
			}
			f.appendsOrRefuses(intact)
			if err := f.Rebuild(f.ctx, nil); err != nil {
				t.Fatalf("rebuild: %v", err)
			}
			f.verified()
		})
	}
}

// appendsOrRefuses appends events to a catalog that lacks a table: what does not
// get its rows must not get into the ledger either.
func (f fixture) appendsOrRefuses(intact fixture) {
	f.t.Helper()
	before, err := f.TreeSize(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	n := before
	for _, e := range []catalog.Event{
		catalog.InventorySet{Assets: []catalog.Asset{{Job: "z"}}, Targets: []catalog.TargetRow{{Name: "tape"}}},
		catalog.SlotsPlanned{Until: day, Slots: []catalog.Slot{{Job: "z", Action: catalog.ActionBackup, Due: day}}},
		catalog.SlotsClosed{State: catalog.SlotMissed, Reason: "r", Slots: []catalog.Slot{{Job: "z", Action: catalog.ActionBackup, Due: day}}},
		catalog.RunStarted{Run: "z1", Job: "z"}, good("z2", day, "tape"), bad("z3", day, catalog.RunFailed),
		catalog.CopyFinished{Run: "r1", Job: "a", Copy: catalog.Copy{Target: "usb", State: catalog.RunComplete}},
		catalog.TestStarted{Test: "z1", Job: "z"}, tested("z2", "r1", catalog.VerdictFailed, day), tested("z3", "r1", catalog.VerdictPassed, day),
		catalog.ControlFinished{Control: "z", Source: "z"}, catalog.CheckFinished{Target: "nas", State: catalog.RunFailed, Missing: []string{"r1@nas"}},
		catalog.RetentionApplied{Target: "nas", Removed: []catalog.RemovedRow{{Run: "r2"}}},
		catalog.RetentionPlanned{Target: "tape"}, catalog.RepositoryPruned{Target: "tape", State: catalog.RunComplete},
		catalog.TargetEnrolled{Target: "tape"}, catalog.CheckpointAnchored{Target: "tape"}, catalog.HoldSet{Run: "r1", Held: true},
	} {
		entries, err := f.Append(f.ctx, e)
		if err == nil {
			n++
		} else if fault.KindOf(err) == "" || len(entries) != 0 {
			f.t.Errorf("%T: %v with %d entries", e, err, len(entries))
		}
		if size, err := f.TreeSize(f.ctx); err != nil || size != n {
			f.t.Fatalf("%T: %d entries, want %d, %v", e, size, n, err)
		}
	}
	if n == before+18 {
		f.t.Error("nothing needed the table")
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	f := newCatalog(t)
	db := openSQL(t, f.path)
	defer db.Close()
	conn, err := db.Conn(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(f.ctx, "BEGIN IMMEDIATE"); err != nil { // another process writes, and goes on and on
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := f.Append(ctx, catalog.Beat{}); fault.KindOf(err) != fault.TimedOut {
		t.Errorf("append: %v of kind %q", err, fault.KindOf(err))
	}
	if _, err := conn.ExecContext(f.ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	f.add(catalog.Beat{})
	ended, stop := context.WithCancel(f.ctx)
	stop()
	if _, err := f.Append(ended, catalog.Beat{}); fault.KindOf(err) != fault.Cancelled {
		t.Errorf("append after the end: %v", err)
	}
	f.verified()
}

func TestGood(t *testing.T) {
	r := catalog.Run{RunFinished: good("r", day, "nas")}
	end := r.FinishedAt
	for _, c := range []struct {
		name   string
		change func(*catalog.Run)
		at     time.Time
		want   bool
	}{
		{"good", func(*catalog.Run) {}, end, true},
		{"not finished yet", func(*catalog.Run) {}, end.Add(-time.Second), false},
		{"failed", func(r *catalog.Run) { r.State = catalog.RunFailed }, end, false},
		{"invalidated later", func(r *catalog.Run) { r.Invalidated = end.Add(time.Hour) }, end, true},
		{"invalidated", func(r *catalog.Run) { r.Invalidated = end.Add(time.Hour) }, end.Add(time.Hour), false},
		{"no good copy", func(r *catalog.Run) { r.Copies = []catalog.Copy{{Target: "nas", State: catalog.RunFailed}} }, end, false},
	} {
		run := r
		c.change(&run)
		if got := run.Good(c.at); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
