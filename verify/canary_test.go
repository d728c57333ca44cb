package verify

import (
	"slices"
	"strings"
	"testing"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// withoutCanary checks a copy whose canary must be there, then one that is of another
// night: it differs in nothing but that.
func withoutCanary(t *testing.T, r *rig, take func() Request) {
	t.Helper()
	last, tonight := take(), take()
	tonight.Control, last.Control = false, false
	res := r.test(t, tonight)
	expect(t, res, Passed, LevelAsserted)
	if !slices.ContainsFunc(res.Assertions, func(a Assertion) bool { return a.Name == "facts: canary" && a.Expected == "1 of 1" }) {
		t.Errorf("assertions = %+v, want one on the canary", res.Assertions)
	}
	tonight.Parts = last.Parts
	res = r.test(t, tonight)
	if got := broken(res); res.Verdict != Failed || !slices.Contains(got, "facts: canary") {
		t.Errorf("the copy of another night: verdict %s, broken %q", res.Verdict, got)
	}
}

func TestPostgresCanary(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartPostgres(t)
	s.Exec(t, "postgres", "CREATE DATABASE d", "CREATE ROLE saoluu LOGIN PASSWORD 'x' IN ROLE pg_read_all_data", "CREATE DATABASE e")
	s.Exec(t, "d", "CREATE TABLE t AS SELECT 1 AS a", `CREATE SCHEMA "Sao lưu"`)
	r := newRig(t)
	source := &sources.Postgres{
		Host: s.Sockets, User: "saoluu", Password: "x", Database: "d", FactsMode: sources.ModeCounts, Now: backupTime,
		Canary: sources.Canary{Table: "Sao lưu.canary", Row: "STP-HD/qlvb"},
	}
	refused := func(kind fault.Kind, hint string) {
		t.Helper()
		_, err := source.Prepare(t.Context(), t.TempDir())
		if fault.KindOf(err) != kind || !strings.Contains(fault.HintOf(err), hint) {
			t.Errorf("error = %v (%s, hint %q), want %s with %q", err, fault.KindOf(err), fault.HintOf(err), kind, hint)
		}
	}
	const made = `CREATE TABLE "Sao lưu"."canary" (job varchar(200) PRIMARY KEY, value varchar(64) NOT NULL, planted_at timestamp NOT NULL)`
	refused(fault.Failed, made)
	s.Exec(t, "d", `CREATE TABLE "Sao lưu".canary (job text, value text, planted_at timestamp)`, `GRANT SELECT, INSERT, UPDATE ON "Sao lưu".canary TO saoluu`)
	refused(fault.Failed, made) // nothing makes job unique
	s.Exec(t, "d", `DROP TABLE "Sao lưu".canary`, made)
	refused(fault.Denied, `GRANT SELECT, INSERT, UPDATE ON "Sao lưu"."canary" TO "saoluu"`)
	s.Exec(t, "d", `GRANT SELECT, INSERT, UPDATE ON "Sao lưu".canary TO saoluu`)
	s.Exec(t, "postgres", "ALTER ROLE saoluu SET default_transaction_read_only = on")
	refused(fault.Refused, "primary")
	s.Exec(t, "postgres", "ALTER ROLE saoluu RESET default_transaction_read_only")
	withoutCanary(t, r, func() Request { return r.backup(t, "postgres", source) })

	// Of several databases one has the table; a database with nothing but it is empty.
	source.Database, source.Databases = "", []string{"d", "e"}
	if res := r.test(t, r.backup(t, "postgres", source)); res.Verdict != Passed {
		t.Errorf("several databases: %+v", res)
	}
	source.Databases = []string{"e", "postgres"}
	refused(fault.Failed, "make it in one of them")
	s.Exec(t, "d", "DROP TABLE t")
	source.Database, source.Databases = "d", nil
	expect(t, r.test(t, r.backup(t, "postgres", source)), NotConfigured, LevelRestored, "data")
}

func TestMariaDBCanary(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartMariaDB(t)
	s.Exec(t, "", "CREATE DATABASE d", "CREATE USER saoluu@localhost", "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD ON *.* TO saoluu@localhost")
	s.Exec(t, "d", "CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)")
	r := newRig(t)
	source := &sources.MariaDB{
		Host: s.Socket, User: "saoluu", Database: "d", FactsMode: sources.ModeCounts, Now: backupTime,
		Canary: sources.Canary{Table: "d.chim yến", Row: "STP-HD/web"},
	}
	refused := func(kind fault.Kind, hint string) {
		t.Helper()
		_, err := source.Prepare(t.Context(), t.TempDir())
		if fault.KindOf(err) != kind || !strings.Contains(fault.HintOf(err), hint) {
			t.Errorf("error = %v (%s, hint %q), want %s with %q", err, fault.KindOf(err), fault.HintOf(err), kind, hint)
		}
	}
	const made = "CREATE TABLE `d`.`chim yến` (job varchar(200) PRIMARY KEY, value varchar(64) NOT NULL, planted_at timestamp NOT NULL)"
	refused(fault.Denied, "GRANT INSERT, UPDATE ON `d`.`chim yến`") // of a table that is not there either
	s.Exec(t, "d", "GRANT INSERT, UPDATE ON d.* TO saoluu@localhost")
	refused(fault.Failed, made)
	s.Exec(t, "d", made)
	withoutCanary(t, r, func() Request { return r.backup(t, "mariadb", source) })
	source.Canary.Table = "other.t"
	refused(fault.Usage, "that is saved")
}
