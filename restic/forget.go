package restic

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"saoluu/internal/fault"
)

// forgetBatch bounds the ids of one run, which all stand in its arguments.
const forgetBatch = 1000

// Forget removes the snapshots with these whole ids, alone, and looks whether
// they are gone: restic 0.18 exits 0 when the storage refused every deletion
// (append-only servers, locked objects). The data stays until Prune. The error
// says how many remain, or that others vanished with them.
func (e *Engine) Forget(ctx context.Context, r Repo, ids []string) error {
	op := fmt.Sprintf("forget snapshots of %q", r.Name)
	if err := r.usable(op); err != nil {
		return err
	}
	for _, id := range ids {
		if err := fullID(op, id); err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		return nil
	}
	h, err := r.Gate.enter(ctx, op, exclusive)
	if err != nil {
		return err
	}
	defer h.release()
	before, err := e.snapshotIDs(ctx, r, op, h)
	if err != nil {
		return err
	}
	if len(before) == 0 {
		return fault.New(fault.Failed, op, errors.New("the repository lists no snapshot at all"),
			"check that the target is the one it should be")
	}
	there := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !before[id] })
	for batch := range slices.Chunk(there, forgetBatch) {
		_, ferr := e.text(ctx, r, call{op: op, args: []string{"forget"}, tail: batch, writes: true, files: h}, func(string) {})
		if ferr != nil && fault.KindOf(ferr) != fault.Incomplete {
			return ferr
		}
		err = errors.Join(err, ferr)
	}
	after, lerr := e.snapshotIDs(ctx, r, op, h)
	if lerr != nil {
		return errors.Join(lerr, err)
	}
	return compareForgotten(op, before, after, there, err)
}

// compareForgotten judges a forget by what is left.
func compareForgotten(op string, before, after map[string]bool, ids []string, err error) error {
	remain, missing := 0, 0
	asked := map[string]bool{}
	for _, id := range ids {
		asked[id] = true
		if after[id] {
			remain++
		}
	}
	for id := range before {
		if !asked[id] && !after[id] {
			missing++
		}
	}
	switch {
	case missing > 0:
		return fault.New(fault.Damaged, op, errors.Join(fmt.Errorf("%d snapshots vanished that nobody asked to remove", missing), err),
			"see who else has access to the repository")
	case remain > 0:
		return fault.New(fault.Failed, op, errors.Join(fmt.Errorf("%d of %d are still there", remain, len(ids)), err),
			"see whether the storage is append-only, locked or read-only")
	}
	return nil
}
