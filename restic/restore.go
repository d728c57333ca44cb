package restic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// RestoreOptions says what to restore and how.
type RestoreOptions struct {
	// Folder restores only what is below this absolute path of the snapshot, and
	// puts it right below the target. Empty means everything.
	Folder    string
	Include   []string // patterns (restic manual, "Restoring from backup")
	NoCache   bool     // fetch everything from the repository: what a restore test must do
	Sparse    bool     // leave runs of zeros unallocated
	Overwrite bool     // allow a target that is not empty; files that are there are replaced

	OnProgress func(Progress) // about once a second, from another goroutine; may be nil
}

// Restored is what a restore did.
type Restored struct {
	Files  int64 // files and folders written
	Bytes  int64
	Errors []ItemError // the first hundred
}

// Restore puts a snapshot into the folder dir, which is made when missing. On
// error some of it may be there. fault.Damaged means the repository did not give
// back what was stored; an error on our side of it has another kind.
func (e *Engine) Restore(ctx context.Context, r Repo, snapshot, dir string, o RestoreOptions) (Restored, error) {
	op := fmt.Sprintf("restore from %q", r.Name)
	if err := errors.Join(r.usable(op), fullID(op, snapshot), emptyTarget(op, dir, o.Overwrite)); err != nil {
		return Restored{}, err
	}
	h, err := r.Gate.enter(ctx, op, heavy)
	if err != nil {
		return Restored{}, err
	}
	defer h.release()
	c := call{op: op, args: []string{"restore", "--target", dir}, files: h}
	for _, pattern := range o.Include {
		c.args = append(c.args, "--include", pattern)
	}
	if o.NoCache {
		c.args = append(c.args, "--no-cache")
	}
	if o.Sparse {
		c.args = append(c.args, "--sparse")
	}
	if o.Folder != "" {
		snapshot += ":" + o.Folder
	}
	c.tail = []string{snapshot}
	ctx, watch := command.WithStall(ctx, e.Stall, op)
	defer watch.Stop()
	var last Progress
	var sum *status
	t, err := e.lines(ctx, r, c, func(m message) error {
		switch m.Type {
		case "status":
			report(m, 0, &last, watch.Kick, o.OnProgress)
		case "summary":
			sum = new(status)
			return json.Unmarshal(m.raw, sum)
		}
		return nil
	})
	switch {
	case err != nil:
		return Restored{Errors: t.items}, err
	case sum == nil || t.garbage != "":
		return Restored{}, t.unproved(op, "gave no summary")
	case t.count > 0:
		return Restored{Errors: t.items}, fault.New(fault.Failed, op, t.itemsError("restored", fmt.Sprintf("restic: %d errors, first %s", t.count, t.items[0].Error())), "")
	// Folders on the way to an included item are restored but not in the total,
	// and so is what was found unchanged.
	case sum.FilesRestored < sum.TotalFiles || sum.BytesRestored != sum.TotalBytes:
		return Restored{}, t.unproved(op, fmt.Sprintf("restored %d of %d items, %d of %d bytes",
			sum.FilesRestored, sum.TotalFiles, sum.BytesRestored, sum.TotalBytes))
	case len(o.Include) > 0 && sum.FilesRestored+sum.FilesSkipped == 0:
		return Restored{}, fault.New(fault.Failed, op, fmt.Errorf("nothing in the snapshot matches %q", o.Include), "")
	}
	return Restored{Files: sum.FilesRestored, Bytes: sum.BytesRestored}, nil
}

// emptyTarget refuses to restore over what is there, unless told to.
func emptyTarget(op, dir string, overwrite bool) error {
	if !filepath.IsAbs(dir) {
		return fault.New(fault.Usage, op, fmt.Errorf("folder %q is not absolute", dir), "")
	}
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", op, err)
	case len(names) > 0 && !overwrite:
		return fault.New(fault.Refused, op, fmt.Errorf("folder %q is not empty", dir), "give an empty folder, or --overwrite")
	}
	return nil
}
