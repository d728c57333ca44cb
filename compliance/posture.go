package compliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// A State is one light of the quick posture.
type State string

// The states.
const (
	Good    State = "good"
	Warning State = "warning"
	NoIdea  State = "unknown" // nothing can be said either way
	Failing State = "failing"
)

// A Status is the posture of a site from kept state only.
type Status struct {
	At      time.Time      `json:"at"`
	Overall State          `json:"overall"`
	Why     string         `json:"why"` // English; why Overall is not Good, empty if it is
	Jobs    []JobStatus    `json:"jobs"`
	Targets []TargetStatus `json:"targets"`
}

// A JobStatus is one job's light. Times are zero, and absent from JSON, when
// there is none.
type JobStatus struct {
	Job        string    `json:"job"`
	Title      string    `json:"title"`
	Importance string    `json:"importance"`
	State      State     `json:"state"`
	Why        string    `json:"why"`                  // English; all reasons, worst first
	LastGood   time.Time `json:"last_good,omitzero"`   // consistent time of the newest good run
	AgeSeconds int64     `json:"age_seconds"`          // of LastGood; 0 when there is none
	LastTest   time.Time `json:"last_test,omitzero"`   // end of the newest finished restore test
	Verdict    string    `json:"verdict"`              // of that test
	Level      string    `json:"level"`                // it reached
	LastPassed time.Time `json:"last_passed,omitzero"` // end of the newest passed restore test
	NextDue    time.Time `json:"next_due,omitzero"`    // earliest open backup slot
	Overdue    int       `json:"overdue"`              // open slots past due by more than an hour
	Running    string    `json:"running"`              // run under way
	// What to know beside the light; it changes none, but for changes that nobody has
	// explained in time.
	Unexplained  int `json:"unexplained"`    // files of a configuration whose change nobody has explained yet
	Uncompared   int `json:"not_compared"`   // tables of which the newest restore test could not compare all
	FactsLeftOut int `json:"facts_left_out"` // tables, or files, of the newest good backup of which not all facts could be taken
}

// A TargetStatus is one target's light.
type TargetStatus struct {
	Target    string    `json:"target"`
	State     State     `json:"state"`
	Why       string    `json:"why"` // English
	LastCopy  time.Time `json:"last_copy,omitzero"`
	LastCheck time.Time `json:"last_check,omitzero"`
	Covered   int       `json:"covered_percent"` // of its packs, read back within the period of its classes
	Overdue   int       `json:"overdue"`
}

// A PostureView is the kept state Posture reads. *catalog.Catalog is one.
type PostureView interface {
	JobStates(ctx context.Context, now time.Time, grace time.Duration) ([]catalog.JobState, error)
	TargetStates(ctx context.Context, now time.Time, grace time.Duration) ([]catalog.TargetState, error)
	Controls(ctx context.Context, asOf time.Time) (map[string]catalog.Control, error)
	FailedTests(ctx context.Context, from, to, asOf time.Time) ([]catalog.FailedTest, error)
	Checks(ctx context.Context, target string, asOf time.Time) ([]catalog.Check, error)
	Compared(ctx context.Context, asOf time.Time) (catalog.Comparison, error)
	Shrunk(ctx context.Context, asOf time.Time) (map[string]catalog.RunShrank, error)
	Unpruned(ctx context.Context) (map[string]time.Time, error)
	MediaView
	keeperView
	coverageView
	planner
	changesView
}

// planner says up to when somebody has planned slots: a running daemon plans
// ahead all the time.
type planner interface {
	PlannedUntil(ctx context.Context) (time.Time, error)
}

const (
	overdueGrace  = time.Hour           // a slot may be open so long after it was due
	importantAge  = 31 * 24 * time.Hour // the monthly duty in days (requirements on monthly backups)
	anchorAge     = 48 * time.Hour      // the ledger is anchored and the tables are compared with it daily
	plannedAhead  = 24 * time.Hour      // a daemon plans hours ahead; more was planned by a wrong clock
	clockTolerant = 5 * time.Minute     // a time so far in the future means a clock was wrong
	pruneDays     = 7                   // between two times space is freed, of targets recorded before they said so
	pruneGrace    = 48 * time.Hour      // upkeep frees space at night, and may miss one
)

// Posture says how things stand, from kept state only: its cost does not grow
// with the number of runs. A job is Good only when it has a fresh good backup, a
// passed restore test, nothing overdue, a next backup planned and targets that
// work. An error means that the catalog could not be read.
func Posture(ctx context.Context, view PostureView, now time.Time) (Status, error) {
	s := Status{At: now, Overall: Good, Jobs: []JobStatus{}, Targets: []TargetStatus{}}
	inv, err := view.Inventory(ctx, now)
	if err != nil {
		return Status{}, fmt.Errorf("read the inventory: %w", err)
	}
	if inv.SetAt.IsZero() {
		s.Overall, s.Why = NoIdea, "no inventory has been recorded yet: the daemon has never run"
		return s, nil
	}
	loc, err := calendar.Zone(zoneOf(inv))
	if err != nil {
		return Status{}, err
	}
	jobs, err := view.JobStates(ctx, now, overdueGrace)
	if err != nil {
		return Status{}, fmt.Errorf("read the state of jobs: %w", err)
	}
	targets, err := view.TargetStates(ctx, now, overdueGrace)
	if err != nil {
		return Status{}, fmt.Errorf("read the state of targets: %w", err)
	}
	controls, err := view.Controls(ctx, now)
	if err != nil {
		return Status{}, fmt.Errorf("read the negative controls: %w", err)
	}
	planned, err := view.PlannedUntil(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("read how far slots are planned: %w", err)
	}
	p := posture{now: now, loc: loc, inv: inv, planned: planned, controls: controls, lights: map[string]State{}, bad: map[string]time.Time{}, suspect: map[string]time.Time{}}
	if err := p.failures(ctx, view); err != nil {
		return Status{}, err
	}
	if p.compared, err = view.Compared(ctx, now.Add(clockTolerant)); err != nil {
		return Status{}, fmt.Errorf("read the comparison of the tables: %w", err)
	}
	if p.shrunk, err = view.Shrunk(ctx, now.Add(clockTolerant)); err != nil {
		return Status{}, fmt.Errorf("read the runs that shrank: %w", err)
	}
	if p.unpruned, err = view.Unpruned(ctx); err != nil {
		return Status{}, fmt.Errorf("read what has not been pruned: %w", err)
	}
	if p.changes, err = changesOf(ctx, view, inv, now); err != nil {
		return Status{}, err
	}
	if p.media, err = p.onMedia(ctx, view); err != nil {
		return Status{}, err
	}
	if err := errors.Join(p.kept(ctx, view, jobs), p.cover(ctx, view)); err != nil {
		return Status{}, err
	}
	s.Targets = p.targets(targets)
	s.Jobs = p.jobs(jobs)
	s.Overall, s.Why = overall(s)
	p.tables(&s)
	return s, nil
}

// posture is what the lights are judged by.
type posture struct {
	now        time.Time
	loc        *time.Location
	inv        catalog.InventoryAt
	planned    time.Time // slots are made up to here
	controls   map[string]catalog.Control
	shrunk     map[string]catalog.RunShrank
	unpruned   map[string]time.Time              // by target: the first deletion whose space was not freed since
	covered    map[string]catalog.Coverage       // by target, of the last period
	compared   catalog.Comparison                // of the tables with the ledger, the newest
	lights     map[string]State                  // of the targets
	bad        map[string]time.Time              // by job: when its newest backup failed a test that no pass has answered
	suspect    map[string]time.Time              // by target: when a restore test last got damaged data from it, not read whole since
	challenges map[string]catalog.ChallengeRow   // by target
	renewals   map[string]catalog.LocksRenewed   // by target
	owed       map[[2]string]time.Time           // by job and target: the newest copy there
	media      map[string]MediumStatus           // by target
	changes    map[string][]catalog.ConfigChange // by job
}

// reasons collects why a light is not green.
type reasons struct {
	state State
	texts [3][]string // failing, unknown, warning
}

func (r *reasons) add(state State, format string, args ...any) {
	if r.state == "" || rankState(state) > rankState(r.state) {
		r.state = state
	}
	i := map[State]int{Failing: 0, NoIdea: 1, Warning: 2}[state]
	r.texts[i] = append(r.texts[i], fmt.Sprintf(format, args...))
}

// result returns the light and all reasons, worst first.
func (r *reasons) result() (State, string) {
	if r.state == "" {
		return Good, ""
	}
	return r.state, strings.Join(slices.Concat(r.texts[:]...), "; ")
}

func rankState(s State) int { return slices.Index([]State{Good, Warning, NoIdea, Failing}, s) }

// targets judges the targets of the inventory.
func (p *posture) targets(states []catalog.TargetState) []TargetStatus {
	byName := map[string]catalog.TargetState{}
	for _, t := range states {
		byName[t.Target] = t
	}
	out := make([]TargetStatus, 0, len(p.inv.Targets))
	for _, row := range p.inv.Targets {
		t := byName[row.Name]
		state, why := p.target(row, t)
		p.lights[row.Name] = state
		percent, _ := p.percent(row)
		out = append(out, TargetStatus{Target: row.Name, State: state, Why: why, LastCopy: t.LastCopyAt, LastCheck: t.LastCheckAt, Covered: percent, Overdue: t.Overdue})
	}
	return out
}

func (p *posture) target(row catalog.TargetRow, t catalog.TargetState) (State, string) {
	var r reasons
	if t.Repository == "" && row.Medium != "" {
		r.add(Warning, "its medium has not been registered yet: plug it in and run \"saoluu medium add\"")
		return r.result()
	}
	if t.Repository == "" {
		r.add(Warning, "no repository has been made on it yet")
		return r.result()
	}
	switch {
	case t.LastCheck == catalog.RunFailed:
		r.add(Failing, "the re-read of %s found damage or missing backups", p.day(t.LastCheckAt))
	case t.LastCheckAt.IsZero():
		r.add(Warning, "nothing on it has been read back yet")
	case t.LastCheck != catalog.RunComplete:
		r.add(Warning, "the re-read of %s could not look", p.day(t.LastCheckAt))
	}
	p.clock(&r, instant{"last re-read", t.LastCheckAt}, instant{"newest copy", t.LastCopyAt}, instant{"last anchoring of the ledger", t.AnchoredAt})
	if at := p.suspect[t.Target]; !at.IsZero() {
		r.add(Warning, "the restore test of %s got damaged data from it, and it has not been re-read whole since", p.day(at))
	}
	p.readBack(row, &r)
	if t.LastError != "" {
		r.add(Warning, "last error: %s", strings.ReplaceAll(t.LastError, "\n", "; "))
	}
	if t.Overdue > 0 {
		r.add(Warning, "%s overdue", slots(t.Overdue, "upkeep slot"))
	}
	p.pruned(row, t, &r)
	p.keeps(row, &r)
	switch medium, is := p.media[row.Name]; {
	case row.Medium != "" && !is:
		r.add(Warning, "its medium %q is not in the register", row.Medium)
	case is && medium.State != Good:
		r.add(medium.State, "medium %q: %s", row.Medium, medium.Why)
	case is && medium.withdrawn():
		r.add(Warning, "its medium %q is %s: take the target out of the configuration", row.Medium, medium.Stage)
	case is: // looked after whenever it is plugged in
	case t.AnchoredAt.IsZero():
		r.add(Warning, "the ledger has not been anchored on it yet")
	case p.now.Sub(t.AnchoredAt) > anchorAge:
		r.add(Warning, "the ledger was last anchored on it %s", p.day(t.AnchoredAt))
	}
	return r.result()
}

// pruned judges whether the space of deleted backups is freed in time: deleting
// that frees nothing fills the storage, and nobody sees why.
func (p *posture) pruned(row catalog.TargetRow, t catalog.TargetState, r *reasons) {
	since := p.unpruned[t.Target]
	if since.IsZero() {
		return
	}
	if t.LastPruneAt.After(since) {
		since = t.LastPruneAt
	}
	every := calendar.Period{Days: pruneDays}
	if row.Prune != "" {
		if err := every.UnmarshalText([]byte(row.Prune)); err != nil {
			r.add(Warning, "its prune_every %q cannot be read", row.Prune)
			return
		}
	}
	if due := every.AddTo(since, p.loc); p.now.Sub(due) > pruneGrace {
		r.add(Warning, "the space of deleted backups should have been freed %s", p.day(due))
	}
}

// jobs judges the jobs of the inventory, in its order.
func (p *posture) jobs(states []catalog.JobState) []JobStatus {
	byName := map[string]catalog.JobState{}
	for _, j := range states {
		byName[j.Job] = j
	}
	out := make([]JobStatus, 0, len(p.inv.Assets))
	for _, a := range p.inv.Assets {
		j := byName[a.Job]
		status := JobStatus{
			Job: a.Job, Title: a.Title, Importance: a.Importance, LastGood: j.LastGoodAt, LastTest: j.LastTestAt, Verdict: j.LastVerdict,
			Level: j.LastLevel, LastPassed: j.LastPassedAt, NextDue: j.NextDue, Overdue: j.Overdue, Running: j.Running,
		}
		if !j.LastGoodAt.IsZero() {
			status.AgeSeconds = int64(p.now.Sub(j.LastGoodAt) / time.Second)
		}
		status.NextDue = p.next(a, j)
		var r reasons
		p.clock(&r, instant{"newest good backup", j.LastGoodAt}, instant{"last run", j.LastFinished}, instant{"newest restore test", j.LastTestAt})
		p.fresh(a, j, &r)
		p.lastRun(j, &r)
		p.size(j, &r)
		p.tested(a, j, &r)
		p.due(j, &r)
		p.places(a, j, &r)
		p.explained(&status, &r)
		status.Uncompared, status.FactsLeftOut = j.LastUncompared, j.LastUnread
		status.State, status.Why = r.result()
		out = append(out, status)
	}
	return out
}

// fresh judges the newest good backup against the monthly duty and the job's
// own schedule: it fails when two due times in a row have passed without one.
func (p *posture) fresh(a catalog.Asset, j catalog.JobState, r *reasons) {
	if j.LastGoodAt.IsZero() {
		switch {
		case j.LastState == catalog.RunComplete:
			r.add(Failing, "no backup of it is good any more")
		case j.Overdue > 0 || p.now.Sub(p.inv.Since[a.Job]) > importantAge:
			r.add(Failing, "there is no good backup")
		default:
			r.add(Warning, "no good backup yet")
		}
		return
	}
	age := p.now.Sub(j.LastGoodAt)
	if a.Importance != "low" && age > importantAge {
		r.add(Failing, "the newest good backup is %d days old", int(age/(24*time.Hour)))
		return
	}
	schedule, err := calendar.ParseSchedule(a.Schedule)
	if err != nil || schedule.IsZero() {
		r.add(Warning, "its schedule %q cannot be read", a.Schedule)
		return
	}
	last := schedule.Prev(p.now.Add(-overdueGrace), p.loc)
	if last.IsZero() {
		return
	}
	before := schedule.Prev(last, p.loc)
	switch {
	case !before.IsZero() && j.LastGoodAt.Before(before):
		r.add(Failing, "no good backup since %s, although two were due", p.day(j.LastGoodAt))
	case j.LastGoodAt.Before(last) && j.Running == "" && p.inv.Since[a.Job].Before(last):
		r.add(Warning, "no good backup since the one due %s", p.day(last))
	}
}

func (p *posture) day(t time.Time) string { return t.In(p.loc).Format("2006-01-02 15:04") }

func slots(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// overall is the worst light and how many share it.
func overall(s Status) (State, string) {
	if len(s.Jobs) == 0 {
		return Warning, "no job is configured"
	}
	worst, names := Good, []string{}
	see := func(state State, name string) {
		if rankState(state) > rankState(worst) {
			worst, names = state, nil
		}
		if state == worst {
			names = append(names, name)
		}
	}
	for _, j := range s.Jobs {
		see(j.State, "job "+j.Job)
	}
	for _, t := range s.Targets {
		see(t.State, "target "+t.Target)
	}
	if worst == Good {
		return Good, ""
	}
	const most = 5
	shown := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		shown += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return worst, shown
}
