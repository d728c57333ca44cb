package jobs

import (
	"context"
	"maps"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/config"
)

// mediumTestEvery is how long the restore tests of a job from a medium are apart at
// the least: somebody waits for the medium, so that one that is plugged in often is
// not tested every time.
const mediumTestEvery = 7 * 24 * time.Hour

// testFromMedium restore-tests one job from a medium that is plugged in: scheduled
// tests find it away. Jobs take turns, the one that was not tested from it for
// longest first. It returns the job, or "" when none is due.
func (r *Runner) testFromMedium(ctx context.Context, target string) (string, error) {
	var chosen config.Job
	var oldest time.Time
	for _, name := range slices.Sorted(maps.Keys(r.Config.Jobs)) {
		job := r.Config.Jobs[name]
		if job.Test.Schedule.IsZero() || !slices.Contains(job.Targets, target) {
			continue
		}
		copied, err := r.Catalog.LatestCopy(ctx, name, target)
		if err != nil {
			return "", err
		}
		tested, err := r.lastTested(ctx, name, target)
		if err != nil {
			return "", err
		}
		if !copied.IsZero() && r.Now().Sub(tested) >= mediumTestEvery && (chosen.Name == "" || tested.Before(oldest)) {
			chosen, oldest = job, tested
		}
	}
	if chosen.Name == "" {
		return "", nil
	}
	t := Manual()
	t.Word = catalog.TriggerSchedule
	_, err := r.Test(ctx, chosen, Pick{Target: target}, t)
	return chosen.Name, err
}

// lastTested is when a job was last restore-tested from a target, whatever came of
// it; zero for never.
func (r *Runner) lastTested(ctx context.Context, job, target string) (last time.Time, err error) {
	for t, err := range r.Catalog.Tests(ctx, catalog.TestQuery{Job: job}) {
		if err != nil {
			return last, err
		}
		if t.Target == target && t.FinishedAt.After(last) {
			last = t.FinishedAt
		}
	}
	return last, nil
}

// proveMedium tests from a medium once its upkeep went well, which upkeep says.
func (r *Runner) proveMedium(ctx context.Context, to place, done *Upkept, upkeep error) (err error) {
	if upkeep != nil || !r.onMedium(to.name) {
		return upkeep
	}
	done.Tested, err = r.testFromMedium(ctx, to.name)
	return err
}
