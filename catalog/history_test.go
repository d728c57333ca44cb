package catalog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

func TestCopiesComeAndGo(t *testing.T) {
	f := newCatalog(t)
	r1 := good("r1", day, "nas", "usb")
	r1.Copies[1].State, r1.Copies[1].Snapshots, r1.Copies[1].Error = catalog.RunFailed, nil, "not plugged in"
	f.add(r1)
	f.add(good("r2", day.Add(time.Hour), "nas"))
	beforeCopy := f.clock.Now().Add(-time.Second)
	f.clock.Add(time.Hour)
	f.add(catalog.CopyFinished{Run: "r1", Job: "a", From: "nas", FinishedAt: f.clock.Now(), Copy: catalog.Copy{Target: "usb", State: catalog.RunComplete, Snapshots: map[string]string{"db": "late"}}})
	run, err := f.Run(f.ctx, "r1")
	if err != nil || len(run.Copies) != 2 || run.Copies[1].Snapshots["db"] != "late" || run.Copies[1].Error != "" {
		t.Errorf("after the copy: %+v, %v", run, err)
	}
	for r, err := range f.Runs(f.ctx, catalog.RunQuery{Run: "r1", AsOf: beforeCopy}) {
		if err != nil || r.Copies[1].State != catalog.RunFailed {
			t.Errorf("before the copy: %+v, %v", r.Copies, err)
		}
	}
	rows, err := f.SnapshotsOf(f.ctx, "nas")
	if err != nil || len(rows) != 2 || rows[0].Snapshot != "r1@nas" || rows[1].Run != "r2" {
		t.Errorf("snapshots of nas: %+v, %v", rows, err)
	}
	f.add(catalog.HoldSet{Run: "r1", Held: true, Reason: "audit"})
	f.clock.Add(time.Hour)
	f.add(catalog.RetentionApplied{Target: "nas", State: catalog.RunComplete, Removed: []catalog.RemovedRow{{Run: "r1", Job: "a", Snapshots: []string{"r1@nas"}}, {Run: "r2", Job: "a", Snapshots: []string{"r2@nas"}}, {Run: "strange"}}})
	equal(t, "after retention", f.runs(catalog.RunQuery{}), []string{"r1 complete", "r2 complete pruned"})
	if run, err = f.Run(f.ctx, "r1"); err != nil || !run.Held || run.Gone["nas"].IsZero() || len(run.Gone) != 1 {
		t.Errorf("r1 is still on usb: %+v, %v", run, err)
	}
	if s := f.state("a"); s.LastGoodRun != "r1" {
		t.Errorf("the newest good run that still exists: %+v", s)
	}
	if id, err := f.LatestSnapshot(f.ctx, "a", "nas", "db"); err != nil || id != "" {
		t.Errorf("latest snapshot on nas %q, %v", id, err)
	}
	f.add(catalog.CheckFinished{Target: "usb", N: 1, Of: 10, State: catalog.RunFailed, FinishedAt: f.clock.Now(), Missing: []string{"late"}})
	if s := f.state("a"); s.LastGoodRun != "" || !s.LastGoodAt.IsZero() {
		t.Errorf("nothing is left: %+v", s)
	}
	if _, err := f.LastGood(f.ctx, "a"); !errors.Is(err, catalog.ErrMissing) {
		t.Errorf("last good: %v", err)
	}
	equal(t, "after the loss", f.runs(catalog.RunQuery{Job: "a"}), []string{"r1 complete invalidated", "r2 complete pruned"})
	checks, err := f.Checks(f.ctx, "usb", time.Time{})
	if err != nil || len(checks) != 1 || checks[0].N != 1 {
		t.Errorf("checks %+v, %v", checks, err)
	}
	if checks, err := f.Checks(f.ctx, "usb", day); err != nil || len(checks) != 0 {
		t.Errorf("checks before: %+v, %v", checks, err)
	}
	f.verified()
}

func TestDamageIsNotForgotten(t *testing.T) {
	f := newCatalog(t)
	check := func(n int, state string) catalog.TargetState {
		t.Helper()
		f.add(catalog.CheckFinished{Target: "nas", N: n, Of: 10, State: state, FinishedAt: f.clock.Now()})
		s, err := f.TargetState(f.ctx, "nas")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := check(1, catalog.RunSkipped); s.LastCheck != catalog.RunSkipped || !s.LastCheckAt.IsZero() {
		t.Errorf("one that could not look counts as a look: %+v", s)
	}
	check(3, catalog.RunFailed)
	check(2, catalog.RunFailed)
	for _, c := range []struct {
		n           int
		state, want string
	}{{4, catalog.RunComplete, catalog.RunFailed}, {3, catalog.RunInterrupted, catalog.RunFailed}, {3, catalog.RunComplete, catalog.RunFailed}, {2, catalog.RunComplete, catalog.RunComplete}} {
		if s := check(c.n, c.state); s.LastCheck != c.want {
			t.Errorf("after group %d %s: %+v", c.n, c.state, s)
		}
	}
	f.verified()
}

func TestSecondEnds(t *testing.T) {
	f := newCatalog(t)
	f.add(catalog.RunStarted{Run: "r1", Job: "a"})
	if _, err := f.Append(f.ctx, catalog.RunStarted{Run: "r1", Job: "a"}); fault.KindOf(err) != fault.Refused {
		t.Errorf("second start: %v", err)
	}
	f.add(bad("r1", day, catalog.RunInterrupted))
	f.add(good("r1", day, "nas"))
	if s := f.state("a"); s.LastGoodRun != "r1" || s.Failures != 0 {
		t.Errorf("a run taken for dead lived on: %+v", s)
	}
	if _, err := f.Append(f.ctx, bad("r1", day, catalog.RunFailed)); fault.KindOf(err) != fault.Refused {
		t.Errorf("third end: %v", err)
	}
	f.add(tested("t1", "r1", catalog.VerdictUnknown, day), tested("t1", "r1", catalog.VerdictPassed, day))
	if _, err := f.Append(f.ctx, tested("t1", "r1", catalog.VerdictFailed, day)); fault.KindOf(err) != fault.Refused {
		t.Errorf("second verdict: %v", err)
	}
	if _, err := f.Append(f.ctx, catalog.HoldSet{Run: "none"}); fault.KindOf(err) != fault.Usage {
		t.Errorf("hold of nothing: %v", err)
	}
	size, err := f.TreeSize(f.ctx)
	if err != nil || size != 6 {
		t.Errorf("what was refused left entries: %d, %v", size, err)
	}
	f.verified()
}

func TestInventoryHistory(t *testing.T) {
	f := newCatalog(t)
	asset := func(job, title string) catalog.Asset {
		return catalog.Asset{Job: job, Title: title, Targets: []string{"nas"}}
	}
	if sum, err := f.InventoryDigest(f.ctx, time.Time{}); err != nil || sum != "" {
		t.Errorf("digest %q, %v before the first inventory", sum, err)
	}
	if inv, err := f.Inventory(f.ctx, time.Time{}); err != nil || !inv.SetAt.IsZero() || len(inv.Assets) != 0 {
		t.Errorf("before the first: %+v, %v", inv, err)
	}
	t1 := f.clock.Now()
	f.add(catalog.InventorySet{Assets: []catalog.Asset{asset("a", "A"), asset("b", "B")}, Targets: []catalog.TargetRow{{Name: "nas"}}})
	f.clock.Set(day.AddDate(0, 0, 5))
	t2 := f.clock.Now()
	f.add(catalog.InventorySet{ConfigSHA256: "second", Assets: []catalog.Asset{asset("b", "B2"), asset("c", "C")}, Targets: []catalog.TargetRow{{Name: "usb"}}})
	f.clock.Set(day.AddDate(0, 0, 9))
	t3 := f.clock.Now()
	f.add(catalog.InventorySet{Assets: []catalog.Asset{asset("a", "A3"), asset("c", "C")}, Targets: []catalog.TargetRow{{Name: "usb"}}})
	got, err := f.Inventory(f.ctx, t2.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "set at", got.SetAt, t2)
	equal(t, "since", got.Since, map[string]time.Time{"a": t1, "b": t1, "c": t2})
	equal(t, "removed", got.Removed, []catalog.RemovedAsset{{Asset: asset("a", "A"), At: t2}})
	if sum, err := f.InventoryDigest(f.ctx, t2.Add(time.Hour)); err != nil || sum != got.ConfigSHA256 || sum == "" {
		t.Errorf("digest %q, %v; the inventory has %q", sum, err, got.ConfigSHA256)
	}
	got, err = f.Inventory(f.ctx, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "since, a came back", got.Since["a"], t1)
	equal(t, "removed now", got.Removed, []catalog.RemovedAsset{{Asset: asset("b", "B2"), At: t3}})
	if s := f.state("b"); s.InInventory {
		t.Error("b is still in the inventory")
	}
	targets, err := f.TargetStates(f.ctx, t3, 0)
	if err != nil || len(targets) != 2 || targets[0].InInventory || !targets[1].InInventory {
		t.Errorf("targets %+v, %v", targets, err)
	}
	f.verified()
}

func TestRareKinds(t *testing.T) {
	f := newCatalog(t)
	f.add(catalog.ControlFinished{Control: "c1", Source: "postgres", Caught: true})
	f.add(catalog.ControlFinished{Control: "c2", Source: "files", Caught: true})
	between := f.clock.Now().Add(-time.Second)
	f.add(catalog.ControlFinished{Control: "c3", Source: "postgres", Caught: false})
	f.add(catalog.CheckpointAnchored{Target: "nas", Size: 3, Root: "x"}, catalog.Beat{}, catalog.DaemonStarted{Host: "h"})
	now, err := f.Controls(f.ctx, time.Time{})
	if err != nil || len(now) != 2 || now["postgres"].Control != "c3" || now["postgres"].Caught {
		t.Errorf("controls now: %+v, %v", now, err)
	}
	then, err := f.Controls(f.ctx, between)
	if err != nil || then["postgres"].Control != "c1" {
		t.Errorf("controls then: %+v, %v", then, err)
	}
	anchors, err := f.Anchors(f.ctx, time.Time{})
	if err != nil || len(anchors) != 1 || anchors[0].Size != 3 {
		t.Errorf("anchors: %+v, %v", anchors, err)
	}
	state, err := f.TargetState(f.ctx, "nas")
	if err != nil || state.AnchoredSize != 3 {
		t.Errorf("target state: %+v, %v", state, err)
	}
	for _, c := range []struct {
		only []string
		want int
	}{{nil, 7}, {[]string{"beat"}, 1}, {[]string{"control-finished", "beat"}, 4}, {[]string{"run-finished", "site-opened"}, 1}} {
		n := 0
		for e, err := range f.Entries(f.ctx, 0, c.only...) {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Decode(); err != nil {
				t.Error(err)
			}
			n++
		}
		if n != c.want {
			t.Errorf("entries of %v: %d, want %d", c.only, n, c.want)
		}
	}
	for _, err := range f.Entries(f.ctx, 0, "no-such-kind") {
		if err == nil {
			t.Error("an unknown kind was taken")
		}
	}
	if _, err := f.Entry(f.ctx, 99); !errors.Is(err, catalog.ErrMissing) {
		t.Errorf("entry 99: %v", err)
	}
	f.verified()
}

func TestFactsSurviveRebuild(t *testing.T) {
	f := newCatalog(t)
	doc := []byte(strings.Repeat(`{"kind":"rows"}`, 1000))
	id, err := f.PutFacts(f.ctx, doc)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.PutFacts(f.ctx, doc); err != nil || again != id {
		t.Errorf("stored again: %q, %v", again, err)
	}
	f.verified()
	got, err := f.Facts(f.ctx, id)
	if err != nil || string(got) != string(doc) {
		t.Errorf("facts: %d bytes, %v", len(got), err)
	}
	if _, err := f.Facts(f.ctx, strings.Repeat("0", 64)); !errors.Is(err, catalog.ErrMissing) {
		t.Errorf("unknown facts: %v", err)
	}
}

func TestClockGoingBack(t *testing.T) {
	f := newCatalog(t)
	f.clock.Set(day.Add(time.Hour))
	f.add(catalog.Beat{})
	f.clock.Set(day.Add(time.Hour - 5*time.Second))
	if e := f.add(catalog.Beat{}); !e[0].At.Equal(day.Add(time.Hour)) {
		t.Errorf("a small step back: %v", e[0].At)
	}
	f.clock.Set(day)
	e := f.add(catalog.Beat{})
	if !e[0].At.Equal(day) || e[0].Seq != 4 {
		t.Errorf("after the clock was set: %+v", e[0])
	}
	jump, err := f.Entry(f.ctx, 3)
	if err != nil || jump.Kind != "clock-jumped" {
		t.Errorf("entry 3: %+v, %v", jump, err)
	}
	f.verified()
}

func TestAppendRefuses(t *testing.T) {
	f := newCatalog(t)
	for _, e := range []catalog.Event{
		catalog.RunStarted{Run: "r"},
		catalog.RunFinished{Run: "r", Job: "a", State: "fine"},
		catalog.RunFinished{Run: "r", Job: "a", State: catalog.RunRunning},
		catalog.RunFinished{Run: "r", Job: "a", State: catalog.RunComplete},
		catalog.RunFinished{Run: "r", Job: "a", State: catalog.RunFailed, Copies: []catalog.Copy{{Target: "nas"}}},
		catalog.RunFinished{Run: "r", Job: "a", State: catalog.RunFailed, Copies: []catalog.Copy{{State: catalog.RunFailed}}},
		catalog.CopyFinished{Run: "r", Job: "a"},
		catalog.TestStarted{Job: "a"},
		catalog.TestFinished{Test: "t", Job: "a", Verdict: "green"},
		catalog.SlotsPlanned{Slots: []catalog.Slot{{Job: "a", Action: "dance", Due: day}}},
		catalog.SlotsPlanned{Slots: []catalog.Slot{{Action: catalog.ActionBackup, Due: day}}},
		catalog.SlotsClosed{State: catalog.SlotOpen},
		catalog.SlotsClosed{State: "gone"},
		catalog.ControlFinished{}, catalog.CheckFinished{}, catalog.TargetEnrolled{}, catalog.CheckpointAnchored{}, catalog.HoldSet{},
		catalog.RetentionPlanned{}, catalog.RetentionApplied{}, catalog.RepositoryPruned{},
		catalog.ConfigChanged{Run: "r", Job: "a"}, catalog.ChangeExplained{Run: "r", Job: "a", By: "b"}, catalog.ChangeExplained{Run: "r", Job: "a", Note: "n"},
	} {
		if _, err := f.Append(f.ctx, catalog.Beat{}, e); fault.KindOf(err) != fault.Usage {
			t.Errorf("%T %+v: %v", e, e, err)
		}
	}
	if size, err := f.TreeSize(f.ctx); err != nil || size != 1 {
		t.Errorf("size %d, %v", size, err)
	}
	ro, err := catalog.OpenReadOnly(f.ctx, f.options())
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if _, err := ro.Append(f.ctx, catalog.Beat{}); fault.KindOf(err) != fault.Refused {
		t.Errorf("append to a read-only catalog: %v", err)
	}
	if s, err := ro.JobStates(f.ctx, day, 0); err != nil || len(s) != 0 {
		t.Errorf("read: %v, %v", s, err)
	}
}

func TestTwoWriters(t *testing.T) {
	f := newCatalog(t)
	other, err := catalog.Open(f.ctx, f.options())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	done := make(chan error, 2)
	for name, c := range map[string]*catalog.Catalog{"x": f.Catalog, "y": other} {
		go func() {
			var err error
			for i := 0; i < 50 && err == nil; i++ {
				id := name + string(rune('A'+i))
				_, err = c.Append(f.ctx, catalog.RunStarted{Run: id, Job: name}, catalog.Beat{})
				if err == nil {
					r := good(id, day, "nas")
					r.Job = name
					_, err = c.Append(f.ctx, r)
				}
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if size, err := f.TreeSize(f.ctx); err != nil || size != 301 {
		t.Errorf("size %d, %v", size, err)
	}
	f.verified()
}

func TestRecoverFromSnapshots(t *testing.T) {
	f := newCatalog(t)
	f.add(good("known", day, "nas"))
	tags := func(run, part string) []string {
		return []string{"saoluu", "site=MAU", "job=a", "run=" + run, "part=" + part, "class=c", "category=database"}
	}
	found := []catalog.RecoveredSnapshot{
		{Target: "nas", ID: "s2", Time: day.AddDate(0, 0, 2), Tags: tags("new", "db")},
		{Target: "usb", ID: "s4", Time: day.AddDate(0, 0, 2), Tags: tags("new", "db")},
		{Target: "nas", ID: "s3", Time: day.AddDate(0, 0, 2).Add(time.Minute), Tags: tags("new", "globals")},
		{Target: "nas", ID: "s1", Time: day.AddDate(0, 0, 1), Tags: tags("old", "db")},
		{Target: "nas", ID: "s0", Time: day, Tags: tags("known", "db")},
		{Target: "nas", ID: "foreign", Time: day, Tags: []string{"home"}},
	}
	for _, want := range []int{2, 0} { // the second time all are known
		if n, err := f.RebuildFromSnapshots(f.ctx, found); err != nil || n != want {
			t.Fatalf("recovered %d, %v; want %d", n, err, want)
		}
	}
	equal(t, "runs", f.runs(catalog.RunQuery{Job: "a"}), []string{"known complete", "old complete", "new complete"})
	run, err := f.Run(f.ctx, "new")
	if err != nil || !run.Recovered || len(run.Parts) != 2 || run.Copies[0].State != catalog.RunComplete || run.Copies[1].State != catalog.RunIncomplete {
		t.Errorf("recovered run: %+v, %v", run, err)
	}
	f.verified()
}
