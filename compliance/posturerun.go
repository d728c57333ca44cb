package compliance

import (
	"fmt"
	"slices"
	"strings"

	"saoluu/catalog"
)

// lastRun judges the newest finished run.
func (p *posture) lastRun(j catalog.JobState, r *reasons) {
	detail := ""
	if j.LastError != "" {
		detail = ": " + strings.ReplaceAll(j.LastError, "\n", "; ")
	}
	open := !j.NextDue.IsZero() && !j.NextDue.After(p.now) && p.planned.After(p.now)
	retrying := j.Running != "" || open
	switch j.LastState {
	case catalog.RunComplete, "":
	case catalog.RunIncomplete:
		r.add(Warning, "the last run was incomplete%s", detail)
	case catalog.RunSkipped:
		r.add(Warning, "the last run was skipped%s", detail)
	default:
		if retrying {
			r.add(Warning, "the last run %s, another try is under way%s", pastTense(j.LastState), detail)
		} else {
			r.add(Failing, "the last run %s%s", pastTense(j.LastState), detail)
		}
	}
}

// size judges how much the newest good run saved.
func (p *posture) size(j catalog.JobState, r *reasons) {
	s, ok := p.shrunk[j.Job]
	if !ok || s.Run != j.LastGoodRun {
		return
	}
	what := fmt.Sprintf("holds far less than run %s did", s.Before)
	if len(s.Lacks) > 0 {
		what = fmt.Sprintf("lacks what run %s had: %s", s.Before, named("part", s.Lacks))
	}
	r.add(Warning, "the newest good backup %s (%d of %d bytes, %d of %d files): see whether data are gone or the job was changed",
		what, s.Bytes, s.BytesBefore, s.Files, s.FilesBefore)
}

// named lists the first few of names.
func named(what string, names []string) string {
	const most = 3
	text := fmt.Sprintf("%s %q", what, names[0])
	for _, name := range names[1:min(most, len(names))] {
		text += fmt.Sprintf(", %q", name)
	}
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

func pastTense(state string) string {
	if state == catalog.RunInterrupted {
		return "was interrupted"
	}
	return state
}

// due judges the slots: what is late, and whether anything is planned at all.
func (p *posture) due(j catalog.JobState, r *reasons) {
	if j.Overdue > 0 && j.Running == "" {
		r.add(Warning, "%s overdue since %s", slots(j.Overdue, "slot"), p.day(j.OldestOverdue))
	}
	switch {
	case p.planned.IsZero():
		r.add(Warning, "nobody has run the schedule yet: start the daemon")
	case p.planned.Sub(p.now) > plannedAhead:
		r.add(Warning, "the schedule has been run up to %s: a clock is or was wrong, and nothing new is due until then", p.day(p.planned))
	case p.planned.Before(p.now):
		r.add(Warning, "nobody has run the schedule since %s: start the daemon", p.day(p.planned))
	}
}

// places judges the job's targets: a copy on a broken target is no copy, and one
// that is owed is none yet.
func (p *posture) places(a catalog.Asset, j catalog.JobState, r *reasons) {
	var broken []string
	for _, t := range a.Targets {
		if p.lights[t] == Failing {
			broken = append(broken, fmt.Sprintf("%q", t))
		}
		if !p.suspect[t].IsZero() {
			r.add(Warning, "target %q gave a restore test damaged data and has not been re-read whole since", t)
		}
		if j.LastGoodRun != "" && !slices.Contains(j.LastGoodOn, t) {
			p.debt(a.Job, t, r)
		}
	}
	switch {
	case len(broken) == 0:
	case len(broken) == len(a.Targets):
		r.add(Failing, "no target of it is sound: %s", strings.Join(broken, ", "))
	default:
		r.add(Warning, "target %s is failing", strings.Join(broken, ", "))
	}
}
