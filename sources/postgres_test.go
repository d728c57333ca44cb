package sources_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

const pgPassword = `m:\'" $ật-khẩu`

// pgSetup makes a database with most kinds of objects, and the role saoluu that
// may read it.
var pgSetup = []string{
	`CREATE ROLE chủ LOGIN CREATEDB CONNECTION LIMIT 5 VALID UNTIL '2030-01-01'`,
	`CREATE ROLE "nhóm ""đọc""" NOLOGIN`,
	`GRANT "nhóm ""đọc""" TO chủ`,
	`CREATE SCHEMA "văn thư" AUTHORIZATION chủ`,
	`CREATE EXTENSION IF NOT EXISTS plpgsql`,
	`CREATE TYPE loại AS ENUM ('đến', 'đi')`,
	`CREATE TABLE "văn thư"."công văn" (id serial PRIMARY KEY, loại loại, ngày date, giá numeric(20,2), f float8, b bytea, j jsonb, t timestamptz, CHECK (id > 0))`,
	`ALTER TABLE "văn thư"."công văn" OWNER TO chủ`,
	`INSERT INTO "văn thư"."công văn" (loại, ngày, giá, f, b, j, t) SELECT 'đến', date '2026-01-01' + i, i / 3.0, sqrt(i), decode('00ff', 'hex'), '{"a": [1, 2]}', timestamptz '2026-01-01 07:00+07' FROM generate_series(1, 1000) i`,
	`CREATE TABLE "tên
có ""dòng""" (a text)`,
	`INSERT INTO "tên
có ""dòng""" VALUES ('x'), (NULL), ('')`,
	`CREATE TABLE phần (d date, v int) PARTITION BY RANGE (d)`,
	`CREATE TABLE phần_1 PARTITION OF phần FOR VALUES FROM ('2026-01-01') TO ('2026-07-01')`,
	`CREATE TABLE phần_2 PARTITION OF phần FOR VALUES FROM ('2026-07-01') TO ('2027-01-01')`,
	`INSERT INTO phần SELECT date '2026-01-01' + i, i FROM generate_series(0, 300) i`,
	`CREATE INDEX ON phần (v)`,
	`CREATE TABLE cha (a int)`,
	`CREATE TABLE con (b int, g int GENERATED ALWAYS AS (b * 2) STORED) INHERITS (cha)`,
	`ALTER TABLE cha ADD COLUMN c text DEFAULT 'x'`,
	`INSERT INTO con (a, b, c) VALUES (1, 2, 'z')`,
	`CREATE TABLE trống ()`,
	`CREATE MATERIALIZED VIEW tổng AS SELECT count(*) FROM phần`,
	`INSERT INTO phần VALUES ('2026-02-02', 7)`, // the view is stale now
	`CREATE VIEW xem AS SELECT c FROM cha WHERE c IN ('a', 'b')`,
	`CREATE FUNCTION hàm(a int) RETURNS int LANGUAGE sql AS 'SELECT a + 1'`,
	`CREATE SEQUENCE xuống INCREMENT -1`,
	`SELECT nextval('xuống'), nextval('xuống')`,
	`CREATE TABLE kiểu (a bool, b bytea, c int8, d int2, e float4, f bpchar(5), g date, h time, i timetz, k interval, l uuid, m json, n xml, o int[], p loại[],
		q tsvector, r regclass, s point, t money, u inet, v bit(3), w int4range, x varchar, y "char", z name)`,
	`INSERT INTO kiểu VALUES (true, 'x', 1, 2, 1.1, 'ab', '2026-01-01', '01:02', '01:02+07', '1 day 2 hours', gen_random_uuid(), '{"a":1}', '<a/>', '{1,2}', '{đến,đi}',
		'văn bản', 'phần', '(1,2)', 12.5, '10.0.0.1/8', '101', '[1,5)', 'v', 'c', 'n')`,
	`INSERT INTO kiểu DEFAULT VALUES`,
	`CREATE TABLE "r" ("r" int, "t" int)`,
	`INSERT INTO r VALUES (1, 2)`,
	`SELECT lo_create(4711)`,
}

func pgServer(t *testing.T) *sourcetest.Server {
	t.Helper()
	s := sourcetest.StartPostgres(t)
	s.Exec(t, "postgres", `CREATE DATABASE "quản lý=văn'bản"`)
	s.Exec(t, pgName, pgSetup...)
	s.Exec(t, pgName, `CREATE ROLE saoluu LOGIN PASSWORD '`+strings.ReplaceAll(pgPassword, "'", "''")+`' IN ROLE pg_read_all_data`,
		`GRANT SELECT ON LARGE OBJECT 4711 TO saoluu`)
	return s
}

const pgName = "quản lý=văn'bản"

func pgSource(s *sourcetest.Server) *sources.Postgres {
	return &sources.Postgres{Host: s.Sockets, User: "saoluu", Password: pgPassword, Database: pgName, Now: clock}
}

func TestPostgresSuite(t *testing.T) {
	s := pgServer(t)
	with := func(change func(p *sources.Postgres)) func(*testing.T) sources.Source {
		return func(*testing.T) sources.Source {
			p := pgSource(s)
			change(p)
			return p
		}
	}
	sourcetest.Run(t, sourcetest.Subject{
		New:     with(func(*sources.Postgres) {}),
		Secrets: []string{pgPassword, "m:"},
		Broken: map[string]func(*testing.T) sources.Source{
			"wrong password": with(func(p *sources.Postgres) { p.Password += "x" }),
			"no server":      with(func(p *sources.Postgres) { p.Port = 5433 }),
			"no host":        with(func(p *sources.Postgres) { p.Host = "127.0.0.1"; p.Port = 1 }),
			"no database":    with(func(p *sources.Postgres) { p.Database = "none" }),
			"no programs":    with(func(p *sources.Postgres) { p.Bin = "/nonexistent" }),
			"bad sslmode":    with(func(p *sources.Postgres) { p.SSLMode = "some" }),
		},
	})
}

func TestPostgresErrors(t *testing.T) {
	s := pgServer(t)
	s.Exec(t, pgName, `CREATE ROLE hẹp LOGIN PASSWORD 'hẹp'`, `GRANT USAGE ON SCHEMA "văn thư" TO hẹp`, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO hẹp`,
		`GRANT SELECT ON ALL SEQUENCES IN SCHEMA public, "văn thư" TO hẹp`)
	old := t.TempDir()
	for _, name := range []string{"pg_dump", "pg_dumpall"} {
		script := "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n"
		if err := os.WriteFile(filepath.Join(old, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		change func(p *sources.Postgres)
		kind   fault.Kind
		texts  []string
	}{
		{"wrong password", func(p *sources.Postgres) { p.Password = "no" }, fault.Denied, []string{"password authentication failed"}},
		{"no password", func(p *sources.Postgres) { p.Password = "" }, fault.Denied, []string{"password"}},
		{"unknown role", func(p *sources.Postgres) { p.User = "nobody here" }, fault.Denied, []string{"nobody here"}},
		{"no server", func(p *sources.Postgres) { p.Port = 5433 }, fault.Absent, []string{".s.PGSQL.5433"}},
		{"no database", func(p *sources.Postgres) { p.Database = "none" }, fault.Absent, []string{"none", "does not exist"}},
		{"old pg_dump", func(p *sources.Postgres) { p.Bin = old }, fault.MissingTool, []string{"9", fmt.Sprintf("postgresql-client-%d", s.Major)}},
		{"a table without permission", func(p *sources.Postgres) { p.User, p.Password = "hẹp", "hẹp" }, fault.Denied, []string{`"văn thư"."công văn"`, "pg_read_all_data"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pgSource(s)
			tt.change(p)
			_, err := p.Prepare(t.Context(), t.TempDir())
			if fault.KindOf(err) != tt.kind || fault.HintOf(err) == "" {
				t.Fatalf("error = %v (%s, hint %q), want %s", err, fault.KindOf(err), fault.HintOf(err), tt.kind)
			}
			for _, text := range tt.texts {
				if !strings.Contains(err.Error()+fault.HintOf(err), text) {
					t.Errorf("error %v, hint %s: want %q in it", err, fault.HintOf(err), text)
				}
			}
		})
	}
}

// dumpAll reads both parts and returns them by name.
func dumpAll(t *testing.T, p sources.Payload) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, part := range p.Parts {
		var out bytes.Buffer
		if _, err := sourcetest.Read(t.Context(), part, &out); err != nil {
			t.Fatalf("part %q: %v", part.Name, err)
		}
		all[part.Name] = out.Bytes()
	}
	return all
}

func TestPostgresFacts(t *testing.T) {
	s := pgServer(t)
	p, err := pgSource(s).Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	// What is written after Prepare is in neither the dump nor the facts.
	s.Exec(t, pgName, `DELETE FROM "r"`, `INSERT INTO cha VALUES (1), (2)`, `SELECT nextval('"văn thư"."công văn_id_seq"')`)
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := sourcetest.Kept(facts, sources.FactRows)
	want := map[string]string{
		`"văn thư"."công văn"`: "1000", "\"public\".\"tên\ncó \"\"dòng\"\"\"": "3", `"public"."phần_1"`: "182", `"public"."phần_2"`: "120",
		`"public"."cha"`: "0", `"public"."con"`: "1", `"public"."trống"`: "0", `"public"."r"`: "1", `"public"."kiểu"`: "2", "large objects": "1",
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	roles := sourcetest.Kept(facts, sources.FactRole)
	if roles["chủ"] != `login createdb limit=5 until=2030-01-01 00:00:00+00 in="nhóm ""đọc"""` || !strings.HasPrefix(roles["postgres"], "bootstrap superuser login") {
		t.Errorf("roles = %v", roles)
	}
	sequences := sourcetest.Kept(facts, sources.FactSequence)
	if diff := cmp.Diff(map[string]string{`"public"."xuống"`: "descending -2"}, sequences); diff != "" {
		t.Errorf("sequences, without the one that moved (-want +got):\n%s", diff)
	}
	if got := sourcetest.Kept(facts, sources.FactVersion)["server"]; got != fmt.Sprint(s.Major) {
		t.Errorf("version = %s", got)
	}
	if got := sourcetest.Kept(facts, sources.FactCollation)[""]; !strings.Contains(got, "C.UTF-8") {
		t.Errorf("collation = %s", got)
	}
	dump := dumpAll(t, p)
	if !bytes.HasPrefix(dump["database"], []byte("PGDMP")) || !bytes.Contains(dump["globals"], []byte("CREATE ROLE")) {
		t.Error("the dumps are none")
	}
	if !bytes.Contains(dump["globals"], []byte("SCRAM-SHA-256$")) {
		t.Error("no password hashes although pg_read_all_data lets them be read")
	}
}

// One that may read the data and not the passwords saves the roles without.
func TestPostgresWithoutPasswords(t *testing.T) {
	s := sourcetest.StartPostgres(t)
	s.Exec(t, "postgres", "CREATE DATABASE d")
	s.Exec(t, "d", "CREATE TABLE t (a int)", "CREATE ROLE few LOGIN PASSWORD 'few'", "GRANT SELECT ON t TO few")
	p, err := (&sources.Postgres{Host: s.Sockets, User: "few", Password: "few", Database: "d", Now: clock}).Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	if dump := dumpAll(t, p)["globals"]; bytes.Contains(dump, []byte("SCRAM-SHA-256$")) || !bytes.Contains(dump, []byte("CREATE ROLE few")) {
		t.Errorf("globals:\n%s", dump)
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := sourcetest.Kept(facts, sources.FactSkipped)[""]; !strings.Contains(got, "passwords") {
		t.Errorf("skipped = %q, want a word on passwords", got)
	}
}

func TestPostgresPasswordsOfRoles(t *testing.T) {
	s := pgServer(t)
	source := &sources.Postgres{Host: s.Sockets, User: s.Superuser, Database: pgName, Now: clock, FactsMode: sources.ModeCounts}
	p, err := source.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	if dump := dumpAll(t, p); !bytes.Contains(dump["globals"], []byte("SCRAM-SHA-256$")) {
		t.Error("no password hashes although a superuser may read them")
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(sourcetest.Kept(facts, sources.FactContent)) > 0 || len(sourcetest.Kept(facts, sources.FactRows)) == 0 {
		t.Errorf("mode counts took %v", facts)
	}
	where, err := source.Locations(t.Context())
	if err != nil || len(where) != 1 || where[0] != s.Data {
		t.Errorf("locations = %q, %v, want %q", where, err, s.Data)
	}
	user := pgSource(s)
	if _, err := user.Locations(t.Context()); fault.KindOf(err) != fault.Unknown || !strings.Contains(fault.HintOf(err), "pg_read_all_settings") {
		t.Errorf("locations as one who may not know: %v, hint %q", err, fault.HintOf(err))
	}
	s.Exec(t, pgName, `GRANT pg_read_all_settings TO "`+user.User+`"`)
	if where, err := user.Locations(t.Context()); err != nil || len(where) != 1 || where[0] != s.Data {
		t.Errorf("locations with the right of the hint = %q, %v", where, err)
	}
}

// What the dump holds, loaded into another database, has the same facts.
func TestPostgresFactsSurviveRestore(t *testing.T) {
	s := pgServer(t)
	p, err := pgSource(s).Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	load(t, s, dumpAll(t, p)["database"])
	got, err := sources.PostgresFacts(t.Context(), s.Connect(t, "again"), sources.FactsPlan{Mode: sources.ModeFull})
	if err != nil {
		t.Fatal(err)
	}
	for _, tally := range sources.Compare(facts, got) {
		if tally.Held != tally.Of || tally.Of == 0 {
			t.Errorf("%+v", tally)
		}
	}
	for _, change := range []string{
		`DELETE FROM "r"`, `UPDATE r SET r = 2, t = 1`, `UPDATE kiểu SET a = false WHERE a`, `UPDATE kiểu SET p = '{đi,đến}' WHERE a`, `UPDATE kiểu SET x = '' WHERE x IS NULL`, `UPDATE con SET c = 'y'`, `DROP VIEW xem`, `ALTER TABLE cha ALTER a TYPE bigint`,
		`ALTER TYPE loại ADD VALUE 'nội bộ'`, `SELECT setval('xuống', -1)`, `INSERT INTO phần VALUES ('2026-03-03', NULL)`, `DROP INDEX phần_v_idx`,
	} {
		conn := s.Connect(t, "again")
		if _, err := conn.Exec(t.Context(), "BEGIN; "+change); err != nil {
			t.Fatalf("%s: %v", change, err)
		}
		got, err := sources.PostgresFacts(t.Context(), conn, sources.FactsPlan{Mode: sources.ModeFull})
		if err != nil {
			t.Fatal(err)
		}
		if len(brokenKinds(facts, got)) == 0 {
			t.Errorf("%s: not noticed", change)
		}
		_, _ = conn.Exec(t.Context(), "ROLLBACK")
		s.Exec(t, "again", `SELECT setval('xuống', -2)`)
	}
}

// load restores a dump into the database "again".
func load(t *testing.T, s *sourcetest.Server, dump []byte) {
	t.Helper()
	s.Exec(t, "postgres", "CREATE DATABASE again TEMPLATE template0")
	_, err := command.Run(t.Context(), command.Cmd{
		Argv:  []string{filepath.Join(s.Bin, "pg_restore"), "-h", s.Sockets, "-U", s.Superuser, "-d", "again", "--exit-on-error"},
		Env:   []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
		Stdin: io.NopCloser(bytes.NewReader(dump)),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPostgresCancelledFacts(t *testing.T) {
	s := pgServer(t)
	p, err := pgSource(s).Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Facts(ctx); err == nil {
		t.Error("facts after the cancellation")
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
}

// All means all: a database that takes no connections fails the run, and a template
// that people work in is saved.
func TestPostgresAllDatabases(t *testing.T) {
	s := pgServer(t)
	s.Exec(t, pgName, `CREATE DATABASE mẫu IS_TEMPLATE true`, `CREATE DATABASE "mẫu đóng" IS_TEMPLATE true ALLOW_CONNECTIONS false`)
	p := pgSource(s)
	p.Database, p.All = "", true
	payload, err := p.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := payload.Release(); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, part := range payload.Parts {
		parts = append(parts, part.Name)
	}
	want := []string{sources.PartOfDatabase("mẫu"), sources.PartOfDatabase("postgres"), sources.PartOfDatabase(pgName), "globals"}
	slices.Sort(parts)
	slices.Sort(want)
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	for _, tt := range []struct{ sql, text, hint string }{
		{`CREATE DATABASE khoá ALLOW_CONNECTIONS false`, `"khoá" takes no connections`, `ALTER DATABASE "khoá" ALLOW_CONNECTIONS true`},
		{`ALTER DATABASE khoá ALLOW_CONNECTIONS true; REVOKE CONNECT ON DATABASE khoá FROM PUBLIC`, "permission denied", `GRANT CONNECT ON DATABASE "khoá" TO "saoluu"`},
	} {
		for sql := range strings.SplitSeq(tt.sql, "; ") {
			s.Exec(t, pgName, sql)
		}
		_, err := p.Prepare(t.Context(), t.TempDir())
		if fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), tt.text) || !strings.Contains(fault.HintOf(err), tt.hint) {
			t.Errorf("%s: %v (%s, hint %q)", tt.sql, err, fault.KindOf(err), fault.HintOf(err))
		}
	}
}
