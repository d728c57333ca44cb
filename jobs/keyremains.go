package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// eraseKeys takes away for good the key files that were deleted from a repository,
// those in names or all, and returns those that the storage does not let go.
func (r *Runner) eraseKeys(ctx context.Context, p place, names []string) ([]catalog.KeptKey, error) {
	eraser, can := p.target.(targets.Eraser)
	if !can {
		return nil, nil
	}
	found, err := eraser.Erase(ctx, "keys", names)
	var kept []catalog.KeptKey
	for _, k := range found {
		kept = append(kept, catalog.KeptKey{Key: k.Name, Until: k.Until})
	}
	return kept, err
}

// notDropped tells what of a rotation the storage did not do; nil when it did all.
func notDropped(op string, rotated catalog.KeyRotated, refused error) error {
	switch left := len(rotated.Left); {
	case left > 0:
		return fault.New(fault.Incomplete, op, fmt.Errorf("the new key is in use, and %s the repository: %w", count(left, "old key still opens", "old keys still open"), refused),
			"whoever has an old key can still read it; remove it where the storage is run, then run \"saoluu upkeep "+rotated.Target+"\"")
	case len(rotated.Kept) > 0:
		return fault.New(fault.Incomplete, op, fmt.Errorf("the new key is in use, and the storage keeps %s", keptKeys(rotated.Kept, "old key", "old keys")),
			"destroy all copies of the old key: whoever has one and the storage's versions can read it; upkeep takes them away when their locks end")
	}
	return refused
}

// keptKeys tells how many keys the storage keeps, and until when.
func keptKeys(kept []catalog.KeptKey, one, many string) string {
	text := count(len(kept), one, many)
	if last := lastLock(kept); !last.IsZero() {
		return text + ", locked until " + last.UTC().Format(time.DateOnly)
	}
	return text + " that nothing locks"
}

func lastLock(kept []catalog.KeptKey) (last time.Time) {
	for _, k := range kept {
		if k.Until.After(last) {
			last = k.Until
		}
	}
	return last
}

// recheckOldKeys looks again at old keys that the storage did not let go: whoever
// runs it may have removed them, and locks end. It costs nothing where there are
// none.
func (r *Runner) recheckOldKeys(ctx context.Context, to place) error {
	known, err := r.Catalog.KeyStates(ctx, r.Now())
	if err != nil {
		return err
	}
	left, kept := known[to.name].Remaining()
	if len(left) == 0 && len(kept) == 0 {
		return nil
	}
	checked := catalog.OldKeysChecked{Target: to.name, Repository: known[to.name].Rotated.Event.Repository, Left: left, Kept: kept}
	if err := errors.Join(r.recheckLeft(ctx, to, &checked), r.recheckKept(ctx, to, &checked)); err != nil {
		return fault.New(fault.KindOf(err), fmt.Sprintf("look at the old keys of target %q", to.name), err, fault.HintOf(err))
	}
	if len(checked.Removed) == 0 {
		return nil
	}
	_, err = r.Catalog.Append(context.WithoutCancel(ctx), checked)
	return err
}

// recheckLeft lists the keys and tries to remove those that should be gone, unless
// the storage is known to refuse.
func (r *Runner) recheckLeft(ctx context.Context, to place, checked *catalog.OldKeysChecked) error {
	if len(checked.Left) == 0 {
		return nil
	}
	keys, err := r.Engine.Keys(ctx, to.target.Repo())
	if err != nil {
		return err
	}
	var left []string
	for _, id := range checked.Left {
		there := slices.ContainsFunc(keys, func(k restic.Key) bool { return restic.SameKey(k.ID, id) })
		if there && (r.promises(to.name) || r.Engine.KeyRemove(ctx, ownKey(to), id) != nil) {
			left = append(left, id)
			continue
		}
		checked.Removed = append(checked.Removed, id)
	}
	checked.Left = left
	return nil
}

// recheckKept takes away those whose locks have ended.
func (r *Runner) recheckKept(ctx context.Context, to place, checked *catalog.OldKeysChecked) error {
	var due []string
	var kept []catalog.KeptKey
	for _, k := range checked.Kept {
		if k.Until.After(r.Now()) {
			kept = append(kept, k)
		} else {
			due = append(due, k.Key)
		}
	}
	if len(due) == 0 {
		return nil
	}
	still, err := r.eraseKeys(ctx, to, due)
	if err != nil {
		return err
	}
	for _, name := range due {
		if !slices.ContainsFunc(still, func(k catalog.KeptKey) bool { return k.Key == name }) {
			checked.Removed = append(checked.Removed, name)
		}
	}
	checked.Kept = append(kept, still...)
	return nil
}

// shredTrouble tells how far the destruction of a repository's keys came, "" when
// nobody wanted it or the key was changed since; whole says that its key is gone.
func shredTrouble(k catalog.KeyState, repository string) (why string, whole bool) {
	e := k.Shredded.Event
	if e.Repository != repository {
		return "", false
	}
	day := k.Shredded.At.UTC().Format(time.DateOnly)
	switch {
	case e.State == catalog.RunComplete:
		return "its keys were destroyed: take it out of the configuration", true
	case e.State == catalog.RunIncomplete && len(e.Kept) > 0:
		return fmt.Sprintf("its keys were to be destroyed on %s, and the storage keeps %s: run \"saoluu key shred\" again then", day, keptKeys(e.Kept, "of them", "of them")), true
	case e.State == catalog.RunIncomplete:
		return fmt.Sprintf("its keys were removed on %s, and whether the storage kept them could not be seen: run \"saoluu key shred\" again", day), true
	case k.Rotated.Seq > k.Shredded.Seq:
		return "", false
	case e.State == catalog.RunRunning:
		return fmt.Sprintf("the destruction of its keys was cut off on %s: run \"saoluu key shred\" again", day), false
	}
	return fmt.Sprintf("its keys were to be destroyed on %s, and %d of them still open it", day, len(e.Left)), false
}
