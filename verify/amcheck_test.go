package verify

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"saoluu/sources"
)

// What a server finds wrong in its tables and indexes fails the test of files that came
// as they were, though every one of them is as the server sent it.
func TestClusterDrillAmcheck(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"a row is in no index": {
			`UPDATE pg_index SET indisready = false WHERE indexrelid = 'hồ_sơ_pkey'::regclass`,
			`INSERT INTO hồ_sơ VALUES (4711, 'x')`,
			`UPDATE pg_index SET indisready = true WHERE indexrelid = 'hồ_sơ_pkey'::regclass`,
		},
		"a row is older than it can be": {
			`UPDATE pg_class SET relfrozenxid = (pg_current_xact_id()::xid) WHERE oid = 'hồ_sơ'::regclass`,
		},
	}
	for name, harm := range tests {
		t.Run(name, func(t *testing.T) {
			s := newWhole(t, "/dev/null")
			r := newRig(t)
			defer noServers(t, r)
			good := r.whole(t, s)
			good.Control = false
			res := r.test(t, good)
			expect(t, res, Passed, LevelAsserted)
			if a := assertion(res, nameAmcheck); !a.OK || a.Actual == "" {
				t.Errorf("amcheck of a healthy copy: %+v", a)
			}
			s.Exec(t, "một, cửa = 1", harm...)
			bad := r.whole(t, s)
			bad.Control = false
			res = r.test(t, bad)
			expect(t, res, Failed, LevelAsserted, nameAmcheck)
			t.Logf("detail: %.300q", res.Detail)
		})
	}
}

func assertion(res Result, name string) Assertion {
	for _, a := range res.Assertions {
		if a.Name == name {
			return a
		}
	}
	return Assertion{}
}

// In a loaded dump tables and indexes are looked into likewise, whatever guards the
// database has, and nothing is left of it.
func TestDrillAmcheck(t *testing.T) {
	t.Parallel()
	major, err := strconv.Atoi(serverMajor(t))
	if err != nil {
		t.Fatal(err)
	}
	tester := &Tester{Scratch: scratch(t), Now: testTime}
	box, err := tester.open(t.Context(), Request{Test: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer box.close()
	x := &examination{tester: tester, sandbox: box, request: Request{Source: "postgres"}}
	c, err := startCluster(t.Context(), x, major)
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	d := &drill{examination: x, cluster: c, databases: []loadedDatabase{{"database", "postgres"}}}
	conn, err := c.connect(t.Context(), c.superuser, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	exec := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := conn.Exec(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	if err := d.amcheck(t.Context(), false); err != nil || len(x.result.Assertions) > 0 {
		t.Fatalf("an empty database: %v, %v", err, x.result.Assertions)
	}
	exec(`CREATE TABLE hồ_sơ (i int PRIMARY KEY, t text)`, `CREATE INDEX ON hồ_sơ (t)`, `INSERT INTO hồ_sơ SELECT i, md5(i::text) FROM generate_series(1, 1000) i`,
		`CREATE INDEX hỏng ON hồ_sơ (lower(t))`, `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'hỏng'::regclass`,
		`CREATE UNLOGGED TABLE tạm AS SELECT 1 AS a`, `CREATE MATERIALIZED VIEW tổng AS SELECT count(*) FROM hồ_sơ`,
		`CREATE FUNCTION cấm() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''không được''; END'`,
		`CREATE EVENT TRIGGER cấm ON ddl_command_start EXECUTE FUNCTION cấm()`, `ALTER ROLE postgres SET statement_timeout = '1ms'`)
	before, err := sources.PostgresFacts(t.Context(), conn, sources.FactsPlan{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.amcheck(t.Context(), false); err != nil || assertion(x.result, nameAmcheck).Actual != "5 of 5" {
		t.Fatalf("3 tables and 2 indexes: %v, %v", err, x.result.Assertions)
	}
	after, err := sources.PostgresFacts(t.Context(), conn, sources.FactsPlan{})
	if err != nil {
		t.Fatal(err)
	}
	if len(before) != len(after) {
		t.Errorf("something is left of it: %v, %v", before, after)
	}
	exec(`UPDATE pg_class SET relfrozenxid = (pg_current_xact_id()::xid) WHERE oid = 'public.hồ_sơ'::regclass`)
	var found *finding
	if err := d.amcheck(t.Context(), false); !errors.As(err, &found) || found.name != nameAmcheck || !strings.Contains(err.Error(), "hồ_sơ") {
		t.Errorf("a damaged table: %v", err)
	}
}
