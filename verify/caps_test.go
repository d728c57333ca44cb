package verify

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// A copy that takes far more room restored than saved is not let fill the disk, and one
// whose check takes too much memory is not let have it. Neither is damage.
func TestCaps(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartPostgres(t)
	s.Exec(t, "postgres", "CREATE DATABASE d")
	s.Exec(t, "d", "CREATE TABLE t AS SELECT 1 AS a",
		"CREATE MATERIALIZED VIEW lớn AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 300000) i")
	r := newRig(t)
	defer noServers(t, r)
	q := r.postgres(t, s, "d")
	q.Control = false
	unknown := func(kind fault.Kind, hint string) {
		t.Helper()
		res, err := r.tester.Test(t.Context(), q)
		if res.Verdict == Passed || res.Verdict == Failed || fault.KindOf(err) != kind || !strings.Contains(fault.HintOf(err), hint) {
			t.Errorf("verdict %s, error %v (%s, hint %q), want unknown, %s with %q", res.Verdict, err, fault.KindOf(err), fault.HintOf(err), kind, hint)
		}
		t.Log(err)
		if names := broken(res); len(names) > 0 {
			t.Errorf("broken: %q, although nothing is", names)
		}
		if left, _ := os.ReadDir(r.tester.Scratch); len(left) > 0 {
			t.Errorf("left in scratch: %v", left)
		}
		noServers(t, r)
	}
	t.Run("memory", func(t *testing.T) {
		r.tester.Memory = 600 << 20
		q.Checks = []Check{{SQL: "SELECT length(repeat('x', 900000000))", Min: ptr(1.0)}}
		unknown(fault.Unknown, "limits.test_memory")
		q.Checks[0].SQL = "SELECT length(repeat('x', 90000000))"
		expect(t, r.test(t, q), Passed, LevelAsserted)
		q.Checks = nil
	})
	t.Run("room", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("mounting needs root")
		}
		if err := syscall.Mount("none", r.tester.Scratch, "tmpfs", 0, "size=900m,mode=711"); err != nil {
			t.Skip(err)
		}
		defer func() {
			if err := syscall.Unmount(r.tester.Scratch, 0); err != nil {
				t.Error(err)
			}
		}()
		r.tester.Reserve = 100 << 20
		expect(t, r.test(t, q), Passed, LevelAsserted)
		r.tester.Reserve = 750 << 20
		unknown(fault.NoSpace, "limits.test_reserve")
		r.tester.Reserve = 1 << 30
		unknown(fault.NoSpace, "limits.test_reserve") // before anything was fetched
	})
}

// MariaDB's server is bounded too.
func TestMariaDBCap(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartMariaDB(t)
	s.Exec(t, "", "CREATE DATABASE shop")
	s.Exec(t, "shop", "CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)")
	r := newRig(t)
	defer noServers(t, r)
	q := r.backup(t, "mariadb", &sources.MariaDB{Host: s.Socket, User: "root", Database: "shop", Now: backupTime})
	r.tester.Memory = 64 << 20 // less than its cache
	if res, err := r.tester.Test(t.Context(), q); res.Verdict != Unknown || err == nil {
		t.Errorf("verdict %s, %v: it started within 64 MiB", res.Verdict, err)
	}
	r.tester.Memory = 4 << 30
	expect(t, r.test(t, q), Passed, LevelAsserted)
}
