package jobs

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"saoluu/catalog"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// aloneWithKeys waits until nobody else changes the keys of a target, and clears
// what a change left that was cut off: its restic may have held a lock.
func (r *Runner) aloneWithKeys(ctx context.Context, p place) (release func() error, err error) {
	unlock, err := r.alone(ctx, "key-"+p.name)
	if err != nil {
		return nil, err
	}
	gone, err := r.enliven("key-" + newID(r.Now()))
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	release = func() error { gone(); return unlock() }
	if err := r.clearLock(ctx, p, "keys are to be changed"); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// RotateKey gives a repository a new random key and takes the old one away. Where
// it was cut off, the next call goes on:
//
//	TARGET.key.new          the new key is made; it may open the repository already
//	TARGET.key.old          the new key opens it; the old one is kept to find it again
//	TARGET.key is the new   from here on it is used and sealed
//	no TARGET.key.old       the old key is gone, or the storage would not let it go
//
// A key that the storage keeps is told with Incomplete, and tried again at the
// next rotation.
func (r *Runner) RotateKey(ctx context.Context, name, by string) (rotated catalog.KeyRotated, secured Secured, err error) {
	op := fmt.Sprintf("rotate the key of target %q", name)
	p, state, err := r.changeable(ctx, op, name)
	if err != nil {
		return rotated, secured, err
	}
	if r.Config.Targets[name].Password != "" {
		return rotated, secured, fault.New(fault.Refused, op, errors.New("the configuration says where its key is, so it is not saoluu's to change"),
			"change it with \"restic key passwd\" and in its place, then run \"saoluu key seal "+name+"\"")
	}
	release, err := r.aloneWithKeys(ctx, p)
	if err != nil {
		return rotated, secured, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := r.changeKey(ctx, op, p, state.Repository); err != nil {
		return rotated, secured, err
	}
	if secured, err = r.SecureKey(ctx, name); err != nil {
		return rotated, secured, err
	}
	if secured.Beside != nil {
		return rotated, secured, secured.Beside // the old key stays until the new one can be recovered
	}
	rotated = catalog.KeyRotated{Target: name, Repository: state.Repository, By: by}
	if rotated.Added, err = r.currentKey(ctx, p); err != nil {
		return rotated, secured, err
	}
	refused := r.dropOld(ctx, p, &rotated)
	if len(rotated.Left) == 0 && refused != nil {
		return rotated, secured, refused // could not look: the next call goes on
	}
	if refused != nil {
		rotated.Error = fault.Public(refused)
	}
	if _, err := r.Catalog.Append(context.WithoutCancel(ctx), rotated); err != nil {
		return rotated, secured, err
	}
	if err := removeDurably(r.keyPath(name) + ".old"); err != nil {
		return rotated, secured, err
	}
	if err := r.dropShortcuts(name); err != nil {
		return rotated, secured, err
	}
	fresh, slow := r.place(ctx, name) // without the shortcut that is gone
	if slow == nil {
		slow = r.quicken(ctx, fresh)
	}
	if slow != nil {
		r.Log.Warn().Err(slow).Str("target", name).Msg("the daemon has no key of its own; the next upkeep makes one")
	}
	if refused != nil {
		err = fault.New(fault.Incomplete, op, fmt.Errorf("the new key is in use, and %d old one(s) still open the repository: %w", len(rotated.Left), refused),
			"whoever has an old key can still read it; remove it where the storage is run, or rotate again when deletion is possible")
	}
	return rotated, secured, err
}

// changeable returns a target whose repository is the enrolled one.
func (r *Runner) changeable(ctx context.Context, op, name string) (place, catalog.TargetState, error) {
	p, err := r.place(ctx, name)
	if err != nil {
		return p, catalog.TargetState{}, err
	}
	state, err := r.Catalog.TargetState(ctx, name)
	if err == nil && state.Repository == "" {
		err = fault.New(fault.Usage, op, errors.New("it has no repository yet"), "run \"saoluu init\"")
	}
	return p, state, err
}

// changeKey brings a new key into use, from wherever the last call came to.
func (r *Runner) changeKey(ctx context.Context, op string, p place, repository string) error {
	key := r.keyPath(p.name)
	next, old := key+".new", key+".old"
	kept, err := exists(old)
	if err != nil {
		return err
	}
	if !kept {
		if err := r.addKey(ctx, op, p, next, repository); err != nil {
			return err
		}
		text, err := os.ReadFile(key)
		if err == nil {
			err = durable.WriteFile(old, text, 0o600)
		}
		if err != nil {
			return fault.New(fault.Failed, op, err, "check paths.state")
		}
	}
	if made, err := exists(next); err != nil || !made {
		return err
	}
	if err := os.Rename(next, key); err != nil {
		return fault.New(fault.Failed, op, err, "check paths.state")
	}
	return durable.SyncDir(filepath.Dir(key))
}

// addKey makes sure that there is a new key and that a fresh process opens the
// repository with it.
func (r *Runner) addKey(ctx context.Context, op string, p place, file, repository string) error {
	if err := r.sameRepository(ctx, p); err != nil {
		return err
	}
	if err := makeKey(file); err != nil {
		return fault.New(fault.Failed, op, err, "check paths.state")
	}
	repo := ownKey(p)
	repo.PasswordFile = file
	opened, err := r.Engine.CatConfig(ctx, repo)
	if fault.KindOf(err) == fault.WrongKey {
		if _, err := r.Engine.KeyAdd(ctx, ownKey(p), file); err != nil {
			return err
		}
		opened, err = r.Engine.CatConfig(ctx, repo)
	}
	if err == nil && opened.ID != repository {
		err = fault.New(fault.Failed, op, fmt.Errorf("the new key opens repository %.10s, not %.10s", opened.ID, repository), "")
	}
	return err
}

// dropOld removes the old key from the repository, and those that earlier
// rotations had to leave.
func (r *Runner) dropOld(ctx context.Context, p place, rotated *catalog.KeyRotated) error {
	known, err := r.Catalog.KeyStates(ctx, r.Now())
	if err != nil {
		return err
	}
	ids := known[p.name].Rotated.Event.Left
	repo := ownKey(p)
	repo.PasswordFile = r.keyPath(p.name) + ".old"
	keys, err := r.Engine.Keys(ctx, repo)
	if err != nil && fault.KindOf(err) != fault.WrongKey {
		return err
	}
	for _, k := range keys {
		if k.Current {
			ids = append(ids, k.ID)
		}
	}
	if ids, err = r.daemonKeys(ctx, p, ids); err != nil {
		return err
	}
	var problems []error
	for _, id := range ids {
		if restic.SameKey(id, rotated.Added) {
			return fault.New(fault.Failed, "rotate the key", errors.New("the old and the new key are one"), "remove "+repo.PasswordFile+" and rotate again")
		}
		if err := r.Engine.KeyRemove(ctx, ownKey(p), id); err != nil {
			problems = append(problems, err)
			rotated.Left = append(rotated.Left, id)
			continue
		}
		rotated.Removed = append(rotated.Removed, id)
	}
	return errors.Join(problems...)
}

// daemonKeys adds the daemon's keys of a repository: who has seen the one may have
// seen the others.
func (r *Runner) daemonKeys(ctx context.Context, p place, ids []string) ([]string, error) {
	keys, err := r.Engine.Keys(ctx, ownKey(p))
	for _, k := range keys {
		if k.User == restic.DaemonUser && !k.Current {
			ids = append(ids, k.ID)
		}
	}
	return ids, err
}

// dropShortcuts removes the passwords of the daemon's keys of a target.
func (r *Runner) dropShortcuts(target string) error {
	found, err := filepath.Glob(r.fastKeyPath(target, "*", "*"))
	for _, path := range found {
		err = errors.Join(err, removeDurably(path))
	}
	return err
}

// ShredKey destroys all keys of a repository, so that nobody can read again what
// is in it: a key that is thrown away is added, and all others are removed. What
// this machine has of them goes too. Held runs forbid it.
func (r *Runner) ShredKey(ctx context.Context, name, reason, by string) (err error) {
	op := fmt.Sprintf("destroy the keys of target %q", name)
	if strings.TrimSpace(reason) == "" {
		return fault.New(fault.Usage, op, errors.New("no reason is given"), "say why with --reason")
	}
	p, state, err := r.changeable(ctx, op, name)
	if err != nil {
		return err
	}
	if err := r.noneHeld(ctx, op, name); err != nil {
		return err
	}
	release, err := r.aloneWithKeys(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	known, err := r.Catalog.KeyStates(ctx, r.Now())
	if err != nil {
		return err
	}
	shred := catalog.KeyShredded{Target: name, Repository: state.Repository, Reason: reason, By: by, State: catalog.RunRunning}
	last := known[name].Shredded.Event
	begun := last.Repository == state.Repository && last.State == catalog.RunRunning
	err = r.sameRepository(ctx, p)
	switch {
	case fault.KindOf(err) == fault.WrongKey && begun:
		return r.endShred(ctx, op, p, shred, nil) // cut off after the last key was gone
	case err != nil:
		return err
	}
	if _, err := r.Catalog.Append(ctx, shred); err != nil {
		return err
	}
	left, refused := r.removeKeys(ctx, p)
	shred.Left = left
	return r.endShred(ctx, op, p, shred, refused)
}

// noneHeld refuses to destroy what a hold protects.
func (r *Runner) noneHeld(ctx context.Context, op, name string) error {
	rows, err := r.Catalog.SnapshotsOf(ctx, name)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, row := range rows {
		if seen[row.Run] {
			continue
		}
		seen[row.Run] = true
		run, err := r.Catalog.Run(ctx, row.Run)
		if err != nil {
			return err
		}
		if run.Held {
			return fault.New(fault.Refused, op, fmt.Errorf("run %s is held", row.Run), "release it first with \"saoluu hold release\", if whoever held it agrees")
		}
	}
	return nil
}

// removeKeys removes all keys of a repository but one that nobody has.
func (r *Runner) removeKeys(ctx context.Context, p place) (left []string, err error) {
	text := make([]byte, 32)
	if _, err := rand.Read(text); err != nil {
		return nil, err
	}
	path, err := (&Shared{}).inMemory("credential:thrown-away", func() ([]byte, error) {
		return []byte(base64.RawURLEncoding.EncodeToString(text) + "\n"), nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := r.Engine.KeyAdd(ctx, ownKey(p), path); err != nil {
		return nil, err
	}
	repo := ownKey(p)
	repo.PasswordFile = path
	keys, err := r.Engine.Keys(ctx, repo)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, k := range keys {
		if k.Current {
			continue
		}
		if err := r.Engine.KeyRemove(ctx, repo, k.ID); err != nil {
			problems, left = append(problems, err), append(left, k.ID)
		}
	}
	return left, errors.Join(problems...)
}

// endShred removes what this machine has of the keys and writes down how it went.
// While a key still opens the repository, ours stays too.
func (r *Runner) endShred(ctx context.Context, op string, p place, shred catalog.KeyShredded, refused error) error {
	shred.State = catalog.RunComplete
	if refused != nil {
		shred.State, shred.Error = catalog.RunFailed, fault.Public(refused)
		_, err := r.Catalog.Append(context.WithoutCancel(ctx), shred)
		if len(shred.Left) == 0 {
			return errors.Join(refused, err) // nothing was tried
		}
		return errors.Join(fault.New(fault.Incomplete, op, fmt.Errorf("%d key(s) still open the repository, which can be read as before: %w", len(shred.Left), refused),
			"let whoever runs the storage delete the repository, or wait until its locks end and do it again"), err)
	}
	key := r.keyPath(p.name)
	sheet := filepath.Join(r.sheetsFolder(), p.name)
	if err := r.dropShortcuts(p.name); err != nil {
		return err
	}
	for _, file := range []string{key, key + ".new", key + ".old", r.sealedPath(p.name), sheet + ".txt", sheet + ".html"} {
		if err := removeDurably(file); err != nil {
			return err
		}
	}
	var beside error
	if keeper, can := p.target.(targets.Keeper); can {
		beside = keeper.Unkeep(ctx, keysFolder+"/"+shred.Repository+".age")
	}
	if _, err := r.Catalog.Append(context.WithoutCancel(ctx), shred); err != nil {
		return err
	}
	if r.Config.Targets[p.name].ObjectLock > 0 {
		return fault.New(fault.Incomplete, op, errors.New("the bucket keeps the old versions of the key files until their locks end"),
			"destroy all copies of the old key: whoever has one and the bucket can read it until then")
	}
	return beside
}

// removeDurably removes a file for good; one that is not there is no error.
func removeDurably(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.New(fault.Failed, "remove a key file", err, "check paths.state")
	}
	return durable.SyncDir(filepath.Dir(path))
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
