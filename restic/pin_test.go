package restic

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// mounted returns a repository on a file system of its own.
func mounted(t *testing.T, e *Engine) Repo {
	t.Helper()
	if os.Getuid() != 0 {
		mustOrSkip(t, "mount", errors.New("only root can"))
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })
	r := testRepo(t, "usb")
	r.URL, r.Mount = filepath.Join(mount, "saoluu"), mount
	if err := os.Mkdir(r.URL, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Init(t.Context(), r, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	return r
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A disk that is unmounted while restic works on it gets nothing more, and neither
// does the disk that holds the mount point.
func TestNothingBelowTheMountPoint(t *testing.T) {
	e := testEngine(t)
	r := mounted(t, e)
	reached, go_ := filepath.Join(t.TempDir(), "reached"), filepath.Join(t.TempDir(), "go")
	ended := make(chan error, 1)
	go func() {
		_, err := e.Backup(t.Context(), r, BackupRequest{
			Stdin: sh("head -c 20000000 /dev/urandom; : > " + reached + "; until [ -e " + go_ + " ]; do sleep 0.05; done; head -c 20000000 /dev/urandom"), Filename: "dump", Host: "h",
		})
		ended <- err
	}()
	for !exists(reached) {
		time.Sleep(10 * time.Millisecond)
	}
	if err := unix.Unmount(r.Mount, 0); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("unmounted in use: %v", err)
	}
	if err := unix.Unmount(r.Mount, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	write(t, go_, nil)
	<-ended // it may well end: the file system lives on while it is open
	if left, err := os.ReadDir(r.Mount); err != nil || len(left) > 0 {
		t.Errorf("below the mount point: %v, %v", left, err)
	}
	_, err := e.Snapshots(t.Context(), r, Filter{})
	wantKind(t, err, fault.Absent, "is not mounted at")
	if err := os.MkdirAll(filepath.Join(r.URL, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = e.Snapshots(t.Context(), r, Filter{})
	wantKind(t, err, fault.Absent, "on the file system that holds the mount point")
}

// Both ends of a copy may lie on disks that can be pulled out, and what restic says
// of them is told in words that people know.
func TestCopyBetweenMounts(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	from, to := mounted(t, e), mounted(t, e)
	s, err := e.Backup(ctx, from, BackupRequest{Stdin: sh("echo data"), Filename: "dump", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	made, err := e.Copy(ctx, from, to, CopyRequest{IDs: []string{s.SnapshotID}})
	if err != nil || made[s.SnapshotID] == "" {
		t.Fatalf("%v, %v", made, err)
	}
	if err := os.Remove(filepath.Join(to.URL, "config")); err != nil {
		t.Fatal(err)
	}
	_, err = e.Snapshots(ctx, to, Filter{})
	wantKind(t, err, fault.NoRepository, filepath.Join(to.URL, "config"))
}
