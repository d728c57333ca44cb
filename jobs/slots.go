package jobs

import (
	"cmp"
	"context"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/calendar"
)

// planAhead is how far slots are made before they are due. A daemon that is
// down plans the gap when it comes back, so the value only decides how early
// the next slots can be seen.
const planAhead = 2 * time.Hour

// upkeepSchedule is when a target is looked after: every night, after the
// backups of the evening and before the working day.
const upkeepSchedule = "daily at 05:30"

// A duty is one schedule that makes slots.
type duty struct {
	job      string // target name for upkeep
	action   string
	schedule calendar.Schedule
}

// duties lists every schedule of a configuration in a fixed order.
func duties(c *config.Config) []duty {
	var all []duty
	for name, job := range c.Jobs {
		all = append(all, duty{name, catalog.ActionBackup, job.Schedule})
		if !job.Test.Schedule.IsZero() {
			all = append(all, duty{name, catalog.ActionTest, job.Test.Schedule})
		}
	}
	for name := range c.Targets {
		all = append(all, duty{name, catalog.ActionUpkeep, parsed(upkeepAt(c.Targets[name].Window.String()))})
	}
	slices.SortFunc(all, func(a, b duty) int {
		return cmp.Or(cmp.Compare(a.job, b.job), cmp.Compare(a.action, b.action))
	})
	return all
}

// upkeepAt is the schedule of the upkeep of a target: upkeepSchedule, or the
// beginning of its window.
func upkeepAt(window string) string {
	var w calendar.Window
	if err := w.UnmarshalText([]byte(window)); err != nil || w.IsZero() {
		return upkeepSchedule
	}
	return "daily at " + w.Opens()
}

// nightly is upkeepSchedule, parsed.
func nightly() calendar.Schedule { return parsed(upkeepSchedule) }

// parsed parses a schedule of ours.
func parsed(text string) calendar.Schedule {
	s, err := calendar.ParseSchedule(text)
	if err != nil {
		panic("a schedule of upkeep: " + err.Error())
	}
	return s
}

// plan returns the slots of the duties with from < due ≤ until, by time. It is
// pure: the same schedules give the same slots whenever it is asked.
func plan(all []duty, from, until time.Time, loc *time.Location) []catalog.Slot {
	var slots []catalog.Slot
	for _, d := range all {
		if d.schedule.IsZero() {
			continue
		}
		for due := d.schedule.Next(from, loc); !due.IsZero() && !due.After(until); due = d.schedule.Next(due, loc) {
			slots = append(slots, catalog.Slot{Job: d.job, Action: d.action, Due: due.UTC()})
		}
	}
	slices.SortStableFunc(slots, func(a, b catalog.Slot) int { return a.Due.Compare(b.Due) })
	return slots
}

// A work is one thing to do now: the newest due slot of a job and action, and
// the older ones that doing it once catches up for.
type work struct {
	slot   catalog.Slot
	covers []time.Time
}

// gather folds due slots so that each job and action is done once, however many
// of its slots passed while nobody was there.
func gather(due []catalog.SlotRow) []work {
	type key struct{ job, action string }
	at := map[key]int{}
	var all []work
	for _, row := range due {
		k := key{row.Job, row.Action}
		i, seen := at[k]
		if !seen {
			at[k] = len(all)
			all = append(all, work{slot: row.Slot})
			continue
		}
		w := &all[i]
		if row.Due.After(w.slot.Due) {
			w.covers = append(w.covers, w.slot.Due)
			w.slot.Due = row.Due
		} else {
			w.covers = append(w.covers, row.Due)
		}
	}
	return all
}

// stillDue reports whether a slot is open: between the look that found it and its
// turn, another process or a changed configuration may have closed it.
func (r *Runner) stillDue(ctx context.Context, s catalog.Slot) (bool, error) {
	q := catalog.SlotQuery{Job: s.Job, Action: s.Action, State: catalog.SlotOpen, DueFrom: s.Due, DueTo: s.Due.Add(time.Second), Limit: 1}
	for _, err := range r.Catalog.Slots(ctx, q) {
		return err == nil, err
	}
	return false, nil
}
