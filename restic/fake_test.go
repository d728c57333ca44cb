package restic

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	idC = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

	goodSummary = `echo '{"message_type":"summary","snapshot_id":"` + idA + `","total_files_processed":1}'`
)

// fake is an engine whose restic is a shell script. The script finds the verb in
// $verb and a folder of its own in $dir.
func fake(t *testing.T, body string) *Engine {
	t.Helper()
	dir := t.TempDir()
	head := `dir=` + dir + `
for a; do case $a in backup|snapshots|list|forget|prune|check|copy|init|cat|restore|dump|ls|unlock|key) verb=$a; break;; esac; done
`
	return &Engine{Path: script(t, head+body), Version: "0.19.1", TempDir: dir, CacheDir: dir, Pump: []string{"/bin/false"}, Grace: time.Second}
}

// A restic that misbehaves must never be taken at its word.
func TestBackupByAFakeRestic(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		kind         fault.Kind
		text         string
		id           string
		stall        time.Duration
	}{
		{name: "good", script: goodSummary, id: idA},
		{name: "unknown messages are skipped", script: `echo '{"message_type":"weather","wind":3}'; echo; ` + goodSummary, id: idA},
		{name: "says nothing", script: "exit 0", kind: fault.Failed, text: "did not say cleanly which snapshot"},
		{name: "garbage", script: "echo all good", kind: fault.Failed, text: `it printed "all good"`},
		{name: "garbage before a summary", script: "echo hello; " + goodSummary, kind: fault.Failed, text: `it printed "hello"`, id: idA},
		{name: "not an object", script: "echo '[1,2]'", kind: fault.Failed, text: `it printed "[1,2]"`},
		{name: "torn message", script: `printf '{"message_type":"summ'`, kind: fault.Failed, text: "it printed"},
		{name: "binary", script: `head -c 300000 /dev/urandom; echo`, kind: fault.Failed, text: "it printed"},
		{name: "summary without id", script: `echo '{"message_type":"summary"}'`, kind: fault.Failed, text: "which snapshot"},
		{name: "short id", script: `echo '{"message_type":"summary","snapshot_id":"abcd"}'`, kind: fault.Failed, text: "which snapshot"},
		{name: "summary of another kind", script: `echo '{"message_type":"summary","snapshot_id":7}'; sleep 5`, kind: fault.Failed, text: "summary of the backup"},
		{name: "incomplete", script: goodSummary + `; echo '{"message_type":"error","error":{"message":"input/output error"},"during":"archival","item":"/x"}' >&2; exit 3`,
			kind: fault.Incomplete, text: "/x: input/output error", id: idA},
		{name: "incomplete without summary", script: "exit 3", kind: fault.Failed, text: "which snapshot"},
		{name: "skipped path with status 0", script: goodSummary + `; echo '/y does not exist, skipping' >&2`, kind: fault.Incomplete, text: "/y: does not exist", id: idA},
		{name: "error on stdout with status 0", script: `echo '{"message_type":"error","error":{"message":"gone"},"during":"scan","item":"/z"}';` + goodSummary, kind: fault.Incomplete, text: "/z: gone", id: idA},
		{name: "fatal", script: `echo '{"message_type":"exit_error","code":1,"message":"Fatal: Fatal: it broke\\nstack"}' >&2; exit 1`, kind: fault.Failed, text: "restic: it broke"},
		{name: "fatal with a summary", script: goodSummary + "; exit 1", kind: fault.Failed, text: "exit status 1"},
		{name: "crash", script: "echo 'panic: nil map' >&2; exit 2", kind: fault.Failed, text: "restic crashed: panic: nil map"},
		{name: "no repository", script: "exit 10", kind: fault.NoRepository},
		{name: "locked", script: "exit 11", kind: fault.Locked},
		{name: "wrong key", script: "exit 12", kind: fault.WrongKey},
		{name: "unknown status", script: "exit 42", kind: fault.Failed, text: "exit status 42, which its manual does not list"},
		{name: "interrupted", script: "exit 130", kind: fault.Cancelled},
		{name: "killed", script: "kill -9 $$", kind: fault.Failed, text: "ended by signal 9"},
		{name: "no space", script: "echo 'Save(<data/1>) failed: no space left on device' >&2; exit 1", kind: fault.NoSpace},
		{name: "denied", script: `echo '{"message_type":"exit_error","message":"open config: permission denied"}' >&2; exit 1`, kind: fault.Denied},
		{name: "hangs silently", script: "sleep 60", kind: fault.TimedOut, text: "no progress", stall: 200 * time.Millisecond},
		{name: "hangs chatting", script: `while :; do echo '{"message_type":"status","bytes_done":5}'; sleep 0.02; done`, kind: fault.TimedOut, text: "no progress", stall: 300 * time.Millisecond},
		{name: "slow but moving", script: `i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo "{\"message_type\":\"status\",\"bytes_done\":$i}"; sleep 0.2; done; ` + goodSummary, id: idA, stall: 4 * time.Second},
		{name: "absurd figures", script: `echo '{"message_type":"status","seconds_remaining":99999999999999999999999,"bytes_done":1e99}'; ` + goodSummary, id: idA},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := fake(t, tc.script)
			e.Stall = tc.stall
			s, err := e.Backup(t.Context(), testRepo(t, "nas"), BackupRequest{Paths: []string{t.TempDir()}, Host: "h"})
			wantKind(t, err, tc.kind, tc.text)
			if s.SnapshotID != tc.id && !(tc.kind == fault.Failed && s.SnapshotID == "abcd") {
				t.Errorf("snapshot %q, want %q", s.SnapshotID, tc.id)
			}
		})
	}
}

func TestStreamWithoutItsDigest(t *testing.T) {
	e := fake(t, goodSummary)
	_, err := e.Backup(t.Context(), testRepo(t, "nas"), BackupRequest{Stdin: sh("echo x"), Filename: "f", Host: "h"})
	wantKind(t, err, fault.Failed, "digest")
	digest := `for a; do [ "$p" = --digest ] && echo '{"sha256":"` + idA + `","bytes":9}' >$a; p=$a; done; `
	e = fake(t, digest+goodSummary)
	_, err = e.Backup(t.Context(), testRepo(t, "nas"), BackupRequest{Stdin: sh("echo x"), Filename: "f", Host: "h"})
	wantKind(t, err, fault.Failed, "the dump is 9 bytes, restic stored 0")
	e.Pump = nil
	_, err = e.Backup(t.Context(), testRepo(t, "nas"), BackupRequest{Stdin: sh("echo x"), Filename: "f", Host: "h"})
	wantKind(t, err, fault.Usage, "no pump")
}

func TestOtherVerbsByAFakeRestic(t *testing.T) {
	snapshots := func(id string) string {
		return `[{"id":"` + id + `","time":"2026-05-04T03:02:01Z"}]`
	}
	for _, tc := range []struct {
		name, script string
		do           func(e *Engine, r Repo) error
		kind         fault.Kind
		text         string
	}{
		{"snapshots: null", "echo null", listAll(t), fault.Failed, "no list of snapshots"},
		{"snapshots: nothing", "exit 0", listAll(t), fault.Failed, "no list of snapshots; it printed nothing"},
		{"snapshots: not a list", "echo '{}'", listAll(t), fault.Failed, "no list"},
		{"snapshots: short id", `echo '[{"id":"abc","time":"2026-05-04T03:02:01Z"}]'`, listAll(t), fault.Failed, "no list"},
		{"snapshots: good", "echo '" + snapshots(idA) + "'", listAll(t), "", ""},

		{"forget that does nothing", "[ $verb = list ] && printf '%s\n' " + idA + " " + idB + "; exit 0", forget(t, idA, idB), fault.Failed, "2 of 2 are still there"},
		{"forget that takes too much", `[ $verb = forget ] && : >$dir/done
[ $verb = list ] && [ ! -e $dir/done ] && printf '%s\n' ` + idA + " " + idB + "; exit 0", forget(t, idA), fault.Damaged, "1 snapshots vanished"},
		{"forget: empty list", "exit 0", forget(t, idA), fault.Failed, "no snapshot at all"},
		{"forget: already gone", "[ $verb = list ] && echo " + idB + "; exit 0", forget(t, idA), "", ""},
		{"forget: garbage list", "echo oops", forget(t, idA), fault.Failed, `it printed "oops"`},
		{"forget: failing afterwards", `[ $verb = forget ] && { : >$dir/done; exit 0; }
[ -e $dir/done ] && exit 10; echo ` + idA, forget(t, idA), fault.NoRepository, ""},
		{"forget: locked", "[ $verb = list ] && { echo " + idA + "; exit 0; }; exit 11", forget(t, idA), fault.Locked, ""},
		{"forget: short id", "exit 0", forget(t, "latest"), fault.Usage, "not a whole id"},

		{"prune that deletes nothing", `echo 'Remove(<data/1>) failed: 403' >&2; echo 'remaining: 1 blobs / 2 B'`, prune(t), fault.Failed, "Remove(<data/1>)"},
		{"prune that says nothing", "exit 0", prune(t), fault.Failed, "what remains"},

		{"check without summary", "exit 0", check(t), fault.Failed, "no clean summary"},
		{"check with errors and status 0", `echo '{"message_type":"summary","num_errors":3}'`, check(t), fault.Failed, "no clean summary"},
		{"check that may not read", `echo '{"message_type":"summary","num_errors":1}'
echo '{"message_type":"error","message":"Load(<data/1>) failed: open 1: permission denied"}' >&2
echo '{"message_type":"exit_error","code":1,"message":"Fatal: repository contains errors"}' >&2; exit 1`, check(t), fault.Unknown, "repository contains errors"},
		{"check: no such share", "exit 0", func(e *Engine, r Repo) error {
			_, err := e.Check(t.Context(), r, CheckOptions{Subset: 5, Of: 4})
			return err
		}, fault.Usage, "no share 5 of 4"},

		{"init of another repository", `[ $verb = init ] && echo '{"message_type":"initialized","id":"` + idA + `"}' || echo '{"id":"` + idB + `","version":2}'`, initRepo(t), fault.Failed, "another repository"},
		{"init that says nothing", "exit 0", initRepo(t), fault.Failed, "named no repository id"},
		{"config: garbage", "echo {}", func(e *Engine, r Repo) error { _, err := e.CatConfig(t.Context(), r); return err }, fault.Failed, "no configuration"},

		{"copy that copies nothing", `[ $verb = snapshots ] && echo '[]'; exit 0`, copyTo(t), fault.Failed, "1 of 1 snapshots are not in the destination"},
		{"copy in other words", `[ $verb = snapshots ] && echo '[{"id":"` + idB + `","original":"` + idA + `","time":"2026-05-04T03:02:01Z"}]'; exit 0`, copyTo(t), "", ""},

		{"restore without summary", "exit 0", restore(t), fault.Failed, "no summary"},
		{"restore of half", `echo '{"message_type":"summary","total_files":2,"files_restored":1,"total_bytes":9,"bytes_restored":9}'`, restore(t), fault.Failed, "restored 1 of 2 items"},
		{"restore of half the bytes", `echo '{"message_type":"summary","total_files":1,"files_restored":1,"total_bytes":9,"bytes_restored":8}'`, restore(t), fault.Failed, "8 of 9 bytes"},
		{"restore with errors and status 0", `echo '{"message_type":"error","error":{"message":"chown"},"during":"restore","item":"/f"}' >&2
echo '{"message_type":"summary"}'`, restore(t), fault.Failed, "/f: chown"},
		{"restore: pattern matches nothing", `echo '{"message_type":"summary"}'`, func(e *Engine, r Repo) error {
			_, err := e.Restore(t.Context(), r, idA, filepath.Join(t.TempDir(), "o"), RestoreOptions{Include: []string{"x"}})
			return err
		}, fault.Failed, "nothing in the snapshot matches"},
		{"restore: relative folder", "exit 0", func(e *Engine, r Repo) error {
			_, err := e.Restore(t.Context(), r, idA, "out", RestoreOptions{})
			return err
		}, fault.Usage, "not absolute"},

		{"list of another snapshot", `echo '{"message_type":"snapshot","struct_type":"snapshot","id":"` + idB + `"}'`, listFiles(t), fault.Failed, "did not name the snapshot"},
		{"list that says nothing", "exit 0", listFiles(t), fault.Failed, "did not name the snapshot"},
		{"dump that dies", "echo half; exit 1", func(e *Engine, r Repo) error {
			_, err := e.Dump(t.Context(), r, idA, "/f", &bytes.Buffer{}, DumpOptions{})
			return err
		}, fault.Failed, "exit status 1"},
		{"unlock: garbage", "echo oops", func(e *Engine, r Repo) error { _, _, err := e.Unlock(t.Context(), r); return err }, fault.Failed, "no list of locks"},
		{"keys: garbage", "echo '[]'", func(e *Engine, r Repo) error { _, err := e.Keys(t.Context(), r); return err }, fault.Failed, "no list with the key"},
		{"key that is not added", `[ "$*" != "${*%list}" ] && echo '[{"id":"` + idB + `","current":true}]' || echo saved new key with ID ` + idA, func(e *Engine, r Repo) error {
			_, err := e.KeyAdd(t.Context(), r, "/k")
			return err
		}, fault.Failed, "not in the list"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantKind(t, tc.do(fake(t, tc.script), testRepo(t, "nas")), tc.kind, tc.text)
		})
	}
}

func listAll(t *testing.T) func(*Engine, Repo) error {
	return func(e *Engine, r Repo) error { _, err := e.Snapshots(t.Context(), r, Filter{}); return err }
}

func forget(t *testing.T, ids ...string) func(*Engine, Repo) error {
	return func(e *Engine, r Repo) error { return e.Forget(t.Context(), r, ids) }
}

func prune(t *testing.T) func(*Engine, Repo) error {
	return func(e *Engine, r Repo) error { _, err := e.Prune(t.Context(), r, PruneOptions{}); return err }
}

func check(t *testing.T) func(*Engine, Repo) error {
	return func(e *Engine, r Repo) error { _, err := e.Check(t.Context(), r, CheckOptions{}); return err }
}

func initRepo(t *testing.T) func(*Engine, Repo) error {
	return func(e *Engine, r Repo) error { _, err := e.Init(t.Context(), r, InitOptions{}); return err }
}

func copyTo(t *testing.T) func(*Engine, Repo) error {
	return func(e *Engine, r Repo) error {
		_, err := e.Copy(t.Context(), testRepo(t, "from"), r, CopyRequest{IDs: []string{idA}})
		return err
	}
}

func restore(t *testing.T) func(*Engine, Repo) error {
	return func(e *Engine, r Repo) error {
		_, err := e.Restore(t.Context(), r, idA, filepath.Join(t.TempDir(), "out"), RestoreOptions{})
		return err
	}
}

func listFiles(t *testing.T) func(*Engine, Repo) error {
	return func(e *Engine, r Repo) error { return e.List(t.Context(), r, idA, "", func(Node) error { return nil }) }
}

// The environment is all restic gets, and secrets are in it, not in argv.
func TestEnvironmentIsExplicit(t *testing.T) {
	t.Setenv("RESTIC_PASSWORD", "from outside")
	e := fake(t, `env >$dir/env; printf '%s\n' "$@" >$dir/argv; `+goodSummary)
	r := testRepo(t, "nas")
	r.URL, r.Env, r.Options = "rest:https://user:pa55word@host/", []string{"AWS_SECRET_ACCESS_KEY=s3cr3tkey"}, []string{"s3.region=vn"}
	if _, err := e.Backup(t.Context(), r, BackupRequest{Paths: []string{t.TempDir()}, Host: "h"}); err != nil {
		t.Fatal(err)
	}
	env, argv := string(read(t, filepath.Join(e.TempDir, "env"))), string(read(t, filepath.Join(e.TempDir, "argv")))
	for _, want := range []string{"RESTIC_REPOSITORY=rest:https://user:pa55word@host/", "RESTIC_PASSWORD_FILE=" + r.PasswordFile, "AWS_SECRET_ACCESS_KEY=s3cr3tkey", "TMPDIR=" + e.TempDir, "RESTIC_CACHE_DIR="} {
		if !strings.Contains(env, want) {
			t.Errorf("environment lacks %s", want)
		}
	}
	if strings.Contains(env, "from outside") || strings.Contains(argv, "pa55word") || strings.Contains(argv, "s3cr3tkey") {
		t.Errorf("argv %q, environment %q", argv, env)
	}
	if !strings.Contains(argv, "-o\ns3.region=vn\n") || !strings.Contains(argv, "--force\n") || strings.Contains(argv, "--parent") {
		t.Errorf("argv %q", argv)
	}
}

func TestRetryLock(t *testing.T) {
	for _, tc := range []struct{ retry, stall, want time.Duration }{
		{0, 0, DefaultRetryLock}, {time.Second, 0, time.Second}, {0, time.Hour, DefaultRetryLock}, {0, time.Minute, 30 * time.Second},
	} {
		if got := (&Engine{RetryLock: tc.retry, Stall: tc.stall}).retryLock(); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

// Our own cost of a backup, beside a restic that does nothing.
func BenchmarkOwnCost(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, "restic")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+goodSummary+"\n"), 0o755); err != nil {
		b.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	e := &Engine{Path: file, TempDir: dir, CacheDir: dir, Stall: time.Minute}
	r := Repo{Name: "nas", URL: dir, PasswordFile: key, Gate: NewGate(dir, "nas", 2)}
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if _, err := command.Run(b.Context(), command.Cmd{Argv: []string{file}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("backup", func(b *testing.B) {
		for b.Loop() {
			if _, err := e.Backup(b.Context(), r, BackupRequest{Paths: []string{dir}, Host: "h"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
