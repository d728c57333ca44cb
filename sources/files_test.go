package sources_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// clock is a wall clock that stands still.
func clock() time.Time { return time.Date(2026, 5, 4, 1, 2, 3, 0, time.UTC) }

// write makes files below dir and waits until the file system's clock has moved
// on, so that they count as older than what begins now.
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
	settle()
}

func settle() { time.Sleep(25 * time.Millisecond) }

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// take prepares a source, reads nothing, and returns its facts and its part.
func take(t *testing.T, s sources.Source) ([]sources.Fact, sources.Part) {
	t.Helper()
	p, err := s.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return facts, p.Parts[0]
}

func TestFilesSuite(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "1", "sâu/tệp tin": "2", "c": ""})
	sourcetest.Run(t, sourcetest.Subject{
		New: func(*testing.T) sources.Source { return &sources.Files{Paths: []string{dir}, Now: clock} },
		Broken: map[string]func(*testing.T) sources.Source{
			"missing path": func(*testing.T) sources.Source {
				return &sources.Files{Paths: []string{dir, dir + "/missing"}, Now: clock}
			},
			"no path":       func(*testing.T) sources.Source { return &sources.Files{Now: clock} },
			"relative path": func(*testing.T) sources.Source { return &sources.Files{Paths: []string{"etc"}, Now: clock} },
		},
	})
}

func TestFilesErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"file": "1"})
	fstab := filepath.Join(t.TempDir(), "fstab")
	table := fmt.Sprintf("# comment\nUUID=1 / ext4 defaults 0 1\n/dev/sdx %s ext4 defaults 0 2\n/dev/sdy %s/other ext4 noauto 0 0\n", strings.ReplaceAll(dir, " ", `\040`), dir)
	if err := os.WriteFile(fstab, []byte(table), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		source sources.Files
		kind   fault.Kind
		text   string
	}{
		{"missing", sources.Files{Paths: []string{dir + "/gone"}}, fault.Absent, dir + "/gone"},
		{"below a file", sources.Files{Paths: []string{dir + "/file/x"}}, fault.Absent, dir + "/file/x"},
		{"not mounted", sources.Files{Paths: []string{dir + "/file"}, Fstab: fstab}, fault.Absent, "not mounted"},
		{"unknown mode", sources.Files{Paths: []string{dir}, FactsMode: "some"}, fault.Usage, "some"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.source.Now = clock
			_, err := tt.source.Prepare(t.Context(), t.TempDir())
			if fault.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.text) || fault.HintOf(err) == "" {
				t.Errorf("error = %v (%s, hint %q), want %s with %q and a hint", err, fault.KindOf(err), fault.HintOf(err), tt.kind, tt.text)
			}
		})
	}
}

func TestFilesFacts(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"keep/a": "alpha", "keep/b": "", "tmp/c": "gamma", "keep/d.log": "delta", "keep/tmp/e": "epsilon", "keep/f.tmp": "zeta",
	})
	if err := os.Symlink("a", filepath.Join(dir, "keep/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "keep/b"), 0o600); err != nil {
		t.Fatal(err)
	}
	settle()
	facts, part := take(t, &sources.Files{
		Paths: []string{dir}, Exclude: []string{dir + "/tmp", "*.log", "keep/tmp", "!*.tmp"}, FactsMode: sources.ModeFull, Now: clock,
	})
	want := map[string]string{dir + "/keep/a": sum("alpha"), dir + "/keep/b": sum(""), dir + "/keep/f.tmp": sum("zeta")}
	if diff := cmp.Diff(want, sourcetest.Kept(facts, sources.FactSHA256)); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	modes := sourcetest.Kept(facts, sources.FactMode)
	if modes[dir+"/keep/b"] != "-rw-------" || modes[dir+"/keep/a"] != "-rw-r--r--" {
		t.Errorf("modes = %v", modes)
	}
	if n := sourcetest.Kept(facts, sources.FactFiles)[""]; n != "3" {
		t.Errorf("files = %s, want 3", n)
	}
	if len(part.Paths) != 1 || part.Paths[0] != dir || len(part.Exclude) != 4 {
		t.Errorf("part = %+v", part)
	}
}

// The sample is the same for the same seed, another for another, bounded in
// files and bytes, and holds the newest.
func TestFilesSample(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("d%d/f%d", i%7, i)] = strings.Repeat("x", i)
	}
	files["huge"] = strings.Repeat("h", 1<<20)
	write(t, dir, files)
	old := time.Now().Add(-time.Hour)
	for name := range files {
		if name != "d3/f3" {
			if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	settle()
	source := func(seed string) *sources.Files {
		return &sources.Files{Paths: []string{dir}, SampleFiles: 20, SampleBytes: 4000, Seed: seed, Now: clock}
	}
	one, _ := take(t, source("a"))
	again, _ := take(t, source("a"))
	other, _ := take(t, source("b"))
	if diff := cmp.Diff(one, again); diff != "" {
		t.Errorf("same seed (-first +second):\n%s", diff)
	}
	first, second := sourcetest.Kept(one, sources.FactSHA256), sourcetest.Kept(other, sources.FactSHA256)
	if cmp.Equal(first, second) {
		t.Error("another seed chose the same files")
	}
	var bytes int64
	for path := range first {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		bytes += st.Size()
	}
	if len(first) == 0 || len(first) > 20 || bytes > 4000 {
		t.Errorf("sample of %d files, %d bytes", len(first), bytes)
	}
	if first[dir+"/d3/f3"] == "" || second[dir+"/d3/f3"] == "" {
		t.Error("the newest file is not in the sample")
	}
	if how := sourcetest.Kept(one, sources.FactSample)[""]; !strings.Contains(how, "seed=a") || !strings.Contains(how, "of=301") {
		t.Errorf("the choice is recorded as %q", how)
	}
}

func TestFilesSampleOfHugeFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"one": strings.Repeat("x", 5000), "two": strings.Repeat("y", 6000)})
	facts, _ := take(t, &sources.Files{Paths: []string{dir}, SampleBytes: 10, Now: clock})
	if got := sourcetest.Kept(facts, sources.FactSHA256); len(got) != 1 || got[dir+"/one"] == "" {
		t.Errorf("facts = %v, want the smaller file", got)
	}
}

// What changes after Prepare has no fact, however it changes.
func TestFilesChanging(t *testing.T) {
	changes := []struct {
		name string
		do   func(path string) error
	}{
		{"written", func(p string) error { return os.WriteFile(p, []byte("other"), 0o644) }},
		{"same size and time", func(p string) error {
			st, err := os.Stat(p)
			return errors.Join(err, os.WriteFile(p, []byte("ALPHA"), 0o644), os.Chtimes(p, st.ModTime(), st.ModTime()))
		}},
		{"removed", os.Remove},
		{"replaced by an older file", func(p string) error {
			if err := os.WriteFile(p+".new", []byte("alphb"), 0o644); err != nil {
				return err
			}
			old := time.Now().Add(-time.Hour)
			return errors.Join(os.Chtimes(p+".new", old, old), os.Rename(p+".new", p))
		}},
		{"mode", func(p string) error { return os.Chmod(p, 0o600) }},
		{"replaced by a link", func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) }},
		{"replaced by a pipe", func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o644)) }},
	}
	for _, change := range changes {
		t.Run(change.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string]string{"a": "alpha", "b": "beta"})
			p, err := (&sources.Files{Paths: []string{dir}, Now: clock}).Prepare(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			settle()
			if err := change.do(filepath.Join(dir, "a")); err != nil {
				t.Fatal(err)
			}
			facts, err := p.Facts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{dir + "/b": sum("beta")}
			if diff := cmp.Diff(want, sourcetest.Kept(facts, sources.FactSHA256)); diff != "" {
				t.Errorf("digests (-want +got):\n%s", diff)
			}
			if n := sourcetest.Kept(facts, sources.FactFiles)[""]; n != "1" {
				t.Errorf("files = %s, want 1", n)
			}
		})
	}
}

func TestFilesThroughLink(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"real/a": "alpha", "real/x/b": "beta"})
	link := filepath.Join(dir, "link")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	facts, part := take(t, &sources.Files{Paths: []string{link, dir + "/real"}, Exclude: []string{link + "/x"}, FactsMode: sources.ModeFull, Now: clock})
	if diff := cmp.Diff([]string{dir + "/real"}, part.Paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if got := sourcetest.Kept(facts, sources.FactSHA256); len(got) != 1 || got[dir+"/real/a"] == "" {
		t.Errorf("facts = %v", got)
	}
}

func TestFilesEmptyRoot(t *testing.T) {
	dir := t.TempDir()
	facts, _ := take(t, &sources.Files{Paths: []string{dir}, Now: clock})
	if got := sourcetest.Kept(facts, sources.FactSkipped)[dir]; got != "an empty folder" {
		t.Errorf("an empty root is told as %q", got)
	}
}

func TestFullHashesInParallelOnce(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprint(i)] = string(bytes.Repeat([]byte{byte(i)}, 1000*i))
	}
	write(t, dir, files)
	facts, _ := take(t, &sources.Files{Paths: []string{dir}, FactsMode: sources.ModeFull, Now: clock})
	got := sourcetest.Kept(facts, sources.FactSHA256)
	for name, text := range files {
		if got[filepath.Join(dir, name)] != sum(text) {
			t.Errorf("digest of %s differs", name)
		}
	}
}

// As root, the thread gives up its right to read everything and ends with the
// test.
func TestFilesDenied(t *testing.T) {
	dir := openDir(t)
	write(t, dir, map[string]string{"closed/a": "alpha", "file": "beta"})
	for _, path := range []string{"closed", "file"} {
		if err := os.Chmod(filepath.Join(dir, path), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(dir+"/closed", 0o700) })
	for _, name := range []string{"closed", "file"} {
		errs := make(chan error)
		go func() {
			runtime.LockOSThread()
			if os.Geteuid() == 0 {
				_ = unix.Setfsuid(65534)
			}
			_, err := (&sources.Files{Paths: []string{filepath.Join(dir, name)}, Now: clock}).Prepare(t.Context(), "/")
			errs <- err
		}()
		if err := <-errs; fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), name) || fault.HintOf(err) == "" {
			t.Errorf("%s: error = %v (%s)", name, err, fault.KindOf(err))
		}
	}
}

// openDir is a temporary folder that every user may pass through.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "saoluu-open-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
