package catalog

import (
	"context"
	"time"
)

// A ConfigChange is one change of a configuration and what was said about it.
type ConfigChange struct {
	ConfigChanged
	Seq       int64
	At        time.Time                // of the entry
	Explained []Dated[ChangeExplained] // oldest first
}

// Open is how many files of the change nobody has explained; 1 for a change of which
// the files are not known.
func (c ConfigChange) Open() int {
	said := map[string]bool{}
	for _, d := range c.Explained {
		if len(d.Event.Paths) == 0 {
			return 0
		}
		for _, p := range d.Event.Paths {
			said[p] = true
		}
	}
	if c.Unknown != "" {
		return 1
	}
	return max(0, c.Files()-len(said))
}

// ConfigChanges returns the changes of configurations by job, oldest first, as known at
// asOf.
func (c *Catalog) ConfigChanges(ctx context.Context, asOf time.Time) (map[string][]ConfigChange, error) {
	all, at := map[string][]ConfigChange{}, map[string]int{}
	query, args := marked(kindChanged, asOf)
	for d, err := range decoded(ctx, c, "read the changes of configurations", query+` ORDER BY m.seq`, args, datedRow[Event]) {
		if err != nil {
			return nil, err
		}
		switch e := d.Event.(type) {
		case ConfigChanged:
			at[e.Run] = len(all[e.Job])
			all[e.Job] = append(all[e.Job], ConfigChange{ConfigChanged: e, Seq: d.Seq, At: d.At})
		case ChangeExplained:
			if i, known := at[e.Run]; known {
				one := &all[e.Job][i]
				one.Explained = append(one.Explained, Dated[ChangeExplained]{e, d.Seq, d.At})
			}
		}
	}
	return all, nil
}
