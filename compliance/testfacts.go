package compliance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// testFacts are an asset's restore tests, newest first, as far back as any rule
// looks.
type testFacts struct {
	all      []catalog.Test
	complete bool   // nothing older was left unread
	doubt    string // Vietnamese; why passes of this kind of source prove nothing now
	doubted  time.Time
}

// cap on how far back tests count: no interval may be longer than a year
// (requirements on restore tests, policy), and a month is for lateness.
const testMonths = 13

// testsOf reads an asset's tests. It stops early when the newest ones already
// prove every target, because older ones cannot change that.
func (e *evaluation) testsOf(ctx context.Context, a *asset) (testFacts, error) {
	if a.tests != nil {
		return *a.tests, nil
	}
	return e.readTests(ctx, a, false)
}

func (e *evaluation) readTests(ctx context.Context, a *asset, all bool) (testFacts, error) {
	facts := testFacts{complete: true}
	facts.doubt, facts.doubted = e.doubt(a)
	q := catalog.TestQuery{
		Job: a.Job, From: calendar.AddMonths(e.now, -testMonths, e.loc), To: e.bound.Add(time.Second), AsOf: e.asOf, Newest: true,
	}
	for t, err := range e.view.Tests(ctx, q) {
		if err != nil {
			return testFacts{}, fmt.Errorf("read the restore tests of %q: %w", a.Job, err)
		}
		if e.closed() && !t.FinishedAt.Before(e.bound) {
			continue
		}
		facts.all = append(facts.all, t)
		if !all && facts.enough(a) {
			facts.complete = false
			break
		}
	}
	a.tests = &facts
	return facts, nil
}

// enough reports whether the newest test and a full pass on every target have
// been read.
func (f testFacts) enough(a *asset) bool {
	for _, target := range a.Targets {
		if f.fullOn(target).FinishedAt.IsZero() {
			return false
		}
	}
	return len(f.all) > 1
}

// doubt says why passed tests of an asset's kind of source cannot be believed: a
// copy damaged on purpose was not noticed by the same checks.
func (e *evaluation) doubt(a *asset) (string, time.Time) {
	c, ok := e.controls[a.Source]
	if ok && !c.Caught {
		return fmt.Sprintf("phép kiểm tra loại “%s” không phát hiện bản sao cố ý làm hỏng ngày %s", a.Source, vnDate(c.At, e.loc)), c.At
	}
	return "", time.Time{}
}

// proves reports whether a test is a restore test that counts: passed, data
// restored, and at least min assertions on them.
func proves(t catalog.Test, minAssertions int) bool {
	return t.Verdict == catalog.VerdictPassed && len(t.Assertions) >= minAssertions &&
		slices.Contains([]string{catalog.LevelRestored, catalog.LevelAsserted, catalog.LevelBooted}, t.Level)
}

// newest returns the newest test that counts and satisfies all conditions.
func (f testFacts) newest(minAssertions int, conditions ...func(catalog.Test) bool) (catalog.Test, bool) {
	for _, t := range f.all {
		if proves(t, minAssertions) && !slices.ContainsFunc(conditions, func(c func(catalog.Test) bool) bool { return !c(t) }) {
			return t, true
		}
	}
	return catalog.Test{}, false
}

// fullOn is the test that last restored a whole copy from a target, with a zero
// time if there is none. The copy of an old backup says nothing about what was
// stored since and is passed over.
func (f testFacts) fullOn(target string) catalog.Test {
	if f.doubt != "" {
		return catalog.Test{}
	}
	t, _ := f.newest(1, func(t catalog.Test) bool {
		return t.Full && t.Target == target && t.StartedAt.Sub(t.ConsistentAt) <= importantAge
	})
	return t
}

// passedOn is when anything was last restored from a target, zero if never.
func (f testFacts) passedOn(target string) time.Time {
	if f.doubt != "" {
		return time.Time{}
	}
	t, _ := f.newest(1, func(t catalog.Test) bool { return t.Target == target })
	return t.FinishedAt
}

// usedNewest reports whether a test used one of the two newest good backups
// there were when it began.
func (e *evaluation) usedNewest(ctx context.Context, t catalog.Test) (bool, error) {
	times, err := e.view.GoodTimes(ctx, t.Job, t.ConsistentAt.Add(time.Second), t.StartedAt, e.asOf)
	if err != nil {
		return false, fmt.Errorf("read the good backups of %q: %w", t.Job, err)
	}
	return len(times) <= 1, nil
}

func testEvidence(t catalog.Test) []string {
	return []string{"test:" + t.Test, fmt.Sprintf("entry:%d", t.Seq)}
}
