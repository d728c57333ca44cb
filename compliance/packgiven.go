package compliance

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// longestGiven bounds what a pack's test may ask to be made up.
const longestGiven = 3653 * 24 * time.Hour

// addRuns adds the backups a test gives: good ones, failed ones, and good ones
// that were found bad later.
func (sc *scenario) addRuns(s *scope, template []givenCopy) {
	good := func(at time.Time) catalog.Run { return sc.run(at, template) }
	for _, at := range s.instants("good_backups", sc.loc) {
		sc.runs = append(sc.runs, good(at))
	}
	if every := s.table("good_daily"); len(every.keys) > 0 {
		from, to := every.instant("from", sc.loc), every.instant("to", sc.loc)
		if to.Sub(from) > longestGiven {
			s.errorf("good_daily", "field %q spans more than ten years", "good_daily")
			to = from
		}
		for at := from; !at.IsZero() && !at.After(to); at = (calendar.Period{Days: 1}).AddTo(at, sc.loc) {
			sc.runs = append(sc.runs, good(at))
		}
	}
	for _, at := range s.instants("failed_backups", sc.loc) {
		r := good(at)
		r.State, r.ConsistentAt, r.Copies = catalog.RunFailed, time.Time{}, nil
		sc.runs = append(sc.runs, r)
	}
	for _, v := range s.tables("voided_backups") {
		r := good(v.instant("at", sc.loc))
		r.Invalidated = v.instant("found", sc.loc)
		sc.runs = append(sc.runs, r)
	}
	for _, v := range s.tables("removed_backups") {
		sc.runs = append(sc.runs, sc.delete(good(v.instant("at", sc.loc)), v.instant("removed", sc.loc)))
	}
	for _, v := range s.tables("lost_backups") {
		sc.runs = append(sc.runs, sc.lose(good(v.instant("at", sc.loc)), v.instant("found", sc.loc)))
	}
	slices.SortStableFunc(sc.runs, func(a, b catalog.Run) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.Run, b.Run))
	})
	for i := range sc.runs {
		sc.runs[i].Seq = int64(10 + i)
	}
}

// delete is a good run that retention deleted from all its targets.
func (sc *scenario) delete(r catalog.Run, at time.Time) catalog.Run {
	r.Pruned, r.Gone = at, map[string]time.Time{}
	for _, c := range r.Copies {
		r.Gone[c.Target] = at
		sc.removals = append(sc.removals, catalog.Retention{Seq: int64(6000 + len(sc.removals)), At: at, RetentionApplied: catalog.RetentionApplied{
			Target: c.Target, State: catalog.RunComplete, Removed: []catalog.RemovedRow{{Run: r.Run, Job: r.Job, TakenAt: r.ConsistentAt, Good: true}},
		}})
	}
	return r
}

// lose is a good run whose snapshots a re-read did not find any more.
func (sc *scenario) lose(r catalog.Run, found time.Time) catalog.Run {
	r.Invalidated, r.Gone = found, map[string]time.Time{}
	for _, c := range r.Copies {
		r.Gone[c.Target] = found
		sc.checks = append(sc.checks, catalog.Check{Seq: int64(7000 + len(sc.checks)), At: found, CheckFinished: catalog.CheckFinished{
			Target: c.Target, N: 1, Of: 1, State: catalog.RunFailed, FinishedAt: found, StartedAt: found, Missing: []string{"snapshot of " + r.Run},
		}})
	}
	return r
}

// run makes one good run with the copies of the template.
func (sc *scenario) run(at time.Time, template []givenCopy) catalog.Run {
	r := catalog.Run{RunFinished: catalog.RunFinished{
		Run: at.UTC().Format("20060102-150405"), Job: testJob, State: catalog.RunComplete,
		StartedAt: at, ConsistentAt: at, FinishedAt: at.Add(10 * time.Minute),
	}}
	for _, c := range template {
		if c.until.IsZero() || !at.After(c.until) {
			r.Copies = append(r.Copies, c.Copy)
		}
	}
	return r
}

// addTest adds one restore test. The backup it used is the newest one before it
// unless another is named.
func (sc *scenario) addTest(s *scope, number int) {
	at := s.instant("at", sc.loc)
	used := s.instant("used", sc.loc)
	for _, r := range sc.runs {
		if !s.has("used") && r.Good(at) {
			used = r.ConsistentAt
		}
	}
	t := catalog.Test{Seq: int64(1000 + number), TestFinished: catalog.TestFinished{
		Test: fmt.Sprintf("test-%d", number), Job: testJob, Source: "files", ConsistentAt: used, StartedAt: at, FinishedAt: at.Add(10 * time.Minute),
		Verdict: s.word("verdict", catalog.VerdictPassed, catalog.VerdictPassed, catalog.VerdictFailed, catalog.VerdictUnknown, catalog.VerdictNotConfigured),
		Level: s.word("level", catalog.LevelAsserted, catalog.LevelListed, catalog.LevelStructure, catalog.LevelReread,
			catalog.LevelRestored, catalog.LevelAsserted, catalog.LevelBooted),
		Full: s.boolean("full", true), RestoreSeconds: float64(s.number("minutes", 10, 0, 100_000) * 60), Control: "control",
		Target: testTarget,
	}}
	if s.has("target") {
		t.Target = s.optional("target")
	}
	if !s.boolean("controlled", true) {
		t.Control = ""
	}
	for i := range s.number("assertions", 1, 0, 100) {
		t.Assertions = append(t.Assertions, catalog.Assertion{Name: fmt.Sprintf("phép %d", i+1), Expected: "1", Actual: "1", OK: t.Verdict != catalog.VerdictFailed})
	}
	sc.tests = append(sc.tests, t)
}

// addCheck adds one re-read of a target.
func (sc *scenario) addCheck(s *scope) {
	at := s.instant("at", sc.loc)
	c := catalog.Check{Seq: int64(2000 + len(sc.checks)), At: at, CheckFinished: catalog.CheckFinished{
		Target: testTarget, N: s.number("n", 1, 1, 1000), Of: s.number("of", 1, 1, 1000), FinishedAt: at, StartedAt: at,
		State: s.word("state", catalog.RunComplete, catalog.RunComplete, catalog.RunFailed, catalog.RunInterrupted, catalog.RunSkipped),
	}}
	if s.has("target") {
		c.Target = s.optional("target")
	}
	sc.checks = append(sc.checks, c)
}

// addLedger makes a ledger of some entries, anchored on the given days.
func (sc *scenario) addLedger(s *scope) {
	for i := range s.number("entries", 3, 0, 1000) {
		sc.entries = append(sc.entries, catalog.Entry{Seq: int64(i), At: sc.set, Kind: "beat", JSON: fmt.Appendf(nil, "entry %d", i)})
	}
	tree := frontier{}
	for _, e := range sc.entries {
		tree.add(tlog.RecordHash(e.JSON))
	}
	for i, at := range s.instants("compared", sc.loc) {
		sc.compared = append(sc.compared, catalog.Comparison{Seq: int64(4000 + i), At: at})
	}
	for i, at := range s.instants("tables_changed", sc.loc) {
		sc.compared = append(sc.compared, catalog.Comparison{Seq: int64(5000 + i), At: at, CatalogCompared: catalog.CatalogCompared{Problems: 1}})
	}
	for i, at := range s.instants("anchors", sc.loc) {
		sc.anchors = append(sc.anchors, catalog.Anchor{Seq: int64(3000 + i), At: at,
			CheckpointAnchored: catalog.CheckpointAnchored{Target: testTarget, Size: tree.size, Root: tree.root().String()}})
	}
	sc.broken = s.boolean("broken", false)
}
