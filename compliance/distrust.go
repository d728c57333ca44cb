package compliance

import (
	"context"
	"fmt"
	"iter"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// testReader reads single restore tests.
type testReader interface {
	Tests(ctx context.Context, q catalog.TestQuery) iter.Seq2[catalog.Test, error]
}

// failures are the restore tests that failed within the last 13 months, by job
// and oldest first. A passed test does not do away with all of them: another
// backup than the one that failed may have been tested.
type failures map[string][]catalog.Test

// readFailures reads the failed tests up to an instant, as known at asOf.
func readFailures(ctx context.Context, view testReader, to, asOf time.Time, loc *time.Location) (failures, error) {
	found := failures{}
	q := catalog.TestQuery{Verdict: catalog.VerdictFailed, From: calendar.AddMonths(to, -testMonths, loc), To: to.Add(time.Second), AsOf: asOf}
	for t, err := range view.Tests(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read the failed restore tests: %w", err)
		}
		found[t.Job] = append(found[t.Job], t)
	}
	return found, nil
}

// unanswered returns the failed test of the newest backup of a job, unless that
// backup or a newer one has passed since: a pass of an older backup says nothing
// about the newest. counts says which passes count.
func (f failures) unanswered(ctx context.Context, view testReader, job string, to, asOf time.Time, counts func(catalog.Test) bool) (catalog.Test, bool, error) {
	var failed catalog.Test
	for _, t := range f[job] {
		if failed.Test == "" || !backupOf(t).before(backupOf(failed)) {
			failed = t
		}
	}
	if failed.Test == "" {
		return failed, false, nil
	}
	q := catalog.TestQuery{Job: job, Verdict: catalog.VerdictPassed, From: failed.FinishedAt, To: to.Add(time.Second), AsOf: asOf, Newest: true}
	for t, err := range view.Tests(ctx, q) {
		if err != nil {
			return failed, false, fmt.Errorf("read the passed restore tests of %q: %w", job, err)
		}
		if counts(t) && !backupOf(t).before(backupOf(failed)) {
			return failed, false, nil
		}
	}
	return failed, true, nil
}

// A backup is what a restore test tested.
type backup struct {
	run string
	at  time.Time // the instant its data stand for; may be zero
}

func backupOf(t catalog.Test) backup { return backup{t.Run, t.ConsistentAt} }

// before reports whether a is older than b. Ids of runs sort by the time they
// began. The same rule decides in catalog.FailedTests what answers a failure.
func (a backup) before(b backup) bool {
	if !a.at.IsZero() && !b.at.IsZero() && !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.run < b.run
}

// suspect returns, by target, when a restore test last proved a copy there to be
// damaged. The copy of one job is what was seen; the others on the same target
// have to be read before they are trusted again.
func (f failures) suspect() map[string]time.Time {
	at := map[string]time.Time{}
	for _, tests := range f {
		for _, t := range tests {
			if t.Blames == catalog.BlamesCopy {
				at[t.Target] = later(at[t.Target], t.FinishedAt)
			}
		}
	}
	return at
}

// failures finds the jobs whose newest backup failed its restore test, and the
// targets that gave damaged data to one.
func (p *posture) failures(ctx context.Context, view PostureView) error {
	to := p.now.Add(clockTolerant)
	failed, err := view.FailedTests(ctx, calendar.AddMonths(to, -testMonths, p.loc), to.Add(time.Second), to)
	if err != nil {
		return fmt.Errorf("read the failed restore tests: %w", err)
	}
	newest, damaged := map[string]catalog.FailedTest{}, map[string]time.Time{}
	for _, t := range failed {
		last, ok := newest[t.Job]
		if !ok || !(backup{t.Run, t.ConsistentAt}).before(backup{last.Run, last.ConsistentAt}) {
			newest[t.Job] = t
		}
		if t.Blamed != "" {
			damaged[t.Blamed] = later(damaged[t.Blamed], t.FinishedAt)
		}
	}
	for job, t := range newest {
		if !t.Answered {
			p.bad[job] = t.FinishedAt
		}
	}
	for target, at := range damaged {
		checks, err := view.Checks(ctx, target, to)
		if err != nil {
			return fmt.Errorf("read the re-reads of %q: %w", target, err)
		}
		var t targetFacts
		if t.follow(checks); !t.whole.After(at) {
			p.suspect[target] = at
		}
	}
	return nil
}

// tested judges the newest restore test. What could not be looked at is not
// good, and a passed test is worth nothing when the same checks missed a copy
// damaged on purpose.
func (p *posture) tested(a catalog.Asset, j catalog.JobState, r *reasons) {
	bad, unanswered := p.bad[a.Job]
	if unanswered && j.LastVerdict != catalog.VerdictFailed {
		r.add(Failing, "the newest backup tested failed its test of %s, and none as new has passed since", p.day(bad))
	}
	switch j.LastVerdict {
	case catalog.VerdictPassed:
		if !unanswered && spoilt(j) && j.LastPassedRun < j.LastRun {
			r.add(Failing, "the newest backup was found bad, and only an older one has passed its test")
		}
		if c, ok := p.controls[a.Source]; ok && !c.Caught {
			r.add(NoIdea, "its restore tests prove nothing: they missed a copy damaged on purpose")
		}
	case catalog.VerdictFailed:
		r.add(Failing, "the restore test of %s failed", p.day(j.LastTestAt))
	case "":
		r.add(Warning, "never restore-tested")
	default:
		r.add(NoIdea, "the restore test of %s came to no verdict (%s)", p.day(j.LastTestAt), j.LastVerdict)
	}
	if j.LastVerdict != catalog.VerdictPassed || j.NextTestDue.IsZero() {
		return
	}
	if p.now.Sub(j.NextTestDue) > overdueGrace {
		r.add(Warning, "a restore test has been due since %s", p.day(j.NextTestDue))
	}
}

// spoilt reports whether the newest run ended well and no longer counts: a test
// or a re-read has proved it bad since.
func spoilt(j catalog.JobState) bool {
	return j.LastState == catalog.RunComplete && j.LastGoodRun < j.LastRun
}
