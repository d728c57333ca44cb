package targets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
)

// Local is a folder on a mounted file system.
type Local struct {
	Name         string
	Path         string
	Site         string // code of the site that owns it
	ID           string // identity enrolled before; empty: never enrolled
	Declared     Declared
	ReserveBytes int64       // free space that must remain
	Repository   restic.Repo // opens the repository at Path
}

var (
	_ Target    = (*Local)(nil)
	_ Enroller  = (*Local)(nil)
	_ Measurer  = (*Local)(nil)
	_ Finder    = (*Local)(nil)
	_ KeyKeeper = (*Local)(nil)
)

// Repo returns the repository at Path.
func (l *Local) Repo() restic.Repo { return l.Repository }

func (l *Local) owner() owner { return owner{name: l.Name, site: l.Site, id: l.ID, at: l.Path} }

// Ready checks, in this order, that the folder is there, carries the identity
// that was enrolled, holds a repository, can be written, and has room. An
// unmounted disk shows as its empty mount point: no marker, hence Absent, and
// nothing is ever written there.
func (l *Local) Ready(ctx context.Context) error {
	op := fmt.Sprintf("target %q", l.Name)
	if err := ctx.Err(); err != nil {
		return err
	}
	away := fault.New(fault.Absent, op, fmt.Errorf("%s is not there or not mounted (no %s)", l.Path, MarkerName),
		fmt.Sprintf("mount the disk at %s, or run \"saoluu init\" if this target is new", l.Path))
	if err := l.owner().ready(ctx, folder{l.Name, l.Path}, away); err != nil {
		return err
	}
	if err := unix.Access(l.Path, unix.W_OK); err != nil {
		return fault.New(fault.Denied, op, fmt.Errorf("%s cannot be written: %w", l.Path, err),
			"remount the file system read-write or correct its permissions")
	}
	return l.roomFor(op)
}

// nothingFree is below what restic's lock and a file of ours need with their folders,
// in bytes: such a place is full, whatever the reserve says.
const nothingFree = 64 << 10

func (l *Local) roomFor(op string) error {
	free, err := FreeBytes(l.Path)
	if err != nil {
		return fault.New(fault.Absent, op, err, "")
	}
	if free < nothingFree {
		return fault.New(fault.NoSpace, op, fmt.Errorf("no space left in %s", l.Path), "free some space, or enlarge the file system")
	}
	if free < l.ReserveBytes {
		return fault.New(fault.NoSpace, op,
			fmt.Errorf("%d MiB free in %s, %d MiB must remain", free>>20, l.Path, l.ReserveBytes>>20),
			"free some space, enlarge the file system, or lower the target's reserve")
	}
	return nil
}

// Enroll makes the folder if its parent is there, and marks it.
func (l *Local) Enroll(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	f := folder{l.Name, l.Path}
	if err := os.Mkdir(l.Path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", f.classed(err)
	}
	return l.owner().enroll(ctx, f)
}

// Claim reads the marker.
func (l *Local) Claim(ctx context.Context) error {
	return l.owner().claimed(ctx, folder{l.Name, l.Path})
}

// HasRepository looks for the repository's configuration.
func (l *Local) HasRepository(ctx context.Context) (bool, error) {
	return repositoryIn(ctx, folder{l.Name, l.Path})
}

// HasSnapshot looks for the snapshot's file and compares its content with its name.
func (l *Local) HasSnapshot(ctx context.Context, id string) (bool, error) {
	return holds(ctx, folder{l.Name, l.Path}, id)
}

// Separation compares the folder with the places a source's data lie in.
func (l *Local) Separation(ctx context.Context, locations []string) (Separation, error) {
	return separation(ctx, machine(), l.Path, l.Declared, locations)
}

// PutKey writes a key file into the repository.
func (l *Local) PutKey(ctx context.Context, id string, content []byte) error {
	return folder{l.Name, l.Path}.create(ctx, "keys/"+id, content)
}

// RemoveAll removes the folder.
func (l *Local) RemoveAll(context.Context) error {
	return folder{l.Name, l.Path}.classed(os.RemoveAll(l.Path))
}

// A folder is the storage of targets on a mounted file system.
type folder struct{ target, path string }

func (f folder) read(_ context.Context, name string) ([]byte, error) {
	content, err := readSmall(filepath.Join(f.path, name))
	return content, f.classed(err)
}

// readSmall returns a small file. What is no file, such as a pipe that nobody writes
// to, is an error: whoever had a medium in his hands can have put one there.
func readSmall(path string) (content []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("it is no file")}
	}
	if err != nil {
		return nil, err
	}
	content, err = io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(content) > maxSmall {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes", maxSmall)}
	}
	return content, err
}

func (f folder) create(_ context.Context, name string, content []byte) error {
	return f.classed(durable.WriteFile(filepath.Join(f.path, name), content, 0o644))
}

func (f folder) strange(context.Context) (bool, error) {
	entries, err := os.ReadDir(f.path)
	for _, e := range entries {
		draft := strings.HasPrefix(e.Name(), "."+MarkerName+".") // the marker's own, cut off
		if e.Name() != "lost+found" && !draft {
			return true, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return false, f.classed(err)
}

// classed gives a file system error its kind.
func (f folder) classed(err error) error {
	kind, hint := fault.Absent, fmt.Sprintf("check that the disk is mounted and that its folder %s exists", filepath.Dir(f.path))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		kind, hint = fault.Denied, "correct the permissions of the folder or remount it read-write"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind, hint = fault.NoSpace, "free some space on the target"
	}
	return fault.New(kind, fmt.Sprintf("target %q", f.target), err, hint)
}

// FreeBytes returns what an unprivileged writer may still write below path.
func FreeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}
