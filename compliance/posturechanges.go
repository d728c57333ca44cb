package compliance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"saoluu/catalog"
)

// explainDays is how long a change of a configuration may wait for a word about it before
// its job is no longer green: the days that packs give (requirements on changes).
const explainDays = 7

// changesView is what Posture reads of changes of configurations.
type changesView interface {
	ConfigChanges(ctx context.Context, asOf time.Time) (map[string][]catalog.ConfigChange, error)
}

// changesOf reads the changes of configurations, of a site that saves any.
func changesOf(ctx context.Context, view changesView, inv catalog.InventoryAt, now time.Time) (map[string][]catalog.ConfigChange, error) {
	if !slices.ContainsFunc(inv.Assets, func(a catalog.Asset) bool { return a.Source == "config" }) {
		return nil, nil
	}
	changes, err := view.ConfigChanges(ctx, now.Add(clockTolerant))
	if err != nil {
		return nil, fmt.Errorf("read the changes of configurations: %w", err)
	}
	return changes, nil
}

// explained counts the changes of a job that nobody has explained.
func (p *posture) explained(status *JobStatus, r *reasons) {
	late := 0
	var since time.Time
	for _, change := range p.changes[status.Job] {
		open := change.Open()
		status.Unexplained += open
		if open > 0 && p.now.Sub(change.At) > explainDays*24*time.Hour {
			late += open
			if since.IsZero() {
				since = change.At
			}
		}
	}
	if late > 0 {
		r.add(Warning, "%s changed and not explained since %s: see \"saoluu changes %s\"", slots(late, "file"), p.day(since), status.Job)
	}
}
