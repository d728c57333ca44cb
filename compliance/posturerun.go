package compliance

import (
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
	r.add(Warning, "the newest good backup holds far less than run %s did (%d of %d bytes, %d of %d files): see whether data are gone or the job was changed",
		s.Before, s.Bytes, s.BytesBefore, s.Files, s.FilesBefore)
}

func pastTense(state string) string {
	if state == catalog.RunInterrupted {
		return "was interrupted"
	}
	return state
}
