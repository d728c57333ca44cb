package catalog_test

import (
	"testing"
	"time"

	"saoluu/catalog"
)

// A plan is open until the deletion that ends it, on its own target alone.
func TestUnapplied(t *testing.T) {
	f := newCatalog(t)
	want := func(target, run string) {
		t.Helper()
		plan, ok, err := f.Unapplied(f.ctx, target)
		if err != nil || ok != (run != "") || ok && plan.Removed[0].Run != run {
			t.Errorf("open plan of %s: %+v, %v, %v, want %q", target, plan, ok, err, run)
		}
	}
	want("nas", "")
	f.add(catalog.RetentionPlanned{Target: "nas", Removed: []catalog.RemovedRow{{Run: "r1"}}})
	want("nas", "r1")
	want("usb", "")
	f.add(catalog.RetentionApplied{Target: "usb", State: catalog.RunSkipped})
	want("nas", "r1")
	f.add(catalog.RetentionPlanned{Target: "nas", Removed: []catalog.RemovedRow{{Run: "r2"}}})
	want("nas", "r2")
	f.add(catalog.RetentionApplied{Target: "nas", State: catalog.RunInterrupted})
	want("nas", "")
	f.verified()
}

// Space is owed from the first deletion after the last time it was freed.
func TestUnpruned(t *testing.T) {
	f := newCatalog(t)
	removed := []catalog.RemovedRow{{Run: "r1", Job: "a"}}
	want := func(hours ...int) {
		t.Helper()
		since, err := f.Unpruned(f.ctx)
		switch {
		case err != nil:
			t.Error(err)
		case len(hours) == 0 && len(since) > 0:
			t.Errorf("unpruned %v, want none", since)
		case len(hours) == 1 && !since["nas"].Equal(day.Add(time.Duration(hours[0])*time.Hour)):
			t.Errorf("unpruned %v, want hour %d", since, hours[0])
		}
	}
	at := func(hour int, e catalog.Event) {
		f.clock.Set(day.Add(time.Duration(hour) * time.Hour))
		f.add(e)
	}
	want()
	at(1, catalog.RetentionApplied{Target: "nas", State: catalog.RunSkipped})
	want()
	at(2, catalog.RetentionApplied{Target: "nas", State: catalog.RunComplete, Removed: removed})
	at(3, catalog.RetentionApplied{Target: "nas", State: catalog.RunComplete, Removed: removed})
	want(2)
	at(4, catalog.RepositoryPruned{Target: "nas", State: catalog.RunFailed, Error: "no"})
	want(2)
	at(5, catalog.RepositoryPruned{Target: "nas", State: catalog.RunComplete})
	want()
	at(6, catalog.RetentionApplied{Target: "nas", State: catalog.RunFailed, Removed: removed})
	want(6)
	state, err := f.TargetState(f.ctx, "nas")
	if err != nil || !state.LastPruneAt.Equal(day.Add(5*time.Hour)) {
		t.Errorf("last pruned %s, %v", state.LastPruneAt, err)
	}
	prunings, err := f.Prunings(f.ctx, "nas", time.Time{})
	if err != nil || len(prunings) != 1 {
		t.Errorf("prunings %v, %v", prunings, err)
	}
	at(7, catalog.RepositoryPruned{Target: "nas", State: catalog.RunComplete})
	at(8, catalog.SelfSaved{Target: "nas"})
	want()
	at(9, catalog.SelfSaved{Target: "nas", Forgotten: 3})
	want(9)
	all, err := f.Retentions(f.ctx, "nas", time.Time{})
	if err != nil || len(all) != 4 {
		t.Errorf("retentions %v, %v", all, err)
	}
	f.verified()
}

func TestHoldOf(t *testing.T) {
	f := newCatalog(t)
	f.add(good("r1", day, "nas"))
	hold, err := f.HoldOf(f.ctx, "r1")
	if err != nil || hold.Run != "" {
		t.Errorf("hold %+v, %v, want none", hold, err)
	}
	f.add(catalog.HoldSet{Run: "r1", Held: true, Reason: "audit", By: "an"}, catalog.HoldSet{Run: "r1", Reason: "over", By: "binh"})
	hold, err = f.HoldOf(f.ctx, "r1")
	if err != nil || hold.Held || hold.Reason != "over" {
		t.Errorf("hold %+v, %v", hold, err)
	}
}

// A copy that lost one of its parts is no whole copy any more, whatever the run's
// own event says: nobody may restore from it.
func TestPartlyDeleted(t *testing.T) {
	f := newCatalog(t)
	r := good("r1", day, "nas", "usb")
	for i := range r.Copies {
		r.Copies[i].Snapshots["roles"] = "roles@" + r.Copies[i].Target
	}
	f.add(r)
	f.add(catalog.RetentionApplied{Target: "nas", State: catalog.RunFailed, Removed: []catalog.RemovedRow{{Run: "r1", Job: "a", Snapshots: []string{"roles@nas"}}}})
	run, err := f.Run(f.ctx, "r1")
	if err != nil {
		t.Fatal(err)
	}
	if run.Copies[0].State != catalog.RunIncomplete || run.Copies[1].State != catalog.RunComplete || len(run.Gone) != 0 || !run.Pruned.IsZero() {
		t.Errorf("run %+v", run)
	}
	f.add(catalog.RetentionApplied{Target: "nas", State: catalog.RunComplete, Removed: []catalog.RemovedRow{{Run: "r1", Job: "a", Snapshots: []string{"r1@nas"}}}})
	if run, err = f.Run(f.ctx, "r1"); err != nil || run.Gone["nas"].IsZero() || !run.Pruned.IsZero() {
		t.Errorf("run %+v, %v", run, err)
	}
	f.verified()
}
