package restic

import (
	"context"
	"fmt"
)

// Unlock removes stale locks, alone: those of processes of this host that are
// gone, and those that nobody has refreshed for half an hour (restic manual,
// "Troubleshooting"). It never removes a lock that may be in use, and returns
// how many it removed and how many are left.
func (e *Engine) Unlock(ctx context.Context, r Repo) (removed, left int, err error) {
	op := fmt.Sprintf("remove stale locks of %q", r.Name)
	if err := r.usable(op); err != nil {
		return 0, 0, err
	}
	h, err := r.Gate.enter(ctx, op, exclusive)
	if err != nil {
		return 0, 0, err
	}
	defer h.release()
	before, err := e.locks(ctx, r, op, h)
	if err != nil || before == 0 {
		return 0, 0, err
	}
	if _, err := e.text(ctx, r, call{op: op, args: []string{"unlock"}, writes: true, files: h}, func(string) {}); err != nil {
		return 0, before, err
	}
	left, err = e.locks(ctx, r, op, h)
	return max(0, before-left), left, err
}

// locks counts the locks in the repository.
func (e *Engine) locks(ctx context.Context, r Repo, op string, h held) (n int, err error) {
	bad := ""
	_, err = e.text(ctx, r, call{op: op, args: []string{"list", "locks", "--no-lock"}, files: h}, func(line string) {
		if isFullID(line) {
			n++
		} else if line != "" {
			bad = line
		}
	})
	if err == nil && bad != "" {
		return 0, (&transcript{garbage: quoteStart([]byte(bad))}).unproved(op, "printed no list of locks")
	}
	return n, err
}
