package catalog

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// A RecoveredSnapshot is a snapshot found on a target with the tags saoluu gave
// it (site=, job=, run=, part=, class=, category=).
type RecoveredSnapshot struct {
	Target string
	ID     string    // full
	Time   time.Time // of the snapshot
	Tags   []string
	Bytes  int64 // read from the source, if known
}

// RebuildFromSnapshots writes one finished run, marked as recovered, for every
// run that snapshots on targets tell of, oldest first, and returns how many. It
// is for a catalog that was lost with its ledger and made anew. Snapshots
// without saoluu's tags, and runs the catalog knows, are left out.
//
// A recovered run is complete only as far as its snapshots show: which parts it
// should have had is not known any more, so a copy counts as complete when it
// holds every part that was found of the run on any target.
func (c *Catalog) RebuildFromSnapshots(ctx context.Context, found []RecoveredSnapshot) (int, error) {
	runs := map[string]*RunFinished{}
	for _, s := range found {
		tags := tagsOf(s.Tags)
		if tags["run"] == "" || tags["job"] == "" || tags["part"] == "" {
			continue
		}
		r, ok := runs[tags["run"]]
		if !ok {
			r = &RunFinished{
				Run: tags["run"], Job: tags["job"], Class: tags["class"], Category: tags["category"],
				Trigger: TriggerManual, State: RunComplete, Recovered: true, LastAttempt: true,
				StartedAt: s.Time, ConsistentAt: s.Time, FinishedAt: s.Time,
			}
			runs[r.Run] = r
		}
		r.recover(s, tags["part"])
	}
	list := make([]*RunFinished, 0, len(runs))
	for _, id := range sortedKeys(runs) {
		_, err := c.Run(ctx, id)
		switch {
		case err == nil:
		case isMissing(err):
			list = append(list, runs[id])
		default:
			return 0, err
		}
	}
	slices.SortStableFunc(list, func(a, b *RunFinished) int {
		return cmp.Or(a.ConsistentAt.Compare(b.ConsistentAt), cmp.Compare(a.Run, b.Run))
	})
	for chunk := range slices.Chunk(list, 1000) {
		events := make([]Event, len(chunk))
		for i, r := range chunk {
			r.settle()
			events[i] = *r
		}
		if _, err := c.Append(ctx, events...); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

// tagsOf returns the values of key=value tags.
func tagsOf(tags []string) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		if key, value, ok := strings.Cut(t, "="); ok {
			m[key] = value
		}
	}
	return m
}

// recover adds a snapshot to a run.
func (e *RunFinished) recover(s RecoveredSnapshot, part string) {
	if s.Time.Before(e.StartedAt) {
		e.StartedAt, e.ConsistentAt = s.Time, s.Time
	}
	if s.Time.After(e.FinishedAt) {
		e.FinishedAt = s.Time
	}
	if !slices.ContainsFunc(e.Parts, func(p Part) bool { return p.Name == part }) {
		e.Parts = append(e.Parts, Part{Name: part, State: RunComplete, Bytes: s.Bytes})
	}
	i := slices.IndexFunc(e.Copies, func(c Copy) bool { return c.Target == s.Target })
	if i < 0 {
		i = len(e.Copies)
		e.Copies = append(e.Copies, Copy{Target: s.Target, Snapshots: map[string]string{}, Encryption: EncryptionRestic})
	}
	e.Copies[i].Snapshots[part] = s.ID
}

// settle decides which copies are whole and puts lists in order.
func (e *RunFinished) settle() {
	slices.SortFunc(e.Parts, func(a, b Part) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(e.Copies, func(a, b Copy) int { return cmp.Compare(a.Target, b.Target) })
	whole := false
	for i := range e.Copies {
		c := &e.Copies[i]
		c.State = RunIncomplete
		if len(c.Snapshots) == len(e.Parts) {
			c.State, whole = RunComplete, true
		}
	}
	if !whole {
		e.State = RunIncomplete
	}
}
