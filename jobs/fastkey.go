package jobs

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
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

// fastKeyPath is where the password of a target's fast key is kept. Its name says
// which key file of the repository it opens, and beside which repository key it was
// made.
func (r *Runner) fastKeyPath(target, id, beside string) string {
	return StatePath(r.Config, "keys", target+".daemon-"+id+"-"+beside+".key")
}

// shortcut returns the daemon's own key of a target, or nil when it has none that
// was made beside the repository key in use: a repository key that was changed for
// a wrong one must be noticed at once, not the day somebody needs it.
func (r *Runner) shortcut(target, passwordFile string) *restic.Shortcut {
	found, err := filepath.Glob(r.fastKeyPath(target, "*", "*"))
	if err != nil {
		return nil // the repository's own key opens it too
	}
	for _, path := range found {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), target+".daemon-"), ".key")
		id, beside, _ := strings.Cut(name, "-")
		fast, err := os.ReadFile(path)
		if err == nil && beside == besides(fast, passwordFile) {
			return &restic.Shortcut{ID: id, PasswordFile: path}
		}
	}
	return nil
}

// besides is a short mark of the repository's own key, which nobody can use to
// guess it: it is keyed with a fast password, of 256 random bits. It is empty when
// the key cannot be read.
func besides(fast []byte, passwordFile string) string {
	own, err := os.ReadFile(passwordFile)
	if err != nil {
		return ""
	}
	mac := hmac.New(sha256.New, fast)
	mac.Write(own)
	return hex.EncodeToString(mac.Sum(nil)[:8])
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
	if have := r.shortcut(to.name, repo.PasswordFile); have != nil {
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
	content := []byte(key.Password + "\n")
	path := r.fastKeyPath(to.name, key.ID, besides(content, repo.PasswordFile))
	if err := durable.WriteFile(path, content, 0o600); err != nil {
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
