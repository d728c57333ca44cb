package verify

import (
	"fmt"
	"slices"
	"testing"

	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// Ten thousand tables with odd names and a row of 100 MB are dumped, loaded and
// compared, all of them, on servers as they are installed.
func TestDrillSize(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	s := sourcetest.StartPostgres(t)
	s.Exec(t, "postgres", "CREATE DATABASE d")
	const tables = 10_000
	s.Exec(t, "d", `CREATE SCHEMA "văn ""thư"`,
		// Locks on all at once would not fit into the server's table of locks.
		fmt.Sprintf(`DO $$ BEGIN FOR i IN 2..%d LOOP
			EXECUTE format('CREATE TABLE "văn ""thư".%%I (a int)', E'bảng "số"\n' || i);
			IF i %% 3 = 0 THEN EXECUTE format('INSERT INTO "văn ""thư".%%I VALUES (%%s)', E'bảng "số"\n' || i, i); END IF;
			IF i %% 500 = 0 THEN COMMIT; END IF;
		END LOOP; END $$`, tables),
		`CREATE TABLE lớn (b bytea, c text)`, `ALTER TABLE lớn ALTER b SET STORAGE EXTERNAL, ALTER c SET STORAGE EXTERNAL`,
		`INSERT INTO lớn VALUES (convert_to(repeat('0123456789abcdef', 100000000 / 16), 'UTF8'), repeat('đ', 1000000))`)
	r := newRig(t)
	r.tester.Memory = 4 << 30 // what a site has unless it says otherwise
	defer noServers(t, r)
	q := r.postgres(t, s, "d")
	q.Control = false
	rows := slices.DeleteFunc(slices.Clone(q.Facts), func(f sources.Fact) bool { return f.Kind != sources.FactRows })
	if len(rows) != tables {
		t.Fatalf("facts of %d tables, want %d", len(rows), tables)
	}
	q.Checks = []Check{{SQL: "SELECT length(b) FROM lớn", Equals: ptr("100000000")}}
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if !slices.Contains(res.Assertions, Assertion{Name: "facts: content", Expected: count(tables, tables), Actual: count(tables, tables), OK: true}) {
		t.Errorf("assertions = %+v", res.Assertions)
	}
}
