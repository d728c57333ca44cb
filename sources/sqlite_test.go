package sources_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// openDB opens a database file for writing.
func openDB(t *testing.T, path, journal string) *sql.DB {
	t.Helper()
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(10000)&_pragma=synchronous(off)&_pragma=journal_mode(" + journal + ")"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execDB(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// makeDB makes a closed database of the statements.
func makeDB(t *testing.T, path string, statements ...string) {
	t.Helper()
	db := openDB(t, path, "delete")
	execDB(t, db, statements...)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSQLiteSuite(t *testing.T) {
	dir := t.TempDir()
	makeDB(t, filepath.Join(dir, "văn bản.db"), "CREATE TABLE t (a)", "INSERT INTO t VALUES (1), ('hai')")
	makeDB(t, filepath.Join(dir, "b.db"), "CREATE TABLE t (a)", "INSERT INTO t VALUES (x'00')")
	if err := os.WriteFile(filepath.Join(dir, "no.txt"), []byte("this is no database at all, only text"), 0o600); err != nil {
		t.Fatal(err)
	}
	source := func(path string) func(*testing.T) sources.Source {
		return func(*testing.T) sources.Source { return &sources.SQLite{Path: path, Now: clock} }
	}
	broken := map[string]func(*testing.T) sources.Source{
		"no match": source(dir + "/*.sqlite"), "missing": source(dir + "/c.db"), "no database": source(dir + "/no.txt"),
		"one of several is none": source(dir + "/*"), "folder": source(dir), "relative": source("b.db"),
	}
	t.Run("one", func(t *testing.T) {
		sourcetest.Run(t, sourcetest.Subject{New: source(dir + "/b.db"), Broken: broken})
	})
	t.Run("several", func(t *testing.T) { sourcetest.Run(t, sourcetest.Subject{New: source(dir + "/*.db")}) })
}

func TestSQLiteErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged")
	if err := os.WriteFile(damaged, append([]byte("SQLite format 3\x00"), bytes.Repeat([]byte{0x55}, 8000)...), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path string
		kind fault.Kind
		text string
	}{
		{dir + "/*.db", fault.Absent, "no such file"},
		{dir + "/text", fault.Failed, "not an SQLite database"},
		{damaged, fault.Damaged, "damaged"},
	}
	for _, tt := range tests {
		_, err := (&sources.SQLite{Path: tt.path, Now: clock}).Prepare(t.Context(), t.TempDir())
		if fault.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.text) || fault.HintOf(err) == "" {
			t.Errorf("%s: error = %v (%s), want %s with %q", tt.path, err, fault.KindOf(err), tt.kind, tt.text)
		}
	}
}

func TestSQLiteParts(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
		makeDB(t, filepath.Join(dir, sub, "app.db"), "CREATE TABLE t (x)")
	}
	names := func() (all []string) {
		p, err := (&sources.SQLite{Path: dir + "/*/app.db", Now: clock}).Prepare(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Release()
		for _, part := range p.Parts {
			if strings.Contains(part.Name, "app") {
				t.Errorf("part %q shows a file name", part.Name)
			}
			all = append(all, part.Name+" "+part.Filename)
		}
		return all
	}
	first := names()
	if len(first) != 2 || first[0] == first[1] {
		t.Errorf("parts = %q", first)
	}
	if diff := cmp.Diff(first, names()); diff != "" {
		t.Errorf("parts change their names:\n%s", diff)
	}
}

// Copies of a database that is written all the time hold one instant each: every
// transaction writes the same number to two tables.
func TestSQLiteUnderWrites(t *testing.T) {
	for _, journal := range []string{"wal", "delete"} {
		t.Run(journal, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "busy.db")
			db := openDB(t, path, journal)
			execDB(t, db, "CREATE TABLE a (n INTEGER PRIMARY KEY, pad)", "CREATE TABLE b (n INTEGER PRIMARY KEY, pad)",
				"CREATE TABLE c AS SELECT randomblob(20000000)") // so that a copy takes several steps
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			written := make(chan int, 1)
			writers.Go(func() { written <- writeBoth(ctx, db) })
			for range 3 {
				began := time.Now()
				p, err := (&sources.SQLite{Path: path, Now: clock}).Prepare(t.Context(), t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("copied in %s", time.Since(began))
				checkBoth(t, p)
			}
			stop()
			writers.Wait()
			if n := <-written; n < 20 {
				t.Errorf("only %d transactions were written meanwhile", n)
			}
		})
	}
}

func writeBoth(ctx context.Context, db *sql.DB) (n int) {
	for ctx.Err() == nil {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			continue
		}
		pad := strings.Repeat("x", 2000)
		_, err1 := tx.ExecContext(ctx, "INSERT INTO a (pad) VALUES (?)", pad)
		_, err2 := tx.ExecContext(ctx, "INSERT INTO b (pad) VALUES (?)", pad)
		if err1 == nil && err2 == nil && tx.Commit() == nil {
			n++
		} else {
			_ = tx.Rollback()
		}
	}
	return n
}

func checkBoth(t *testing.T, p sources.Payload) {
	t.Helper()
	defer p.Release()
	before, err := os.ReadFile(p.Parts[0].File)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := sourcetest.Kept(facts, sources.FactRows)
	if rows["a"] != rows["b"] {
		t.Errorf("the copy is of two instants: %v", rows)
	}
	if got := sourcetest.Kept(facts, sources.FactIntegrity)[""]; got != "ok" {
		t.Errorf("integrity = %s", got)
	}
	after, err := os.ReadFile(p.Parts[0].File)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the copy changed after Prepare (%v)", err)
	}
	if left, _ := filepath.Glob(p.Parts[0].File + "-*"); len(left) > 0 {
		t.Errorf("left beside the copy: %q", left)
	}
}

var oddTables = []string{
	`CREATE TABLE "bảng ""trích"" dẫn" (a TEXT, "cột thứ 2" DATE)`,
	`INSERT INTO "bảng ""trích"" dẫn" VALUES ('1', '2026-01-02'), ('1', '2026-01-02 00:00:00'), (NULL, x'00ff')`,
	`CREATE TABLE without (k TEXT PRIMARY KEY, v REAL) WITHOUT ROWID`,
	`INSERT INTO without VALUES ('a', 1.5), ('b', 9007199254740993)`,
	`CREATE VIRTUAL TABLE search USING fts5 (body)`,
	`INSERT INTO search VALUES ('văn bản đến'), ('công văn')`,
	`CREATE TABLE made (a INTEGER, b AS (a * 2), c AS (a * 3) STORED)`,
	`INSERT INTO made VALUES (1), (2)`,
	`CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT)`,
	`INSERT INTO counted DEFAULT VALUES`,
	`CREATE TABLE empty (a)`,
	`CREATE VIEW seen AS SELECT * FROM made`,
}

func TestSQLiteFacts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd ? name.db")
	makeDB(t, path, oddTables...)
	facts, err := sources.SQLiteFacts(t.Context(), path, sources.FactsPlan{Mode: sources.ModeFull})
	if err != nil {
		t.Fatal(err)
	}
	rows := sourcetest.Kept(facts, sources.FactRows)
	for table, want := range map[string]string{`bảng "trích" dẫn`: "3", "without": "2", "made": "2", "counted": "1", "empty": "0", "search_content": "2", "sqlite_sequence": "1"} {
		if rows[table] != want {
			t.Errorf("rows of %s = %q, want %s", table, rows[table], want)
		}
	}
	if _, there := rows["seen"]; there || rows["search"] != "" {
		t.Errorf("views and virtual tables have rows of their own: %v", rows)
	}
	if skipped := sourcetest.Kept(facts, sources.FactSkipped); len(skipped) > 0 {
		t.Errorf("skipped: %v", skipped)
	}
	counts, err := sources.SQLiteFacts(t.Context(), path, sources.FactsPlan{Mode: sources.ModeCounts})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rows, sourcetest.Kept(counts, sources.FactRows)); diff != "" {
		t.Errorf("counts differ between the modes:\n%s", diff)
	}
	if len(sourcetest.Kept(counts, sources.FactContent)) > 0 {
		t.Error("mode counts took the content")
	}
}

// Every single change shows in the facts; another order of rows does not.
func TestSQLiteFactsSeeChanges(t *testing.T) {
	dir := t.TempDir()
	base := append([]string{"CREATE TABLE t (d DATE, n)", "INSERT INTO t VALUES ('2026-01-02', 1), ('2026-01-03', 2)"}, oddTables...)
	facts := func(name string, more ...string) []sources.Fact {
		path := filepath.Join(dir, name)
		makeDB(t, path, append(base[:len(base):len(base)], more...)...)
		got, err := sources.SQLiteFacts(t.Context(), path, sources.FactsPlan{Mode: sources.ModeFull})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := facts("base")
	same := facts("same", "DELETE FROM t", "INSERT INTO t VALUES ('2026-01-03', 2), ('2026-01-02', 1)")
	if broken := brokenKinds(want, same); len(broken) > 0 {
		t.Errorf("another order of rows breaks %v", broken)
	}
	for i, change := range []string{
		"DELETE FROM t WHERE n = 1", "UPDATE t SET n = '1' WHERE n = 1", "UPDATE t SET n = 1.0 WHERE n = 1",
		"UPDATE t SET d = '2026-01-02 00:00:00' WHERE n = 1", "UPDATE t SET n = NULL WHERE n = 1", "UPDATE t SET n = 3 - n",
		"INSERT INTO empty VALUES (NULL)", "DROP TABLE empty", "CREATE INDEX i ON t (n)", "UPDATE without SET v = 9007199254740994 WHERE k = 'b'",
		"DELETE FROM search WHERE rowid = 1", "UPDATE t SET d = CAST(d AS BLOB) WHERE n = 1",
	} {
		got := facts("change"+strconv.Itoa(i), change)
		if len(brokenKinds(want, got)) == 0 {
			t.Errorf("%s: not noticed", change)
		}
	}
}

func brokenKinds(want, got []sources.Fact) (kinds []string) {
	for _, tally := range sources.Compare(want, got) {
		if tally.Held != tally.Of {
			kinds = append(kinds, tally.Kind)
		}
	}
	return kinds
}

// A collation of the application's must not make a healthy database look damaged.
func TestSQLiteUnknownCollation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	makeDB(t, path, "CREATE TABLE t (a TEXT)", "INSERT INTO t VALUES ('x')", "PRAGMA writable_schema = on",
		"UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a TEXT COLLATE TIENGVIET)' WHERE name = 't'")
	facts, err := sources.SQLiteFacts(t.Context(), path, sources.FactsPlan{Mode: sources.ModeFull})
	if err != nil {
		t.Fatal(err)
	}
	if got := sourcetest.Kept(facts, sources.FactRows)["t"]; got != "1" {
		t.Errorf("rows = %q; facts %v", got, facts)
	}
	if broken := brokenKinds(facts, facts); len(broken) > 0 {
		t.Errorf("broken: %v", broken)
	}
}

// As a user who may read the database and not write beside it, which is what the
// service is: whether or not somebody has it open.
func TestSQLiteReadOnly(t *testing.T) {
	dir, scratch := openDir(t), openDir(t)
	if err := os.Chmod(scratch, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.db")
	db := openDB(t, path, "wal")
	execDB(t, db, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	try := func(rows string) {
		t.Helper()
		type result struct {
			p   sources.Payload
			err error
		}
		results := make(chan result)
		go func() {
			runtime.LockOSThread() // the thread ends with its rights given up
			if os.Geteuid() == 0 {
				_ = unix.Setfsuid(65534)
			}
			p, err := (&sources.SQLite{Path: path, Now: clock}).Prepare(t.Context(), scratch)
			results <- result{p, err}
		}()
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		facts, err := r.p.Facts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := sourcetest.Kept(facts, sources.FactRows)["t"]; got != rows {
			t.Errorf("rows = %s, want %s", got, rows)
		}
		if err := r.p.Release(); err != nil {
			t.Error(err)
		}
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	try("1")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, path, "wal")
	execDB(t, db, "INSERT INTO t VALUES (2)")
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	try("2")
	_ = os.Chmod(dir, 0o755)
}

// A damaged database is copied as it is, and told: its backup is not good.
func TestSQLiteDamagedSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDB(t, path, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)", "CREATE INDEX i ON t (b)", "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
		"PRAGMA writable_schema = on", "DELETE FROM sqlite_schema WHERE name = 'i'")
	p, err := (&sources.SQLite{Path: path, Now: clock}).Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	if _, err := p.Facts(t.Context()); fault.KindOf(err) != fault.Damaged || fault.HintOf(err) == "" {
		t.Errorf("error = %v (%s)", err, fault.KindOf(err))
	}
}
