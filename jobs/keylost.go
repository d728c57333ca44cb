package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/targets"
)

// KeysLost fails with Refused when a target holds a repository while the key that
// init made for it is gone: a new key would not open it, and the state that held
// the old one was lost or is elsewhere. It needs no catalog and makes nothing.
func (r *Runner) KeysLost(ctx context.Context) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(r.Config.Targets)) {
		if err := r.keyLost(ctx, name); err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return fault.New(fault.KindOf(problems[0]), "", errors.Join(problems...), firstHint(problems))
}

// keyLost is KeysLost for one target.
func (r *Runner) keyLost(ctx context.Context, name string) error {
	t := r.Config.Targets[name]
	if t.Password != "" || r.Catalog == nil && r.onMedium(name) { // no catalog yet: "medium add" looks at the disk
		return nil
	}
	if _, err := os.Stat(r.keyPath(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there, err := r.hasRepository(ctx, name, t)
	if err != nil || !there {
		return err
	}
	return fault.New(fault.Refused, fmt.Sprintf("target %q", name), fmt.Errorf("a repository exists and its key is not in %s", r.keyPath(name)),
		`put the key back from its copy; if the catalog is lost too, run "saoluu catalog rebuild --from-repositories" then`)
}

func (r *Runner) hasRepository(ctx context.Context, name string, t config.Target) (bool, error) {
	repo, err := r.repo(name, t)
	if err != nil {
		return false, err
	}
	target, err := r.target(ctx, name, t, "", repo)
	if err != nil {
		return false, err
	}
	finder, can := target.(targets.Finder)
	if !can {
		return false, nil
	}
	there, err := finder.HasRepository(ctx)
	if claimed, can := target.(targets.Claimed); can && there && err == nil {
		err = claimed.Claim(ctx) // another's key is not ours to look for
	}
	return there, err
}
