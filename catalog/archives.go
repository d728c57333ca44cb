package catalog

import (
	"context"
	"slices"
	"time"
)

// archive marks every run of a set.
func (p *projection) archive(ctx context.Context, seq, at int64, e ArchiveWritten) error {
	for _, run := range e.Runs {
		if err := p.mark(ctx, kindArchived, run, seq, at); err != nil {
			return err
		}
	}
	return nil
}

// ArchivesOf returns the sets of offline media that hold a run, as known at asOf,
// the oldest first.
func (c *Catalog) ArchivesOf(ctx context.Context, run string, asOf time.Time) ([]Dated[ArchiveWritten], error) {
	all, err := c.Archives(ctx, asOf)
	return slices.DeleteFunc(all, func(d Dated[ArchiveWritten]) bool { return !slices.Contains(d.Event.Runs, run) }), err
}

// Archives returns the sets of offline media, as known at asOf, the oldest first.
func (c *Catalog) Archives(ctx context.Context, asOf time.Time) ([]Dated[ArchiveWritten], error) {
	all, err := datedOf[ArchiveWritten](ctx, c, kindArchived, asOf)
	held := map[string]bool{}
	return slices.DeleteFunc(all, func(d Dated[ArchiveWritten]) bool {
		twice := held[d.Event.Set] // an entry comes once for each of its runs
		held[d.Event.Set] = true
		return twice
	}), err
}

// ArchivedIn maps runs to the sets of offline media that hold them and were read
// back, oldest first, as known at asOf.
func (c *Catalog) ArchivedIn(ctx context.Context, asOf time.Time) (map[string][]string, error) {
	sets, err := c.Archives(ctx, asOf)
	in := map[string][]string{}
	for _, set := range sets {
		if !set.Event.Verified {
			continue
		}
		for _, run := range set.Event.Runs {
			in[run] = append(in[run], set.Event.Set)
		}
	}
	return in, err
}
