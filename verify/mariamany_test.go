package verify

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// Many tables and a row of 100 MB are backed up, restored and compared like any others.
// SAOLUU_MANY says how many; with 10000 mariadb-dump alone takes most of a minute.
func TestMariaManyAndLong(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // the server syncs every table it makes
	}
	many := 1500
	if text := os.Getenv("SAOLUU_MANY"); text != "" {
		var err error
		if many, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := sourcetest.StartMariaDB(t, "--skip-networking", "--max-allowed-packet=1G", "--innodb-file-per-table=0", "--innodb-flush-method=nosync", "--sync-frm=OFF")
	s.Exec(t, "", "CREATE DATABASE shop", "SET GLOBAL innodb_flush_log_at_trx_commit = 0")
	s.Exec(t, "shop", fmt.Sprintf(`CREATE PROCEDURE làm() BEGIN
		FOR i IN 1..%d DO
			EXECUTE IMMEDIATE CONCAT('CREATE TABLE bảng_', i, ' (id INT PRIMARY KEY) ENGINE = ', IF(i %% 10, 'Aria TRANSACTIONAL=0', 'InnoDB'));
			EXECUTE IMMEDIATE CONCAT('INSERT INTO bảng_', i, ' VALUES (', i, ')');
		END FOR;
	END`, many), "CALL làm()", "CREATE TABLE dài (x LONGBLOB)", "INSERT INTO dài VALUES (REPEAT('0123456789', 10 << 20))")
	time.Sleep(1100 * time.Millisecond) // a table without transactions has facts when it was not written just now
	r := newRig(t)
	defer noServers(t, r)
	start := time.Now()
	q := r.mariadb(t, s)
	t.Log("backup", time.Since(start))
	rows, unread := sourcetest.Kept(q.Facts, sources.FactRows), sourcetest.Kept(q.Facts, sources.FactUnread)
	if len(rows) != many+1 || len(unread) > 0 {
		t.Fatalf("facts of %d tables, want %d; not read %v", len(rows), many+1, unread)
	}
	q.Checks = []Check{{SQL: "SELECT LENGTH(x) FROM dài", Equals: ptr("104857600")}}
	start = time.Now()
	res := r.test(t, q)
	t.Log("test", time.Since(start))
	expect(t, res, Passed, LevelAsserted)
	if !strings.Contains(res.Control.By, "facts: ") {
		t.Errorf("control: %+v", res.Control)
	}
}
