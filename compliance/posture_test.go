package compliance

import (
	"context"
	"strings"
	"testing"
	"time"

	"saoluu/catalog"
)

// kept is the kept state of a site with one job on one target.
type kept struct {
	inv      catalog.InventoryAt
	jobs     []catalog.JobState
	targets  []catalog.TargetState
	controls map[string]catalog.Control
	planned  time.Time
	tests    scenario // its restore tests alone
	compared catalog.Comparison
	shrunk   map[string]catalog.RunShrank
	unpruned map[string]time.Time

	challenges map[string]catalog.ChallengeRow
	renewals   map[string]catalog.LocksRenewed
	copied     time.Time // newest copy of any job on any target
	media      map[string]catalog.MediumState
	changes    map[string][]catalog.ConfigChange
}

// changed makes the job one whose configuration changed at an instant, in two files.
func (k *kept) changed(t *testing.T, on string) {
	t.Helper()
	k.inv.Assets[0].Source = "config"
	k.controls["config"] = catalog.Control{ControlFinished: catalog.ControlFinished{Source: "config", Caught: true}}
	k.changes = map[string][]catalog.ConfigChange{testJob: {{ConfigChanged: catalog.ConfigChanged{Job: testJob, Added: 1, Changed: 1}, At: at(t, on)}}}
}

func (k kept) ConfigChanges(context.Context, time.Time) (map[string][]catalog.ConfigChange, error) {
	return k.changes, nil
}

func (k kept) Coverage(ctx context.Context, target string, from, asOf time.Time) (catalog.Coverage, error) {
	checks, err := k.Checks(ctx, target, asOf)
	var recent []catalog.Check
	for _, c := range checks {
		if !c.At.Before(from) {
			recent = append(recent, c)
		}
	}
	covered := catalog.Covered(recent)
	if len(checks) > 0 {
		covered.First = checks[0].At
	}
	return covered, err
}

func (k kept) Challenges(context.Context, time.Time) (map[string]catalog.ChallengeRow, error) {
	return k.challenges, nil
}

func (k kept) Renewals(context.Context, time.Time) (map[string]catalog.LocksRenewed, error) {
	return k.renewals, nil
}

func (k kept) LatestCopy(context.Context, string, string) (time.Time, error) { return k.copied, nil }

func (k kept) Unpruned(context.Context) (map[string]time.Time, error) { return k.unpruned, nil }

func (k kept) FailedTests(ctx context.Context, from, to, asOf time.Time) ([]catalog.FailedTest, error) {
	return failedTests(ctx, &k.tests, from, to, asOf)
}

func (k kept) Compared(context.Context, time.Time) (catalog.Comparison, error) {
	return k.compared, nil
}

func (k kept) Shrunk(context.Context, time.Time) (map[string]catalog.RunShrank, error) {
	return k.shrunk, nil
}

func (k kept) PlannedUntil(context.Context) (time.Time, error) { return k.planned, nil }

func (k kept) Inventory(context.Context, time.Time) (catalog.InventoryAt, error) { return k.inv, nil }
func (k kept) JobStates(context.Context, time.Time, time.Duration) ([]catalog.JobState, error) {
	return k.jobs, nil
}
func (k kept) TargetStates(context.Context, time.Time, time.Duration) ([]catalog.TargetState, error) {
	return k.targets, nil
}
func (k kept) Controls(context.Context, time.Time) (map[string]catalog.Control, error) {
	return k.controls, nil
}

// healthy is a site in which everything is as it should be.
func healthy(t testing.TB) *kept {
	t.Helper()
	s := oneAsset(t, "2026-01-01")
	inv, err := s.Inventory(t.Context(), at(t, now))
	if err != nil {
		t.Fatal(err)
	}
	return &kept{
		inv: inv,
		jobs: []catalog.JobState{{
			Job: testJob, InInventory: true, LastRun: "r", LastState: catalog.RunComplete, LastFinished: at(t, "2026-05-20 01:05"),
			LastGoodRun: "r", LastGoodOn: []string{testTarget}, LastGoodAt: at(t, "2026-05-20"), LastTest: "t", LastVerdict: catalog.VerdictPassed, LastLevel: catalog.LevelAsserted,
			LastTestAt: at(t, "2026-05-05 03:10"), LastPassedAt: at(t, "2026-05-05 03:10"), NextDue: at(t, "2026-05-21"), NextTestDue: at(t, "2026-06-05 03:00"),
		}},
		targets: []catalog.TargetState{{
			Target: testTarget, ID: "i", Repository: "r", LastCopyAt: at(t, "2026-05-20 01:05"), LastCheckAt: at(t, "2026-05-20 04:00"),
			LastCheck: catalog.RunComplete, AnchoredAt: at(t, "2026-05-20 04:00"), NextDue: at(t, "2026-05-21 04:00"),
		}},
		planned:  at(t, "2026-05-20 11:00"),
		compared: catalog.Comparison{At: at(t, "2026-05-20 04:00")},
		controls: map[string]catalog.Control{"files": {ControlFinished: catalog.ControlFinished{Source: "files", Caught: true}}},
	}
}

// keeping makes the target one that lets nobody delete.
func keeping(lockDays int, last *catalog.ChallengeRow, until time.Time) func(*kept, *catalog.JobState, *catalog.TargetState) {
	return func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
		k.inv.Targets[0].Keeps, k.inv.Targets[0].LockDays = true, lockDays
		if last != nil {
			k.challenges = map[string]catalog.ChallengeRow{testTarget: *last}
		}
		k.renewals = map[string]catalog.LocksRenewed{testTarget: {Until: until}}
	}
}

func challenged(t *testing.T, refused bool, on string) *catalog.ChallengeRow {
	return &catalog.ChallengeRow{DeletionChallenged: catalog.DeletionChallenged{Target: testTarget, Refused: refused}, At: at(t, on)}
}

func TestPosture(t *testing.T) {
	tests := []struct {
		name   string
		change func(k *kept, j *catalog.JobState, target *catalog.TargetState)
		want   State
		why    string
	}{
		{"all is well", func(*kept, *catalog.JobState, *catalog.TargetState) {}, Good, ""},
		{"space is not freed in time", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.unpruned = map[string]time.Time{testTarget: at(t, "2026-05-10")}
		}, Warning, "should have been freed 2026-05-17"},
		{"it is due tonight", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.unpruned = map[string]time.Time{testTarget: at(t, "2026-05-13")}
		}, Good, ""},
		{"it is not due for a month", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.unpruned, k.inv.Targets[0].Prune = map[string]time.Time{testTarget: at(t, "2026-05-01")}, "1mo"
		}, Good, ""},
		{"it was freed, and more has been deleted since", func(k *kept, _ *catalog.JobState, target *catalog.TargetState) {
			k.unpruned, target.LastPruneAt = map[string]time.Time{testTarget: at(t, "2026-05-10 12:00")}, at(t, "2026-05-10")
		}, Warning, "should have been freed 2026-05-17"},
		{"never ran, not due yet", func(k *kept, j *catalog.JobState, _ *catalog.TargetState) {
			*j = catalog.JobState{Job: testJob, InInventory: true, NextDue: at(t, "2026-05-21")}
			k.inv.Since[testJob] = at(t, "2026-05-19")
		}, Warning, "no good backup yet"},
		{"never ran and overdue", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) {
			*j = catalog.JobState{Job: testJob, InInventory: true, NextDue: at(t, "2026-05-20"), Overdue: 1, OldestOverdue: at(t, "2026-05-20")}
		}, Failing, "there is no good backup"},
		{"the catalog knows nothing of the job", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.jobs = nil }, Failing, "there is no good backup"},
		{"the last run failed", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) {
			j.LastState, j.LastError = catalog.RunFailed, "dump broke"
		}, Failing, "the last run failed: dump broke"},
		{"it failed and a retry is coming", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) {
			j.LastState, j.NextDue = catalog.RunFailed, at(t, "2026-05-20 08:30")
		}, Warning, "another try is under way"},
		{"it was interrupted", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastState = catalog.RunInterrupted }, Failing, "was interrupted"},
		{"it was incomplete", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastState = catalog.RunIncomplete }, Warning, "incomplete"},
		{"no good backup at the last due time", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastGoodAt = at(t, "2026-05-19") }, Warning, "no good backup since the one due"},
		{"none at the last two", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastGoodAt = at(t, "2026-05-18") }, Failing, "although two were due"},
		{"32 days old on a monthly schedule", func(k *kept, j *catalog.JobState, _ *catalog.TargetState) {
			k.inv.Assets[0].Schedule, j.LastGoodAt = "monthly on 18 at 01:00", at(t, "2026-04-18")
		}, Failing, "32 days old"},
		{"the same for data of low importance", func(k *kept, j *catalog.JobState, _ *catalog.TargetState) {
			k.inv.Assets[0].Schedule, j.LastGoodAt, k.inv.Assets[0].Importance = "monthly on 18 at 01:00", at(t, "2026-04-18"), "low"
		}, Warning, "no good backup since"},
		{"a test failed", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastVerdict = catalog.VerdictFailed }, Failing, "failed"},
		{"a test could not look", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastVerdict = catalog.VerdictUnknown }, NoIdea, "no verdict"},
		{"a test asserted nothing", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) {
			j.LastVerdict = catalog.VerdictNotConfigured
		}, NoIdea, "no verdict"},
		{"never tested", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastVerdict = "" }, Warning, "never restore-tested"},
		{"tests that cannot fail", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.controls["files"] = catalog.Control{}
		}, NoIdea, "prove nothing"},
		{"a test is due", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.NextTestDue = at(t, "2026-05-20 03:00") }, Warning, "has been due"},
		{"slots are overdue", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) {
			j.Overdue, j.OldestOverdue = 2, at(t, "2026-05-20")
		}, Warning, "2 slots overdue"},
		{"a copy is owed", func(k *kept, j *catalog.JobState, _ *catalog.TargetState) {
			j.LastGoodOn, k.copied = nil, at(t, "2026-05-15")
		}, Warning, "is owed; the last one there is of 2026-05-15"},
		{"a copy has been owed for more than a week", func(k *kept, j *catalog.JobState, _ *catalog.TargetState) {
			j.LastGoodOn, k.copied = nil, at(t, "2026-05-12")
		}, Failing, "is owed"},
		{"there has never been a copy", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastGoodOn = nil }, Failing, "never been one"},
		{"storage that keeps was never challenged", keeping(30, nil, time.Time{}), Warning, "nobody has tried yet"},
		{"it refused to delete, and its locks hold", keeping(30, challenged(t, true, "2026-05-18"), at(t, "2026-06-10")), Good, ""},
		{"it let go", keeping(30, challenged(t, false, "2026-05-18"), at(t, "2026-06-10")), Failing, "let go of what it must keep"},
		{"it was asked long ago", keeping(30, challenged(t, true, "2026-05-01"), at(t, "2026-06-10")), Warning, "last tried on 2026-05-01"},
		{"its locks end soon", keeping(30, challenged(t, true, "2026-05-18"), at(t, "2026-05-26")), Failing, "its locks end on 2026-05-26"},
		{"its locks were never renewed", keeping(30, challenged(t, true, "2026-05-18"), time.Time{}), Warning, "have not been renewed yet"},
		{"it only appends", keeping(0, challenged(t, true, "2026-05-18"), time.Time{}), Good, ""},
		{"nobody plans any more", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.planned = at(t, "2026-05-19") }, Warning, "start the daemon"},
		{"nobody ever planned", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.planned = time.Time{} }, Warning, "start the daemon"},
		{"a clock was wrong", func(_ *kept, j *catalog.JobState, _ *catalog.TargetState) { j.LastGoodAt = at(t, "2026-06-20") }, Warning, "in the future"},
		{"slots were planned by a wrong clock", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.planned = at(t, "2026-06-20") }, Warning, "a clock is or was wrong"},
		{"a re-read in the future", func(_ *kept, _ *catalog.JobState, x *catalog.TargetState) { x.LastCheckAt = at(t, "2026-06-20") }, Warning, "target kho"},
		{"a copy in the future", func(_ *kept, _ *catalog.JobState, x *catalog.TargetState) { x.LastCopyAt = at(t, "2026-06-20") }, Warning, "target kho"},
		{"an anchor in the future", func(_ *kept, _ *catalog.JobState, x *catalog.TargetState) { x.AnchoredAt = at(t, "2026-06-20") }, Warning, "target kho"},
		{"it failed, its slot is open and nobody runs it", func(k *kept, j *catalog.JobState, _ *catalog.TargetState) {
			j.LastState, j.NextDue, k.planned = catalog.RunFailed, at(t, "2026-05-20 08:30"), at(t, "2026-05-20 08:45")
		}, Failing, "the last run failed"},
		{"damage on the only target", func(_ *kept, _ *catalog.JobState, x *catalog.TargetState) { x.LastCheck = catalog.RunFailed }, Failing, "no target of it is sound"},
		{"a re-read that could not look", func(_ *kept, _ *catalog.JobState, x *catalog.TargetState) { x.LastCheck = catalog.RunInterrupted }, Warning, "target kho"},
		{"a target never read back", func(_ *kept, _ *catalog.JobState, x *catalog.TargetState) { x.LastCheckAt = time.Time{} }, Warning, "target kho"},
		{"a target without repository", func(_ *kept, _ *catalog.JobState, x *catalog.TargetState) { x.Repository = "" }, Warning, "target kho"},
		{"a target the catalog has not heard of", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.targets = nil }, Warning, "target kho"},
		{"the ledger is not anchored", func(_ *kept, _ *catalog.JobState, x *catalog.TargetState) { x.AnchoredAt = at(t, "2026-05-17") }, Warning, "target kho"},
		{"the newest backup is far smaller", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.shrunk = map[string]catalog.RunShrank{testJob: {Run: "r", Job: testJob, Bytes: 1, BytesBefore: 2 << 20}}
		}, Warning, "1 of 2097152 bytes"},
		{"an older one was", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.shrunk = map[string]catalog.RunShrank{testJob: {Run: "q", Job: testJob}}
		}, Good, ""},
		{"a table was changed", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.compared.Problems, k.compared.Where = 1, []string{"table tests"}
		}, Failing, "table tests"},
		{"the tables could not be compared", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.compared.Error = "disk" }, NoIdea, "could not be compared"},
		{"the tables were never compared", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.compared = catalog.Comparison{} }, Warning, "not been compared"},
		{"the tables were compared long ago", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.compared.At = at(t, "2026-05-17")
		}, Warning, "last compared"},
		{"a change waits for a word", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.changed(t, "2026-05-14")
		}, Good, ""},
		{"a change has waited too long", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) {
			k.changed(t, "2026-05-12")
		}, Warning, "2 files changed and not explained since 2026-05-12"},
		{"no job at all", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.inv.Assets = nil }, Warning, "no job"},
		{"no inventory yet", func(k *kept, _ *catalog.JobState, _ *catalog.TargetState) { k.inv = catalog.InventoryAt{} }, NoIdea, "no inventory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := healthy(t)
			tt.change(k, &k.jobs[0], &k.targets[0])
			s, err := Posture(t.Context(), k, at(t, now))
			if err != nil {
				t.Fatal(err)
			}
			why := s.Why
			if len(s.Jobs) > 0 {
				why += "; " + s.Jobs[0].Why
			}
			if len(s.Targets) > 0 {
				why += "; " + s.Targets[0].Why
			}
			if s.Overall != tt.want || !strings.Contains(why, tt.why) {
				t.Errorf("%s (%s), want %s (%s)", s.Overall, why, tt.want, tt.why)
			}
		})
	}
}

// A test tells one restore test of a posture's job.
func tested(t testing.TB, run, on, verdict string) catalog.Test {
	t.Helper()
	return catalog.Test{TestFinished: catalog.TestFinished{Test: "t" + on, Job: testJob, Source: "files", Run: run, Target: testTarget, FinishedAt: at(t, on), Verdict: verdict,
		Level: catalog.LevelAsserted, Full: true, Control: "c", Assertions: []catalog.Assertion{{Name: "x", OK: verdict == catalog.VerdictPassed}}}}
}

// A pass of an older backup does not answer for the newest one.
func TestPassOfAnOlderBackup(t *testing.T) {
	for _, tt := range []struct {
		name string
		last string // run of the newest test, which passed
		want State
	}{{"an older one", "20260518-010000-aa", Failing}, {"the same on another target", "20260519-010000-bb", Good}, {"a newer one", "20260520-010000-cc", Good}} {
		t.Run(tt.name, func(t *testing.T) {
			k := healthy(t)
			k.tests.tests = []catalog.Test{tested(t, "20260519-010000-bb", "2026-05-19 03:00", catalog.VerdictFailed), tested(t, tt.last, "2026-05-20 03:00", catalog.VerdictPassed)}
			s, err := Posture(t.Context(), k, at(t, now))
			if err != nil {
				t.Fatal(err)
			}
			if s.Jobs[0].State != tt.want {
				t.Errorf("%s: %s", s.Jobs[0].State, s.Jobs[0].Why)
			}
		})
	}
	k := healthy(t)
	k.jobs[0].LastRun, k.jobs[0].LastGoodRun, k.jobs[0].LastPassedRun = "20260520-010000-cc", "20260519-010000-bb", "20260519-010000-bb"
	if s, err := Posture(t.Context(), k, at(t, now)); err != nil || s.Jobs[0].State != Failing {
		t.Errorf("the newest run was invalidated: %s, %v", s.Jobs[0].State, err)
	}
}

func (k kept) Checks(ctx context.Context, target string, asOf time.Time) ([]catalog.Check, error) {
	return k.tests.Checks(ctx, target, asOf)
}

// A target that gave a restore test damaged data is not green, nor is any job
// with copies there, until every group of it has been read whole.
func TestSuspectTarget(t *testing.T) {
	k := healthy(t)
	bad := tested(t, "20260519-010000-bb", "2026-05-19 03:00", catalog.VerdictFailed)
	bad.Job, bad.Blames = "khac", catalog.BlamesCopy
	k.tests.tests = []catalog.Test{bad}
	light := func(why string, want State) {
		t.Helper()
		s, err := Posture(t.Context(), k, at(t, now))
		if err != nil {
			t.Fatal(err)
		}
		if s.Jobs[0].State != want || s.Targets[0].State != want {
			t.Errorf("%s: job %s (%s), target %s (%s)", why, s.Jobs[0].State, s.Jobs[0].Why, s.Targets[0].State, s.Targets[0].Why)
		}
	}
	light("not read since", Warning)
	read := func(n int, on string) {
		k.tests.checks = append(k.tests.checks, catalog.Check{At: at(t, on), CheckFinished: catalog.CheckFinished{Target: testTarget, N: n, Of: 2, State: catalog.RunComplete, FinishedAt: at(t, on)}})
	}
	read(1, "2026-05-18 04:00")
	read(2, "2026-05-19 04:00")
	light("half was read before", Warning)
	read(1, "2026-05-20 04:00")
	light("read whole since", Good)
}

// The next backup is not invented within the time for which slots were made.
func TestNextDue(t *testing.T) {
	k := healthy(t)
	k.jobs[0].NextDue, k.planned = time.Time{}, at(t, "2026-05-21 02:00")
	s, err := Posture(t.Context(), k, at(t, now))
	if err != nil {
		t.Fatal(err)
	}
	if want := at(t, "2026-05-22 01:00"); !s.Jobs[0].NextDue.Equal(want) {
		t.Errorf("%s, want %s", s.Jobs[0].NextDue, want)
	}
}

// A second target keeps a job from failing, not the site.
func TestPostureOfOneBrokenTarget(t *testing.T) {
	k := healthy(t)
	k.inv.Targets = append(k.inv.Targets, catalog.TargetRow{Name: "hai"})
	k.inv.Assets[0].Targets = append(k.inv.Assets[0].Targets, "hai")
	k.jobs[0].LastGoodOn = k.inv.Assets[0].Targets
	second := k.targets[0]
	second.Target, second.LastCheck = "hai", catalog.RunFailed
	k.targets = append(k.targets, second)
	s, err := Posture(t.Context(), k, at(t, now))
	if err != nil {
		t.Fatal(err)
	}
	if s.Overall != Failing || s.Jobs[0].State != Warning || s.Targets[1].State != Failing {
		t.Errorf("overall %s, job %s, target %s", s.Overall, s.Jobs[0].State, s.Targets[1].State)
	}
}

func (k kept) Media(context.Context, time.Time) (map[string]catalog.MediumState, []catalog.MediumRefusal, error) {
	return k.media, nil, nil
}

func (k kept) TargetState(_ context.Context, name string) (catalog.TargetState, error) {
	for _, t := range k.targets {
		if t.Target == name {
			return t, nil
		}
	}
	return catalog.TargetState{}, nil
}
