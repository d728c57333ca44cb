package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// office is a database with what has made healthy copies look damaged elsewhere:
// roles, extensions, a locale, defaults, partitions, stale views, empty tables.
var office = []string{
	`CREATE ROLE "chủ sở hữu" LOGIN PASSWORD 'bí mật'`, `CREATE ROLE đọc NOLOGIN`, `GRANT đọc TO "chủ sở hữu"`,
	`ALTER ROLE "chủ sở hữu" SET search_path TO public`,
	`CREATE EXTENSION IF NOT EXISTS plpgsql`,
	`CREATE SCHEMA "văn thư" AUTHORIZATION "chủ sở hữu"`,
	`CREATE TABLE "văn thư"."công văn" (id serial PRIMARY KEY, ngày timestamptz, nội_dung text, cha int REFERENCES "văn thư"."công văn")`,
	`ALTER TABLE "văn thư"."công văn" OWNER TO "chủ sở hữu"`,
	`GRANT SELECT ON "văn thư"."công văn" TO đọc`,
	`INSERT INTO "văn thư"."công văn" (ngày, nội_dung, cha) SELECT timestamptz '2026-05-03 00:00Z' + i * interval '1 minute', md5(i::text), nullif(i - 1, 0) FROM generate_series(1, 500) i`,
	`CREATE TABLE nhật_ký (a int) PARTITION BY LIST (a)`, `CREATE TABLE nhật_ký_1 PARTITION OF nhật_ký FOR VALUES IN (1)`,
	`INSERT INTO nhật_ký VALUES (1)`,
	`CREATE MATERIALIZED VIEW tổng AS SELECT count(*) FROM nhật_ký`, `INSERT INTO nhật_ký VALUES (1)`,
	`CREATE TABLE trống (a int)`,
	`CREATE FUNCTION chặn() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''không được xoá''; END'`,
	`CREATE TRIGGER chặn BEFORE DELETE ON "văn thư"."công văn" FOR EACH ROW EXECUTE FUNCTION chặn()`,
	`ALTER TABLE nhật_ký_1 ENABLE ROW LEVEL SECURITY`,
	`CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert')`,
	`COMMENT ON DATABASE văn_phòng IS 'x'`,
	`ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO đọc`,
}

func newOffice(t *testing.T) *sourcetest.Server {
	t.Helper()
	s := sourcetest.StartPostgres(t)
	s.Exec(t, "postgres", `CREATE DATABASE văn_phòng TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'vi' LOCALE 'C'`)
	s.Exec(t, "văn_phòng", office...)
	return s
}

func (r *rig) postgres(t *testing.T, s *sourcetest.Server, database string) Request {
	t.Helper()
	return r.backup(t, "postgres", &sources.Postgres{Host: s.Sockets, User: s.Superuser, Database: database, Now: backupTime})
}

// noServers fails when a server is left that ran in a sandbox of this test.
func noServers(t *testing.T, r *rig) {
	t.Helper()
	if pids, err := processesWithin(r.tester.Scratch); err != nil || len(pids) > 0 {
		t.Errorf("left running: %v, %v", pids, err)
	}
}

func TestDrillPass(t *testing.T) {
	t.Parallel()
	s := newOffice(t)
	r := newRig(t)
	defer noServers(t, r)
	q := r.postgres(t, s, "văn_phòng")
	q.RTO, q.MaxAge = time.Hour, 2*time.Hour
	q.Checks = []Check{
		{SQL: `SELECT count(*) FROM "văn thư"."công văn"`, Min: ptr(500.0), Max: ptr(500.0)},
		{SQL: `SELECT max(ngày) FROM "văn thư"."công văn"`, NewerThan: 48 * time.Hour},
		{SQL: `SELECT count(*) FROM nhật_ký`, Equals: ptr("2")},
		{SQL: `SELECT * FROM trống`, ExpectedEmpty: true},
		{SQL: `SELECT true`, Name: "truth"},
		{SQL: `SELECT current_setting('transaction_read_only')`, Equals: ptr("on")},
		{SQL: `SELECT pg_has_role('pg_execute_server_program', 'member')`, Equals: ptr("f")},
	}
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || !strings.HasPrefix(c.By, "facts: ") || c.Damage != "one row of one table deleted" {
		t.Errorf("control = %+v", c)
	}
	if !slices.ContainsFunc(res.Tools, func(x Tool) bool {
		return x.Name == "postgresql" && strings.HasPrefix(x.Version, fmt.Sprint(s.Major))
	}) {
		t.Errorf("tools = %v", res.Tools)
	}
	if text := fmt.Sprint(res.Assertions); strings.Contains(text, "công") || strings.Contains(text, "bí mật") {
		t.Errorf("assertions name data: %s", text)
	}
}

func TestDrillDamage(t *testing.T) {
	t.Parallel()
	s := newOffice(t)
	r := newRig(t)
	defer noServers(t, r)
	good := r.postgres(t, s, "văn_phòng")
	good.Control = false
	s.Exec(t, "văn_phòng", `UPDATE "văn thư"."công văn" SET nội_dung = 'khác' WHERE id = 250`, `DELETE FROM nhật_ký_1`, `DROP FUNCTION chặn CASCADE`)
	other := r.postgres(t, s, "văn_phòng")
	truncated := r.mangled(t, good.Parts[0], func(b []byte) []byte { return b[:len(b)*2/3] })
	garbled := r.mangled(t, good.Parts[0], func(b []byte) []byte { return []byte(strings.Replace(string(b), "CREATE TABLE", "CREATE TABEL", 1)) })
	empty := r.mangled(t, good.Parts[1], func([]byte) []byte { return []byte("-- nothing\n") })
	wrong := r.mangled(t, good.Parts[1], func(b []byte) []byte { return append(b, "\nALTER ROLE không_có LOGIN;\n"...) })
	tests := []struct {
		name   string
		change func(q *Request)
		level  string
		broken []string
	}{
		{"another state", func(q *Request) { q.Parts[0] = other.Parts[0] }, LevelAsserted, []string{"facts: content", "facts: rows", "facts: schema"}},
		{"truncated", func(q *Request) { q.Parts[0] = truncated }, "", []string{"load"}},
		{"garbled", func(q *Request) { q.Parts[0] = garbled }, "", []string{"load"}},
		{"no dump at all", func(q *Request) { q.Parts[0] = empty; q.Parts[0].Part = "database" }, "", []string{"load"}},
		{"roles are missing", func(q *Request) { q.Parts[1] = empty }, "", []string{"load"}},
		{"roles are wrong", func(q *Request) { q.Parts[1] = wrong }, "", []string{"roles"}},
		{"a role has lost its right", func(q *Request) { setFact(q, sources.FactRole, "đọc", "superuser") }, LevelAsserted, []string{"facts: role"}},
		{"stream digest", func(q *Request) { q.Parts[0].SHA256 = strings.Repeat("0", 64) }, "", []string{"stream digest"}},
		{"a check", func(q *Request) { q.Checks = []Check{{SQL: "SELECT 0"}, {SQL: "SELECT * FROM gone"}} }, LevelAsserted, []string{"check 1", "check 2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := good
			q.Parts, q.Facts = slices.Clone(good.Parts), slices.Clone(good.Facts)
			tt.change(&q)
			res := r.test(t, q)
			expect(t, res, Failed, tt.level, tt.broken...)
			t.Logf("detail: %.300q", res.Detail)
		})
	}
}

// mangled saves a changed version of a stream and returns its copy.
func (r *rig) mangled(t *testing.T, c PartCopy, change func([]byte) []byte) PartCopy {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	box, err := r.engine.Restore(t.Context(), r.repo, c.Snapshot, out, restic.RestoreOptions{})
	if err != nil {
		t.Fatal(err, box)
	}
	file, err := onlyFile(out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return r.save(t, sources.Part{Name: c.Part, File: file, Filename: filepath.Base(file)})
}

// What this host lacks makes a drill unknown, with a way out, and not failed.
func TestDrillCouldNotLook(t *testing.T) {
	t.Parallel()
	s := newOffice(t)
	r := newRig(t)
	defer noServers(t, r)
	good := r.postgres(t, s, "văn_phòng")
	tests := []struct {
		name   string
		change func(q *Request)
		kind   fault.Kind
		hint   string
	}{
		{"no server of this version", func(q *Request) { setFact(q, sources.FactVersion, "server", "9") }, fault.MissingTool, "postgresql-9"},
		{"server of another version", func(q *Request) { setFact(q, sources.FactVersion, "server", "14"); q.Bin = s.Bin }, fault.MissingTool, "postgresql-14"},
		{"extension", func(q *Request) {
			q.Facts = append(q.Facts, sources.Fact{Part: "database", Kind: sources.FactExtension, Of: "pg_none", Value: "1"})
		}, fault.MissingTool, "pg-none"},
		{"locale", func(q *Request) {
			setFact(q, sources.FactCollation, "", `{"encoding":"UTF8","provider":"c","collate":"xx_XX.UTF-8","ctype":"xx_XX.UTF-8"}`)
		}, fault.MissingTool, "locale"},
		{"wrong SQL", func(q *Request) { q.Checks = []Check{{SQL: "SELEC 1"}} }, fault.Usage, "sql"},
		{"a check that writes", func(q *Request) { q.Checks = []Check{{SQL: "DELETE FROM trống"}} }, fault.Usage, "only read"},
		{"roles alone", func(q *Request) { q.Parts, q.Facts = q.Parts[1:], nil }, fault.Unknown, ""},
		{"a check of another database", func(q *Request) { q.Checks = []Check{{SQL: "SELECT 1", Part: "database:none"}} }, fault.Usage, "one of the job's databases"},
		{"cancelled half-way", func(q *Request) { q.Checks = []Check{{SQL: "SELECT pg_sleep(60)"}} }, fault.Failed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := good
			q.Parts, q.Facts = slices.Clone(good.Parts), slices.Clone(good.Facts)
			tt.change(&q)
			ctx, cancel := context.WithCancelCause(t.Context())
			if tt.name == "cancelled half-way" {
				time.AfterFunc(6*time.Second, func() { cancel(errors.New("enough")) })
			}
			res, err := r.tester.Test(ctx, q)
			cancel(nil)
			if fault.KindOf(err) != tt.kind || !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Errorf("error = %v (%s, hint %q), want %s with %q", err, fault.KindOf(err), fault.HintOf(err), tt.kind, tt.hint)
			}
			if res.Verdict == Passed || res.Verdict == Failed {
				t.Errorf("verdict = %s", res.Verdict)
			}
			noServers(t, r)
		})
	}
}

// A copy without facts, as after a catalog was lost, is still loaded: its dump
// says which version it needs. Roles come from the part, or the load fails.
func TestDrillWithoutFacts(t *testing.T) {
	t.Parallel()
	s := newOffice(t)
	r := newRig(t)
	q := r.postgres(t, s, "văn_phòng")
	q.Facts = nil
	expect(t, r.test(t, q), NotConfigured, LevelRestored, "data")
	q.Checks = []Check{{SQL: "SELECT count(*) FROM nhật_ký"}}
	q.Control = false // one is made all the same
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || c.By != "check 1" {
		t.Errorf("control = %+v", c)
	}
	q.Checks = []Check{{SQL: "SELECT 1", Min: ptr(1.0)}}
	res = r.test(t, q)
	if res.Verdict != Unknown || res.Control == nil || res.Control.Caught {
		t.Errorf("verdict %s, control %+v: the check does not read the data", res.Verdict, res.Control)
	}
}

// Without the part of the roles they are made from the facts; a database without
// a row proves nothing.
func TestDrillRolesAndEmptiness(t *testing.T) {
	t.Parallel()
	s := newOffice(t)
	r := newRig(t)
	q := r.postgres(t, s, "văn_phòng")
	q.Parts = q.Parts[:1]
	q.Facts = slices.DeleteFunc(q.Facts, func(f sources.Fact) bool {
		return f.Kind == sources.FactRole && f.Of != "đọc" && f.Of != "chủ sở hữu" && f.Of != "postgres"
	})
	res := r.test(t, q)
	expect(t, res, Failed, LevelAsserted, "facts: role") // made without their attributes, and that is seen
	s.Exec(t, "postgres", `CREATE DATABASE rỗng`)
	s.Exec(t, "rỗng", `CREATE TABLE t (a int)`)
	q = r.postgres(t, s, "rỗng")
	expect(t, r.test(t, q), NotConfigured, LevelRestored, "data")
	q.Checks = []Check{{SQL: "SELECT 1", Min: ptr(1.0)}}
	expect(t, r.test(t, q), NotConfigured, LevelRestored, "data")
	q.Checks = []Check{{SQL: "SELECT count(*) FROM t", ExpectedEmpty: true}}
	res = r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || c.Damage != "one empty table dropped" {
		t.Errorf("control = %+v", c)
	}
}

// Tablespaces of the source are not made on this host.
func TestWithoutTablespaces(t *testing.T) {
	text := "CREATE ROLE a;\nCREATE TABLESPACE ts OWNER a LOCATION '/srv';\nALTER TABLESPACE ts SET (x=1);\nGRANT ALL ON TABLESPACE ts TO a;\nALTER ROLE a LOGIN;"
	got, err := io.ReadAll(withoutTablespaces(strings.NewReader(text)))
	if want := "CREATE ROLE a;\nALTER ROLE a LOGIN;"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// A tester that is killed leaves no server running, and Collect removes the rest.
func TestKilledThenCollect(t *testing.T) {
	t.Parallel()
	major := serverMajor(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := scratch(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := command.Start(context.WithoutCancel(t.Context()), command.Cmd{
		Argv: []string{self, "hang-in-test", dir, major}, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: w, Interrupt: 9,
	})
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(r).ReadString('\n')
	if line != "ready\n" {
		res, err := p.Wait()
		t.Fatalf("the tester did not start: %v\n%s", err, res.Stderr)
	}
	if pids, _ := processesWithin(dir); len(pids) == 0 {
		t.Fatal("no server is seen in the sandbox")
	}
	tester := &Tester{Scratch: dir, Now: testTime}
	if n, err := tester.Collect(t.Context()); n != 0 || err != nil {
		t.Errorf("a living tester's sandbox was removed: %d, %v", n, err)
	}
	_ = p.Stop(time.Millisecond)
	if n, err := tester.Collect(t.Context()); n != 1 || err != nil {
		t.Errorf("Collect = %d, %v, want 1", n, err)
	}
	if pids, _ := processesWithin(dir); len(pids) > 0 {
		t.Errorf("left running: %v", pids)
	}
}

func serverMajor(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		sourcetest.Missing(t, fault.New(fault.MissingTool, "find initdb", nil, ""))
	}
	return filepath.Base(filepath.Dir(filepath.Dir(found[len(found)-1])))
}

func TestOnlyDeaths(t *testing.T) {
	const death = "pg_restore: error: a worker process died unexpectedly\n"
	for text, want := range map[string]bool{"": true, death: true, death + death: true, "pg_restore: error: could not read\n" + death: false} {
		if got := onlyDeaths(text); got != want {
			t.Errorf("onlyDeaths(%q) = %v", text, got)
		}
	}
}

// All databases of a server go into one copy, and each is held against its own facts.
func TestDrillAllDatabases(t *testing.T) {
	t.Parallel()
	s := newOffice(t)
	s.Exec(t, "postgres", `CREATE DATABASE "một, cửa = 1"`, `CREATE DATABASE "trống"`)
	s.Exec(t, "một, cửa = 1", `CREATE TABLE hồ_sơ AS SELECT i FROM generate_series(1, 30) i`)
	r := newRig(t)
	defer noServers(t, r)
	q := r.backup(t, "postgres", &sources.Postgres{Host: s.Sockets, User: s.Superuser, All: true, Now: backupTime})
	if len(q.Parts) != 5 {
		t.Fatalf("parts: %+v", q.Parts)
	}
	q.Control = true
	counter := sources.PartOfDatabase("một, cửa = 1")
	q.Checks = []Check{
		{SQL: `SELECT count(*) FROM hồ_sơ`, Min: ptr(30.0), Part: counter},
		{SQL: `SELECT count(*) FROM nhật_ký`, Min: ptr(2.0), Part: sources.PartOfDatabase("văn_phòng")},
	}
	res, err := r.tester.Test(t.Context(), q)
	if err != nil || res.Verdict != Passed || res.Control == nil || !res.Control.Caught {
		t.Fatalf("%+v, %v", res, err)
	}
	for i, f := range q.Facts {
		if f.Part == counter && f.Kind == sources.FactRows {
			q.Facts[i].Value = "31"
		}
	}
	if res, err = r.tester.Test(t.Context(), q); err != nil || res.Verdict != Failed {
		t.Errorf("a row is missing in one of them: %+v, %v", res, err)
	}
}
