package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"saoluu/internal/fault"
	"saoluu/restic"
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

// keyLost is KeysLost for one target. It tries to open the repository with a key
// that opens none: a repository that is there says so.
func (r *Runner) keyLost(ctx context.Context, name string) error {
	t := r.Config.Targets[name]
	if t.Password != "" {
		return nil
	}
	if _, err := os.Stat(r.keyPath(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := os.MkdirTemp("", "saoluu-init-")
	if err != nil {
		return err
	}
	err = r.openWithNoKey(ctx, name, dir)
	switch err = errors.Join(err, os.RemoveAll(dir)); {
	case fault.KindOf(err) == fault.NoRepository:
		return nil
	case err != nil && fault.KindOf(err) != fault.WrongKey:
		return err
	}
	return fault.New(fault.Refused, fmt.Sprintf("target %q", name), fmt.Errorf("a repository exists and its key is not in %s", r.keyPath(name)),
		`put the key back from its copy; if the catalog is lost too, run "saoluu catalog rebuild --from-repositories" then`)
}

func (r *Runner) openWithNoKey(ctx context.Context, name, dir string) error {
	t := r.Config.Targets[name]
	repo, err := r.repo(name, t)
	if err != nil {
		return err
	}
	target, err := r.target(name, t, "", repo)
	if err != nil {
		return err
	}
	repo = target.Repo()
	repo.PasswordFile = filepath.Join(dir, "no.key")
	repo.Gate = restic.NewGate(dir, name, 1)
	if err := makeKey(repo.PasswordFile); err != nil {
		return err
	}
	engine := *r.Engine
	engine.CacheDir, engine.TempDir = filepath.Join(dir, "cache"), dir // the state folder may not be there yet
	_, err = engine.CatConfig(ctx, repo)
	return err
}
