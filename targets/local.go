package targets

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
)

// MarkerName is the file that says whose target a folder is. restic ignores
// files it does not know in a repository's root.
const MarkerName = "saoluu-target.json"

// Local is a folder on a mounted file system.
type Local struct {
	Name         string
	Path         string
	Site         string      // code of the site that owns it
	ID           string      // identity enrolled before; empty: never enrolled
	ReserveBytes int64       // free space that must remain
	Repository   restic.Repo // opens the repository at Path
}

var (
	_ Target   = (*Local)(nil)
	_ Enroller = (*Local)(nil)
	_ Measurer = (*Local)(nil)
	_ Finder   = (*Local)(nil)
)

// marker is the content of MarkerName.
type marker struct {
	ID     string `json:"id"`
	Site   string `json:"site"`
	Target string `json:"target"`
}

// Repo returns the repository at Path.
func (l *Local) Repo() restic.Repo { return l.Repository }

// Ready checks, in this order, that the folder is there, carries the identity
// that was enrolled, holds a repository, can be written, and has room. An
// unmounted disk shows as its empty mount point: no marker, hence Absent, and
// nothing is ever written there.
func (l *Local) Ready(ctx context.Context) error {
	op := fmt.Sprintf("target %q", l.Name)
	if err := ctx.Err(); err != nil {
		return err
	}
	found, err := l.readMarker()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.Absent, op, fmt.Errorf("%s is not there or not mounted (no %s)", l.Path, MarkerName),
			fmt.Sprintf("mount the disk at %s, or run \"saoluu init\" if this target is new", l.Path))
	case err != nil:
		return l.deniedOr(fault.Absent, op, err)
	case l.ID == "":
		return fault.New(fault.WrongTarget, op, errors.New("it was never enrolled in this catalog"),
			"run \"saoluu init\" to enroll it")
	case found.ID != l.ID:
		return fault.New(fault.WrongTarget, op, fmt.Errorf("%s holds another target (%s of site %s)", l.Path, found.Target, found.Site),
			"mount the disk that was enrolled, or give the new disk a target of its own")
	}
	if _, err := os.Stat(filepath.Join(l.Path, "config")); err != nil {
		return fault.New(fault.NoRepository, op, fmt.Errorf("no repository in %s", l.Path),
			"bring the repository back from another copy; saoluu does not make a new one over an enrolled target")
	}
	if err := unix.Access(l.Path, unix.W_OK); err != nil {
		return fault.New(fault.Denied, op, fmt.Errorf("%s cannot be written: %w", l.Path, err),
			"remount the file system read-write or correct its permissions")
	}
	return l.roomFor(op)
}

func (l *Local) roomFor(op string) error {
	free, err := FreeBytes(l.Path)
	if err != nil {
		return fault.New(fault.Absent, op, err, "")
	}
	if free < l.ReserveBytes {
		return fault.New(fault.NoSpace, op,
			fmt.Errorf("%d MiB free in %s, %d MiB must remain", free>>20, l.Path, l.ReserveBytes>>20),
			"free some space, enlarge the file system, or lower the target's reserve")
	}
	return nil
}

// Enroll makes the folder if its parent is there, and marks it. A folder that
// is not empty and carries no marker is adopted only when it already is a
// restic repository; whether the key opens it is found out by the caller.
func (l *Local) Enroll(ctx context.Context) (string, error) {
	op := fmt.Sprintf("enroll target %q", l.Name)
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := os.Mkdir(l.Path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", l.deniedOr(fault.Absent, op, err)
	}
	found, err := l.readMarker()
	switch {
	case err == nil && found.Site == l.Site && found.Target == l.Name && (l.ID == "" || l.ID == found.ID):
		return found.ID, nil
	case err == nil:
		return "", fault.New(fault.Refused, op, fmt.Errorf("%s already is target %q of site %q", l.Path, found.Target, found.Site),
			"choose an empty folder")
	case !errors.Is(err, fs.ErrNotExist):
		return "", l.deniedOr(fault.Failed, op, err)
	case l.ID != "":
		return "", fault.New(fault.Absent, op, fmt.Errorf("it was enrolled before, and %s does not carry its marker", l.Path),
			"mount the disk that was enrolled")
	}
	if err := l.refuseStrangers(op); err != nil {
		return "", err
	}
	return l.mark(op)
}

// refuseStrangers fails when the folder holds anything that is not a restic
// repository: filling somebody else's folder is how data get lost.
func (l *Local) refuseStrangers(op string) error {
	entries, err := os.ReadDir(l.Path)
	if err != nil {
		return l.deniedOr(fault.Failed, op, err)
	}
	if _, err := os.Stat(filepath.Join(l.Path, "config")); err == nil {
		return nil
	}
	for _, e := range entries {
		if e.Name() != "lost+found" {
			return fault.New(fault.Refused, op, fmt.Errorf("%s is not empty", l.Path), "choose an empty folder")
		}
	}
	return nil
}

func (l *Local) mark(op string) (string, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", fault.New(fault.Failed, op, err, "")
	}
	m := marker{ID: hex.EncodeToString(id), Site: l.Site, Target: l.Name}
	text, err := json.Marshal(m)
	if err != nil {
		return "", fault.New(fault.Failed, op, err, "")
	}
	if err := durable.WriteFile(filepath.Join(l.Path, MarkerName), append(text, '\n'), 0o644); err != nil {
		return "", l.deniedOr(fault.Failed, op, err)
	}
	return m.ID, nil
}

// HasSnapshot looks for the snapshot's file, which restic names by its id
// (restic design document, "Repository layout").
func (l *Local) HasSnapshot(_ context.Context, id string) (bool, error) {
	_, err := os.Stat(filepath.Join(l.Path, "snapshots", id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (l *Local) readMarker() (marker, error) {
	text, err := os.ReadFile(filepath.Join(l.Path, MarkerName))
	if err != nil {
		return marker{}, err
	}
	var m marker
	if err := json.Unmarshal(text, &m); err != nil || m.ID == "" {
		return marker{}, fmt.Errorf("%s in %s cannot be understood", MarkerName, l.Path)
	}
	return m, nil
}

// deniedOr classes a file system error.
func (l *Local) deniedOr(kind fault.Kind, op string, err error) error {
	hint := fmt.Sprintf("check that the disk is mounted and that its folder %s exists", filepath.Dir(l.Path))
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		kind, hint = fault.Denied, "correct the permissions of the folder or remount it read-write"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind, hint = fault.NoSpace, "free some space on the target"
	}
	return fault.New(kind, op, err, hint)
}

// FreeBytes returns what an unprivileged writer may still write below path.
func FreeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}
