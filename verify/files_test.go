package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

func ptr[T any](v T) *T { return &v }

// newTree makes a tree with odd names and links that lead out of it.
func newTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"văn bản/công văn.txt": "nội dung", "a[1]*?.txt": "glob", "back\\slash": "b", "empty": "", "l\xe0m": "latin"}
	for i := range 30 {
		files[fmt.Sprintf("d%d/f%d", i%3, i)] = strings.Repeat(fmt.Sprint(i), 100)
	}
	write(t, dir, files)
	links := map[string]string{"out": "/etc/passwd", "up": "../../../../../../../../../etc/passwd", "in": "văn bản", "absolute": dir + "/empty", "loop": "loop"}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (r *rig) files(t *testing.T, dir string) Request {
	t.Helper()
	return r.backup(t, "files", &sources.Files{Paths: []string{dir}, FactsMode: sources.ModeFull, Now: backupTime})
}

func TestFilesPass(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := newTree(t)
	q := r.files(t, dir)
	q.MaxAge, q.RTO = 2*time.Hour, time.Hour
	var shown int64
	q.OnProgress = func(done, _ int64, _ time.Duration) { shown = done }
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if !res.Full || res.RestoredBytes == 0 || shown < 0 {
		t.Errorf("full %v, %d bytes", res.Full, res.RestoredBytes)
	}
	if c := res.Control; c == nil || !c.Caught || c.By != "facts: sha256" || c.Damage == "" {
		t.Errorf("control = %+v", c)
	}
	for _, a := range res.Assertions {
		if strings.Contains(fmt.Sprint(a), "văn") || strings.Contains(fmt.Sprint(a), dir) {
			t.Errorf("assertion names a file: %+v", a)
		}
	}
}

func TestFilesSample(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := newTree(t)
	q := r.backup(t, "files", &sources.Files{Paths: []string{dir}, SampleFiles: 12, Now: backupTime})
	q.Sample = true
	q.Checks = []Check{{Exists: dir + "/in/công văn.txt"}, {Exists: dir + "/a[1]*?.txt"}}
	res := r.test(t, q)
	// The link "in" is not among what was restored, so its check must fail.
	expect(t, res, Failed, LevelAsserted, "check 1")
	q.Checks = q.Checks[1:]
	res = r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if res.Full || res.Control == nil || !res.Control.Caught {
		t.Errorf("full %v, control %+v", res.Full, res.Control)
	}
	q.Checks = []Check{{MinFiles: ptr(35)}}
	if res = r.test(t, q); !res.Full {
		t.Error("a check that needs all files was put to a sample")
	}
	expect(t, res, Passed, LevelAsserted)
}

// Damage of every kind is found and never called an error.
func TestFilesDamage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := newTree(t)
	good := r.files(t, dir)
	tests := []struct {
		name   string
		change func(q *Request)
		level  string
		broken string
	}{
		{"another content", func(q *Request) { setFact(q, sources.FactSHA256, dir+"/d0/f0", strings.Repeat("0", 64)) }, LevelAsserted, "facts: sha256"},
		{"another mode", func(q *Request) { setFact(q, sources.FactMode, dir+"/d0/f0", "-rwxrwxrwx") }, LevelAsserted, "facts: mode"},
		{"a file is missing", func(q *Request) {
			q.Facts = append(q.Facts, sources.Fact{Part: "tree", Kind: sources.FactSHA256, Of: dir + "/gone", Value: strings.Repeat("0", 64)})
		}, LevelAsserted, "facts: sha256"},
		{"a link in the place of a file", func(q *Request) {
			q.Facts = append(q.Facts, sources.Fact{Part: "tree", Kind: sources.FactSHA256, Of: dir + "/out", Value: passwdSum(t)})
		}, LevelAsserted, "facts: sha256"},
		{"too few files", func(q *Request) { setFact(q, sources.FactFiles, "", "36") }, LevelAsserted, "facts: files"},
		{"no such snapshot", func(q *Request) { q.Parts[0].Snapshot = strings.Repeat("ab", 32) }, "", "restore"},
		{"too old", func(q *Request) { q.MaxAge = time.Minute }, LevelAsserted, "freshness"},
		{"from the future", func(q *Request) { q.MaxAge, q.ConsistentAt = time.Hour, testTime().Add(time.Hour) }, LevelAsserted, "freshness"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := good
			q.Facts, q.Parts = append([]sources.Fact{}, good.Facts...), append([]PartCopy{}, good.Parts...)
			tt.change(&q)
			res := r.test(t, q)
			expect(t, res, Failed, tt.level, tt.broken)
			if res.Control != nil {
				t.Error("a control on data that failed already")
			}
		})
	}
	t.Run("damaged repository", func(t *testing.T) {
		spoilPacks(t, r.repo.URL)
		expect(t, r.test(t, good), Failed, "", "restore")
	})
}

func setFact(q *Request, kind, of, value string) {
	for i, f := range q.Facts {
		if f.Kind == kind && f.Of == of {
			q.Facts[i].Value = value
			return
		}
	}
	panic("no such fact: " + of)
}

func passwdSum(t *testing.T) string {
	t.Helper()
	sum, err := fileSum(t.Context(), "/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// spoilPacks changes a byte in the middle of every pack.
func spoilPacks(t *testing.T, repo string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(repo, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		return flip(path, 100)
	})
	if err != nil || n == 0 {
		t.Fatalf("%d packs spoiled, %v", n, err)
	}
}

func TestFilesChecks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := newTree(t)
	q := r.files(t, dir)
	q.Facts = nil
	sum, err := fileSum(t.Context(), dir+"/văn bản/công văn.txt")
	if err != nil {
		t.Fatal(err)
	}
	q.Checks = []Check{
		{Exists: dir + "/văn bản"}, {Exists: dir + "/in/công văn.txt"}, {Exists: dir + "/absolute"}, {MinFiles: ptr(35)},
		{SHA256Path: dir + "/in/công văn.txt", SHA256Hex: strings.ToUpper(sum)},
	}
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if res.Control == nil || !res.Control.Caught || res.Control.By != "check 1" {
		t.Errorf("control = %+v", res.Control)
	}
	// What a link leads to on this host is not what was restored.
	q.Checks = []Check{
		{Exists: dir + "/gone", Name: "kept"}, {Exists: dir + "/out"}, {Exists: dir + "/up"}, {Exists: dir + "/loop"}, {Exists: "/etc/passwd"},
		{SHA256Path: dir + "/out", SHA256Hex: passwdSum(t)}, {SHA256Path: dir + "/up", SHA256Hex: passwdSum(t)},
		{SHA256Path: dir + "/empty", SHA256Hex: sum}, {SHA256Path: dir + "/d0", SHA256Hex: sum}, {MinFiles: ptr(36)}, {Exists: dir + "/../../../../../etc/passwd"},
	}
	res = r.test(t, q)
	expect(t, res, Failed, LevelAsserted, "kept", "check 2", "check 3", "check 4", "check 5", "check 6", "check 7", "check 8", "check 9", "check 10", "check 11")
}

// Without proof there is no pass.
func TestNothingAsserted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := newTree(t)
	q := r.files(t, dir)
	q.Facts = nil
	q.MaxAge = 24 * time.Hour
	res := r.test(t, q)
	expect(t, res, NotConfigured, LevelRestored, "data")
	if res.Control != nil {
		t.Error("a control without a pass")
	}
	empty := t.TempDir()
	res = r.test(t, r.backup(t, "files", &sources.Files{Paths: []string{empty}, Now: backupTime}))
	expect(t, res, NotConfigured, LevelRestored, "data")
	onlyEmptyFiles := t.TempDir()
	write(t, onlyEmptyFiles, map[string]string{"a": "", "b": ""})
	res = r.test(t, r.files(t, onlyEmptyFiles))
	if res.Verdict != Unknown || res.Control == nil || res.Control.Caught {
		t.Errorf("files without a byte: verdict %s, control %+v; nothing can be damaged, so nothing is proved", res.Verdict, res.Control)
	}
}

// A tree that is written while it is saved is not called damaged.
func TestLiveTree(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := newTree(t)
	source := &sources.Files{Paths: []string{dir}, FactsMode: sources.ModeFull, Now: backupTime}
	p, err := source.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"d0/f0": "changed before it was read", "new": "made before it was read"})
	part := r.save(t, p.Parts[0])
	write(t, dir, map[string]string{"d0/f3": "changed after it was read", "newer": "made after it was read"})
	if err := os.Remove(dir + "/d1/f1"); err != nil {
		t.Fatal(err)
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	res := r.test(t, Request{Test: "t", Source: "files", Repo: r.repo, Parts: []PartCopy{part}, Facts: facts, ConsistentAt: backupTime()})
	expect(t, res, Passed, LevelAsserted)
	if got := sourcetest.Kept(facts, sources.FactFiles)[""]; got != "32" {
		t.Errorf("files = %s, want 35 less the three that changed", got)
	}
}

// What could not be looked at is an error of its own kind, and nothing is left.
func TestCouldNotLook(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q := r.files(t, newTree(t))
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name   string
		ctx    context.Context
		change func(q *Request, r *Tester)
		kind   fault.Kind
	}{
		{"no space", t.Context(), func(q *Request, _ *Tester) { q.Parts[0].Bytes = 1 << 60 }, fault.NoSpace},
		{"wrong password", t.Context(), func(q *Request, _ *Tester) { q.Repo.PasswordFile = key }, fault.WrongKey},
		{"no repository", t.Context(), func(q *Request, _ *Tester) { q.Repo.URL += "x" }, fault.NoRepository},
		{"cancelled", cancelled, func(*Request, *Tester) {}, fault.Cancelled},
		{"no parts", t.Context(), func(q *Request, _ *Tester) { q.Parts = nil }, fault.Unknown},
		{"no scratch", t.Context(), func(_ *Request, r *Tester) { r.Scratch = "/proc/none" }, fault.Unknown},
		{"SQL to files", t.Context(), func(q *Request, _ *Tester) { q.Checks = []Check{{SQL: "SELECT 1"}} }, fault.Usage},
		{"an empty check", t.Context(), func(q *Request, _ *Tester) { q.Checks = []Check{{}} }, fault.Usage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := q
			q.Parts = append([]PartCopy{}, q.Parts...)
			tester := *r.tester
			tt.change(&q, &tester)
			res, err := tester.Test(tt.ctx, q)
			if fault.KindOf(err) != tt.kind {
				t.Errorf("error = %v (%s), want %s", err, fault.KindOf(err), tt.kind)
			}
			if res.Verdict == Passed || res.Verdict == Failed {
				t.Errorf("verdict = %s", res.Verdict)
			}
		})
	}
}

// A full disk in the middle of a restore is not damage.
func TestScratchFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	r := newRig(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"big": strings.Repeat("0123456789abcdef", 1<<18)})
	q := r.files(t, dir)
	small := t.TempDir()
	if err := syscall.Mount("none", small, "tmpfs", 0, "size=3m"); err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	}()
	x := &examination{tester: r.tester, request: q, sandbox: &sandbox{data: small}}
	_, err := x.fetch(t.Context())
	var found *finding
	if errors.As(err, &found) || fault.KindOf(err) != fault.NoSpace {
		t.Errorf("error = %v (%s), want %s", err, fault.KindOf(err), fault.NoSpace)
	}
}
