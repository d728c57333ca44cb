package retention

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"saoluu/internal/calendar"
)

// Make returns the plan for a request. The same request gives the same plan,
// whatever the order of its backups.
func Make(q Request) Plan {
	p := planner{Request: q}
	p.Backups = slices.Clone(q.Backups)
	slices.SortFunc(p.Backups, func(a, b Backup) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Run, b.Run)) })
	p.look()
	plan := Plan{Target: q.Target, Job: q.Job, Limit: cmp.Or(q.Rules.Share, DefaultShare), Decisions: make([]Decision, 0, len(p.Backups))}
	gone := 0
	for i := range p.Backups {
		d := p.decide(i)
		if !d.Keep {
			gone++
		}
		plan.Decisions = append(plan.Decisions, d)
	}
	if gone > 0 {
		plan.Share = (100*gone + len(p.Backups) - 1) / len(p.Backups)
		plan.Digest = digest(q, plan)
		plan.refuse(q, gone)
	}
	return plan
}

// A planner is a request with what has to be known of all its backups together.
type planner struct {
	Request
	counted [][]Reason // by backup: the counts that keep it
	good    int        // good backups that are not in the future
	newest  int        // the newest of them; -1: none
	tested  int        // the newest of them that passed a restore test; -1: none
}

// look finds what the counts keep, and the newest backups.
func (p *planner) look() {
	p.newest, p.tested = -1, -1
	p.counted = make([][]Reason, len(p.Backups))
	counts := p.counts()
	for i := len(p.Backups) - 1; i >= 0; i-- {
		b := &p.Backups[i]
		if !b.Good || p.future(b) {
			continue
		}
		p.good++
		if p.newest < 0 {
			p.newest = i
		}
		if p.tested < 0 && b.Tested {
			p.tested = i
		}
		for c := range counts {
			if r, kept := counts[c].take(b.At, p.Location); kept {
				p.counted[i] = append(p.counted[i], r)
			}
		}
	}
}

func (p *planner) future(b *Backup) bool {
	return b.At.IsZero() || b.At.Sub(p.Now) > clockTolerance
}

// A count keeps the newest backup of each of so many stretches of time.
type count struct {
	rule   Rule
	limit  int
	bucket func(time.Time, *time.Location) stretch // nil: every backup is a stretch of its own
	last   stretch
	taken  int
}

// A stretch is an hour, day, week, month or year of the calendar.
type stretch struct {
	calendar.Date
	hour int
}

func (p *planner) counts() []count {
	r := p.Rules
	all := []count{
		{rule: Last, limit: r.Last},
		{rule: Hourly, limit: r.Hourly, bucket: hourOf},
		{rule: Daily, limit: r.Daily, bucket: dayOf},
		{rule: Weekly, limit: r.Weekly, bucket: weekOf},
		{rule: Monthly, limit: r.Monthly, bucket: monthOf},
		{rule: Yearly, limit: r.Yearly, bucket: yearOf},
	}
	return slices.DeleteFunc(all, func(c count) bool { return c.limit == 0 })
}

// take reports whether the count keeps the next backup; they come newest first.
func (c *count) take(at time.Time, loc *time.Location) (Reason, bool) {
	if c.taken == c.limit {
		return Reason{}, false
	}
	if c.bucket != nil {
		s := c.bucket(at, loc)
		if s == c.last {
			return Reason{}, false
		}
		c.last = s
	}
	c.taken++
	return Reason{Rule: c.rule, N: c.taken, Of: c.limit}, true
}

func hourOf(t time.Time, loc *time.Location) stretch {
	return stretch{calendar.DateOf(t, loc), t.In(loc).Hour()}
}

func dayOf(t time.Time, loc *time.Location) stretch { return stretch{Date: calendar.DateOf(t, loc)} }

// weekOf is the Monday of the week.
func weekOf(t time.Time, loc *time.Location) stretch {
	back := (int(t.In(loc).Weekday()) + 6) % 7
	return stretch{Date: calendar.DateOf(t, loc).AddDays(-back)}
}

func monthOf(t time.Time, loc *time.Location) stretch {
	m := calendar.MonthOf(t, loc)
	return stretch{Date: calendar.Date{Year: m.Year, Month: m.Month, Day: 1}}
}

func yearOf(t time.Time, loc *time.Location) stretch {
	return stretch{Date: calendar.Date{Year: t.In(loc).Year(), Month: time.January, Day: 1}}
}

// decide says what becomes of the i-th backup.
func (p *planner) decide(i int) Decision {
	b := &p.Backups[i]
	d := Decision{Backup: *b, Keep: true}
	if d.Reasons = p.nevers(i); len(d.Reasons) > 0 {
		if b.Good {
			d.Reasons = append(d.Reasons, p.counted[i]...)
		}
		return d
	}
	overAge, since := p.overAge(b)
	switch {
	case p.Rules.countsNothing() && !overAge:
		d.Reasons = []Reason{{Rule: KeepAll}}
		return d
	case b.Good && b.Version && !overAge:
		d.Reasons = append(slices.Clone(p.counted[i]), Reason{Rule: Version})
		return d
	case b.Good && len(p.counted[i]) > 0 && !overAge:
		d.Reasons = p.counted[i]
		return d
	case overAge:
		d.Reasons = []Reason{{Rule: OverAge, Until: since}}
	}
	if !b.Good {
		d.Reasons = append(d.Reasons, Reason{Rule: Bad})
	} else if len(p.counted[i]) == 0 && !p.Rules.countsNothing() {
		d.Reasons = append(d.Reasons, Reason{Rule: Surplus})
	}
	switch {
	case p.AppendOnly:
		d.Waiting = true
		d.Reasons = append([]Reason{{Rule: AppendOnly}}, d.Reasons...)
		return d
	case b.LockedUntil.After(p.Now):
		d.Waiting = true
		d.Reasons = append([]Reason{{Rule: Locked, Until: b.LockedUntil.In(p.Location)}}, d.Reasons...)
		return d
	}
	d.Keep = false
	return d
}

// nevers lists the rules that keep the i-th backup whatever others say.
func (p *planner) nevers(i int) []Reason {
	b := &p.Backups[i]
	var why []Reason
	add := func(r Reason) { why = append(why, r) }
	if b.Held {
		add(Reason{Rule: Held})
	}
	if p.future(b) {
		add(Reason{Rule: Future})
		return why
	}
	if i == p.newest {
		if p.good == 1 {
			add(Reason{Rule: LastGood})
		}
		add(Reason{Rule: NewestGood})
	}
	if i == p.tested {
		add(Reason{Rule: NewestTested})
	}
	if b.Good || b.Invalidated {
		if until := p.keepMin(b); p.Now.Before(until) {
			add(Reason{Rule: Young, Until: until})
		}
	}
	if b.InUse {
		add(Reason{Rule: InUse})
	}
	if b.Good && b.Wanted && b.Elsewhere < p.Rules.Copies {
		add(Reason{Rule: Copies, N: b.Elsewhere, Of: p.Rules.Copies})
	}
	if !b.Good {
		why = append(why, p.bad(i)...)
	}
	return why
}

// bad lists what keeps the remains of a run that is no good backup.
func (p *planner) bad(i int) []Reason {
	var why []Reason
	after := p.Rules.BadAfter
	if after.IsZero() {
		after = DefaultBadAfter()
	}
	if until := after.AddTo(p.Backups[i].At, p.Location); p.Now.Before(until) {
		why = append(why, Reason{Rule: BadRecent, Until: until.In(p.Location)})
	}
	if p.newest < i { // they are in the order of their times
		why = append(why, Reason{Rule: BadAlone})
	}
	return why
}

// keepMin returns when the least time of a backup ends: the longer of what its
// class says now and what the class it was made under promised.
func (p *planner) keepMin(b *Backup) time.Time {
	until := b.At
	for _, least := range []calendar.Period{p.Rules.KeepMin, b.Promised} {
		if least.IsZero() {
			continue
		}
		if end := least.AddTo(b.At, p.Location); end.After(until) {
			until = end
		}
	}
	return until.In(p.Location)
}

// overAge reports whether a backup should be gone by keep_max, and since when.
func (p *planner) overAge(b *Backup) (bool, time.Time) {
	if p.Rules.KeepMax.IsZero() {
		return false, time.Time{}
	}
	end := p.Rules.KeepMax.AddTo(b.At, p.Location)
	return !p.Now.Before(end), end.In(p.Location)
}

// refuse writes down what stands against deleting anything now.
func (p *Plan) refuse(q Request, gone int) {
	no := func(rule Rule, text, hint string) { p.Refusals = append(p.Refusals, Refusal{rule, text, hint}) }
	if q.Failing != "" {
		no(Failing, q.Failing, fmt.Sprintf("bring job %q back to good backups first", q.Job))
	}
	if q.ClockSuspect != "" {
		no(Clock, q.ClockSuspect, "set the clock right; deletion goes on by itself a day later")
	}
	if q.Storage != "" {
		no(Storage, q.Storage, fmt.Sprintf("find out what happened to target %q first", q.Target))
	}
	if 100*gone <= p.Limit*len(p.Decisions) {
		return
	}
	if q.Approved == p.Digest {
		p.Approved = true
		return
	}
	no(Share, fmt.Sprintf("%d of %d backups would go at once, more than %d %%", gone, len(p.Decisions), p.Limit),
		fmt.Sprintf("look at \"saoluu upkeep --dry-run %s\"; then a second person runs \"saoluu upkeep %s --approve %s --by NAME\"", q.Target, q.Target, p.Digest))
}

// digest is of everything a person approves: where, which rules, and what goes.
// It does not change while time passes and the same snapshots would go.
func digest(q Request, p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "saoluu retention plan 1\n%q %q\n", q.Target, q.Job)
	r := q.Rules
	fmt.Fprintf(&b, "%d %d %d %d %d %d %s %s %d\n", r.Last, r.Hourly, r.Daily, r.Weekly, r.Monthly, r.Yearly, r.KeepMin, r.KeepMax, r.Copies)
	for _, d := range p.Surplus() {
		fmt.Fprintf(&b, "%q", d.Run)
		for _, part := range slices.Sorted(maps.Keys(d.Snapshots)) {
			fmt.Fprintf(&b, " %q %q", part, d.Snapshots[part])
		}
		b.WriteByte('\n')
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:12])
}
