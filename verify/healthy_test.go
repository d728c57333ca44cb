package verify

import (
	"strings"
	"testing"

	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// healthy are databases that restore tests elsewhere took for damaged: by what is odd
// about them, the statements that make them so.
var healthy = map[string][]string{
	"schema public was made anew by another role": {
		`CREATE ROLE "chủ ""mới""" NOLOGIN`, `DROP SCHEMA public CASCADE`, `CREATE SCHEMA public AUTHORIZATION "chủ ""mới"""`, `GRANT ALL ON SCHEMA public TO PUBLIC`,
		`COMMENT ON SCHEMA public IS 'của chúng tôi'`, `CREATE TABLE public.t AS SELECT 1 AS a`,
	},
	"there is no schema public": {`DROP SCHEMA public CASCADE`, `CREATE SCHEMA riêng`, `CREATE TABLE riêng.t AS SELECT 1 AS a`},
	"extensions":                {`CREATE EXTENSION citext`, `CREATE SCHEMA mở`, `CREATE EXTENSION pgcrypto SCHEMA mở`, `CREATE TABLE t (a citext PRIMARY KEY)`, `INSERT INTO t VALUES ('Đơn')`},
	"an extension was dropped":  {`CREATE EXTENSION hstore`, `CREATE TABLE t AS SELECT 1 AS a`, `DROP EXTENSION hstore`},
	"roles that own and may nothing else": {
		`CREATE ROLE "vắng mặt" NOLOGIN`, `CREATE TABLE t AS SELECT 1 AS a`, `ALTER TABLE t OWNER TO "vắng mặt"`, `CREATE ROLE khách NOLOGIN`,
		`GRANT SELECT (a) ON t TO khách`, `ALTER DEFAULT PRIVILEGES FOR ROLE "vắng mặt" GRANT SELECT ON TABLES TO khách`, `REVOKE ALL ON DATABASE current_database FROM PUBLIC`,
	},
	"nothing in it":       {},
	"tables without rows": {`CREATE TABLE t (a int)`, `CREATE TABLE u ()`},
	"event triggers":      {`CREATE TABLE t AS SELECT 1 AS a`, `CREATE FUNCTION xem() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'x'; END $$`, `CREATE EVENT TRIGGER xem ON ddl_command_end EXECUTE FUNCTION xem()`},
}

func TestDrillHealthy(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartPostgres(t)
	for name, statements := range healthy {
		s.Exec(t, "postgres", "CREATE DATABASE "+quoteName(name))
		for _, statement := range statements {
			s.Exec(t, name, strings.ReplaceAll(statement, "DATABASE current_database", "DATABASE "+quoteName(name)))
		}
	}
	r := newRig(t)
	defer noServers(t, r)
	q := r.backup(t, "postgres", &sources.Postgres{Host: s.Sockets, User: s.Superuser, All: true, Now: backupTime})
	if len(q.Parts) != len(healthy)+2 { // the database postgres, and the roles
		t.Fatalf("%d parts", len(q.Parts))
	}
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
}

// Names that need care in SQL, in options, in comments of dumps and in facts.
func TestOddNames(t *testing.T) {
	t.Parallel()
	odd := []string{"văn bản", `có "nháy"`, "có 'nháy'", "có `nháy`", "hai\ndòng", "-- Table structure for", "a; DROP TABLE b", `ngược\`, "100%", "$1"}
	t.Run("mariadb", func(t *testing.T) {
		s := sourcetest.StartMariaDB(t)
		const database = "cơ sở `dữ` \"liệu\""
		s.Exec(t, "", "CREATE DATABASE "+quoteBacktick(database)+" CHARACTER SET utf8mb4")
		for _, name := range odd {
			table := quoteBacktick(name)
			s.Exec(t, database, "CREATE TABLE "+table+" ("+table+" INT PRIMARY KEY) ", "INSERT INTO "+table+" VALUES (1), (2)")
		}
		r := newRig(t)
		expect(t, r.test(t, r.backup(t, "mariadb", &sources.MariaDB{Host: s.Socket, User: "root", Databases: []string{database}, Now: backupTime})), Passed, LevelAsserted)
	})
	t.Run("sqlite", func(t *testing.T) {
		var statements []string
		for _, name := range odd {
			table := quoteName(name)
			statements = append(statements, "CREATE TABLE "+table+" ("+table+" INT)", "INSERT INTO "+table+" VALUES (1), (2)")
		}
		r := newRig(t)
		expect(t, r.test(t, r.sqlite(t, sources.ModeFull, statements...)), Passed, LevelAsserted)
	})
	t.Run("postgres", func(t *testing.T) {
		s := sourcetest.StartPostgres(t)
		const database = "cơ sở = 'dữ' \"liệu\" \\"
		s.Exec(t, "postgres", "CREATE DATABASE "+quoteName(database))
		for _, name := range odd {
			schema := quoteName(name)
			s.Exec(t, database, "CREATE SCHEMA "+schema, "CREATE TABLE "+schema+"."+schema+" ("+schema+" serial, x text)", "INSERT INTO "+schema+"."+schema+" VALUES (1), (2)")
		}
		r := newRig(t)
		q := r.backup(t, "postgres", &sources.Postgres{Host: s.Sockets, User: s.Superuser, Databases: []string{database}, Now: backupTime})
		expect(t, r.test(t, q), Passed, LevelAsserted)
	})
}
