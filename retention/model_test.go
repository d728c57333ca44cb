package retention

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"saoluu/internal/calendar"
)

var (
	histories = flag.Int("histories", 1_000_000, "random histories that the model test plans")
	modelSeed = flag.Uint64("seed", 0, "seed of the model test; 0: one from the clock")
)

// The model says what must happen to a history by looking at each backup alone
// and comparing it with every other, in the plainest way. It shares no code with
// the planner: days are texts, sums are done by hand.
type model struct {
	Request
	r *rand.Rand
}

// TestModel plans a million small random histories and compares each plan with
// the model, and with what must hold between one plan and another.
func TestModel(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	n := *histories
	if testing.Short() {
		n /= 20
	}
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all seen
	for w := range workers {
		wg.Go(func() {
			var s seen
			for i := w; i < n && !t.Failed(); i += workers {
				m := newModel(rand.New(rand.NewPCG(seed, uint64(i))))
				if fault := m.faults(&s); fault != "" {
					t.Errorf("history %d of seed %d (run with -seed=%d): %s\n%s", i, seed, seed, fault, m.describe())
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.add(s)
		})
	}
	wg.Wait()
	t.Logf("seed %d: %d histories; %+v", seed, n, all)
	if n >= 10_000 && !t.Failed() {
		all.mustHaveHappened(t)
	}
}

// seen counts what the histories contained, so that a generator that has gone
// dull does not pass for a proof.
type seen struct {
	backups, forgotten, waiting, refusals, approved, empty, onlyOne, future, leap, sameTime int
}

func (s *seen) add(o seen) {
	s.backups += o.backups
	s.forgotten += o.forgotten
	s.waiting += o.waiting
	s.refusals += o.refusals
	s.approved += o.approved
	s.empty += o.empty
	s.onlyOne += o.onlyOne
	s.future += o.future
	s.leap += o.leap
	s.sameTime += o.sameTime
}

func (s *seen) mustHaveHappened(t *testing.T) {
	for name, n := range map[string]int{
		"a backup": s.backups, "a deletion": s.forgotten, "one that waits for the storage": s.waiting, "a refusal": s.refusals, "an approved plan": s.approved,
		"an empty history": s.empty, "a single backup": s.onlyOne, "a backup in the future": s.future, "a leap day": s.leap, "equal times": s.sameTime,
	} {
		if n == 0 {
			t.Errorf("no history had %s", name)
		}
	}
}

// zones: ours, one that is no whole hour from UTC, and one that changes its
// clocks. In the last, backups are taken around noon: what a clock reading means
// that exists twice is for the tests of calendar.
var zones = sync.OnceValue(func() []*time.Location {
	var all []*time.Location
	for _, name := range []string{"Asia/Ho_Chi_Minh", "Asia/Kathmandu", "Europe/Berlin"} {
		loc, err := calendar.Zone(name)
		if err != nil {
			panic(err)
		}
		all = append(all, loc)
	}
	return all
})

func newModel(r *rand.Rand) *model {
	m := &model{r: r}
	zone := r.IntN(3)
	m.Location, m.Target, m.Job = zones()[zone], "disk", "db"
	m.Now = time.Date(2024+r.IntN(6), time.Month(1+r.IntN(12)), 1+r.IntN(28), 12, r.IntN(60), 0, 0, m.Location)
	m.Rules = m.rules()
	n := r.IntN(11)
	// How far back the history goes decides which counts it exercises.
	days := []int{1, 3, 10, 40, 400, 2000}[r.IntN(6)]
	for i := range n {
		m.Backups = append(m.Backups, m.backup(i, days, zone == 2))
	}
	if r.IntN(12) == 0 {
		m.Failing = "failing"
	}
	if r.IntN(12) == 0 {
		m.ClockSuspect = "jumped"
	}
	if r.IntN(20) == 0 {
		m.Storage = "lost something"
	}
	m.AppendOnly = r.IntN(30) == 0
	return m
}

func (m *model) rules() Rules {
	few := func() int { return max(0, m.r.IntN(5)-1) }
	r := Rules{Share: []int{0, 10, 50, 100, 100, 100}[m.r.IntN(6)], Copies: m.r.IntN(4)}
	if m.r.IntN(10) > 0 {
		r.Last, r.Hourly, r.Daily, r.Weekly, r.Monthly, r.Yearly = few(), few(), few(), few(), few(), few()
		if m.r.IntN(2) == 0 { // often only one of them
			counts := []*int{&r.Last, &r.Hourly, &r.Daily, &r.Weekly, &r.Monthly, &r.Yearly}
			for i, keep := 0, m.r.IntN(6); i < 6; i++ {
				if i != keep {
					*counts[i] = 0
				}
			}
		}
	}
	spans := []calendar.Period{{}, {Days: 1}, {Days: 7}, {Days: 30}, {Months: 1}, {Months: 12}, {Months: 60}}
	r.KeepMin = spans[m.r.IntN(len(spans))]
	if m.r.IntN(3) > 0 {
		r.KeepMax = spans[m.r.IntN(len(spans))]
	}
	if m.r.IntN(2) == 0 {
		r.BadAfter = spans[1+m.r.IntN(4)]
	}
	return r
}

func (m *model) backup(i, days int, noon bool) Backup {
	r := m.r
	b := Backup{Run: fmt.Sprintf("run-%02d", r.IntN(100)*100+i), Good: r.IntN(5) > 0, Snapshots: map[string]string{"tree": fmt.Sprintf("snap-%d", i)}}
	local := m.Now.In(m.Location)
	day := local.Day() - r.IntN(days+1)
	hour, minute := r.IntN(24), r.IntN(60)
	if noon {
		hour = 11 + r.IntN(2)
	}
	b.At = time.Date(local.Year(), local.Month(), day, hour, minute, r.IntN(60), 0, m.Location)
	switch r.IntN(20) {
	case 0: // exactly the time of another one
		if i > 0 {
			b.At = m.Backups[r.IntN(i)].At
		}
	case 1: // on a leap day
		b.At = time.Date(2024, time.February, 29, 12, minute, 0, 0, m.Location)
	case 2: // a clock was ahead
		b.At = m.Now.Add(time.Duration(r.IntN(100)) * 24 * time.Hour)
	case 3:
		if r.IntN(10) == 0 {
			b.At = time.Time{}
		}
	case 4: // exactly at an edge of the class
		b.At = m.Rules.KeepMin.AddTo(b.At, m.Location)
	}
	b.Invalidated = !b.Good && r.IntN(2) == 0
	b.Held, b.InUse, b.Tested, b.Wanted = r.IntN(12) == 0, r.IntN(20) == 0, r.IntN(4) == 0, r.IntN(3) == 0
	b.Elsewhere = r.IntN(4)
	if r.IntN(10) == 0 {
		b.LockedUntil = m.Now.Add(time.Duration(r.IntN(20)-10) * 24 * time.Hour)
	}
	if r.IntN(10) == 0 {
		b.Promised = calendar.Period{Months: r.IntN(14)}
	}
	return b
}

// after adds a period to an instant with nothing but time.Date: first months,
// never past the end of the month, then days.
func after(t time.Time, p calendar.Period, loc *time.Location) time.Time {
	t = t.In(loc)
	first := time.Date(t.Year(), t.Month()+time.Month(p.Months), 1, 12, 0, 0, 0, time.UTC)
	day := t.Day()
	for time.Date(first.Year(), first.Month(), day, 12, 0, 0, 0, time.UTC).Month() != first.Month() {
		day--
	}
	return time.Date(first.Year(), first.Month(), day+p.Days, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), loc)
}

func newer(a, b Backup) bool { return a.At.After(b.At) || a.At.Equal(b.At) && a.Run > b.Run }

func (m *model) dated(b Backup) bool {
	return !b.At.IsZero() && !b.At.After(m.Now.Add(5*time.Minute))
}

func (m *model) counts(b Backup) bool { return b.Good && m.dated(b) }

// counted reports whether a count keeps b: it is the newest of its stretch, and
// fewer than n stretches that are newer have a good backup.
func (m *model) counted(b Backup, n int, stretch func(time.Time) string) bool {
	if n == 0 || !m.counts(b) {
		return false
	}
	mine := stretch(b.At.In(m.Location))
	later := map[string]bool{}
	for _, o := range m.Backups {
		if !m.counts(o) || !newer(o, b) {
			continue
		}
		if theirs := stretch(o.At.In(m.Location)); theirs != mine {
			later[theirs] = true
		} else {
			return false
		}
	}
	return len(later) < n
}

func (m *model) keptByCount(b Backup) bool {
	r := m.Rules
	if r.Last > 0 && m.counts(b) {
		n := 0
		for _, o := range m.Backups {
			if m.counts(o) && newer(o, b) {
				n++
			}
		}
		if n < r.Last {
			return true
		}
	}
	return m.counted(b, r.Hourly, func(t time.Time) string { return t.Format("2006-01-02 15") }) ||
		m.counted(b, r.Daily, func(t time.Time) string { return t.Format("2006-01-02") }) ||
		m.counted(b, r.Weekly, func(t time.Time) string { year, week := t.ISOWeek(); return fmt.Sprint(year, "/", week) }) ||
		m.counted(b, r.Monthly, func(t time.Time) string { return t.Format("2006-01") }) ||
		m.counted(b, r.Yearly, func(t time.Time) string { return t.Format("2006") })
}

// never names the first rule that forbids to delete b, "" when none does.
func (m *model) never(b Backup) string {
	isNewest, isNewestTested, newerGood := m.counts(b), m.counts(b) && b.Tested, false
	for _, o := range m.Backups {
		if m.counts(o) && newer(o, b) {
			isNewest, newerGood = false, true
			if o.Tested {
				isNewestTested = false
			}
		}
	}
	bad := m.Rules.BadAfter
	if bad == (calendar.Period{}) {
		bad = calendar.Period{Days: 14}
	}
	switch {
	case m.AppendOnly:
		return "on storage that only takes"
	case b.Held:
		return "held"
	case !m.dated(b):
		return "not dated"
	case b.InUse:
		return "in use"
	case isNewest:
		return "newest good"
	case isNewestTested:
		return "newest tested"
	case (b.Good || b.Invalidated) && (m.Now.Before(after(b.At, m.Rules.KeepMin, m.Location)) || m.Now.Before(after(b.At, b.Promised, m.Location))):
		return "younger than keep_min"
	case !b.Good && !newerGood:
		return "bad, and no newer good one"
	case !b.Good && m.Now.Before(after(b.At, bad, m.Location)):
		return "bad, and recent"
	case b.Good && b.Wanted && b.Elsewhere < m.Rules.Copies:
		return "too few copies"
	case b.LockedUntil.After(m.Now):
		return "locked"
	}
	return ""
}

// goes reports whether b should be deleted.
func (m *model) goes(b Backup) bool {
	if m.never(b) != "" {
		return false
	}
	r := m.Rules
	if r.KeepMax != (calendar.Period{}) && !m.Now.Before(after(b.At, r.KeepMax, m.Location)) {
		return true
	}
	if r.Last == 0 && r.Hourly == 0 && r.Daily == 0 && r.Weekly == 0 && r.Monthly == 0 && r.Yearly == 0 {
		return false
	}
	return !m.keptByCount(b)
}

// faults compares the plan with the model and with other plans; "" when all is right.
func (m *model) faults(s *seen) string {
	plan := Make(m.Request)
	m.note(s, plan)
	if len(plan.Decisions) != len(m.Backups) {
		return fmt.Sprintf("%d decisions for %d backups", len(plan.Decisions), len(m.Backups))
	}
	gone := map[string]bool{}
	good := 0
	for _, d := range plan.Decisions {
		if never := m.never(d.Backup); never != "" && !d.Keep {
			return fmt.Sprintf("%s is deleted although it is %s", d.Run, never)
		}
		if m.goes(d.Backup) == d.Keep {
			return fmt.Sprintf("%s: kept %v, the model says %v", d.Run, d.Keep, !m.goes(d.Backup))
		}
		if len(d.Reasons) == 0 {
			return d.Run + " has no reason"
		}
		if d.Keep && d.Good && m.dated(d.Backup) {
			good++
		}
		gone[d.Run] = !d.Keep
	}
	if slices.ContainsFunc(m.Backups, m.counts) && good == 0 {
		return "no good backup is left"
	}
	if fault := m.stops(plan, gone); fault != "" {
		return fault
	}
	// One comparison with another plan for each history keeps the test short.
	switch m.r.IntN(3) {
	case 0:
		return m.again(gone)
	case 1:
		return m.order(plan, gone)
	default:
		return m.monotone(gone)
	}
}

func (m *model) note(s *seen, plan Plan) {
	s.backups += len(m.Backups)
	s.forgotten += len(plan.Removals())
	if len(plan.Refusals) > 0 {
		s.refusals++
	}
	switch len(m.Backups) {
	case 0:
		s.empty++
	case 1:
		s.onlyOne++
	}
	times := map[time.Time]bool{}
	for _, d := range plan.Decisions {
		if d.Waiting {
			s.waiting++
		}
		if !m.dated(d.Backup) {
			s.future++
		}
		if d.At.Month() == time.February && d.At.Day() == 29 {
			s.leap++
		}
		if times[d.At] {
			s.sameTime++
		}
		times[d.At] = true
	}
	if q := m.Request; plan.Digest != "" && len(plan.Refusals) == 1 && plan.Refusals[0].Rule == Share {
		if q.Approved = plan.Digest; len(Make(q).Removals()) > 0 {
			s.approved++
		}
	}
}

// stops checks that nothing is deleted when something stands against it, and
// that only the approval of the very plan lifts the limit.
func (m *model) stops(plan Plan, gone map[string]bool) string {
	n := 0
	for _, g := range gone {
		if g {
			n++
		}
	}
	limit := m.Rules.Share
	if limit == 0 {
		limit = 30
	}
	over := n > 0 && float64(n)/float64(len(m.Backups)) > float64(limit)/100+1e-9
	stopped := n > 0 && (m.Failing != "" || m.ClockSuspect != "" || m.Storage != "" || over)
	if stopped != (len(plan.Refusals) > 0) || stopped && len(plan.Removals()) > 0 || !stopped && len(plan.Removals()) != n {
		return fmt.Sprintf("refusals %v, %d deletions of %d, over the limit %v", plan.Refusals, len(plan.Removals()), n, over)
	}
	if !over {
		return ""
	}
	q := m.Request
	q.Failing, q.ClockSuspect, q.Storage = "", "", ""
	q.Approved = "another plan"
	if len(Make(q).Removals()) > 0 {
		return "the approval of another plan counts"
	}
	if q.Approved = plan.Digest; len(Make(q).Removals()) != n {
		return "the approval of this plan does not count"
	}
	return ""
}

// again checks that a plan that was applied leaves nothing to do.
func (m *model) again(gone map[string]bool) string {
	q := m.Request
	q.Backups = slices.DeleteFunc(slices.Clone(q.Backups), func(b Backup) bool { return gone[b.Run] })
	if more := Make(q).Surplus(); len(more) > 0 {
		return fmt.Sprintf("planned again, %s goes too", more[0].Run)
	}
	return ""
}

// monotone checks that a hold, a longer minimum or a higher count never deletes
// more, and that time and newer backups never bring back what was to go.
func (m *model) monotone(gone map[string]bool) string {
	if len(m.Backups) == 0 {
		return ""
	}
	safer := m.Request
	safer.Backups = slices.Clone(safer.Backups)
	what := ""
	switch i := m.r.IntN(len(safer.Backups)); m.r.IntN(6) {
	case 0:
		safer.Backups[i].Held, what = true, "a hold"
	case 1:
		safer.Rules.KeepMin.Days += 3
		what = "a longer keep_min"
	case 2:
		if m.Rules != (Rules{Share: m.Rules.Share, Copies: m.Rules.Copies, KeepMin: m.Rules.KeepMin, KeepMax: m.Rules.KeepMax, BadAfter: m.Rules.BadAfter}) {
			safer.Rules.Daily++
			safer.Rules.Last++
			what = "a higher count"
		}
	case 3:
		safer.Rules.BadAfter, what = calendar.Period{Months: 100}, "a longer time for what is bad"
	case 4:
		if safer.Rules.KeepMax != (calendar.Period{}) {
			safer.Rules.KeepMax.Months++
			what = "a longer keep_max"
		}
	case 5:
		safer.Backups[i].Elsewhere, what = max(0, safer.Backups[i].Elsewhere-1), "a copy less elsewhere"
	}
	for _, d := range Make(safer).Surplus() {
		if !gone[d.Run] {
			return fmt.Sprintf("%s makes %s go", what, d.Run)
		}
	}
	later := m.Request
	later.Now = later.Now.Add(time.Duration(m.r.IntN(200)) * 24 * time.Hour)
	if m.r.IntN(2) == 0 {
		later.Backups = append(slices.Clone(later.Backups), Backup{Run: "run-new", At: later.Now, Good: true, Tested: m.r.IntN(2) == 0})
	}
	still := map[string]bool{}
	for _, d := range Make(later).Surplus() {
		still[d.Run] = true
	}
	for run, g := range gone {
		if g && !still[run] {
			return fmt.Sprintf("%s would go, and %s later it would not", run, later.Now.Sub(m.Now))
		}
	}
	return ""
}

// order checks that the order of the backups does not matter.
func (m *model) order(plan Plan, gone map[string]bool) string {
	q := m.Request
	q.Backups = slices.Clone(q.Backups)
	m.r.Shuffle(len(q.Backups), func(i, j int) { q.Backups[i], q.Backups[j] = q.Backups[j], q.Backups[i] })
	other := Make(q)
	if other.Digest != plan.Digest {
		return "the order of the backups changes the digest"
	}
	for _, d := range other.Decisions {
		if gone[d.Run] == d.Keep {
			return "the order of the backups decides about " + d.Run
		}
	}
	return ""
}

func (m *model) describe() string {
	text := fmt.Sprintf("now %s, rules %+v\n", m.Now.Format(time.RFC3339), m.Rules)
	for _, d := range Make(m.Request).Decisions {
		text += fmt.Sprintf("  keep=%-5v %s %s good=%v invalid=%v held=%v tested=%v use=%v elsewhere=%d wanted=%v locked=%s promised=%s %v\n", d.Keep, d.Run, d.At.Format(time.RFC3339),
			d.Good, d.Invalidated, d.Held, d.Tested, d.InUse, d.Elsewhere, d.Wanted, d.LockedUntil.Format(time.DateOnly), d.Promised, d.Reasons)
	}
	return text
}
