package compliance

import (
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// next is when the job's next backup is due: its open slot, or else what the
// schedule says of the time that nobody has planned yet.
func (p *posture) next(a catalog.Asset, j catalog.JobState) time.Time {
	schedule, err := calendar.ParseSchedule(a.Schedule)
	if !j.NextDue.IsZero() || err != nil || schedule.IsZero() {
		return j.NextDue
	}
	from := p.now
	if p.planned.After(from) {
		from = p.planned // slots up to there are made, and none of them is open
	}
	return schedule.Next(from, p.loc).UTC()
}

// An instant is a time that was kept, with its name.
type instant struct {
	what string
	at   time.Time
}

// clock warns of what cannot have happened yet: ages are not to be believed then.
func (p *posture) clock(r *reasons, kept ...instant) {
	for _, k := range kept {
		if k.at.Sub(p.now) > clockTolerant {
			r.add(Warning, "the %s lies in the future, %s: a clock is or was wrong", k.what, p.day(k.at))
		}
	}
}
