package sources_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// slowText makes the contents of one table, the largest, slow to read.
var slowText = []string{
	`CREATE TYPE chậm AS (a int)`,
	`CREATE FUNCTION ra_chữ(x chậm) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN 'x'; END $$`,
	`CREATE CAST (chậm AS text) WITH FUNCTION ra_chữ(chậm)`,
	`CREATE TABLE nhỏ AS SELECT 1 AS a`,
	`CREATE TABLE vừa AS SELECT i AS a FROM generate_series(1, 10) i`,
	`CREATE TABLE lớn (x chậm)`,
	`INSERT INTO lớn SELECT ROW(i)::chậm FROM generate_series(1, 100) i`,
}

// What there was no time for is skipped, the largest table first; what the dump reads
// in is not touched by it, and no query is left running.
func TestPostgresFactsLimit(t *testing.T) {
	s := sourcetest.StartPostgres(t)
	s.Exec(t, "postgres", "CREATE DATABASE d")
	s.Exec(t, "d", slowText...)
	source := &sources.Postgres{Host: s.Sockets, User: s.Superuser, Database: "d", FactsLimit: 3 * time.Second, Now: time.Now}
	p, err := source.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{`"public"."nhỏ"`: "1", `"public"."vừa"`: "10", `"public"."lớn"`: "100"}, sourcetest.Kept(facts, sources.FactRows)); diff != "" {
		t.Errorf("all rows are counted first (-want +got):\n%s", diff)
	}
	contents := sourcetest.Kept(facts, sources.FactContent)
	if len(contents) != 2 || contents[`"public"."lớn"`] != "" {
		t.Errorf("contents = %v, want those of the two small tables", contents)
	}
	if diff := cmp.Diff(map[string]string{`"public"."lớn"`: "the time for facts, 3s, was up"}, sourcetest.Kept(facts, sources.FactUnread)); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	if dump := dumpAll(t, p)["database"]; !bytes.HasPrefix(dump, []byte("PGDMP")) {
		t.Error("the view is gone after the limit")
	}
	var running int
	if err := s.Connect(t, "d").QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'saoluu' AND state = 'active'").Scan(&running); err != nil || running != 0 {
		t.Errorf("%d queries still run, %v", running, err)
	}
}

// A table that somebody has for himself is not waited for, and nobody waits behind us
// once its facts are read.
func TestPostgresFactsAndLocks(t *testing.T) {
	s := sourcetest.StartPostgres(t)
	s.Exec(t, "postgres", "CREATE DATABASE d")
	s.Exec(t, "d", `CREATE TABLE a AS SELECT 1 AS x`, `CREATE TABLE b AS SELECT 2 AS x`, `CREATE TABLE c AS SELECT 3 AS x`)
	source := &sources.Postgres{Host: s.Sockets, User: s.Superuser, Database: "d", FactsLimit: time.Minute, Now: time.Now}
	p, err := source.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	other := s.Connect(t, "d")
	for _, statement := range []string{"BEGIN", "LOCK TABLE b IN ACCESS EXCLUSIVE MODE", "TRUNCATE c"} {
		if _, err := other.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{`"public"."a"`: "1"}, sourcetest.Kept(facts, sources.FactRows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	locked := sourcetest.Kept(facts, sources.FactUnread)
	if len(locked) != 2 || !strings.Contains(locked[`"public"."b"`], "locked") {
		t.Errorf("skipped = %v", locked)
	}
	var held int
	if err := s.Connect(t, "d").QueryRow(t.Context(), `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE application_name = 'saoluu' AND relation IN ('a'::regclass, 'b'::regclass, 'c'::regclass)`).Scan(&held); err != nil || held != 0 {
		t.Errorf("%d tables are held after their facts were read, %v", held, err)
	}
	for _, statement := range []string{"COMMIT", "SET lock_timeout = '5s'", "ALTER TABLE a ADD COLUMN y int"} {
		if _, err := other.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s, although nobody reads the table: %v", statement, err)
		}
	}
	// The view is older than the truncation, and would see an empty table.
	if facts, err = p.Facts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sourcetest.Kept(facts, sources.FactUnread)[`"public"."c"`]; !strings.Contains(got, "emptied") || sourcetest.Kept(facts, sources.FactRows)[`"public"."c"`] != "" {
		t.Errorf("a table that was emptied after the view was opened: %q, facts %v", got, facts)
	}
}

// MariaDB ends the queries itself; what is locked is not waited for.
func TestMariaDBFactsLimit(t *testing.T) {
	s := sourcetest.StartMariaDB(t)
	s.Exec(t, "", "CREATE DATABASE d")
	s.Exec(t, "d", "CREATE TABLE nhỏ (a INT)", "INSERT INTO nhỏ VALUES (1)", "CREATE TABLE khóa (a INT)",
		"CREATE TABLE lớn (a INT)", "INSERT INTO lớn SELECT seq FROM seq_1_to_1000000")
	other := s.Conn(t, "d")
	if _, err := other.ExecContext(t.Context(), "LOCK TABLES khóa WRITE"); err != nil {
		t.Fatal(err)
	}
	// This clock stands still: each query may take as long.
	plan := sources.FactsPlan{Mode: sources.ModeFull, Limit: 400 * time.Millisecond, Now: clock}
	facts, _, err := sources.MariaDBFacts(t.Context(), s.Conn(t, "d"), "d", plan)
	if err != nil {
		t.Fatal(err)
	}
	contents := sourcetest.Kept(facts, sources.FactContent)
	if got := sourcetest.Kept(facts, sources.FactRows); got["`nhỏ`"] != "1" || contents["`nhỏ`"] == "" || contents["`lớn`"] != "" {
		t.Errorf("rows = %v, contents = %v", got, contents)
	}
	skipped := sourcetest.Kept(facts, sources.FactUnread)
	if skipped["`lớn`"] != "it took more than its share of the time for facts, 400ms" || skipped["`khóa`"] == "" || len(skipped) != 2 {
		t.Errorf("skipped = %v", skipped)
	}
}

// SQLite's own check and the contents of what is left are skipped when time is up.
func TestSQLiteFactsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDB(t, path, "CREATE TABLE lớn (a)", "INSERT INTO lớn WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) SELECT i FROM n",
		"CREATE TABLE nhỏ (a)", "INSERT INTO nhỏ VALUES (1)")
	all := func(limit time.Duration) []sources.Fact {
		now := clock()
		tick := func() time.Time { now = now.Add(time.Minute); return now }
		facts, err := sources.SQLiteFacts(t.Context(), path, sources.FactsPlan{Mode: sources.ModeFull, Limit: limit, Now: tick})
		if err != nil {
			t.Fatal(err)
		}
		return facts
	}
	const perQuery = 2 // looks at the clock
	facts := all((5*perQuery - 1) * time.Minute)
	if got := sourcetest.Kept(facts, sources.FactRows); got["lớn"] != "50" || got["nhỏ"] != "1" {
		t.Errorf("rows = %v", got)
	}
	contents, skipped := sourcetest.Kept(facts, sources.FactContent), sourcetest.Kept(facts, sources.FactUnread)
	if len(contents) != 1 || contents["nhỏ"] == "" || !strings.Contains(skipped["lớn"], "was up") || sourcetest.Kept(facts, sources.FactIntegrity)[""] != "ok" {
		t.Errorf("contents %v, skipped %v", contents, skipped)
	}
	facts = all(time.Nanosecond)
	if got := sourcetest.Kept(facts, sources.FactUnread); len(got) != 2 || sourcetest.Kept(facts, sources.FactSkipped)[sources.FactIntegrity] == "" {
		t.Errorf("without any time = %v, want both tables and the check", facts)
	}
}
