package jobs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"saoluu/internal/fault"
)

// A run is alive while the process that does it holds a lock on a file named
// after it. The kernel drops the lock when the process dies, so whoever looks
// later can tell a run under way from one that was cut off. The file is locked
// before the started event is written and let go after the finished event.

func (r *Runner) lockPath(id string) string { return StatePath(r.Config, "locks", "run-"+id) }

// enliven takes the lock of a run; call the returned function when it is over.
func (r *Runner) enliven(id string) (release func(), err error) {
	if err := os.MkdirAll(StatePath(r.Config, "locks"), 0o700); err != nil {
		return nil, fault.New(fault.Failed, "mark run "+id+" as under way", err, "check paths.state")
	}
	lock := flock.New(r.lockPath(id))
	if err := lock.Lock(); err != nil {
		return nil, fault.New(fault.Failed, "mark run "+id+" as under way", err, "check paths.state")
	}
	return func() {
		_ = os.Remove(lock.Path()) // a leftover is removed at the next start
		_ = lock.Unlock()
	}, nil
}

// alive reports whether a process of this machine is doing the run.
func (r *Runner) alive(id string) (bool, error) {
	if _, err := os.Stat(r.lockPath(id)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock := flock.New(r.lockPath(id))
	free, err := lock.TryLock()
	if err != nil {
		return false, err
	}
	if free {
		_ = lock.Unlock()
	}
	return !free, nil
}

// sweep removes the lock files and scratch folders of runs that are over.
func (r *Runner) sweep() error {
	var problems []error
	for _, dir := range []string{r.Config.Paths.Scratch, StatePath(r.Config, "locks")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		for _, e := range entries {
			id, ok := strings.CutPrefix(e.Name(), "run-")
			if !ok {
				continue
			}
			if busy, err := r.alive(id); err != nil || busy {
				problems = append(problems, err)
				continue
			}
			problems = append(problems, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(problems...)
}
