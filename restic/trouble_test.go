package restic

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// mustOrSkip skips a test that this machine cannot run, where that is allowed.
func mustOrSkip(t *testing.T, why string, err error) {
	t.Helper()
	if os.Getenv("SAOLUU_MUST_RUN") != "" {
		t.Fatalf("%s: %v", why, err)
	}
	t.Skipf("%s: %v", why, err)
}

// A dump that fails must leave nothing that looks like a backup.
func TestFailingDumpLeavesNoSnapshot(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := newRepo(t, e, "nas")
	stalled := sh("echo half; sleep 600")
	stalled.Stall = 300 * time.Millisecond
	secret := sh("echo wrong password s3cr3t >&2; exit 1")
	secret.Secrets = []string{"s3cr3t"}
	for _, tc := range []struct {
		name string
		dump *command.Cmd
		kind fault.Kind
		text string
	}{
		{"dies half-way", sh("head -c 5000000 /dev/urandom; echo 'permission denied for table orders' >&2; exit 7"), fault.Failed, "sh: exit status 7: permission denied for table orders"},
		{"killed half-way", sh("head -c 5000000 /dev/urandom; kill -9 $$"), fault.Failed, "sh: ended by signal 9"},
		{"says nothing", sh("exit 0"), fault.Failed, "wrote nothing"},
		{"hangs", stalled, fault.TimedOut, "no progress for 300ms"},
		{"is not installed", &command.Cmd{Argv: []string{"pg_dump"}, Env: []string{"PATH=/nonexistent"}}, fault.MissingTool, `program "pg_dump" not found`},
		{"tells a secret", secret, fault.Failed, "wrong password ***"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := e.Backup(ctx, r, BackupRequest{Stdin: tc.dump, Filename: "dump.sql", Host: "h"})
			wantKind(t, err, tc.kind, tc.text)
			if s.SnapshotID != "" || s.Digest != nil {
				t.Errorf("summary %+v", s)
			}
		})
	}
	if list, err := e.Snapshots(ctx, r, Filter{}); err != nil || len(list) != 0 {
		t.Errorf("snapshots %+v, %v", list, err)
	}
}

func TestCancelledBackup(t *testing.T) {
	e := testEngine(t)
	r := newRepo(t, e, "nas")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := e.Backup(ctx, r, BackupRequest{
		Stdin: sh("while :; do head -c 100000 /dev/urandom; sleep 0.1; done"), Filename: "dump", Host: "h",
		OnProgress: func(p Progress) { cancel() },
	})
	wantKind(t, err, fault.Cancelled, "back up to \"nas\"")
	if list, err := e.Snapshots(t.Context(), r, Filter{}); err != nil || len(list) != 0 {
		t.Errorf("snapshots %+v, %v", list, err)
	}
	if _, err := e.Prune(t.Context(), r, PruneOptions{}); err != nil {
		t.Errorf("a lock was left: %v", err)
	}
}

// unreadable returns a file that this process cannot open although it is there:
// root can open anything but a kernel file without a read method.
func unreadable(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		file := filepath.Join(t.TempDir(), "closed")
		write(t, file, []byte("x"))
		if err := os.Chmod(file, 0); err != nil {
			t.Fatal(err)
		}
		return file
	}
	found, err := filepath.Glob("/sys/bus/*/drivers_probe")
	if err != nil || len(found) == 0 {
		mustOrSkip(t, "no unreadable file", fs.ErrNotExist)
	}
	if f, err := os.Open(found[0]); err == nil {
		f.Close()
		mustOrSkip(t, "root can read "+found[0], nil)
	}
	return found[0]
}

func TestUnreadableFileIsIncomplete(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := newRepo(t, e, "nas")
	closed := unreadable(t)
	s, err := e.Backup(ctx, r, BackupRequest{Paths: []string{newTree(t, 2, 1000), closed}, Host: "h"})
	wantKind(t, err, fault.Incomplete, closed)
	if !isFullID(s.SnapshotID) || s.ErrorCount != 1 || len(s.Errors) != 1 || s.Errors[0].Path != closed || s.Files != 2 {
		t.Errorf("summary %+v", s)
	}
}

func TestUnusableRepositories(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	good := newRepo(t, e, "nas")
	none, wrong, noFile := good, good, good
	none.URL = filepath.Join(t.TempDir(), "none")
	wrong.PasswordFile = filepath.Join(t.TempDir(), "key")
	write(t, wrong.PasswordFile, []byte("not it\n"))
	noFile.PasswordFile = "/nonexistent/key"
	away := good
	away.URL = "rest:http://user:pa55word@127.0.0.1:1/repo" // nothing listens there
	for _, tc := range []struct {
		name string
		repo Repo
		kind fault.Kind
	}{
		{"no repository", none, fault.NoRepository}, {"wrong password", wrong, fault.WrongKey}, {"no password file", noFile, fault.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for verb, do := range map[string]func() error{
				"config": func() error { _, err := e.CatConfig(ctx, tc.repo); return err },
				"backup": func() error {
					_, err := e.Backup(ctx, tc.repo, BackupRequest{Stdin: sh("echo"), Filename: "f", Host: "h"})
					return err
				},
				"snapshots": func() error { _, err := e.Snapshots(ctx, tc.repo, Filter{}); return err },
				"check":     func() error { _, err := e.Check(ctx, tc.repo, CheckOptions{}); return err },
				"forget":    func() error { return e.Forget(ctx, tc.repo, []string{strings.Repeat("0", 64)}) },
			} {
				err := do()
				if fault.KindOf(err) != tc.kind || fault.HintOf(err) == "" {
					t.Errorf("%s: %v (%s)", verb, err, fault.KindOf(err))
				}
			}
		})
	}
	short, cancel := context.WithTimeout(ctx, 3*time.Second) // restic tries again for minutes
	defer cancel()
	_, err := e.CatConfig(short, away)
	if err == nil || strings.Contains(err.Error(), "pa55word") {
		t.Errorf("a server that is away: %v", err)
	}
}

// packs returns the pack files, largest first.
func packs(t *testing.T, r Repo) (files []string) {
	t.Helper()
	size := map[string]int64{}
	err := filepath.WalkDir(filepath.Join(r.URL, "data"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		size[p] = info.Size()
		files = append(files, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		for j := range i {
			if size[files[i]] > size[files[j]] {
				files[i], files[j] = files[j], files[i]
			}
		}
	}
	return files
}

func TestDamagedPack(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := newRepo(t, e, "nas")
	s, err := e.Backup(ctx, r, BackupRequest{Stdin: sh("head -c 3000000 /dev/urandom"), Filename: "dump", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	pack := packs(t, r)[0]
	b := read(t, pack)
	for i := range len(b) / 100_000 {
		b[50_000+i*100_000] ^= 0x55
	}
	if err := os.Chmod(pack, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, pack, b)

	report, err := e.Check(ctx, r, CheckOptions{ReadData: true})
	if err != nil || report.Sound() || len(report.BrokenPacks) != 1 || report.BrokenPacks[0] != filepath.Base(pack) {
		t.Errorf("check: %+v, %v", report, err)
	}
	var buf bytes.Buffer
	_, err = e.Dump(ctx, r, s.SnapshotID, "/dump", &buf, DumpOptions{NoCache: true})
	wantKind(t, err, fault.Damaged, "ciphertext verification failed")
	got, err := e.Restore(ctx, r, s.SnapshotID, filepath.Join(t.TempDir(), "out"), RestoreOptions{NoCache: true})
	wantKind(t, err, fault.Damaged, "ciphertext verification failed")
	if len(got.Errors) == 0 {
		t.Errorf("restored %+v", got)
	}

	if err := os.Remove(pack); err != nil {
		t.Fatal(err)
	}
	report, err = e.Check(ctx, r, CheckOptions{})
	if err != nil || report.Sound() || len(report.Messages) == 0 {
		t.Errorf("check without the pack: %+v, %v", report, err)
	}
	_, err = e.Restore(ctx, r, s.SnapshotID, filepath.Join(t.TempDir(), "out"), RestoreOptions{NoCache: true})
	wantKind(t, err, fault.Damaged, "")
}

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, bytes string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+bytes); err != nil {
		mustOrSkip(t, "mount a small disk", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestFullDisk(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := testRepo(t, "nas")
	r.URL = filepath.Join(smallDisk(t, "8m"), "repo")
	if _, err := e.Init(ctx, r, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	small, err := e.Backup(ctx, r, BackupRequest{Stdin: sh("head -c 3000000 /dev/urandom"), Filename: "dump", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Backup(ctx, r, BackupRequest{Stdin: sh("head -c 30000000 /dev/urandom"), Filename: "dump", Host: "h"})
	wantKind(t, err, fault.NoSpace, "no space left")
	if list, err := e.Snapshots(ctx, r, Filter{}); err != nil || len(list) != 1 {
		t.Errorf("snapshots %+v, %v", list, err)
	}
	_, err = e.Restore(ctx, r, small.SnapshotID, filepath.Join(smallDisk(t, "1m"), "out"), RestoreOptions{})
	wantKind(t, err, fault.NoSpace, "no space left")
}

// Storage that refuses deletion: 0.18 calls that a success.
func TestForgetThatIsRefused(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := newRepo(t, e, "nas")
	var ids []string
	for range 2 {
		s, err := e.Backup(ctx, r, BackupRequest{Stdin: sh("echo x"), Filename: "f", Host: "h"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.SnapshotID)
	}
	dir := filepath.Join(r.URL, "snapshots")
	chattr, err := command.LookPath("chattr")
	if err == nil {
		_, err = command.Run(ctx, command.Cmd{Argv: []string{chattr, "+i", dir}})
	}
	if err != nil {
		mustOrSkip(t, "make a folder immutable", err)
	}
	thaw := func() { _, _ = command.Run(context.WithoutCancel(ctx), command.Cmd{Argv: []string{chattr, "-i", dir}}) }
	t.Cleanup(thaw)
	// restic 0.19 itself crashes now and then when storage refuses several deletions at once,
	// and leaves its lock; seldom, and not to be had on purpose.
	for range 3 {
		if err = e.Forget(ctx, r, ids); err == nil || !strings.Contains(err.Error(), "restic crashed") {
			break
		}
		t.Log(err)
		if _, left, err := e.Unlock(ctx, r); err != nil || left > 0 {
			t.Fatalf("%d locks are left: %v", left, err)
		}
	}
	wantKind(t, err, fault.Failed, "2 of 2 are still there")
	_, err = e.Backup(ctx, r, BackupRequest{Stdin: sh("echo x"), Filename: "f", Host: "h"})
	wantKind(t, err, fault.Denied, "operation not permitted")
	thaw()
	if err := e.Forget(ctx, r, ids); err != nil {
		t.Error(err)
	}
}
