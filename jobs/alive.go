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

// sweep removes the lock files and scratch folders of runs that are over, and,
// when nobody is at work, what restic and the pump left in scratch.
func (r *Runner) sweep() error {
	busy, problems := false, []error(nil)
	for _, dir := range []string{StatePath(r.Config, "locks"), r.Config.Paths.Scratch} {
		err := eachName(dir, "run-", func(path, id string) error {
			alive, err := r.alive(id)
			if err != nil || alive {
				busy = true
				return err
			}
			return os.RemoveAll(path)
		})
		problems = append(problems, err)
	}
	if !busy {
		for _, prefix := range leftovers {
			problems = append(problems, eachName(r.Config.Paths.Scratch, prefix, func(path, _ string) error { return os.RemoveAll(path) }))
		}
	}
	return errors.Join(problems...)
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
