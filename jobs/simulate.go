package jobs

import (
	"context"
	"time"

	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/retention"
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
