package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// fastKeyPath is where the password of a target's fast key is kept: its name says
// which key file of the repository it opens.
func (r *Runner) fastKeyPath(target, id string) string {
	return StatePath(r.Config, "keys", target+".daemon-"+id+".key")
}

// shortcut returns the daemon's own key of a target, or nil when it has none.
func (r *Runner) shortcut(target string) *restic.Shortcut {
	found, err := filepath.Glob(r.fastKeyPath(target, "*"))
	if err != nil || len(found) == 0 {
		return nil // the repository's own key opens it too
	}
	path := found[len(found)-1]
	id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), target+".daemon-"), ".key")
	return &restic.Shortcut{ID: id, PasswordFile: path}
}

// quicken sees that the daemon has a key of its own that opens the target's
// repository without the costly derivation meant for people's passwords, and makes
// one when it has not. Without it everything works, slower.
func (r *Runner) quicken(ctx context.Context, to place) error {
	keeper, can := to.target.(targets.KeyKeeper)
	if !can {
		return nil
	}
	repo := to.target.Repo()
	if have := r.shortcut(to.name); have != nil {
		alone := repo
		alone.PasswordFile, alone.Fast = have.PasswordFile, have
		_, err := r.Engine.CatConfig(ctx, alone)
		if fault.KindOf(err) != fault.WrongKey {
			return err
		}
		if err := os.Remove(have.PasswordFile); err != nil { // its key file is gone from the repository
			return err
		}
		repo.Fast = nil
	}
	key, err := r.Engine.NewFastKey(ctx, repo, r.Host, r.Now().UTC())
	if err != nil {
		return err
	}
	if err := keeper.PutKey(ctx, key.ID, key.File); err != nil {
		return err
	}
	path := r.fastKeyPath(to.name, key.ID)
	if err := durable.WriteFile(path, []byte(key.Password+"\n"), 0o600); err != nil {
		return err
	}
	// A fresh process must open the repository with it, or nobody uses it.
	repo.Fast = &restic.Shortcut{ID: key.ID, PasswordFile: path}
	repo.PasswordFile = path
	if _, err := r.Engine.CatConfig(ctx, repo); err != nil {
		return errors.Join(fmt.Errorf("target %q does not open with a fast key; its own key goes on being used: %w", to.name, err), os.Remove(path))
	}
	return nil
}
