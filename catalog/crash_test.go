package catalog_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/evidence"
	"saoluu/internal/fault"
)

// appendEnv names the catalog that a helper process appends to until it is killed.
const appendEnv = "SAOLUU_TEST_APPEND"

func TestMain(m *testing.M) {
	if path := os.Getenv(appendEnv); path != "" {
		appendForEver(path)
	}
	os.Exit(m.Run())
}

// appendForEver writes three entries at a time and says so after each Append.
func appendForEver(path string) {
	ctx := context.Background()
	c, err := catalog.Open(ctx, catalog.Options{Path: path, Now: time.Now, Site: "MAU"})
	for i := 0; err == nil; i++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), i)
		now := time.Now()
		var entries []catalog.Entry
		entries, err = c.Append(ctx, catalog.RunStarted{Run: id, Job: "a"}, good(id, now, "nas"), tested("t"+id, id, catalog.VerdictPassed, now))
		if err == nil {
			fmt.Println(entries[2].Seq + 1)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledWhileAppending(t *testing.T) {
	f := newCatalog(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 25 {
		said := killed(t, self, f.path)
		size, err := f.TreeSize(f.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if size < said || (size-1)%3 != 0 {
			t.Fatalf("the ledger has %d entries, the killed process had said %d", size, said)
		}
	}
	f.clock.Set(time.Now())
	f.add(catalog.Beat{})
	f.verified()
	if size, err := f.TreeSize(f.ctx); err != nil || size < 100 {
		t.Errorf("only %d entries were written, %v", size, err)
	}
}

// killed runs a helper, kills it at some instant, and returns what it said last.
func killed(t *testing.T, self, path string) int64 {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := os.StartProcess(self, []string{self}, &os.ProcAttr{Env: append(os.Environ(), appendEnv+"="+path), Files: []*os.File{nil, w, os.Stderr}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	var said int64
	deadline := time.Duration(0)
	for lines.Scan() {
		if said, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
			t.Fatal(err)
		}
		if deadline == 0 { // it is at work: kill it soon
			deadline = time.Duration(rand.IntN(20000)) * time.Microsecond
			go func() {
				time.Sleep(deadline)
				p.Kill()
			}()
		}
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return said
}

// mountSmall returns a folder of its own small file system.
func mountSmall(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2M"); err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatalf("mount: %v", err)
		}
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestDiskFull(t *testing.T) {
	f := newCatalog(t)
	dir := mountSmall(t)
	f.path = filepath.Join(dir, "catalog.db")
	c, err := catalog.Create(f.ctx, f.options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f.Catalog = c
	f.add(catalog.SiteOpened{Name: "x", Code: "MAU", Key: f.signer.VerifierKey()})
	var written int64 = 1
	for i := range 100000 {
		entries, err := f.Append(f.ctx, good(fmt.Sprint(i), day, "nas"))
		if err != nil {
			if fault.KindOf(err) != fault.NoSpace || fault.HintOf(err) == "" {
				t.Fatalf("error %v of kind %q", err, fault.KindOf(err))
			}
			break
		}
		written = entries[0].Seq + 1
	}
	for range 3 { // it stays an orderly refusal
		if _, err := f.Append(f.ctx, good("more", day, "nas")); fault.KindOf(err) != fault.NoSpace {
			t.Fatalf("once more: %v", err)
		}
	}
	if size, err := f.TreeSize(f.ctx); err != nil || size != written {
		t.Errorf("%d entries are there, %d were written, %v", size, written, err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=32M"); err != nil {
		t.Fatal(err)
	}
	f.add(good("after", day, "nas"))
	f.verified()
}

func TestReadOnlyFileSystem(t *testing.T) {
	f := newCatalog(t)
	dir := mountSmall(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.path = filepath.Join(dir, "catalog.db")
	if err := os.WriteFile(f.path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	ro, err := catalog.OpenReadOnly(f.ctx, f.options())
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if size, err := ro.TreeSize(f.ctx); err != nil || size != 1 {
		t.Errorf("size %d, %v", size, err)
	}
	rw, err := catalog.Open(f.ctx, f.options())
	if err == nil {
		defer rw.Close()
		_, err = rw.Append(f.ctx, catalog.Beat{})
	}
	if kind := fault.KindOf(err); kind != fault.Denied && kind != fault.Unknown || fault.HintOf(err) == "" {
		t.Errorf("append: %v of kind %q", err, kind)
	}
	other := f.options()
	other.Path = filepath.Join(dir, "other.db")
	if _, err := catalog.Create(f.ctx, other); err == nil {
		t.Error("a catalog was made on a read-only file system")
	}
}

// filled is a closed catalog of some hundred entries.
func filled(t *testing.T) fixture {
	t.Helper()
	f := newCatalog(t)
	id, err := f.PutFacts(f.ctx, []byte("facts"))
	if err != nil || id == "" {
		t.Fatal(err)
	}
	for i := range 300 {
		f.add(good(fmt.Sprint(i), day.Add(time.Duration(i)*time.Hour), "nas"))
		if i == 100 || i == 299 {
			if _, err := f.Checkpoint(f.ctx, f.signer); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDamagedFileIsSaved(t *testing.T) {
	f := filled(t)
	whole, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	scribble := func(from, to int) []byte {
		data := append([]byte(nil), whole...)
		for i := from; i < to; i++ {
			data[i] = byte(i * 7)
		}
		return data
	}
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"truncated", whole[:len(whole)/2]},
		{"scribbled", scribble(len(whole)/2, len(whole)/2+20000)},
		{"scribbled at the end", scribble(len(whole)-9000, len(whole))},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := f
			f.t, f.ctx, f.path = t, t.Context(), filepath.Join(t.TempDir(), "catalog.db")
			if err := os.WriteFile(f.path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			saved, err := catalog.RebuildFile(f.ctx, f.options(), nil)
			if err != nil {
				t.Fatalf("%v (hint %q)", err, fault.HintOf(err))
			}
			t.Logf("%+v", saved)
			if f.Catalog, err = catalog.Open(f.ctx, f.options()); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var problems []string
			result, err := f.Verify(f.ctx, func(p catalog.Problem) { problems = append(problems, p.Where+": "+p.What) })
			if err != nil || result.Entries != saved.Entries {
				t.Fatalf("verify: %+v, %v", result, err)
			}
			if saved.Entries == 301 && len(problems) != 0 || saved.Entries < 301 && !strings.Contains(strings.Join(problems, "\n"), "the ledger has only") {
				t.Errorf("with %d entries: %q", saved.Entries, problems)
			}
			if saved.Whole != (saved.Entries == 301) || saved.Whole && saved.Lost != 0 {
				t.Errorf("whole or not: %+v", saved)
			}
			if saved.Damaged != "" {
				if left, err := os.ReadFile(saved.Damaged); err != nil || len(left) != len(c.data) {
					t.Errorf("the damaged file: %d bytes, %v", len(left), err)
				}
			}
			f.add(catalog.Beat{})
		})
	}
	t.Run("whole", func(t *testing.T) {
		saved, err := catalog.RebuildFile(t.Context(), f.options(), nil)
		if err != nil || saved != (catalog.Rebuilt{Entries: 301, Whole: true}) {
			t.Errorf("%+v, %v", saved, err)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		o := f.options()
		o.Path = filepath.Join(t.TempDir(), "catalog.db")
		if err := os.WriteFile(o.Path, []byte(strings.Repeat("x", 9000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.RebuildFile(t.Context(), o, nil); fault.KindOf(err) != fault.Damaged || !strings.Contains(fault.HintOf(err), "from-repositories") {
			t.Errorf("%v (hint %q)", err, fault.HintOf(err))
		}
		if left, _ := filepath.Glob(o.Path + "*"); len(left) != 1 {
			t.Errorf("left behind: %q", left)
		}
	})
}

// tamper changes the file behind the catalog's back.
func (f fixture) tamper(t *testing.T, statement string, args ...any) {
	t.Helper()
	db := openSQL(t, f.path)
	defer db.Close()
	if result, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	} else if n, err := result.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%s changed nothing, %v", statement, err)
	}
}

func TestVerifyFindsTampering(t *testing.T) {
	origin := filled(t)
	whole, err := os.ReadFile(origin.path)
	if err != nil {
		t.Fatal(err)
	}
	forged := evidence.FormatEntry(7, day, "beat", []byte("{}"))
	stranger, err := evidence.NewSigner("MAU")
	if err != nil {
		t.Fatal(err)
	}
	alien, err := evidence.SignCheckpoint(evidence.Checkpoint{Origin: "saoluu/MAU", Size: 50}, stranger)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, statement string
		args            []any
		want            []string
	}{
		{"entry changed", `UPDATE ledger SET entry=? WHERE seq=7`, []any{forged}, []string{"entry 7: its hashes", "checkpoint of size 102: the entries before it"}},
		{"not canonical", `UPDATE ledger SET entry=CAST(replace(entry, '"seq":7,', '"seq": 7,') AS BLOB) WHERE seq=7`, nil, []string{"entry 7: entry is not in canonical form"}},
		{"entry removed", `DELETE FROM ledger WHERE seq=7`, nil, []string{"number 7 is missing", "checkpoint of size 102"}},
		{"last entry removed", `DELETE FROM ledger WHERE seq=300`, nil, []string{"checkpoint of size 301: the ledger has only 300"}},
		{"hash changed", `UPDATE ledger SET hashes=zeroblob(64) WHERE seq=7`, nil, []string{"entry 7: its hashes"}},
		{"time changed", `UPDATE ledger SET at=at+1 WHERE seq=7`, nil, []string{"entry 7: its number, time or kind"}},
		{"kind changed", `UPDATE ledger SET kind=26 WHERE seq=7`, nil, []string{"entry 7: its number, time or kind"}},
		{"checkpoint of another key", `UPDATE checkpoints SET note=? WHERE size=102`, []any{alien}, []string{"checkpoint of size 102:"}},
		{"checkpoint swapped", `UPDATE checkpoints SET note=(SELECT note FROM checkpoints WHERE size=301) WHERE size=102`, nil, []string{"checkpoint of size 102: it is about size 301"}},
		{"row changed", `UPDATE runs SET state=1, invalidated=5 WHERE run='9'`, nil, []string{"table runs: row run=9: invalidated is 5, the ledger says 0"}},
		{"row added", `INSERT INTO slots VALUES(1,1,1,1,1,1,'',1,0,0)`, nil, []string{"table slots: it has more rows"}},
		{"row removed", `DELETE FROM runs WHERE run='99'`, nil, []string{"table runs: it has fewer rows"}},
		{"copy made up", `UPDATE runs SET copies=replace(copies, 'nas', 'usb') WHERE run='99'`, nil, []string{"table runs: row run=99: copies is"}},
		{"rows changed", `UPDATE runs SET held=1`, nil, []string{"table runs: more differences"}},
		{"posture greened", `UPDATE job_state SET failures=9`, nil, []string{"table job_state"}},
		{"facts changed", `UPDATE facts SET data=zeroblob(5)`, nil, []string{"facts "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := origin
			f.t, f.ctx, f.path = t, t.Context(), filepath.Join(t.TempDir(), "catalog.db")
			if err := os.WriteFile(f.path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			f.tamper(t, c.statement, c.args...)
			if f.Catalog, err = catalog.OpenReadOnly(f.ctx, f.options()); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var problems []string
			result, err := f.Verify(f.ctx, func(p catalog.Problem) { problems = append(problems, p.Where+": "+p.What) })
			if err != nil || result.Problems != len(problems) {
				t.Fatalf("%+v, %v", result, err)
			}
			for _, want := range c.want {
				if !strings.Contains(strings.Join(problems, "\n"), want) {
					t.Errorf("%q is missing in %q", want, problems)
				}
			}
		})
	}
}

func TestProofs(t *testing.T) {
	f := newCatalog(t)
	var checkpoints [][]byte
	for i := range 40 {
		f.add(good(fmt.Sprint(i), day, "nas"))
		signed, err := f.Checkpoint(f.ctx, f.signer)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := f.Checkpoint(f.ctx, f.signer); err != nil || string(again) != string(signed) {
			t.Errorf("a second checkpoint of one size: %s, %v", again, err)
		}
		checkpoints = append(checkpoints, signed)
	}
	stored, err := f.Checkpoints(f.ctx)
	if err != nil || len(stored) != 40 || string(stored[0]) != string(checkpoints[0]) {
		t.Errorf("%d checkpoints are stored, %v", len(stored), err)
	}
	last, err := evidence.VerifyCheckpoint(checkpoints[39], f.signer.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, signed := range checkpoints {
		c, err := evidence.VerifyCheckpoint(signed, f.signer.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		growth, err := f.ProveConsistency(f.ctx, c.Size, last.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := evidence.VerifyGrowth(c, last, growth); err != nil {
			t.Error(err)
		}
	}
	for e, err := range f.Entries(f.ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		signed, err := f.CheckpointAt(f.ctx, e.Seq)
		if err != nil {
			t.Fatal(err)
		}
		c, err := evidence.ReadCheckpoint(signed)
		if err != nil {
			t.Fatal(err)
		}
		hashes, err := f.ProveInclusion(f.ctx, e.Seq, c.Size)
		if err != nil {
			t.Fatal(err)
		}
		proof := evidence.FormatProof(evidence.Proof{Index: e.Seq, Hashes: hashes, Checkpoint: signed})
		if _, _, err := evidence.VerifyEntry(e.JSON, proof, f.signer.VerifierKey()); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.ProveInclusion(f.ctx, 50, 41); err == nil {
		t.Error("an entry that is not there was proved")
	}
	f.add(catalog.Beat{})
	if _, err := f.CheckpointAt(f.ctx, 41); err == nil {
		t.Error("a checkpoint covers what came after it")
	}
	f.verified()
}
