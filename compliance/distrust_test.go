package compliance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/catalog"
	"saoluu/catalog/catalogtest"
)

// failedTests is catalog.FailedTests by the rule that reports judge by.
func failedTests(ctx context.Context, view testReader, from, to, asOf time.Time) ([]catalog.FailedTest, error) {
	var all []catalog.FailedTest
	for t, err := range view.Tests(ctx, catalog.TestQuery{Verdict: catalog.VerdictFailed, From: from, To: to, AsOf: asOf}) {
		if err != nil {
			return nil, err
		}
		row := catalog.FailedTest{Test: t.Test, Job: t.Job, Run: t.Run, ConsistentAt: t.ConsistentAt, FinishedAt: t.FinishedAt}
		if t.Blames == catalog.BlamesCopy {
			row.Blamed = t.Target
		}
		_, unanswered, err := failures{t.Job: {t}}.unanswered(ctx, view, t.Job, to.Add(-time.Second), asOf, func(catalog.Test) bool { return true })
		if err != nil {
			return nil, err
		}
		row.Answered = !unanswered
		all = append(all, row)
	}
	return all, nil
}

// A status takes from the catalog what answers a failed test, a report reads the
// tests themselves: both go by one rule.
func TestFailedTests(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	begin := at(t, "2026-05-01")
	clock := catalogtest.NewClock(begin)
	c, err := catalog.Create(t.Context(), catalog.Options{Path: filepath.Join(t.TempDir(), "catalog.db"), Now: clock.Now, Site: "S"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const days, perDay = 30, 20
	some := func(of ...string) string { return of[rng.IntN(len(of))] }
	for i := range days * perDay {
		clock.Add(24 * time.Hour / perDay)
		n := rng.IntN(5) // of the backup
		e := catalog.TestFinished{
			Test: fmt.Sprintf("t%04d", i), Job: some("a", "b", "c"), Run: fmt.Sprintf("r%d", rng.IntN(5)), Target: some("x", "y"),
			StartedAt: clock.Now(), FinishedAt: clock.Now(), Verdict: some(catalog.VerdictPassed, catalog.VerdictFailed, catalog.VerdictUnknown),
		}
		if n > 0 {
			e.ConsistentAt = begin.Add(time.Duration(n) * time.Hour)
		}
		if e.Verdict == catalog.VerdictFailed {
			e.Blames = some("", catalog.BlamesCopy, catalog.BlamesNothing)
		}
		if i > 0 && rng.IntN(4) == 0 { // by a clock that was wrong
			e.FinishedAt = begin.Add(time.Duration(rng.IntN(days*24)) * time.Hour)
		}
		if _, err := c.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	answered := 0
	for day := range days {
		from, to := begin.AddDate(0, 0, rng.IntN(day+1)), begin.AddDate(0, 0, day+1)
		asOf := begin.AddDate(0, 0, day+rng.IntN(3))
		got, err := c.FailedTests(t.Context(), from, to, asOf)
		if err != nil {
			t.Fatal(err)
		}
		want, err := failedTests(t.Context(), c, from, to, asOf)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("from %s to %s, known at %s (-report +status):\n%s", from, to, asOf, diff)
		}
		for _, f := range got {
			if f.Answered {
				answered++
			}
		}
	}
	if answered == 0 {
		t.Error("no failure was ever answered")
	}
}
