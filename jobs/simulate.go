package jobs

import (
	"context"
	"fmt"
	"time"

	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/retention"
)

// What is looked at to say whether a class and a schedule go together: so many
// days, and more approvals in a month than that are daily work.
const (
	foreseenDays      = 120
	foreseenApprovals = 3
)

// Simulation is a job of a class whose every backup and restore test succeeds,
// looked after every night, from an instant on.
func Simulation(c *config.Config, class string, backups, tests calendar.Schedule, from time.Time, days int) retention.Simulation {
	return retention.Simulation{
		Rules: Rules(c.Classes[class]), Schedule: backups, Tests: tests, Upkeep: nightly(),
		From: from, Days: days, Location: c.Site.Location,
	}
}

// Stored returns what lies of a job on a target, as retention sees it.
func (r *Runner) Stored(ctx context.Context, job, target string) ([]retention.Backup, error) {
	s, err := r.survey(ctx, target, nil)
	if err != nil {
		return nil, err
	}
	return s.backups(target, job), nil
}

// examineRetention says whether a job would ask a second person in daily work: then
// nothing of it would be deleted, night after night.
func (r *Runner) examineRetention(job config.Job) error {
	s := Simulation(r.Config, job.Class, job.Schedule, job.Test.Schedule, r.Now(), foreseenDays)
	months := retention.Simulate(s)
	if len(months) < 3 {
		return nil
	}
	if n := months[len(months)-2].Approvals; n > foreseenApprovals {
		return fault.New(fault.Failed, "delete old backups",
			fmt.Errorf("a second person would have to approve it %d times a month: more than %d %% of its backups would go at once", n, r.Config.Classes[job.Class].ApproveOver),
			fmt.Sprintf("see \"saoluu retention simulate %s --fresh\", then let class %q keep more, or raise its approve_over", job.Name, job.Class))
	}
	return nil
}
