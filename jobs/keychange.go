package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"saoluu/catalog"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
)

// aloneWithKeys waits until nobody else changes the keys of a target, and plugs its
// medium in.
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
	if err := r.plugIn(ctx, p); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// plugIn brings a medium up for work on its keys. Whoever calls it has marked that
// work as under way, so that nobody unmounts it.
func (r *Runner) plugIn(ctx context.Context, p place) error {
	if !r.onMedium(p.name) {
		return nil
	}
	err := p.target.Ready(ctx)
	if fault.KindOf(err) == fault.NoSpace {
		return nil // keys are small
	}
	return err
}

// clearAfterKeys clears what a change of keys left that was cut off: its restic may
// have held a lock.
func (r *Runner) clearAfterKeys(ctx context.Context, p place) error {
	return r.clearLock(ctx, p, "keys are to be changed")
}

// RotateKey gives a repository a new random key and takes the old one away. Where
// it was cut off, the next call goes on:
//
//	TARGET.key.new          the new key is made; it may open the repository already
//	TARGET.key.old          the new key opens it; the old one is kept to find it again
//	TARGET.key is the new   from here on it is used and sealed
//	no TARGET.key.old       the old key is gone, or the storage would not let it go
//
// A key that the storage keeps is told with Incomplete, and looked at again by
// every upkeep.
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
	if err := r.clearAfterKeys(ctx, p); err != nil {
		return rotated, secured, err
	}
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
	return rotated, secured, notDropped(op, rotated, refused)
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
	ids, _ := known[p.name].Remaining()
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
	// The new key opens it and is sealed, so nothing deleted there is needed any more.
	rotated.Kept, err = r.eraseKeys(ctx, p, nil)
	return errors.Join(append(problems, err)...)
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
