package verify

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// newDatabase makes an SQLite database of the statements.
func newDatabase(t *testing.T, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "văn bản.db")
	db, err := openDatabase(path, url.Values{"_pragma": {"journal_mode(wal)"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

var letters = []string{
	`CREATE TABLE "văn bản" (id INTEGER PRIMARY KEY, ngày TEXT, số INTEGER)`,
	`INSERT INTO "văn bản" (ngày, số) VALUES ('2026-05-03 23:00:00', 1), ('2026-05-04', 2), ('2026-05-01', 3)`,
	`CREATE TABLE nhật_ký (a)`,
	`CREATE TABLE tìm (k TEXT PRIMARY KEY, v) WITHOUT ROWID`,
	`INSERT INTO tìm VALUES ('a', 1.5)`,
	`CREATE VIRTUAL TABLE toàn_văn USING fts5 (body)`,
	`INSERT INTO toàn_văn VALUES ('công văn')`,
}

func (r *rig) sqlite(t *testing.T, mode string, statements ...string) Request {
	t.Helper()
	return r.backup(t, "sqlite", &sources.SQLite{Path: newDatabase(t, statements...), FactsMode: mode, Now: backupTime})
}

func TestSQLitePass(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, mode := range []string{sources.ModeFull, sources.ModeCounts} {
		q := r.sqlite(t, mode, letters...)
		q.Checks = []Check{
			{SQL: `SELECT count(*) FROM "văn bản"`, Min: ptr(3.0), Max: ptr(3.0)},
			{SQL: `SELECT max(ngày) FROM "văn bản"`, NewerThan: 48 * time.Hour},
			{SQL: `SELECT 'đi'`, Equals: ptr("đi")},
			{SQL: `SELECT * FROM nhật_ký`, ExpectedEmpty: true},
			{SQL: `SELECT count(*) FROM nhật_ký`, ExpectedEmpty: true},
			{SQL: `SELECT số FROM "văn bản" ORDER BY số`},
			{SQL: `SELECT rowid FROM toàn_văn WHERE toàn_văn MATCH 'công'`, Name: "full text"},
		}
		res := r.test(t, q)
		expect(t, res, Passed, LevelAsserted)
		if c := res.Control; c == nil || !c.Caught || c.Damage != "one row of one table deleted" {
			t.Errorf("mode %s: control = %+v", mode, c)
		}
		if !res.Full {
			t.Error("not full")
		}
	}
}

func TestSQLiteDamage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.sqlite(t, sources.ModeFull, letters...)
	other := r.sqlite(t, sources.ModeFull, append(letters, `UPDATE "văn bản" SET số = 9 WHERE số = 3`, `DELETE FROM tìm`)...)
	table := r.sqlite(t, sources.ModeFull, letters[:2]...)
	tests := []struct {
		name   string
		change func(q *Request)
		level  string
		broken []string
	}{
		{"stream digest", func(q *Request) { q.Parts[0].SHA256 = strings.Repeat("0", 64) }, "", []string{"stream digest"}},
		{"rows and content", func(q *Request) { q.Parts = other.Parts }, LevelAsserted, []string{"facts: content", "facts: rows"}},
		{"tables are missing", func(q *Request) { q.Parts = table.Parts }, LevelAsserted, []string{"facts: content", "facts: rows", "facts: schema"}},
		{"not a database", func(q *Request) { q.Parts = r.text(t).Parts }, "restored", []string{"database"}},
		{"corrupted", func(q *Request) { q.Parts = r.corrupt(t).Parts }, LevelAsserted, []string{"facts: content", "facts: integrity", "facts: rows", "facts: schema"}},
		{"no snapshot", func(q *Request) { q.Parts[0].Snapshot = strings.Repeat("cd", 32) }, "", []string{"restore"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := good
			q.Parts = append([]PartCopy{}, good.Parts...)
			tt.change(&q)
			res := r.test(t, q)
			expect(t, res, Failed, tt.level, tt.broken...)
		})
	}
}

// text is a copy that is no database.
func (r *rig) text(t *testing.T) Request {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"x": strings.Repeat("no database ", 1000)})
	return Request{Parts: []PartCopy{r.save(t, sources.Part{Name: "database", File: filepath.Join(dir, "x"), Filename: "x"})}}
}

// corrupt is a copy of a database with pages overwritten.
func (r *rig) corrupt(t *testing.T) Request {
	t.Helper()
	path := newDatabase(t, `CREATE TABLE t (a)`, `WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000) INSERT INTO t SELECT printf('%0100d', i) FROM c`)
	for at := uint64(4096 * 3); at < 4096*20; at += 97 {
		if err := flip(path, at); err != nil {
			t.Fatal(err)
		}
	}
	return Request{Parts: []PartCopy{r.save(t, sources.Part{Name: "database", File: path, Filename: "x"})}}
}

func TestSQLiteChecksFail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q := r.sqlite(t, sources.ModeFull, letters...)
	q.Facts = nil
	checks := []Check{
		{SQL: `SELECT count(*) FROM "văn bản"`, Min: ptr(4.0)}, {SQL: `SELECT count(*) FROM "văn bản"`, Max: ptr(2.0)},
		{SQL: `SELECT min(ngày) FROM "văn bản"`, NewerThan: 48 * time.Hour}, {SQL: `SELECT '2027-01-01'`, NewerThan: 48 * time.Hour},
		{SQL: `SELECT 'hôm nay'`, NewerThan: 48 * time.Hour}, {SQL: `SELECT 'a'`, Equals: ptr("b")},
		{SQL: `SELECT * FROM "văn bản"`, ExpectedEmpty: true}, {SQL: `SELECT a FROM nhật_ký`}, {SQL: `SELECT a FROM nhật_ký`, Min: ptr(0.0)},
		{SQL: `SELECT count(*) FROM nhật_ký`}, {SQL: `SELECT NULL`}, {SQL: `SELECT max(a) FROM nhật_ký`, Max: ptr(5.0)}, {SQL: `SELECT 'x'`, Min: ptr(1.0)},
		{SQL: `SELECT * FROM no_such_table`},
	}
	for i, c := range checks {
		c.Name = "check"
		q.Checks = append(q.Checks, c)
		_ = i
	}
	res := r.test(t, q)
	if res.Verdict != Failed || len(broken(res)) != len(checks) {
		t.Errorf("verdict %s; every check must fail: %+v", res.Verdict, res.Assertions)
	}
	for _, bad := range []string{"SELEC 1", "INSERT INTO nhật_ký VALUES (1)", "DROP TABLE nhật_ký"} {
		q.Checks = []Check{{SQL: bad}}
		if _, err := r.tester.Test(t.Context(), q); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// An empty database is neither good nor bad; one that should be empty is good.
func TestSQLiteEmpty(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q := r.sqlite(t, sources.ModeFull, "CREATE TABLE t (a)")
	res := r.test(t, q)
	expect(t, res, NotConfigured, LevelRestored, "data")
	q.Checks = []Check{{SQL: "SELECT count(*) FROM t", ExpectedEmpty: true}}
	res = r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || c.Damage != "one empty table dropped" {
		t.Errorf("control = %+v", c)
	}
}

// A check that an empty database answers too is no proof of one, nor, without
// facts, of a full one.
func TestSQLiteChecksAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := []Check{{SQL: "SELECT 1", Min: ptr(1.0)}}
	for _, statements := range [][]string{{"CREATE TABLE t (a)"}, {"PRAGMA user_version = 7"}} {
		q := r.sqlite(t, sources.ModeFull, statements...)
		q.Checks = one
		expect(t, r.test(t, q), NotConfigured, LevelRestored, "data")
		q.Facts = nil
		expect(t, r.test(t, q), NotConfigured, LevelRestored, "data")
	}
	q := r.sqlite(t, sources.ModeFull, letters...)
	q.Facts, q.Checks, q.Control = nil, one, false
	res := r.test(t, q)
	if c := res.Control; res.Verdict != Unknown || c == nil || c.Caught {
		t.Errorf("verdict %s, control %+v: the check does not read the data", res.Verdict, c)
	}
	q.Checks = append(one, Check{SQL: `SELECT count(*) FROM "văn bản"`, Min: ptr(3.0)})
	res = r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || c.By != "check 2" {
		t.Errorf("control = %+v", c)
	}
	q = r.sqlite(t, sources.ModeFull, "CREATE TABLE t (a)")
	q.Facts, q.Checks = nil, []Check{{SQL: "SELECT count(*) FROM t", ExpectedEmpty: true}}
	expect(t, r.test(t, q), Passed, LevelAsserted)
}

// Facts and checks of a copy of several databases reach their own.
func TestSQLiteSeveral(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := t.TempDir()
	for _, name := range []string{"a.db", "b.db"} {
		db, err := openDatabase(filepath.Join(dir, name), url.Values{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"CREATE TABLE t (a)", "INSERT INTO t VALUES ('" + name + "')"} {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		_ = db.Close()
	}
	q := r.backup(t, "sqlite", &sources.SQLite{Path: dir + "/*.db", Now: backupTime})
	q.Checks = []Check{{SQL: "SELECT a FROM t", Part: q.Parts[1].Part, Equals: ptr("b.db")}, {SQL: "SELECT a FROM t", Equals: ptr("a.db")}}
	expect(t, r.test(t, q), Passed, LevelAsserted)
	q.Checks[0].Part = "none"
	if _, err := r.tester.Test(t.Context(), q); fault.KindOf(err) != fault.Usage {
		t.Errorf("error = %v", err)
	}
	q.Checks = nil
	q.Parts[0].Snapshot, q.Parts[1].Snapshot = q.Parts[1].Snapshot, q.Parts[0].Snapshot
	expect(t, r.test(t, q), Failed, "", "stream digest")
}

// The copy of a database under constant writes passes.
func TestSQLiteUnderWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path := newDatabase(t, letters...)
	db, err := openDatabase(path, url.Values{"_pragma": {"busy_timeout(10000)"}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int)
	go func() { done <- keepWriting(ctx, db) }()
	q := r.backup(t, "sqlite", &sources.SQLite{Path: path, Now: backupTime})
	stop()
	if n := <-done; n < 10 {
		t.Errorf("only %d writes", n)
	}
	expect(t, r.test(t, q), Passed, LevelAsserted)
}

func keepWriting(ctx context.Context, db *sql.DB) (n int) {
	for ctx.Err() == nil {
		if _, err := db.ExecContext(ctx, `INSERT INTO nhật_ký VALUES (randomblob(500))`); err == nil {
			n++
		}
	}
	return n
}

// Tables whose facts could not all be taken are said, and hide nothing of the others:
// they neither prove anything nor catch a control.
func TestSQLiteTablesNotCompared(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.sqlite(t, sources.ModeFull, letters...)
	skip := func(q Request, lose func(f sources.Fact) bool) Request {
		q.Facts = slices.Clone(q.Facts)
		for i, f := range q.Facts {
			if lose(f) {
				q.Facts[i].Kind, q.Facts[i].Value = sources.FactUnread, "the time for facts, 1h0m0s, was up"
			}
		}
		return q
	}
	some := skip(good, func(f sources.Fact) bool {
		return f.Of == "tìm" || f.Of == "văn bản" && f.Kind == sources.FactContent
	})
	res := r.test(t, some)
	expect(t, res, Passed, LevelAsserted, nameSkipped)
	if i := slices.IndexFunc(res.Assertions, func(a Assertion) bool { return a.Name == nameSkipped }); i < 0 || !strings.HasPrefix(res.Assertions[i].Actual, "2 of ") {
		t.Errorf("assertions = %+v, want 2 tables not compared", res.Assertions)
	}
	if c := res.Control; c == nil || !c.Caught || c.By != "facts: rows" {
		t.Errorf("control = %+v, want one that was caught by rows", c)
	}
	setFact(&some, sources.FactRows, "văn bản", "4")
	expect(t, r.test(t, some), Failed, LevelAsserted, "facts: rows", nameSkipped)
	none := skip(good, func(f sources.Fact) bool { return f.Kind == sources.FactRows || f.Kind == sources.FactContent })
	expect(t, r.test(t, none), NotConfigured, LevelRestored, nameSkipped, "data")
}
