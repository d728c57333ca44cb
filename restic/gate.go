package restic

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// gatePoll is the pause between two looks at a lock that another process holds.
// The kernel offers no wait on a file lock that a context could end.
const gatePoll = 20 * time.Millisecond

// A Gate orders the access to one repository on this host, among goroutines and
// among processes. It knows three ways in:
//
//	light     reading verbs that are short (list, find): any number at once
//	heavy     backup, copy, restore, dump: so many at once as there are slots
//	exclusive forget, prune, check, unlock: alone
//
// It is made of file locks (flock(2)) in one folder, which the kernel drops when
// their holder dies, however it dies:
//
//	NAME.slot.N  held by each heavy user: there are so many
//	NAME.turn    held while waiting for NAME.use: who waits to be alone keeps
//	             newcomers out, so that a stream of backups cannot starve a prune
//	NAME.use     shared by light and heavy users, or held by the one who is alone
//
// The locks are also handed down to restic, so they outlive a killed parent until
// its restic is gone too. Locks of other hosts are restic's own business.
type Gate struct {
	dir, name string
	slots     int
	heavy     *semaphore.Weighted // first come, first served within our process
}

// NewGate returns the gate called name, with its files in dir, which is made
// when missing. All processes of the host must use the same dir, name and
// number of slots; slots under 1 means 1. One Gate per repository and process.
func NewGate(dir, name string, slots int) *Gate {
	slots = max(1, slots)
	return &Gate{dir: dir, name: strings.ReplaceAll(name, "/", "_"), slots: slots, heavy: semaphore.NewWeighted(int64(slots))}
}

// A way is a way through a gate.
type way int

const (
	light way = iota
	heavy
	exclusive
)

// held are locks held; release them once.
type held struct {
	files []*os.File
	undo  []func()
}

// release opens the gates, last one first.
func (h held) release() {
	for _, f := range slices.Backward(h.files) {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // a child may still have the file; closing ours is not enough
		_ = f.Close()
	}
	for _, undo := range slices.Backward(h.undo) {
		undo()
	}
}

// enter waits until the gate lets us in. The error is the context's cause, or
// that of the folder.
func (g *Gate) enter(ctx context.Context, op string, w way) (h held, err error) {
	defer func() {
		if err != nil {
			h.release()
			h = held{}
			err = fmt.Errorf("%s: wait for its turn: %w", op, err)
		}
	}()
	if err := durable.MkdirAll(g.dir, 0o700); err != nil {
		return h, err
	}
	if w == heavy {
		if err := g.takeSlot(ctx, &h); err != nil {
			return h, err
		}
	}
	turn, err := g.lock(ctx, unix.LOCK_EX, "turn")
	if err != nil {
		return h, err
	}
	defer func() {
		_ = unix.Flock(int(turn.Fd()), unix.LOCK_UN)
		_ = turn.Close()
	}()
	how := unix.LOCK_SH
	if w == exclusive {
		how = unix.LOCK_EX
	}
	use, err := g.lock(ctx, how, "use")
	if err != nil {
		return h, err
	}
	h.files = append(h.files, use)
	return h, nil
}

// takeSlot takes one of the places of heavy users.
func (g *Gate) takeSlot(ctx context.Context, h *held) error {
	if err := g.heavy.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	h.undo = append(h.undo, func() { g.heavy.Release(1) })
	names := make([]string, g.slots)
	for i := range names {
		names[i] = "slot." + strconv.Itoa(i)
	}
	f, err := g.lock(ctx, unix.LOCK_EX, names...)
	if err != nil {
		return err
	}
	h.files = append(h.files, f)
	return nil
}

// lock locks the first of the files that it can get.
func (g *Gate) lock(ctx context.Context, how int, names ...string) (*os.File, error) {
	for {
		for _, n := range names {
			f, err := tryLock(filepath.Join(g.dir, g.name+"."+n), how)
			if f != nil || err != nil {
				return f, err
			}
		}
		timer := time.NewTimer(gatePoll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		case <-timer.C:
		}
	}
}

// tryLock returns nil and no error when somebody else has the lock.
func tryLock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		kind := fault.Failed
		if errors.Is(err, fs.ErrPermission) {
			kind = fault.Denied
		}
		return nil, fault.New(kind, "lock", err, "run as the user that owns the state folder")
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, f.Close()
		default:
			return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
		}
	}
}

// enterBoth enters two gates in an order that is the same for everybody, so that
// two copies in opposite directions cannot wait for each other.
func enterBoth(ctx context.Context, op string, w way, a, b *Gate) (held, error) {
	if a.dir == b.dir && a.name == b.name {
		return held{}, fault.New(fault.Usage, op, errors.New("source and destination are the same repository"), "")
	}
	if strings.Compare(a.dir+"\x00"+a.name, b.dir+"\x00"+b.name) > 0 {
		a, b = b, a
	}
	first, err := a.enter(ctx, op, w)
	if err != nil {
		return held{}, err
	}
	second, err := b.enter(ctx, op, w)
	if err != nil {
		first.release()
		return held{}, err
	}
	return held{files: append(first.files, second.files...), undo: append(first.undo, second.undo...)}, nil
}
