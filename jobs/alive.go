package jobs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/rebuild"
)

// A run is alive while the process that does it holds a lock on a file named
// after it; so are restore tests, restores and upkeep. The kernel drops the lock
// when the process dies, so whoever looks later can tell a run under way from one
// that was cut off. The file is locked before the started event is written and
// let go after the finished event.

func lockPath(c *config.Config, id string) string { return StatePath(c, "locks", "run-"+id) }

// enliven takes the lock of a run; call the returned function when it is over.
func (r *Runner) enliven(id string) (release func(), err error) {
	op := "mark run " + id + " as under way"
	if err := os.MkdirAll(StatePath(r.Config, "locks"), 0o700); err != nil {
		return nil, fault.New(fault.Failed, op, err, "check paths.state")
	}
	for {
		lock := flock.New(lockPath(r.Config, id))
		if err := lock.Lock(); err != nil {
			return nil, fault.New(fault.Failed, op, err, "check paths.state")
		}
		// Between its making and its locking the file looks like that of a dead run.
		if ours(lock) {
			return func() {
				_ = os.Remove(lock.Path()) // a leftover is removed at the next start
				_ = lock.Unlock()
			}, nil
		}
		_ = lock.Unlock()
	}
}

// ours reports whether the file we have locked still has its name.
func ours(lock *flock.Flock) bool {
	held, err := lock.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(lock.Path())
	return err == nil && os.SameFile(held, named)
}

// bury removes the lock file of a run that nobody is doing; it reports whether
// somebody is.
func (r *Runner) bury(id string) (alive bool, err error) {
	path := lockPath(r.Config, id)
	lock := flock.New(path)
	free, err := lock.TryLock()
	if err != nil || !free {
		return !free, err
	}
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // it ended while we looked
	}
	return false, errors.Join(err, lock.Unlock())
}

// alive reports whether a process of this machine is doing the run.
func (r *Runner) alive(id string) (bool, error) { return Alive(r.Config, id) }

// Alive reports whether a process of this machine is doing the run or test.
func Alive(c *config.Config, id string) (bool, error) {
	path := lockPath(c, id)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock := flock.New(path)
	free, err := lock.TryLock()
	if err != nil {
		return false, err
	}
	if free {
		_ = lock.Unlock()
	}
	return !free, nil
}

// cutOff counts the runs, tests, restores and upkeeps whose process died in them.
func (r *Runner) cutOff() (n int, err error) {
	err = eachName(StatePath(r.Config, "locks"), "run-", func(_, id string) error {
		alive, err := r.alive(id)
		if err == nil && !alive {
			n++
		}
		return err
	})
	return n, err
}

// sweep removes the lock files and scratch folders of runs that are over, and,
// when nobody is at work, what restic and the pump left in scratch.
func (r *Runner) sweep(ctx context.Context) error {
	busy, scratch := false, r.Config.Paths.Scratch
	err := errors.Join(
		eachName(StatePath(r.Config, "locks"), "run-", func(_, id string) error {
			alive, err := r.bury(id)
			busy = busy || alive || err != nil
			return err
		}),
		eachName(scratch, "run-", func(path, id string) error {
			alive, err := r.alive(id)
			busy = busy || alive || err != nil
			if alive || err != nil {
				return err
			}
			if err := errors.Join(rebuild.CleanUp(path), sources.CleanUp(ctx, path), removeUnfinished(path)); err != nil {
				return err // the folder says what is left
			}
			return os.RemoveAll(path)
		}))
	if busy {
		return err
	}
	for _, prefix := range leftovers {
		err = errors.Join(err, eachName(scratch, prefix, func(path, _ string) error { return os.RemoveAll(path) }))
	}
	return err
}

// leftovers are the names of temporary files that a killed restic or pump leaves
// in its folder for temporary files.
var leftovers = []string{"pump-", "restic-"}

// eachName calls do for the entries of a folder whose name starts with prefix.
func eachName(dir, prefix string, do func(path, rest string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	problems := []error{err}
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), prefix); ok {
			problems = append(problems, do(filepath.Join(dir, e.Name()), rest))
		}
	}
	return errors.Join(problems...)
}

// LockDaemon takes the place of the one daemon of a site; call release when it
// ends. ok is false when another daemon holds it. It waits a moment, because
// whoever asks DaemonRuns holds the lock while asking.
func LockDaemon(ctx context.Context, c *config.Config) (release func() error, ok bool, err error) {
	lock := flock.New(StatePath(c, "locks", "daemon"))
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ok, err = lock.TryLockContext(ctx, 50*time.Millisecond)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return lock.Unlock, ok, err
}

// DaemonRuns reports whether a daemon of the site runs on this machine.
func DaemonRuns(c *config.Config) (bool, error) {
	path := StatePath(c, "locks", "daemon")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock := flock.New(path)
	free, err := lock.TryRLock()
	if err != nil || !free {
		return err == nil, err
	}
	return false, lock.Unlock()
}
