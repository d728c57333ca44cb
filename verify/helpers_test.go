package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// TestMain lets the test binary be the pump, and a tester that is to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "pump":
			os.Exit(command.PumpMain(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
		case "hang-in-test":
			os.Exit(hangInTest(os.Args[2:]))
		case forbidArgument:
			fmt.Fprintln(os.Stderr, forbid(os.Args[2], os.Args[3:]))
			os.Exit(1)
		case probeArgument:
			fmt.Println(runProbe(context.Background(), os.Args[2]))
			os.Exit(0)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(emptyRepo.dir) // empty when nobody made one
	os.Exit(code)
}

// backupTime is the instant of every backup; the tests look an hour later.
func backupTime() time.Time { return time.Date(2026, 5, 4, 1, 2, 3, 0, time.UTC) }
func testTime() time.Time   { return backupTime().Add(time.Hour) }

// A rig is a real restic with one repository.
type rig struct {
	engine *restic.Engine
	repo   restic.Repo
	tester *Tester
}

// emptyRepo is made once: a repository costs seconds of key derivation.
var emptyRepo struct {
	sync.Once
	dir string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	here, err := filepath.Abs("../bin/restic")
	if err != nil {
		t.Fatal(err)
	}
	engine, err := restic.Find(t.Context(), restic.FindOptions{
		Path: os.Getenv("SAOLUU_RESTIC"), Candidates: append([]string{here}, restic.Candidates(here)...),
	})
	if err != nil {
		sourcetest.Missing(t, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	engine.TempDir, engine.Pump, engine.RetryLock = t.TempDir(), []string{self, "pump"}, time.Second
	engine.CacheDir = filepath.Join(t.TempDir(), "cache")
	r := &rig{engine: engine, tester: &Tester{Engine: engine, Scratch: scratch(t), Now: testTime}}
	emptyRepo.Do(func() {
		repo := describe(t)
		if _, err := engine.Init(t.Context(), repo, restic.InitOptions{}); err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp("", "saoluu-template-")
		if err == nil {
			err = os.CopyFS(dir, os.DirFS(repo.URL))
		}
		if err != nil {
			t.Fatal(err)
		}
		emptyRepo.dir = dir
	})
	r.repo = describe(t)
	if err := os.CopyFS(r.repo.URL, os.DirFS(emptyRepo.dir)); err != nil {
		t.Fatal(err)
	}
	return r
}

// scratch is a folder that the user of a throwaway server can pass through.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "saoluu-scratch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(left) > 0 {
			t.Errorf("left in scratch: %q", left)
		}
		_ = removeTree(dir)
	})
	return dir
}

func describe(t *testing.T) restic.Repo {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("a password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return restic.Repo{Name: "target", URL: filepath.Join(dir, "repo"), PasswordFile: key, Gate: restic.NewGate(filepath.Join(dir, "gate"), "target", 2)}
}

// backup saves a source as a job would and returns the request to test it.
func (r *rig) backup(t *testing.T, kind string, source sources.Source) Request {
	t.Helper()
	dir := t.TempDir()
	p, err := source.Prepare(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Release(); err != nil {
			t.Error(err)
		}
	}()
	request := Request{
		Test: "test-1", Job: "job", Source: kind, Repo: r.repo, ConsistentAt: backupTime(), Seed: "seed", Control: true,
	}
	for _, part := range p.Parts {
		request.Parts = append(request.Parts, r.save(t, part))
	}
	if p.Facts != nil {
		if request.Facts, err = p.Facts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return request
}

func (r *rig) save(t *testing.T, part sources.Part) PartCopy {
	t.Helper()
	q := restic.BackupRequest{Host: "host", Tags: []string{"saoluu"}, Paths: part.Paths, Exclude: part.Exclude, OneFileSystem: part.OneFileSystem, Filename: part.Filename}
	switch {
	case part.Dump != nil:
		q.Stdin = part.Dump
	case part.File != "":
		q.Stdin = &command.Cmd{Argv: []string{"/bin/cat", part.File}}
	}
	s, err := r.engine.Backup(t.Context(), r.repo, q)
	if err != nil {
		t.Fatal(err)
	}
	c := PartCopy{Part: part.Name, Filename: part.Filename, Snapshot: s.SnapshotID, Bytes: s.Bytes, Files: s.Files}
	if s.Digest != nil {
		c.SHA256, c.Bytes = s.Digest.SHA256, s.Digest.Bytes
	}
	return c
}

// test runs a restore test that must be able to look.
func (r *rig) test(t *testing.T, q Request) Result {
	t.Helper()
	res, err := r.tester.Test(t.Context(), q)
	if err != nil {
		t.Fatalf("could not look: %v (hint %v)", err, errors.Unwrap(err))
	}
	return res
}

// broken returns the names of the assertions that were not met.
func broken(res Result) (names []string) {
	for _, a := range res.Assertions {
		if !a.OK {
			names = append(names, a.Name)
		}
	}
	return names
}

// expect holds verdict, level and broken assertions against what is wanted.
func expect(t *testing.T, res Result, verdict, level string, names ...string) {
	t.Helper()
	got := broken(res)
	if res.Verdict != verdict || res.Level != level || fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("verdict %s, level %s, broken %q; want %s, %s, %q\nassertions: %+v\ndetail: %q",
			res.Verdict, res.Level, got, verdict, level, names, res.Assertions, res.Detail)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(25 * time.Millisecond) // files older than what begins now
}

// hangInTest starts a throwaway server in a sandbox, says so, and waits to be killed.
func hangInTest(args []string) int {
	ctx := context.Background()
	t := &Tester{Scratch: args[0], Now: testTime}
	major, err := strconv.Atoi(args[1])
	box, berr := t.open(ctx, Request{Test: "t"})
	if err = errors.Join(err, berr); err == nil {
		_, err = startCluster(ctx, &examination{tester: t, sandbox: box}, major)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	select {}
}
