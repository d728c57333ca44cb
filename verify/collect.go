package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"saoluu/sources/rebuild"
)

// dyingWait is how long a killed server has to be gone.
const dyingWait = 5 * time.Second

// Collect removes the sandboxes below Scratch whose owner is dead: it kills the
// servers that still run in them, then removes their folders, and returns how
// many. Call it at start. Sandboxes of living processes stay, as do fresh ones of
// other machines that use the same folder.
func (t *Tester) Collect(ctx context.Context) (removed int, err error) {
	found, err := filepath.Glob(filepath.Join(escapeGlob(t.Scratch), boxPrefix+"*"))
	if err != nil {
		return 0, err
	}
	me, err := self()
	if err != nil {
		return 0, err
	}
	var problems []error
	for _, dir := range found {
		if ctx.Err() != nil {
			return removed, errors.Join(append(problems, context.Cause(ctx))...)
		}
		o, known := ownerOf(dir)
		if !known || t.lives(o, me) {
			continue
		}
		if err := t.collect(ctx, dir, o); err != nil {
			problems = append(problems, fmt.Errorf("remove the leaked sandbox %q: %w", dir, err))
			continue
		}
		removed++
	}
	return removed, errors.Join(problems...)
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// lives reports whether an owner may still be at work.
func (t *Tester) lives(o, me owner) bool {
	if o.Host != "" && o.Host != me.Host {
		return t.Now().Before(o.Expires)
	}
	if o.Boot != "" && o.Boot != me.Boot {
		return false
	}
	start, err := processStart(o.PID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil:
		return true // hidden from us, so there is one
	default:
		return start == o.Start
	}
}

func (t *Tester) collect(ctx context.Context, dir string, o owner) error {
	if err := t.killWithin(ctx, dir); err != nil {
		return err
	}
	// Only a folder of the form we make is removed on the word of a file.
	if strings.HasPrefix(filepath.Base(o.Sockets), "saoluu-") && filepath.IsAbs(o.Sockets) {
		if err := os.RemoveAll(o.Sockets); err != nil {
			return err
		}
	}
	// What is mounted there was mounted by the dead, of a disk that is removed as well.
	if err := rebuild.CleanUp(filepath.Join(dir, dataFolder)); err != nil {
		return err
	}
	return removeTree(dir)
}

// killWithin kills every process whose working folder is inside dir, which is
// where servers run, and waits until they are gone.
func (t *Tester) killWithin(ctx context.Context, dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit, cancel := context.WithTimeout(ctx, dyingWait)
	defer cancel()
	for {
		pids, err := processesWithin(real)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			return fmt.Errorf("processes %v do not end", pids)
		}
	}
}

// processesWithin returns the processes that work inside a folder; those of
// other users stay unseen unless we are root.
func processesWithin(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if err != nil {
			continue
		}
		cwd = strings.TrimSuffix(cwd, " (deleted)")
		if cwd == dir || strings.HasPrefix(cwd, dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
