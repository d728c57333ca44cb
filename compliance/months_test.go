package compliance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

func hanoi(t testing.TB) *time.Location {
	t.Helper()
	loc, err := calendar.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// at reads "2026-05-31" or "2026-05-31 23:40" by the clock of Hà Nội.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	layout := "2006-01-02 15:04"
	if len(text) == len(time.DateOnly) {
		text += " 01:00"
	}
	when, err := time.ParseInLocation(layout, text, hanoi(t))
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// oneAsset is a scenario with one normal asset on one target.
func oneAsset(t testing.TB, since string, good ...string) *scenario {
	t.Helper()
	s := &scenario{loc: hanoi(t), set: at(t, since), site: catalog.SiteInfo{Name: "Đơn vị thử", Code: "THU", Level: 3, Timezone: "Asia/Ho_Chi_Minh"}}
	s.classes = []catalog.ClassInfo{{Name: "nhom", KeepMin: "1y", KeepMax: "5y", Copies: 1}}
	s.targets = []catalog.TargetRow{{Name: testTarget, Type: "sftp"}}
	s.assets = []catalog.Asset{{
		Job: testJob, Title: "Mục thử", Category: "database", Importance: "normal", Secrecy: "none", Label: "noi-bo", Owner: "Văn phòng",
		Class: "nhom", Source: "files", Method: "thử", Schedule: "daily at 01:00", TestSchedule: "monthly on 5 at 03:00", Targets: []string{testTarget},
	}}
	for _, g := range good {
		s.addRun(at(t, g))
	}
	return s
}

// addRun adds a good run with a copy on the target.
func (s *scenario) addRun(when time.Time) *catalog.Run {
	s.runs = append(s.runs, s.run(when, []givenCopy{{Copy: catalog.Copy{
		Target: testTarget, State: catalog.RunComplete, Encryption: catalog.EncryptionRestic, Separation: &catalog.Separation{Level: 3},
	}}}))
	slices.SortStableFunc(s.runs, func(a, b catalog.Run) int { return a.StartedAt.Compare(b.StartedAt) })
	i := slices.IndexFunc(s.runs, func(r catalog.Run) bool { return r.StartedAt.Equal(when) })
	return &s.runs[i]
}

// judge evaluates one shipped rule for the asset of a scenario.
func judge(t testing.TB, s *scenario, rule, period, now string) Finding {
	t.Helper()
	p, err := calendar.ParseReportPeriod(period)
	if err != nil {
		t.Fatal(err)
	}
	return judgeAt(t, s, rule, p, at(t, now))
}

func judgeAt(t testing.TB, s *scenario, rule string, period calendar.ReportPeriod, now time.Time) Finding {
	t.Helper()
	packs, err := Packs("HD39")
	if err != nil {
		t.Fatal(err)
	}
	result, err := Evaluate(t.Context(), s, packs, period, now)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(result.Findings, func(f Finding) bool { return f.Rule == rule && f.Subject == testJob })
	if i < 0 {
		i = slices.IndexFunc(result.Findings, func(f Finding) bool { return f.Rule == rule })
	}
	if i < 0 {
		t.Fatalf("rule %s said nothing", rule)
	}
	return result.Findings[i]
}

// Every row of the table and every edge case of the monthly duty.
func TestMonthly(t *testing.T) {
	monthly := []string{"2026-01-03", "2026-02-03", "2026-03-03", "2026-04-03"}
	with := func(more ...string) []string { return append(slices.Clone(monthly), more...) }
	tests := []struct {
		name, since, period, now string
		good                     []string
		change                   func(s *scenario)
		posture, over            Outcome
	}{
		{name: "all months covered, the newest fresh", since: "2026-01-01", good: with("2026-05-03"), period: "2026-H1", now: "2026-05-20", posture: Pass, over: Pass},
		{name: "the planned date of this month still ahead", since: "2026-01-01", good: monthly, period: "2026-H1", now: "2026-05-02",
			change: func(s *scenario) { s.assets[0].Schedule = "monthly on 3 at 01:00" }, posture: Pass, over: Pass},
		{name: "newest 32 days old, all closed months covered", since: "2026-01-01", good: []string{"2026-01-01", "2026-01-31", "2026-02-26"}, period: "2026-H1", now: "2026-03-30",
			change: func(s *scenario) { s.assets[0].Schedule = "monthly on 31 at 01:00" }, posture: Warn, over: Warn},
		{name: "planned date passed, not covered", since: "2026-01-01", good: monthly, period: "2026-H1", now: "2026-05-02", posture: Warn, over: Warn},
		{name: "5 days left", since: "2026-01-01", good: monthly, period: "2026-H1", now: "2026-05-26",
			change: func(s *scenario) { s.assets[0].Schedule = "monthly on 31 at 01:00" }, posture: Warn, over: Warn},
		{name: "a schedule with nothing this month", since: "2026-01-01", good: monthly, period: "2026-H1", now: "2026-05-02",
			change: func(s *scenario) { s.assets[0].Schedule = "yearly on 01-05 at 01:00" }, posture: Warn, over: Warn},
		{name: "a closed month missed", since: "2026-01-01", good: []string{"2026-01-03", "2026-02-03", "2026-04-03"}, period: "2026-H1", now: "2026-04-20", posture: Fail, over: Fail},
		{name: "missed, then one full month closed covered", since: "2026-01-01", good: []string{"2026-01-03", "2026-02-03", "2026-04-03", "2026-05-01"}, period: "2026-H1", now: "2026-05-04", posture: Pass, over: Fail},
		{name: "63 days old", since: "2026-01-01", good: []string{"2026-01-03", "2026-02-27"}, period: "2026-H1", now: "2026-05-01 02:00", posture: Fail, over: Fail},
		{name: "62 days old", since: "2025-12-30", good: []string{"2025-12-31", "2026-01-31"}, period: "2026-02", now: "2026-02-28", posture: Warn, over: Warn},
		{name: "none ever, 31 days old", since: "2026-04-24", period: "2026-H1", now: "2026-05-25", posture: Warn, over: Warn},
		{name: "none ever, 32 days old", since: "2026-04-23", period: "2026-H1", now: "2026-05-25", posture: Fail, over: Fail},
		{name: "failed, then good in the same month", since: "2026-01-01", good: with("2026-05-03"), period: "2026-H1", now: "2026-05-20",
			change: func(s *scenario) { s.addFailed("2026-05-02", t) }, posture: Pass, over: Pass},
		{name: "incomplete all month", since: "2026-01-01", good: with(), period: "2026-05", now: "2026-06-02",
			change: func(s *scenario) {
				for _, d := range []string{"2026-05-03", "2026-05-04"} {
					s.addFailed(d, t).State = catalog.RunIncomplete
				}
			}, posture: Fail, over: Fail},
		{name: "new, fewer than 7 days left of its month", since: "2026-04-24", good: []string{"2026-05-01"}, period: "2026-04", now: "2026-05-20", posture: Pending, over: Pending},
		{name: "new, 7 days left, missed", since: "2026-04-23", good: []string{"2026-05-01"}, period: "2026-04", now: "2026-05-20", posture: Warn, over: Warn},
		{name: "new, its month under way", since: "2026-05-10", period: "2026-05", now: "2026-05-12",
			change: func(s *scenario) { s.assets[0].Schedule = "monthly on 20 at 01:00" }, posture: Pending, over: Pending},
		{name: "first good backup after 8 days", since: "2026-05-01", good: []string{"2026-05-09"}, period: "2026-05", now: "2026-05-20", posture: Pass, over: Warn},
		{name: "first good backup after 32 days", since: "2026-04-20", good: []string{"2026-05-22"}, period: "2026-05", now: "2026-05-30", posture: Warn, over: Fail},
		{name: "removed with a fresh last backup", since: "2026-01-01", good: monthly, period: "2026-04", now: "2026-05-20",
			change: func(s *scenario) { s.remove(at(t, "2026-04-20")) }, posture: Warn, over: Pass},
		{name: "removed 32 days after the last backup", since: "2026-01-01", good: monthly[:3], period: "2026-04", now: "2026-05-20",
			change: func(s *scenario) { s.remove(at(t, "2026-04-04")) }, posture: Fail, over: Fail},
		{name: "removed before the period", since: "2026-01-01", good: monthly, period: "2026-06", now: "2026-07-02",
			change: func(s *scenario) { s.remove(at(t, "2026-04-20")) }, posture: Warn, over: NA},
		{name: "a removed and re-created job keeps its history", since: "2026-01-01", good: []string{"2026-01-03", "2026-03-03"}, period: "2026-02", now: "2026-03-20", posture: Fail, over: Fail},
		{name: "not important", since: "2026-01-01", period: "2026-04", now: "2026-05-20",
			change: func(s *scenario) { s.assets[0].Importance = "low" }, posture: NA, over: NA},
		{name: "in service only later", since: "2026-01-01", period: "2026-04", now: "2026-05-20", good: []string{"2026-05-12"},
			change: func(s *scenario) { s.assets[0].InService = "2026-05-10" }, posture: NA, over: NA},
		{name: "the regulation begins within the month", since: "2024-01-01", good: []string{"2024-10-05"}, period: "2024-09", now: "2024-10-20", posture: Pending, over: Pending},
		{name: "taken on 31 January, finished on 1 February", since: "2026-01-01", good: []string{"2026-01-31 23:40"}, period: "2026-01", now: "2026-02-10", posture: Pass, over: Warn},
		{name: "found bad before the month was over", since: "2026-01-01", good: with("2026-05-03"), period: "2026-05", now: "2026-05-20",
			change: func(s *scenario) { s.runs[len(s.runs)-1].Invalidated = at(t, "2026-05-10") }, posture: Warn, over: Warn},
		{name: "found bad, replaced", since: "2026-01-01", good: with("2026-05-03", "2026-05-11"), period: "2026-05", now: "2026-05-20",
			change: func(s *scenario) { s.runs[len(s.runs)-2].Invalidated = at(t, "2026-05-10") }, posture: Pass, over: Warn},
		{name: "pruned data keep their month", since: "2026-01-01", good: with("2026-05-03"), period: "2026-01", now: "2026-05-20",
			change: func(s *scenario) { s.runs[0].Pruned = at(t, "2026-04-01") }, posture: Pass, over: Pass},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := oneAsset(t, tt.since, tt.good...)
			if tt.change != nil {
				tt.change(s)
			}
			f := judge(t, s, "HD39-16.1b-2", tt.period, tt.now)
			if f.Posture != tt.posture || f.Period != tt.over {
				t.Errorf("posture %s, period %s; want %s, %s: %s", f.Posture, f.Period, tt.posture, tt.over, f.Why)
			}
		})
	}
}

func (s *scenario) addFailed(when string, t testing.TB) *catalog.Run {
	r := s.addRun(at(t, when))
	r.State, r.ConsistentAt, r.Copies = catalog.RunFailed, time.Time{}, nil
	return r
}

func (s *scenario) remove(when time.Time) {
	s.removed = append(s.removed, catalog.RemovedAsset{Asset: s.assets[0], At: when})
	s.assets = nil
}

// The duty computed from months agrees with a model that walks over days.
func TestMonthlyAgainstModel(t *testing.T) {
	loc := hanoi(t)
	packs, err := Packs("HD39")
	if err != nil {
		t.Fatal(err)
	}
	coverage := packs[0].Rules[slices.IndexFunc(packs[0].Rules, func(r Rule) bool { return r.ID == "HD39-16.1b-2" })]
	rapid.Check(t, func(r *rapid.T) {
		first := calendar.Date{Year: 2025, Month: time.January, Day: 1}
		entry := first.AddDays(rapid.IntRange(0, 200).Draw(r, "entry"))
		length := rapid.IntRange(0, 300).Draw(r, "length")
		days := rapid.SliceOfNDistinct(rapid.IntRange(0, max(0, length)), 0, min(14, length+1), rapid.ID).Draw(r, "backups")
		slices.Sort(days)
		m := model{entry: entry, today: entry.AddDays(length), planned: rapid.IntRange(1, 28).Draw(r, "planned")}
		s := oneAsset(t, entry.String())
		s.assets[0].Schedule = fmt.Sprintf("monthly on %d at 01:00", m.planned)
		for _, n := range days {
			d := entry.AddDays(n)
			m.good = append(m.good, d)
			s.addRun(d.Start(loc).Add(time.Hour))
		}
		m.period = calendar.ReportPeriod{First: calendar.Month{Year: m.today.Year, Month: m.today.Month}.Add(-rapid.IntRange(0, 5).Draw(r, "back")), Count: 3}
		now := m.today.Start(loc).Add(12 * time.Hour)
		if !now.After(m.period.First.Start(loc)) {
			r.Skip()
		}
		if m.period.First.Add(3).Compare(calendar.Month{Year: entry.Year, Month: entry.Month}) <= 0 {
			r.Skip() // the whole period lies before the inventory
		}
		result, err := Evaluate(t.Context(), s, []*Pack{{Kind: Binding, Rules: []Rule{coverage}}}, m.period, now)
		if err != nil {
			r.Fatal(err)
		}
		f := result.Findings[0]
		posture, over := m.judge(loc)
		if f.Posture != posture || f.Period != over {
			r.Fatalf("posture %s, period %s; the model says %s, %s\nentry %s, today %s, backups %v, period %s: %s",
				f.Posture, f.Period, posture, over, m.entry, m.today, m.good, m.period, f.Why)
		}
	})
}

// A model decides the monthly duty slowly, day by day, from the words of the
// requirement.
type model struct {
	entry, today calendar.Date
	good         []calendar.Date
	planned      int // day of the month of the schedule
	period       calendar.ReportPeriod
}

// clipped is the model as it stood on the last day of the period, if that is over.
func (m model) clipped() model {
	end := m.lastDay(m.period.First.Add(m.period.Count - 1))
	if m.today.Compare(end) <= 0 {
		return m
	}
	m.today = end
	m.good = slices.DeleteFunc(slices.Clone(m.good), func(d calendar.Date) bool { return d.Compare(end) > 0 })
	return m
}

func (m model) lastDay(month calendar.Month) calendar.Date {
	return calendar.Date{Year: month.Year, Month: month.Month, Day: month.Days()}
}

func (m model) judge(*time.Location) (posture, over Outcome) {
	over = NA
	closed := m.today.Compare(m.lastDay(m.period.First.Add(m.period.Count-1))) > 0
	m = m.clipped()
	for _, month := range m.period.Months() {
		over = worse(over, m.month(month, closed))
	}
	over = worse(over, m.gaps())
	current := calendar.Month{Year: m.today.Year, Month: m.today.Month}
	posture = worse(m.month(current.Add(-1), closed), m.month(current, closed))
	return worse(posture, m.age()), over
}

// month counts the days of one month that have a backup.
func (m model) month(month calendar.Month, periodOver bool) Outcome {
	last := m.lastDay(month)
	begun := calendar.Date{Year: month.Year, Month: month.Month, Day: 1}
	if last.Compare(m.entry) < 0 {
		return NA
	}
	if begun.Compare(m.today) > 0 {
		return Pending
	}
	for d := begun; d.Compare(last) <= 0; d = d.AddDays(1) {
		if slices.Contains(m.good, d) {
			return Pass
		}
	}
	partial := m.entry.Compare(begun) > 0
	if partial && last.DaysSince(m.entry) < 7 {
		return NA
	}
	over := m.today.Compare(last) > 0 || (periodOver && m.today == last)
	switch {
	case over && partial:
		return Warn
	case over:
		return Fail
	case last.DaysSince(m.today) <= 5:
		return Warn
	}
	for d := begun; d.Compare(m.today) <= 0; d = d.AddDays(1) {
		if d.Day == m.planned && d.Compare(m.entry) >= 0 {
			return Warn // the planned day has passed
		}
	}
	if m.planned < m.entry.Day && partial {
		return Warn // nothing planned this month
	}
	return Pending
}

func (m model) age() Outcome {
	if len(m.good) == 0 {
		return limits(m.today.DaysSince(m.entry), 7, 31, Pending)
	}
	return limits(m.today.DaysSince(m.good[len(m.good)-1]), 31, 62, Pass)
}

// gaps looks at every span without a backup that ends in the period.
func (m model) gaps() Outcome {
	worst := NA
	from := calendar.Date{Year: m.period.First.Year, Month: m.period.First.Month, Day: 1}
	previous, entered := m.entry, true
	for _, g := range append(slices.Clone(m.good), m.today) {
		open := g == m.today && !slices.Contains(m.good, g)
		o := limits(g.DaysSince(previous), 31, 62, Pass)
		if entered {
			o = limits(g.DaysSince(previous), 7, 31, Pass)
			if open && o == Pass {
				o = Pending
			}
		}
		if g.Compare(from) >= 0 {
			worst = worse(worst, o)
		}
		previous, entered = g, false
	}
	return worst
}

func limits(days, warn, fail int, good Outcome) Outcome {
	if days > fail {
		return Fail
	}
	if days > warn {
		return Warn
	}
	return good
}
