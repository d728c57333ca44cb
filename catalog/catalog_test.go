package catalog_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/catalog"
	"saoluu/catalog/catalogtest"
	"saoluu/evidence"
	"saoluu/internal/fault"
)

// day is the midnight in UTC most tests begin at.
var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

type fixture struct {
	*catalog.Catalog
	t      *testing.T
	ctx    context.Context
	clock  *catalogtest.Clock
	path   string
	signer *evidence.Signer
}

// newCatalog makes a catalog with its first entry.
func newCatalog(t *testing.T) fixture {
	t.Helper()
	f := fixture{t: t, ctx: t.Context(), clock: catalogtest.NewClock(day), path: filepath.Join(t.TempDir(), "catalog.db")}
	var err error
	if f.signer, err = evidence.NewSigner("MAU"); err != nil {
		t.Fatal(err)
	}
	if f.Catalog, err = catalog.Create(f.ctx, f.options()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Catalog.Close() })
	f.add(catalog.SiteOpened{Name: "Sở mẫu", Code: "MAU", Key: f.signer.VerifierKey(), Version: "test"})
	return f
}

func (f fixture) options() catalog.Options {
	return catalog.Options{Path: f.path, Now: f.clock.Now, Site: "MAU", Location: time.FixedZone("ICT", 7*3600)}
}

// add appends events and moves the clock on by a minute.
func (f fixture) add(events ...catalog.Event) []catalog.Entry {
	f.t.Helper()
	entries, err := f.Append(f.ctx, events...)
	if err != nil {
		f.t.Fatalf("append: %v", err)
	}
	f.clock.Add(time.Minute)
	return entries
}

// good is a complete run of job "a" with one part on the targets.
func good(id string, at time.Time, targets ...string) catalog.RunFinished {
	r := catalog.RunFinished{
		Run: id, Job: "a", Class: "c", Category: "database", LastAttempt: true, Trigger: catalog.TriggerSchedule, State: catalog.RunComplete,
		StartedAt: at, ConsistentAt: at.Add(time.Second), FinishedAt: at.Add(time.Minute),
		Parts: []catalog.Part{{Name: "db", State: catalog.RunComplete, Bytes: 10}},
	}
	for _, t := range targets {
		r.Copies = append(r.Copies, catalog.Copy{Target: t, State: catalog.RunComplete, Snapshots: map[string]string{"db": id + "@" + t}, Encryption: catalog.EncryptionRestic})
	}
	return r
}

func bad(id string, at time.Time, state string) catalog.RunFinished {
	return catalog.RunFinished{
		Run: id, Job: "a", LastAttempt: true, Trigger: catalog.TriggerSchedule, State: state, StartedAt: at, FinishedAt: at.Add(time.Minute),
		Error: "dump: exit status 1", ErrorKind: "failed",
	}
}

func tested(id, run, verdict string, at time.Time) catalog.TestFinished {
	return catalog.TestFinished{
		Test: id, Job: "a", Source: "postgres", Run: run, Target: "nas", Trigger: catalog.TriggerSchedule, StartedAt: at, FinishedAt: at.Add(time.Minute),
		Verdict: verdict, Level: catalog.LevelAsserted,
	}
}

func (f fixture) state(job string) catalog.JobState {
	f.t.Helper()
	states, err := f.JobStates(f.ctx, f.clock.Now(), 0)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, s := range states {
		if s.Job == job {
			return s
		}
	}
	f.t.Fatalf("no state of job %q", job)
	return catalog.JobState{}
}

func (f fixture) slots(q catalog.SlotQuery) []string {
	f.t.Helper()
	var list []string
	for s, err := range f.Slots(f.ctx, q) {
		if err != nil {
			f.t.Fatal(err)
		}
		list = append(list, strings.TrimSpace(s.Due.Format("02 15:04")+" "+s.State+" "+s.Run))
	}
	return list
}

func (f fixture) runs(q catalog.RunQuery) []string {
	f.t.Helper()
	var list []string
	for r, err := range f.Runs(f.ctx, q) {
		if err != nil {
			f.t.Fatal(err)
		}
		text := r.Run + " " + r.State
		if !r.Invalidated.IsZero() {
			text += " invalidated"
		}
		if !r.Pruned.IsZero() {
			text += " pruned"
		}
		list = append(list, text)
	}
	return list
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// verified fails the test when the catalog does not hold, or would be rebuilt
// into other rows.
func (f fixture) verified() {
	f.t.Helper()
	result, err := f.Verify(f.ctx, func(p catalog.Problem) { f.t.Errorf("verify: %s: %s", p.Where, p.What) })
	if err != nil || result.Problems != 0 {
		f.t.Errorf("verify: %+v, %v", result, err)
	}
	before := dump(f.t, f.path)
	if err := f.Rebuild(f.ctx, nil); err != nil {
		f.t.Fatalf("rebuild: %v", err)
	}
	equal(f.t, "tables after a rebuild", dump(f.t, f.path), before)
}

func openSQL(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// dump returns every row of every table as text.
func dump(t *testing.T, path string) []string {
	t.Helper()
	db := openSQL(t, path)
	defer db.Close()
	var out []string
	for _, table := range []string{"names", "runs", "slots", "tests", "marks", "assets", "job_state", "target_state", "kept", "ledger", "facts", "checkpoints"} {
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values := make([]sql.RawBytes, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			line := table
			for i, v := range values {
				line += " " + columns[i] + "=" + string(v)
			}
			out = append(out, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		rows.Close()
	}
	slices.Sort(out)
	return out
}

func TestCreateAndOpen(t *testing.T) {
	f := newCatalog(t)
	if _, err := catalog.Create(f.ctx, f.options()); fault.KindOf(err) != fault.Refused {
		t.Errorf("create over a catalog: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := catalog.Open(f.ctx, f.options())
	if err != nil {
		t.Fatal(err)
	}
	size, err := again.TreeSize(f.ctx)
	if err != nil || size != 1 {
		t.Errorf("size %d, %v", size, err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(f.path), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files left: %q, %v", left, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	whole := newCatalog(t)
	if err := whole.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole.path)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db := openSQL(t, foreign)
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t(a)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	other, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte(nil), data...)
	newer[63] = 9 // user_version is a big-endian number at offset 60
	for _, c := range []struct {
		name string
		data []byte
		kind fault.Kind
	}{
		{"missing", nil, fault.MissingState},
		{"empty", []byte{}, fault.Damaged},
		{"garbage", []byte(strings.Repeat("rubbish ", 4096)), fault.Damaged},
		{"a page", data[:4096], fault.Damaged},
		{"half a page", data[:2000], fault.Damaged},
		{"foreign", other, fault.Damaged},
		{"newer", newer, fault.Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalog.db")
			if c.data != nil {
				if err := os.WriteFile(path, c.data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o := whole.options()
			o.Path = path
			for _, open := range []func(context.Context, catalog.Options) (*catalog.Catalog, error){catalog.Open, catalog.OpenReadOnly} {
				got, err := open(t.Context(), o)
				if fault.KindOf(err) != c.kind || fault.HintOf(err) == "" {
					t.Errorf("error %v (kind %q, hint %q), want kind %q", err, fault.KindOf(err), fault.HintOf(err), c.kind)
				}
				if got != nil {
					got.Close()
				}
			}
			if c.data == nil {
				if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("open made a file: %v", err)
				}
			}
		})
	}
}

func TestRunChangesPosture(t *testing.T) {
	f := newCatalog(t)
	due := day.Add(time.Hour)
	f.add(catalog.SlotsPlanned{Until: day.AddDate(0, 0, 2), Slots: []catalog.Slot{
		{Job: "a", Action: catalog.ActionBackup, Due: due}, {Job: "a", Action: catalog.ActionBackup, Due: due.AddDate(0, 0, 1)},
		{Job: "a", Action: catalog.ActionTest, Due: due.Add(time.Hour)}, {Job: "nas", Action: catalog.ActionUpkeep, Due: due},
	}})
	f.add(catalog.RunStarted{Run: "r1", Job: "a", Due: &due, Trigger: catalog.TriggerSchedule, Attempt: 1})
	if s := f.state("a"); s.Running != "r1" || !s.NextDue.Equal(due) || !s.NextTestDue.Equal(due.Add(time.Hour)) {
		t.Errorf("while running: %+v", s)
	}
	started, _, err := f.Unfinished(f.ctx)
	if err != nil || len(started) != 1 || started[0].Run != "r1" || started[0].Attempt != 1 {
		t.Errorf("unfinished: %+v, %v", started, err)
	}
	run := good("r1", due, "nas", "usb")
	run.Due, run.Facts = &due, &catalog.Blob{SHA256: "x", Count: 9, Unread: 2}
	f.add(run)
	s := f.state("a")
	if s.LastUnread != 2 || s.Running != "" || s.LastGoodRun != "r1" || !s.LastGoodAt.Equal(run.ConsistentAt) || s.Failures != 0 || !s.NextDue.Equal(due.AddDate(0, 0, 1)) {
		t.Errorf("after a good run: %+v", s)
	}
	equal(t, "slots", f.slots(catalog.SlotQuery{Job: "a", Action: catalog.ActionBackup}), []string{"01 01:00 done r1", "02 01:00 open"})
	id, err := f.LatestSnapshot(f.ctx, "a", "usb", "db")
	if err != nil || id != "r1@usb" {
		t.Errorf("latest snapshot %q, %v", id, err)
	}
	stored, err := f.Run(f.ctx, "r1")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "run", stored.RunFinished, run)
	if _, err := f.Run(f.ctx, "r2"); !errors.Is(err, catalog.ErrMissing) {
		t.Errorf("unknown run: %v", err)
	}
	f.add(bad("r2", due.AddDate(0, 0, 1), catalog.RunFailed))
	f.add(bad("r3", due.AddDate(0, 0, 1).Add(time.Hour), catalog.RunInterrupted))
	if s := f.state("a"); s.Failures != 2 || !s.FailingSince.Equal(due.AddDate(0, 0, 1).Add(time.Minute)) || s.LastGoodRun != "r1" || s.LastError == "" {
		t.Errorf("after failures: %+v", s)
	}
	f.add(catalog.TestStarted{Test: "t1", Job: "a", Run: "r1"}, catalog.TestFinished{
		Test: "t1", Job: "a", Run: "r1", Source: "postgres", Verdict: catalog.VerdictPassed, FinishedAt: due,
		Assertions: []catalog.Assertion{{Name: catalog.AssertionUncompared, Expected: "0 of 7", Actual: "3 of 7"}},
	})
	if s := f.state("a"); s.LastUncompared != 3 {
		t.Errorf("after a test: %+v", s)
	}
	f.verified()
}

func TestOverdue(t *testing.T) {
	f := newCatalog(t)
	var slots []catalog.Slot
	for h := range 5 {
		slots = append(slots, catalog.Slot{Job: "a", Action: catalog.ActionBackup, Due: day.Add(time.Duration(h) * time.Hour)})
	}
	slots = append(slots, catalog.Slot{Job: "nas", Action: catalog.ActionUpkeep, Due: day})
	f.add(catalog.SlotsPlanned{Until: day.Add(5 * time.Hour), Slots: slots}, catalog.TargetEnrolled{Target: "nas", ID: "x", Repository: "y"}, catalog.RunStarted{Run: "r", Job: "a"})
	now := day.Add(3 * time.Hour)
	states, err := f.JobStates(f.ctx, now, time.Hour)
	if err != nil || len(states) != 1 || states[0].Overdue != 2 || !states[0].OldestOverdue.Equal(day) {
		t.Errorf("job states %+v, %v", states, err)
	}
	targets, err := f.TargetStates(f.ctx, now, time.Hour)
	if err != nil || len(targets) != 1 || targets[0].Overdue != 1 || targets[0].ID != "x" {
		t.Errorf("target states %+v, %v", targets, err)
	}
	duties, err := f.DueSlots(f.ctx, now, 3)
	if err != nil || len(duties) != 3 || duties[0].Due != day {
		t.Errorf("due slots %+v, %v", duties, err)
	}
	if all, err := f.DueSlots(f.ctx, now, 0); err != nil || len(all) != 5 {
		t.Errorf("all due slots %+v, %v", all, err)
	}
	if next, err := f.NextDue(f.ctx); err != nil || !next.Equal(day) {
		t.Errorf("next due %v, %v", next, err)
	}
	if until, err := f.PlannedUntil(f.ctx); err != nil || !until.Equal(day.Add(5*time.Hour)) {
		t.Errorf("planned until %v, %v", until, err)
	}
}

func TestFailedTestInvalidates(t *testing.T) {
	f := newCatalog(t)
	f.add(good("r1", day.Add(time.Hour), "nas"))
	f.clock.Set(day.AddDate(0, 0, 1))
	f.add(good("r2", day.AddDate(0, 0, 1), "nas"))
	f.clock.Set(day.AddDate(0, 1, 2))
	before := f.clock.Now()
	f.clock.Add(time.Hour)
	f.add(catalog.TestStarted{Test: "t1", Job: "a", Run: "r2", Target: "nas"})
	if _, tests, err := f.Unfinished(f.ctx); err != nil || len(tests) != 1 || tests[0].Test != "t1" {
		t.Errorf("unfinished tests %+v, %v", tests, err)
	}
	f.add(tested("t1", "r2", catalog.VerdictFailed, f.clock.Now()))
	if s := f.state("a"); s.LastGoodRun != "r1" || s.LastVerdict != catalog.VerdictFailed || !s.LastPassedAt.IsZero() {
		t.Errorf("posture %+v", s)
	}
	equal(t, "now", f.runs(catalog.RunQuery{Job: "a"}), []string{"r1 complete", "r2 complete invalidated"})
	equal(t, "good now", f.runs(catalog.RunQuery{Job: "a", GoodOnly: true}), []string{"r1 complete"})
	equal(t, "before", f.runs(catalog.RunQuery{Job: "a", AsOf: before}), []string{"r1 complete", "r2 complete"})
	equal(t, "good before", f.runs(catalog.RunQuery{Job: "a", GoodOnly: true, AsOf: before, Newest: true}), []string{"r2 complete", "r1 complete"})
	last, err := f.LastGood(f.ctx, "a")
	if err != nil || last.Run != "r1" {
		t.Errorf("last good %v, %v", last.Run, err)
	}
	march := catalog.Month{Job: "a", Start: day.Add(-7 * time.Hour), Good: 2, First: day.Add(time.Hour + time.Second), Last: day.AddDate(0, 0, 1).Add(time.Second)}
	months, err := f.Months(f.ctx, day, day.AddDate(0, 0, 20), before)
	if err != nil {
		t.Fatal(err)
	}
	inZone := cmp.Transformer("utc", func(t time.Time) string { return t.UTC().String() })
	if d := cmp.Diff([]catalog.Month{march}, months, inZone); d != "" {
		t.Errorf("months before: %s", d)
	}
	march.Good, march.Voided, march.Last = 1, 1, march.First
	months, err = f.Months(f.ctx, day, day.AddDate(0, 0, 20), f.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]catalog.Month{march}, months, inZone); d != "" {
		t.Errorf("months after: %s", d)
	}
	times, err := f.GoodTimes(f.ctx, "a", day, day.AddDate(1, 0, 0), before)
	if err != nil || len(times) != 2 {
		t.Errorf("good times before: %v, %v", times, err)
	}
	times, err = f.GoodTimes(f.ctx, "a", day, day.AddDate(1, 0, 0), f.clock.Now())
	if err != nil || len(times) != 1 {
		t.Errorf("good times after: %v, %v", times, err)
	}
	f.add(tested("t2", "r1", catalog.VerdictPassed, f.clock.Now()))
	if s := f.state("a"); s.LastPassedRun != "r1" || s.LastTest != "t2" {
		t.Errorf("posture %+v", s)
	}
	f.verified()
}

func TestSlotEnds(t *testing.T) {
	f := newCatalog(t)
	at := func(d int) time.Time { return day.AddDate(0, 0, d) }
	slot := func(d int) catalog.Slot { return catalog.Slot{Job: "a", Action: catalog.ActionBackup, Due: at(d)} }
	plan := catalog.SlotsPlanned{Until: at(9)}
	for d := range 9 {
		plan.Slots = append(plan.Slots, slot(d))
	}
	f.add(plan)
	f.clock.Set(at(2))
	first := at(0)
	retry := bad("r0", at(0), catalog.RunFailed)
	retry.Due, retry.LastAttempt = &first, false
	f.add(retry)
	equal(t, "a retry follows", f.slots(catalog.SlotQuery{DueTo: at(1)}), []string{"01 00:00 open"})
	last := bad("r1", at(0), catalog.RunFailed)
	last.Due = &first
	f.add(last)
	f.add(catalog.SlotsClosed{State: catalog.SlotMissed, Reason: "down", Slots: []catalog.Slot{slot(1), slot(2)}})
	f.clock.Set(at(4))
	third := at(3)
	caught := good("r2", at(3), "nas")
	caught.Due, caught.Covers = &third, []time.Time{at(1), at(2)}
	f.add(caught)
	fifth := at(5)
	failed := bad("r3", at(5), catalog.RunIncomplete)
	failed.Due, failed.Covers = &fifth, []time.Time{at(4)}
	f.add(failed)
	f.add(catalog.SlotsClosed{State: catalog.SlotWaived, Reason: "holiday", Slots: []catalog.Slot{slot(6)}})
	f.add(catalog.SlotsClosed{State: catalog.SlotMissed, Reason: "late", Slots: []catalog.Slot{slot(6), slot(3)}}) // both ended already
	equal(t, "now", f.slots(catalog.SlotQuery{Job: "a", DueTo: at(8)}), []string{
		"01 00:00 failed r1", "02 00:00 covered r2", "03 00:00 covered r2", "04 00:00 done r2",
		"05 00:00 failed r3", "06 00:00 failed r3", "07 00:00 waived", "08 00:00 open"})
	equal(t, "then", f.slots(catalog.SlotQuery{Job: "a", DueTo: at(4), AsOf: at(3)}), []string{
		"01 00:00 failed r1", "02 00:00 missed", "03 00:00 missed", "04 00:00 open"})
	equal(t, "open then", f.slots(catalog.SlotQuery{State: catalog.SlotOpen, AsOf: at(3), DueTo: at(5), Newest: true, Limit: 1}), []string{"05 00:00 open"})
	equal(t, "open now", f.slots(catalog.SlotQuery{State: catalog.SlotOpen}), []string{"08 00:00 open", "09 00:00 open"})
	equal(t, "before the plan", f.slots(catalog.SlotQuery{AsOf: day.Add(-time.Hour)}), []string(nil))
	f.add(catalog.SlotsPlanned{Until: at(9), Slots: plan.Slots}) // planned twice changes nothing
	equal(t, "failed", f.slots(catalog.SlotQuery{State: catalog.SlotFailed, Action: catalog.ActionBackup}), []string{"01 00:00 failed r1", "05 00:00 failed r3", "06 00:00 failed r3"})
	f.verified()
}
