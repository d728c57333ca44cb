package retention

import (
	"fmt"
	"time"

	"saoluu/internal/calendar"
)

// A Simulation is a job whose every backup succeeds, seen from now on.
type Simulation struct {
	Rules    Rules
	Start    []Backup          // what is there already
	Schedule calendar.Schedule // of backups
	Tests    calendar.Schedule // of restore tests, which all pass; zero: none
	Upkeep   calendar.Schedule // when retention is applied
	From     time.Time
	Days     int
	Location *time.Location
}

// A Month is what one month of a simulation brings.
type Month struct {
	Month     calendar.Month
	Taken     int       // backups made
	Removed   int       // backups deleted
	Left      int       // backups there at its end
	Oldest    time.Time // the oldest of them; zero when there is none
	Approvals int       // times a second person has to approve, because more than the share would go
}

// Simulate plays the days of a simulation and returns its months in order. A plan
// that needs approval is taken to be approved.
func Simulate(s Simulation) []Month {
	now, end := s.From, s.From.Add(time.Duration(s.Days)*24*time.Hour)
	there := append([]Backup{}, s.Start...)
	months := []Month{{Month: calendar.MonthOf(now, s.Location)}}
	settle := func() {
		m := &months[len(months)-1]
		m.Left = len(there)
		for _, b := range there {
			if m.Oldest.IsZero() || b.At.Before(m.Oldest) {
				m.Oldest = b.At
			}
		}
	}
	for {
		backup, test, upkeep := s.Schedule.Next(now, s.Location), s.Tests.Next(now, s.Location), s.Upkeep.Next(now, s.Location)
		now = first(backup, test, upkeep)
		if now.IsZero() || now.After(end) {
			break
		}
		for m := calendar.MonthOf(now, s.Location); months[len(months)-1].Month != m; {
			settle()
			months = append(months, Month{Month: months[len(months)-1].Month.Next()})
		}
		m := &months[len(months)-1]
		if now.Equal(backup) {
			m.Taken++
			there = append(there, Backup{Run: fmt.Sprintf("simulated %s", now.Format(time.RFC3339)), At: now, Good: true})
		}
		if now.Equal(test) {
			pass(there)
		}
		if now.Equal(upkeep) {
			before := len(there)
			there = s.upkeep(there, now, m)
			m.Removed += before - len(there)
		}
	}
	settle()
	return months
}

// first returns the earliest of the times that are not zero.
func first(times ...time.Time) time.Time {
	var least time.Time
	for _, t := range times {
		if !t.IsZero() && (least.IsZero() || t.Before(least)) {
			least = t
		}
	}
	return least
}

// pass marks the newest good backup as tested.
func pass(there []Backup) {
	newest := -1
	for i, b := range there {
		if b.Good && (newest < 0 || b.At.After(there[newest].At)) {
			newest = i
		}
	}
	if newest >= 0 {
		there[newest].Tested = true
	}
}

// upkeep applies retention once and returns what is left.
func (s Simulation) upkeep(there []Backup, now time.Time, m *Month) []Backup {
	if s.Rules.countsNothing() && s.Rules.KeepMax.IsZero() {
		return there
	}
	plan := Make(Request{Backups: there, Rules: s.Rules, Now: now, Location: s.Location})
	if len(plan.Refusals) > 0 {
		m.Approvals++
	}
	var left []Backup
	for _, d := range plan.Decisions {
		if d.Keep {
			left = append(left, d.Backup)
		}
	}
	return left
}
