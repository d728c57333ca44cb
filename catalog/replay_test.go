package catalog_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"saoluu/catalog"
	"saoluu/evidence"
	"saoluu/internal/fault"
)

// A story makes up events of every kind, sensible ones and such as come out of
// order, twice, or about things nobody has heard of.
type story struct {
	*rand.Rand
	now time.Time
}

func pick[T any](s story, from ...T) T { return from[s.IntN(len(from))] }

func (s story) job() string    { return pick(s, "a", "b", "c") }
func (s story) target() string { return pick(s, "nas", "usb") }
func (s story) run() string    { return fmt.Sprint("r", s.IntN(30)) }
func (s story) past() time.Time {
	return s.now.Add(-time.Duration(s.IntN(72)) * time.Hour).Truncate(time.Hour)
}

func (s story) due() *time.Time {
	if s.IntN(3) == 0 {
		return nil
	}
	t := s.past()
	return &t
}

func (s story) slots() []catalog.Slot {
	var list []catalog.Slot
	for range s.IntN(5) {
		list = append(list, catalog.Slot{Job: s.job(), Action: pick(s, catalog.ActionBackup, catalog.ActionTest, catalog.ActionUpkeep), Due: s.past()})
	}
	return list
}

func (s story) finished() catalog.RunFinished {
	r := catalog.RunFinished{
		Run: s.run(), Job: s.job(), Due: s.due(), LastAttempt: s.IntN(2) == 0, StartedAt: s.past(), FinishedAt: s.past(), ConsistentAt: s.past(),
		State: pick(s, catalog.RunComplete, catalog.RunComplete, catalog.RunFailed, catalog.RunIncomplete, catalog.RunInterrupted, catalog.RunSkipped),
		Error: pick(s, "", "broken"), Parts: []catalog.Part{{Name: "db"}},
	}
	for range s.IntN(3) {
		r.Covers = append(r.Covers, s.past())
	}
	for _, target := range []string{"nas", "usb"} {
		if s.IntN(3) > 0 {
			r.Copies = append(r.Copies, s.copy(r.Run, target))
		}
	}
	return r
}

func (s story) copy(run, target string) catalog.Copy {
	c := catalog.Copy{Target: target, State: pick(s, catalog.RunComplete, catalog.RunComplete, catalog.RunFailed, catalog.RunIncomplete), Snapshots: map[string]string{}}
	for _, part := range []string{"db", "globals"} {
		if s.IntN(4) > 0 {
			c.Snapshots[part] = snapshot(run, target, part)
		}
	}
	return c
}

func snapshot(run, target, part string) string { return run + "/" + target + "/" + part }

func (s story) some(run, target string) []string {
	return slices.DeleteFunc([]string{snapshot(run, target, "db"), snapshot(run, target, "globals"), "other"}, func(string) bool { return s.IntN(3) == 0 })
}

func (s story) inventory() catalog.InventorySet {
	set := catalog.InventorySet{Site: catalog.SiteInfo{Name: fmt.Sprint(s.IntN(100))}}
	for _, job := range []string{"a", "b", "c"} {
		if s.IntN(2) == 0 {
			set.Assets = append(set.Assets, catalog.Asset{Job: job, Title: fmt.Sprint(s.IntN(5)), Targets: []string{"nas"}})
		}
	}
	for _, target := range []string{"nas", "usb"} {
		if s.IntN(2) == 0 {
			set.Targets = append(set.Targets, catalog.TargetRow{Name: target})
		}
	}
	return set
}

func (s story) event() catalog.Event {
	run, target := s.run(), s.target()
	switch s.IntN(24) {
	case 0:
		return s.inventory()
	case 1, 2:
		return catalog.SlotsPlanned{Until: s.past(), Slots: s.slots()}
	case 3:
		return catalog.SlotsClosed{State: pick(s, catalog.SlotMissed, catalog.SlotWaived, catalog.SlotDropped, catalog.SlotCovered), Reason: pick(s, "", "late"), Run: pick(s, "", run), Slots: s.slots()}
	case 4, 5, 6:
		return catalog.RunStarted{Run: run, Job: s.job(), Due: s.due(), Attempt: 1}
	case 7, 8, 9, 10, 11:
		return s.finished()
	case 12:
		return catalog.CopyFinished{Run: run, Job: s.job(), Copy: s.copy(run, target), FinishedAt: s.past()}
	case 13:
		return catalog.TestStarted{Test: "t" + run, Job: s.job(), Run: run, Target: target}
	case 14, 15:
		return catalog.TestFinished{
			Test: "t" + s.run(), Job: s.job(), Source: pick(s, "files", "postgres"), Run: run, Target: target, Due: s.due(), FinishedAt: s.past(),
			Verdict: pick(s, catalog.VerdictPassed, catalog.VerdictFailed, catalog.VerdictUnknown), Level: catalog.LevelRestored, Blames: pick(s, "", catalog.BlamesRun, catalog.BlamesCopy, catalog.BlamesNothing),
		}
	case 16:
		return catalog.ControlFinished{Control: run, Source: pick(s, "files", "postgres"), Caught: s.IntN(2) == 0}
	case 17:
		return catalog.CheckFinished{Target: target, Due: s.due(), State: pick(s, catalog.RunComplete, catalog.RunFailed), FinishedAt: s.past(), N: s.IntN(3), Of: 3, Missing: s.some(run, target)}
	case 18:
		return catalog.RetentionApplied{Target: target, State: catalog.RunComplete, Removed: []catalog.RemovedRow{{Run: run, Snapshots: s.some(run, target)}, {Run: s.run()}}}
	case 22:
		return catalog.RetentionPlanned{Target: target, Removed: []catalog.RemovedRow{{Run: run, Snapshots: s.some(run, target)}}}
	case 23:
		return catalog.RepositoryPruned{Target: target, State: pick(s, catalog.RunComplete, catalog.RunFailed), FinishedAt: s.past()}
	case 19:
		return pick[catalog.Event](s, catalog.HoldSet{Run: run, Held: s.IntN(2) == 0}, catalog.ArchiveWritten{Set: "s1", SHA256: "x", Runs: []string{run, s.run()}},
			catalog.MediumRegistered{Medium: "usb", ID: "a", Filesystem: "u", By: "b"}, catalog.MediumSeen{Medium: "usb", Plugged: s.IntN(2) == 0},
			catalog.MediumRefused{Reason: "unknown"}, catalog.MediumHanded{Medium: "usb", To: "t", Place: "p", By: "b"}, catalog.MediumInspected{Medium: "usb", By: "b"},
			catalog.MediumStaged{Medium: "usb", Stage: catalog.StageSanitised, By: "b", Sanitisation: &catalog.Sanitisation{Method: "purge"}})
	case 20:
		return pick[catalog.Event](s, catalog.KeyPlaced{Target: target, From: catalog.KeyFromState}, catalog.TargetEnrolled{Target: target, ID: run}, catalog.CheckpointAnchored{Target: target, Size: s.Int64N(9)})
	}
	return pick[catalog.Event](s, catalog.Beat{}, catalog.DaemonStarted{}, catalog.DaemonStopped{}, catalog.ConfigRefused{}, catalog.LockRemoved{Target: target}, catalog.RestoreFinished{Job: "a"})
}

// Whatever happened, replaying the ledger makes the very same rows.
func TestReplayMakesTheSameRows(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := newCatalog(t)
			s := story{rand.New(rand.NewPCG(seed, 1)), day}
			refused := 0
			for range 150 {
				s.now = s.now.Add(time.Duration(s.IntN(90)) * time.Minute)
				f.clock.Set(s.now)
				events := []catalog.Event{s.event()}
				for s.IntN(4) == 0 {
					events = append(events, s.event())
				}
				switch _, err := f.Append(f.ctx, events...); fault.KindOf(err) {
				case "":
				case fault.Refused, fault.Usage: // said twice, or of a run nobody knows
					refused++
				default:
					t.Fatal(err)
				}
				if s.IntN(40) == 0 { // another process takes over
					f.Close()
					var err error
					if f.Catalog, err = catalog.Open(f.ctx, f.options()); err != nil {
						t.Fatal(err)
					}
				}
			}
			defer f.Close()
			if refused > 100 {
				t.Errorf("%d of 150 were refused: the story is no good", refused)
			}
			f.verified()
		})
	}
}

// Every event must come back from the ledger as it went in, but for instants,
// which lose their fraction and zone.
func TestEventsSurviveTheLedger(t *testing.T) {
	f := newCatalog(t)
	odd := time.Date(2026, 3, 5, 1, 2, 3, 999999999, time.FixedZone("x", 7*3600))
	for _, e := range []catalog.Event{
		catalog.SlotsPlanned{Until: odd, Slots: []catalog.Slot{{Job: "a", Action: catalog.ActionTest, Due: odd}}},
		catalog.SlotsClosed{State: catalog.SlotMissed, Slots: []catalog.Slot{{Job: "a", Action: catalog.ActionTest, Due: odd}}},
		catalog.RunStarted{Run: "r", Job: "a", Due: &odd},
		catalog.RunFinished{Run: "r", Job: "a", State: catalog.RunFailed, Due: &odd, Covers: []time.Time{odd}, StartedAt: odd, ConsistentAt: odd, FinishedAt: odd},
		catalog.CopyFinished{Run: "r", Job: "a", Copy: catalog.Copy{Target: "nas", State: catalog.RunComplete}, StartedAt: odd, FinishedAt: odd},
		catalog.TestStarted{Test: "t", Job: "a", Due: &odd},
		catalog.TestFinished{Test: "t", Job: "a", Verdict: catalog.VerdictPassed, Due: &odd, Covers: []time.Time{odd}, StartedAt: odd, FinishedAt: odd, ConsistentAt: odd, RestoreSeconds: 0.25},
		catalog.CheckFinished{Target: "nas", Due: &odd, StartedAt: odd, FinishedAt: odd},
		catalog.ClockJumped{Before: odd, After: odd},
		catalog.RestoreFinished{Job: "a", StartedAt: odd, FinishedAt: odd},
		catalog.KeyPlaced{Target: "nas", From: catalog.KeyFromAge, Separation: &catalog.Separation{Level: 2, How: "h"}, Exposed: true},
		catalog.InventorySet{Assets: []catalog.Asset{{Job: "a", Title: "Văn bản <đến> & đi"}}},
	} {
		entry := f.add(e)[0]
		back, err := entry.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if reflect.TypeOf(back) != reflect.TypeOf(e) {
			t.Errorf("%T came back as %T", e, back)
		}
		text, err := json.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := evidence.CanonicalJSON(text); err != nil || string(entry.JSON) != string(evidence.FormatEntry(entry.Seq, entry.At, entry.Kind, again)) {
			t.Errorf("%T: entry %s, decoded %s, %v", e, entry.JSON, text, err)
		}
		times(reflect.ValueOf(back), func(v time.Time) {
			if v.Nanosecond() != 0 || v.Location() != time.UTC {
				t.Errorf("%T keeps the instant %v", e, v)
			}
		})
	}
}

// times calls do for every instant that is set inside v.
func times(v reflect.Value, do func(time.Time)) {
	if t, ok := v.Interface().(time.Time); ok {
		if !t.IsZero() {
			do(t)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			times(v.Field(i), do)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			times(v.Elem(), do)
		}
	case reflect.Slice:
		for i := range v.Len() {
			times(v.Index(i), do)
		}
	}
}

// The stored hashes must be those of the reference implementation.
func TestStoredHashes(t *testing.T) {
	f := newCatalog(t)
	for range 70 {
		f.add(catalog.Beat{})
	}
	var all []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = all[x]
		}
		return out, nil
	})
	for e, err := range f.Entries(f.ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		hashes, err := tlog.StoredHashes(e.Seq, e.JSON, reader)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, hashes...)
		want, err := tlog.TreeHash(e.Seq+1, reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Root(f.ctx, e.Seq+1); err != nil || got != want {
			t.Fatalf("root of size %d: %v, %v; want %v", e.Seq+1, got, err, want)
		}
	}
	if got, err := f.Root(f.ctx, 0); err != nil || got.String() != "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" {
		t.Errorf("root of nothing: %v, %v", got, err)
	}
}
