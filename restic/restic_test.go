package restic

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

var emptyRepo template

// TestMain lets the test binary be the pump, and a parent that is to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "pump":
			os.Exit(command.PumpMain(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
		case "backup-forever":
			os.Exit(backupForever(os.Args[2:]))
		case "hold-gate":
			os.Exit(holdGate(os.Args[2:]))
		}
	}
	code := m.Run()
	_ = os.RemoveAll(emptyRepo.dir) // empty when nobody made one
	os.Exit(code)
}

// testEngine is the real restic. Without one the test is skipped, or fails where
// skipping is forbidden.
func testEngine(t *testing.T) *Engine {
	t.Helper()
	t.Parallel() // restic spends most of its time deriving keys and sleeping
	here, err := filepath.Abs("../bin/restic")
	if err != nil {
		t.Fatal(err)
	}
	e, err := Find(t.Context(), FindOptions{
		Path: os.Getenv("SAOLUU_RESTIC"), Candidates: append([]string{here}, Candidates(here)...),
		ProbeCache: filepath.Join(os.TempDir(), "saoluu-test-restic.json"),
	})
	if err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e.CacheDir, e.TempDir, e.Pump = filepath.Join(dir, "cache"), dir, []string{self, "pump"}
	e.Stall, e.Grace, e.RetryLock = time.Minute, 5*time.Second, time.Second
	return e
}

// testRepo describes a repository that is not made yet.
func testRepo(t *testing.T, name string) Repo {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	write(t, key, []byte("a password\n"))
	return Repo{Name: name, URL: filepath.Join(dir, "repo"), PasswordFile: key, Gate: NewGate(filepath.Join(dir, "gate"), name, 2)}
}

// A template is an empty repository that tests take copies of: making one costs
// seconds of key derivation.
type template struct {
	sync.Once
	dir string
}

// newRepo gives an empty repository.
func newRepo(t *testing.T, e *Engine, name string) Repo {
	t.Helper()
	emptyRepo.Do(func() {
		r := testRepo(t, "template")
		if _, err := e.Init(t.Context(), r, InitOptions{}); err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp("", "saoluu-template-")
		if err == nil {
			err = os.CopyFS(dir, os.DirFS(r.URL))
		}
		if err != nil {
			t.Fatal(err)
		}
		emptyRepo.dir = dir
	})
	if emptyRepo.dir == "" {
		t.Fatal("no repository could be made")
	}
	r := testRepo(t, name)
	if err := os.CopyFS(r.URL, os.DirFS(emptyRepo.dir)); err != nil {
		t.Fatal(err)
	}
	return r
}

// newTree makes a folder with n files of random bytes.
func newTree(t *testing.T, n, size int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		b := make([]byte, size)
		_, _ = rand.Read(b)
		write(t, filepath.Join(dir, fmt.Sprintf("file-%d", i)), b)
	}
	return dir
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func sh(script string, args ...string) *command.Cmd {
	return &command.Cmd{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Env: []string{"PATH=/usr/bin:/bin"}}
}

func wantKind(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	if fault.KindOf(err) != kind || err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("got %q (%s), want kind %q and %q", err, fault.KindOf(err), kind, text)
	}
}

// The life of a repository: every verb once, against the real program.
func TestLifeOfARepository(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := newRepo(t, e, "nas")
	tree := newTree(t, 3, 200_000)

	config, err := e.CatConfig(ctx, r)
	if err != nil || config.Version != 2 {
		t.Fatalf("config %+v, %v", config, err)
	}
	_, err = e.Init(ctx, r, InitOptions{})
	wantKind(t, err, fault.Refused, "already exists")

	var progress []Progress
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	first, err := e.Backup(ctx, r, BackupRequest{
		Paths: []string{tree}, Host: "STP-HD", Tags: []string{"saoluu", "job=tree", "run=1"}, Time: at,
		Exclude: []string{"file-2"}, OneFileSystem: true, OnProgress: func(p Progress) { progress = append(progress, p) },
	})
	if err != nil || first.Files != 2 || first.Bytes != 400_000 || first.FilesNew != 2 || first.Added < 400_000 || first.Stored < 400_000 || first.Digest != nil {
		t.Fatalf("first backup %+v, %v", first, err)
	}
	second, err := e.Backup(ctx, r, BackupRequest{Paths: []string{tree}, Host: "STP-HD", Tags: []string{"saoluu", "job=tree", "run=2"}, Parent: first.SnapshotID, Exclude: []string{"file-2"}})
	if err != nil || second.FilesUnmodified != 2 || second.Reread {
		t.Fatalf("second backup %+v, %v", second, err)
	}
	stream, err := e.Backup(ctx, r, BackupRequest{Stdin: sh("head -c 3000000 /dev/zero"), Filename: "dump.sql", Host: "STP-HD", Tags: []string{"saoluu", "job=db"}})
	if err != nil || stream.Bytes != 3_000_000 || stream.Digest == nil || stream.Digest.Bytes != 3_000_000 {
		t.Fatalf("stream %+v, %v", stream, err)
	}

	list, err := e.Snapshots(ctx, r, Filter{Tags: []string{"saoluu", "job=tree"}})
	if err != nil || len(list) != 2 || list[0].ID != first.SnapshotID || !list[0].Time.Equal(at) || list[0].Tag("run") != "1" || list[0].Host != "STP-HD" || list[1].Tag("none") != "" {
		t.Fatalf("snapshots %+v, %v", list, err)
	}
	if list, err = e.Snapshots(ctx, r, Filter{IDs: []string{stream.SnapshotID, strings.Repeat("0", 64)}}); err != nil || len(list) != 1 || list[0].ID != stream.SnapshotID {
		t.Errorf("by id %+v, %v", list, err)
	}
	if list, err = e.Snapshots(ctx, r, Filter{Tags: []string{"nobody"}}); err != nil || len(list) != 0 {
		t.Errorf("no match %+v, %v", list, err)
	}

	var nodes []string
	if err := e.List(ctx, r, first.SnapshotID, tree, func(n Node) error {
		nodes = append(nodes, fmt.Sprintf("%s %s %d", filepath.Base(n.Path), n.Type, n.Size))
		return nil
	}); err != nil || !strings.Contains(strings.Join(nodes, ";"), "file-0 file 200000;file-1 file 200000") {
		t.Errorf("nodes %q, %v", nodes, err)
	}

	out := filepath.Join(t.TempDir(), "out")
	got, err := e.Restore(ctx, r, first.SnapshotID, out, RestoreOptions{Folder: tree, NoCache: true, Sparse: true})
	if err != nil || got.Bytes != 400_000 || got.Files != 2 {
		t.Fatalf("restore %+v, %v", got, err)
	}
	if !bytes.Equal(read(t, filepath.Join(out, "file-1")), read(t, filepath.Join(tree, "file-1"))) {
		t.Error("restored file differs")
	}
	_, err = e.Restore(ctx, r, first.SnapshotID, out, RestoreOptions{})
	wantKind(t, err, fault.Refused, "is not empty")
	if _, err = e.Restore(ctx, r, first.SnapshotID, out, RestoreOptions{Folder: tree, Overwrite: true, Include: []string{"file-1"}}); err != nil {
		t.Error(err)
	}

	var buf bytes.Buffer
	n, err := e.Dump(ctx, r, stream.SnapshotID, "/dump.sql", &buf, DumpOptions{NoCache: true})
	if err != nil || n != 3_000_000 || buf.Len() != 3_000_000 {
		t.Errorf("dump %d, %v", n, err)
	}
	_, err = e.Dump(ctx, r, stream.SnapshotID, "/other", &buf, DumpOptions{})
	wantKind(t, err, fault.Failed, "not found in snapshot")

	for _, o := range []CheckOptions{{}, {ReadData: true}, {Subset: 1, Of: 4}} {
		if report, err := e.Check(ctx, r, o); err != nil || !report.Sound() {
			t.Errorf("check %+v: %+v, %v", o, report, err)
		}
	}

	newKey := filepath.Join(t.TempDir(), "key2")
	write(t, newKey, []byte("another\n"))
	id, err := e.KeyAdd(ctx, r, newKey)
	if err != nil {
		t.Error(err)
	}
	if keys, err := e.Keys(ctx, r); err != nil || len(keys) != 2 || !strings.Contains(fmt.Sprint(keys), id[:8]) {
		t.Errorf("keys %+v, %v", keys, err)
	}

	if err := e.Forget(ctx, r, []string{first.SnapshotID, stream.SnapshotID}); err != nil {
		t.Fatal(err)
	}
	if err := e.Forget(ctx, r, []string{first.SnapshotID}); err != nil {
		t.Errorf("already gone: %v", err)
	}
	if list, err = e.Snapshots(ctx, r, Filter{}); err != nil || len(list) != 1 {
		t.Errorf("after forget %+v, %v", list, err)
	}
	dry, err := e.Prune(ctx, r, PruneOptions{DryRun: true, MaxUnused: "0"})
	if err != nil {
		t.Error(err)
	}
	pruned, err := e.Prune(ctx, r, PruneOptions{MaxUnused: "0", MaxRepack: "1G"})
	if err != nil || pruned.Remaining == "" || pruned.Deleted != dry.Deleted || strings.HasPrefix(pruned.Deleted, "0 blobs") {
		t.Errorf("prune %+v after %+v, %v", pruned, dry, err)
	}
	if n, left, err := e.Unlock(ctx, r); err != nil || n != 0 || left != 0 {
		t.Errorf("unlock %d, %v", n, err)
	}
	again, err := e.Backup(ctx, r, BackupRequest{Paths: []string{tree}, Host: "STP-HD", Parent: first.SnapshotID})
	if err != nil || !again.Reread || again.Files != 3 {
		t.Errorf("with a parent that is gone: %+v, %v", again, err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Several snapshots in one copy, as the parts of a run are: each is told by what
// is in it, from the first repository and from a copy.
func TestCopyOfSeveral(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	a := newRepo(t, e, "a")
	want := map[string]string{} // id to content
	var ids []string
	for i := range 4 {
		text := fmt.Sprintf("part %d", i)
		s, err := e.Backup(ctx, a, BackupRequest{Stdin: sh("echo '" + text + "'"), Filename: "d", Host: "h", Tags: []string{"saoluu"}})
		if err != nil {
			t.Fatal(err)
		}
		ids, want[s.SnapshotID] = append(ids, s.SnapshotID), text+"\n"
	}
	from := a
	for _, name := range []string{"b", "c"} {
		to := newRepo(t, e, name)
		made, err := e.Copy(ctx, from, to, CopyRequest{IDs: ids})
		if err != nil || len(made) != len(ids) {
			t.Fatalf("copy to %s: %v, %v", name, made, err)
		}
		next, nextWant := []string(nil), map[string]string{}
		for _, id := range ids {
			var got strings.Builder
			if _, err := e.Dump(ctx, to, made[id], "/d", &got, DumpOptions{}); err != nil || got.String() != want[id] {
				t.Errorf("%s: the copy of %q holds %q, %v", name, want[id], got.String(), err)
			}
			next, nextWant[made[id]] = append(next, made[id]), want[id]
		}
		from, ids, want = to, next, nextWant
	}
}

func TestCopy(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	a := newRepo(t, e, "a")
	b := testRepo(t, "b")
	b.Env = []string{"AWS_ACCESS_KEY_ID=one"}
	if _, err := e.Init(ctx, b, InitOptions{From: &a}); err != nil {
		t.Fatal(err)
	}
	ca, err := e.CatConfig(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	if cb, err := e.CatConfig(ctx, b); err != nil || cb.ChunkerPolynomial != ca.ChunkerPolynomial || cb.ID == ca.ID {
		t.Errorf("%+v beside %+v, %v", cb, ca, err)
	}
	var ids []string
	for i := range 2 {
		s, err := e.Backup(ctx, a, BackupRequest{Stdin: sh(fmt.Sprintf("echo dump %d", i)), Filename: "d", Host: "h", Tags: []string{"saoluu"}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.SnapshotID)
	}
	made, err := e.Copy(ctx, a, b, CopyRequest{IDs: ids[:1]})
	if err != nil || !isFullID(made[ids[0]]) || made[ids[0]] == ids[0] {
		t.Fatalf("%v, %v", made, err)
	}
	both, err := e.Copy(ctx, a, b, CopyRequest{IDs: ids})
	if err != nil || len(both) != 2 || both[ids[0]] != made[ids[0]] {
		t.Errorf("again: %v, %v", both, err)
	}
	c := newRepo(t, e, "c") // a copy of a copy: its original is not the id we name
	if third, err := e.Copy(ctx, b, c, CopyRequest{IDs: []string{made[ids[0]]}}); err != nil || len(third) != 1 {
		t.Errorf("copy of a copy: %v, %v", third, err)
	}
	gone := strings.Repeat("0", 64)
	some, err := e.Copy(ctx, a, b, CopyRequest{IDs: []string{ids[0], gone}})
	if fault.KindOf(err) != fault.Failed || len(some) != 1 {
		t.Errorf("a missing source: %v, %v", some, err)
	}
	a.Env = []string{"AWS_ACCESS_KEY_ID=two"}
	_, err = e.Copy(ctx, a, b, CopyRequest{IDs: ids})
	wantKind(t, err, fault.Usage, "both need AWS_ACCESS_KEY_ID")
	_, err = e.Copy(ctx, a, a, CopyRequest{IDs: ids})
	wantKind(t, err, fault.Usage, "same repository")
	if none, err := e.Copy(ctx, a, c, CopyRequest{}); err != nil || none != nil {
		t.Errorf("nothing to copy: %v, %v", none, err)
	}
}

func TestBackupRequestIsChecked(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := testRepo(t, "nas")
	dump := sh("true")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/etc", link); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		q    BackupRequest
		kind fault.Kind
		text string
	}{
		"nothing":        {BackupRequest{Host: "h"}, fault.Usage, "either paths or a command"},
		"both":           {BackupRequest{Host: "h", Paths: []string{"/etc"}, Stdin: dump, Filename: "f"}, fault.Usage, "either"},
		"no file name":   {BackupRequest{Host: "h", Stdin: dump}, fault.Usage, "bare file name"},
		"folder in name": {BackupRequest{Host: "h", Stdin: dump, Filename: "a/b"}, fault.Usage, "bare file name"},
		"no host":        {BackupRequest{Paths: []string{"/etc"}}, fault.Usage, "host"},
		"relative":       {BackupRequest{Host: "h", Paths: []string{"etc"}}, fault.Usage, "not absolute"},
		"comma":          {BackupRequest{Host: "h", Paths: []string{"/etc"}, Tags: []string{"a,b"}}, fault.Usage, "comma"},
		"short parent":   {BackupRequest{Host: "h", Paths: []string{"/etc"}, Parent: "latest"}, fault.Usage, "64 hexadecimal"},
		"link":           {BackupRequest{Host: "h", Paths: []string{link}}, fault.Usage, "symbolic link"},
		"missing path":   {BackupRequest{Host: "h", Paths: []string{"/etc", "/nonexistent/data"}}, fault.Absent, "/nonexistent/data"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.Backup(ctx, r, tc.q)
			wantKind(t, err, tc.kind, tc.text)
		})
	}
	for name, bad := range map[string]Repo{
		"no address": {PasswordFile: "/x", Gate: r.Gate}, "no password file": {URL: "/x", Gate: r.Gate}, "no gate": {URL: "/x", PasswordFile: "/x"},
	} {
		_, err := e.CatConfig(ctx, bad)
		wantKind(t, err, fault.Usage, name)
	}
}

func TestRepoShowsNoSecret(t *testing.T) {
	r := Repo{Name: "ttdl", URL: "rest:https://user:pa55word@host/", Env: []string{"AWS_SECRET_ACCESS_KEY=s3cr3tkey", "AWS_DEFAULT_REGION=vn"}}
	for _, shown := range []string{fmt.Sprint(r), fmt.Sprintf("%v %+v %#v %s", r, r, r, r)} {
		if strings.Contains(shown, "pa55word") || strings.Contains(shown, "s3cr3t") {
			t.Errorf("shown: %s", shown)
		}
	}
	if got := fmt.Sprint(r.secrets()); got != "[pa55word s3cr3tkey]" {
		t.Errorf("secrets %s", got)
	}
	e := &Engine{Path: "/bin/restic"}
	cmd := e.command(r, call{args: []string{"snapshots"}}, &transcript{})
	if strings.Contains(strings.Join(cmd.Argv, " "), "pa55word") {
		t.Errorf("argv %q", cmd.Argv)
	}
}
