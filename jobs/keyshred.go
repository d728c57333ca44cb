package jobs

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/targets"
)

// ShredKey destroys all keys of a repository, so that nobody can read again what
// is in it: a key that is thrown away is added, and all others are removed. What
// this machine has of them goes too. Held runs forbid it. Nothing is called
// destroyed while the storage has a key file that can be brought back: that is
// told with Incomplete, and the next call looks again.
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
	if err := r.stillSanitised(ctx, p); err != nil {
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
	gone, err := r.keysGone(ctx, op, p, state.Repository, known[name].Shredded.Event)
	switch {
	case err != nil:
		return err
	case gone:
		return r.endShred(ctx, op, p, shred, nil)
	}
	if err := r.clearAfterKeys(ctx, p); err != nil {
		return err
	}
	if err := r.sameRepository(ctx, p); err != nil {
		return err
	}
	if _, err := r.Catalog.Append(ctx, shred); err != nil {
		return err
	}
	left, refused := r.removeKeys(ctx, p)
	shred.Left = left
	return r.endShred(ctx, op, p, shred, refused)
}

// stillSanitised lets a medium be used once more that waits to be sanitised: to
// destroy its keys is a way of doing so.
func (r *Runner) stillSanitised(ctx context.Context, p place) error {
	medium, is := p.target.(*targets.Removable)
	if !is {
		return nil
	}
	m, err := r.registered(ctx, "medium", medium.Medium)
	if err == nil && m.Registered.Event.Target == p.name && m.Stage() == catalog.StageToSanitise {
		medium.Withdrawn = ""
	}
	return err
}

// keysGone reports whether an earlier call came so far that the key opens the
// repository no more.
func (r *Runner) keysGone(ctx context.Context, op string, p place, repository string, last catalog.KeyShredded) (bool, error) {
	if last.Repository != repository || last.State == catalog.RunFailed {
		return false, nil
	}
	if last.State == catalog.RunComplete {
		return false, fault.New(fault.Refused, op, errors.New("they were destroyed before"), "take the target out of the configuration")
	}
	if err := p.target.Ready(ctx); err != nil && fault.KindOf(err) != fault.NoSpace {
		return false, err
	}
	if last.State == catalog.RunIncomplete {
		return true, nil
	}
	if there, err := exists(p.target.Repo().PasswordFile); err != nil || !there {
		return !there, err // it goes when the repository has let go of it
	}
	err := r.sameRepository(ctx, p)
	if fault.KindOf(err) == fault.WrongKey {
		return true, nil
	}
	return false, err
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
	thrown := &Shared{}
	defer thrown.forget()
	path, err := thrown.inMemory("credential:thrown-away", func() ([]byte, error) {
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
	if refused != nil {
		shred.State, shred.Error = catalog.RunFailed, fault.Public(refused)
		_, err := r.Catalog.Append(context.WithoutCancel(ctx), shred)
		if len(shred.Left) == 0 {
			return errors.Join(refused, err) // nothing was tried
		}
		return errors.Join(fault.New(fault.Incomplete, op, fmt.Errorf("%s the repository, which can be read as before: %w", count(len(shred.Left), "key still opens", "keys still open"), refused),
			"let whoever runs the storage delete the repository"), err)
	}
	if err := r.dropKeys(p); err != nil {
		return err
	}
	var beside error
	if keeper, can := p.target.(targets.Keeper); can {
		beside = keeper.Unkeep(ctx, keysFolder+"/"+shred.Repository+".age")
	}
	kept, unseen := r.eraseKeys(ctx, p, nil)
	shred.State, shred.Kept = catalog.RunComplete, kept
	if unseen != nil || len(kept) > 0 {
		shred.State, shred.Error = catalog.RunIncomplete, fault.Public(unseen)
	}
	if _, err := r.Catalog.Append(context.WithoutCancel(ctx), shred); err != nil {
		return err
	}
	switch {
	case unseen != nil:
		return errors.Join(fault.New(fault.Unknown, op, fmt.Errorf("restic removed them; whether the storage kept them could not be seen: %w", unseen), fault.HintOf(unseen)), beside)
	case len(kept) > 0:
		return errors.Join(fault.New(fault.Incomplete, op, fmt.Errorf("the storage keeps %s: whoever has one and the storage's versions can read the repository", keptKeys(kept, "key", "keys")),
			"destroy all sheets and copies of the key now, and do this again when the locks end"), beside)
	}
	return beside
}

// dropKeys removes what this machine has of a target's keys.
func (r *Runner) dropKeys(p place) error {
	if err := r.dropShortcuts(p.name); err != nil {
		return err
	}
	key, sheet := r.keyPath(p.name), filepath.Join(r.sheetsFolder(), p.name)
	for _, file := range []string{key, key + ".new", key + ".old", r.sealedPath(p.name), sheet + ".txt", sheet + ".html"} {
		if err := removeDurably(file); err != nil {
			return err
		}
	}
	return nil
}
