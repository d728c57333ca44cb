package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// Adopt fills a new catalog from the repositories on the configured targets,
// after the old one was lost. Every snapshot carries in its tags what is needed.
// Restore tests and facts of the past are not in the repositories: they are gone. So
// is the register of media: those of the configuration are returned, for AddMedium
// takes up what lies on each.
func (r *Runner) Adopt(ctx context.Context) (runs int, media []string, err error) {
	if err := r.SetInventory(ctx); err != nil {
		return 0, nil, err
	}
	var found []catalog.RecoveredSnapshot
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(r.Config.Targets)) {
		if r.onMedium(name) {
			media = append(media, r.Config.Targets[name].Medium)
			continue
		}
		listed, err := r.adoptTarget(ctx, name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, s := range listed {
			found = append(found, catalog.RecoveredSnapshot{Target: name, ID: s.ID, Time: s.Time, Tags: s.Tags})
		}
	}
	runs, err = r.Catalog.RebuildFromSnapshots(ctx, found)
	return runs, media, errors.Join(append(problems, err)...)
}

// adoptTarget enrolls a target by the mark it carries and lists its snapshots.
func (r *Runner) adoptTarget(ctx context.Context, name string) ([]restic.Snapshot, error) {
	p, err := r.place(ctx, name)
	if err != nil {
		return nil, err
	}
	enroller, can := p.target.(targets.Enroller)
	if !can {
		return nil, fault.New(fault.Refused, fmt.Sprintf("target %q", name), errors.New("this kind cannot be adopted"), "")
	}
	id, err := r.repositoryID(ctx, p)
	if err != nil {
		return nil, err
	}
	identity, err := enroller.Enroll(ctx)
	if err != nil {
		return nil, err
	}
	event := catalog.TargetEnrolled{Target: name, Type: r.Config.Targets[name].Type, ID: identity, Repository: id}
	if _, err := r.Catalog.Append(ctx, event); err != nil {
		return nil, err
	}
	return r.Engine.Snapshots(ctx, p.target.Repo(), restic.Filter{Tags: []string{"saoluu"}})
}

// adoptMedium writes down the runs on a medium that was entered into the register
// anew, after the catalog was lost, and that no other target told of.
func (r *Runner) adoptMedium(ctx context.Context, name string) error {
	p, err := r.place(ctx, name)
	if err != nil {
		return err
	}
	listed, err := r.Engine.Snapshots(ctx, p.target.Repo(), restic.Filter{Tags: []string{"saoluu", "site=" + r.Config.Site.Code}})
	if err != nil {
		return err
	}
	var found []catalog.RecoveredSnapshot
	for _, s := range listed {
		found = append(found, catalog.RecoveredSnapshot{Target: name, ID: s.ID, Time: s.Time, Tags: s.Tags})
	}
	_, err = r.Catalog.RebuildFromSnapshots(ctx, found)
	return err
}
