package verify

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// shop is a database with users, a view, a trigger that forbids deletion, a table
// without transactions and an empty one.
var shop = []string{
	"CREATE USER 'chủ'@'%' IDENTIFIED BY 'bí mật'", "CREATE ROLE đọc", "GRANT SELECT ON shop.* TO đọc", "GRANT đọc TO 'chủ'@'%'",
	"CREATE TABLE `công văn` (id INT AUTO_INCREMENT PRIMARY KEY, chữ VARCHAR(50) CHARACTER SET utf8mb4, lúc TIMESTAMP NOT NULL DEFAULT '2026-05-03 00:00:00')",
	"INSERT INTO `công văn` (chữ) SELECT MD5(seq) FROM mysql.help_topic, (SELECT 1 seq) s LIMIT 200",
	"CREATE TABLE chặn (id INT)", "INSERT INTO chặn VALUES (1)",
	"CREATE TRIGGER cấm BEFORE DELETE ON chặn FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'không được xoá'",
	"CREATE VIEW nhìn AS SELECT * FROM `công văn`", "CREATE TABLE trống (a INT)",
	"CREATE PROCEDURE làm() DELETE FROM trống",
}

func (r *rig) mariadb(t *testing.T, s *sourcetest.MariaDBServer) Request {
	t.Helper()
	return r.backup(t, "mariadb", &sources.MariaDB{Host: s.Socket, User: "root", Database: "shop", Now: backupTime})
}

func TestMariaDrill(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartMariaDB(t)
	s.Exec(t, "", "CREATE DATABASE shop CHARACTER SET utf8mb4")
	s.Exec(t, "shop", shop...)
	r := newRig(t)
	defer noServers(t, r)
	good := r.mariadb(t, s)
	t.Run("passes", func(t *testing.T) {
		q := good
		q.RTO, q.MaxAge = time.Hour, 2*time.Hour
		q.Checks = []Check{
			{SQL: "SELECT COUNT(*) FROM `công văn`", Min: ptr(200.0), Max: ptr(200.0)},
			{SQL: "SELECT * FROM trống", ExpectedEmpty: true},
			{SQL: "SELECT COUNT(*) FROM nhìn", Equals: ptr("200")},
		}
		res := r.test(t, q)
		expect(t, res, Passed, LevelAsserted)
		if c := res.Control; c == nil || !c.Caught || !strings.HasPrefix(c.By, "facts: ") || c.Damage != "one row of one table deleted" {
			t.Errorf("control = %+v", c)
		}
	})
	good.Control = false
	s.Exec(t, "shop", "UPDATE `công văn` SET chữ = 'khác' WHERE id = 20", "DELETE FROM `công văn` WHERE id = 30", "DROP PROCEDURE làm")
	other := r.mariadb(t, s)
	replaced := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				t.Fatalf("no %q in the dump", old)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		}
	}
	truncated := r.mangled(t, good.Parts[0], func(b []byte) []byte { return b[:len(b)*2/3] })
	garbled := r.mangled(t, good.Parts[0], replaced("CREATE TABLE", "CREATE TABEL"))
	wrong := r.mangled(t, good.Parts[1], replaced(sources.MariaDBRights, sources.MariaDBRights+"GRANT SELECT ON *.* TO 'không'@'có';\n"))
	tests := []struct {
		name   string
		change func(q *Request)
		level  string
		broken []string
	}{
		{"another state", func(q *Request) { q.Parts[0] = other.Parts[0] }, LevelAsserted, []string{"facts: content", "facts: rows", "facts: schema"}},
		{"truncated", func(q *Request) { q.Parts[0] = truncated }, "", []string{"dump"}},
		{"garbled", func(q *Request) { q.Parts[0] = garbled }, "", []string{"load"}},
		{"rights of nobody", func(q *Request) { q.Parts[1] = wrong }, "", []string{"roles"}},
		{"a user has lost a right", func(q *Request) { setFact(q, sources.FactRole, "`đọc`", "0") }, LevelAsserted, []string{"facts: role"}},
	}
	t.Run("damage", func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				q := good
				q.Parts, q.Facts = slices.Clone(good.Parts), slices.Clone(good.Facts)
				tt.change(&q)
				expect(t, r.test(t, q), Failed, tt.level, tt.broken...)
			})
		}
	})
	t.Run("no server of the version", func(t *testing.T) {
		q := good
		q.Facts = slices.Clone(good.Facts)
		setFact(&q, sources.FactVersion, "server", "mariadb 5.1")
		res, err := r.tester.Test(t.Context(), q)
		if res.Verdict != Unknown || fault.KindOf(err) != fault.MissingTool || !strings.Contains(fault.HintOf(err), "mariadb-server") {
			t.Errorf("%s, %v (%s), hint %q; want unknown, the package named", res.Verdict, err, fault.KindOf(err), fault.HintOf(err))
		}
	})
}

// A copy of the whole server by mariabackup: while rows come and go its facts are of the
// same instant, and whatever is damaged in it is found.
func TestMariaPhysical(t *testing.T) {
	t.Parallel()
	if _, _, err := sources.Mariabackup(t.Context(), ""); err != nil {
		sourcetest.Missing(t, err)
	}
	s := sourcetest.StartMariaDB(t, "--skip-networking", "--innodb-page-size=8k", "--innodb-undo-tablespaces=2")
	s.Exec(t, "", "CREATE DATABASE shop CHARACTER SET utf8mb4", "CREATE DATABASE `trống rỗng`", "CREATE USER ai@'may.example.vn'")
	s.Exec(t, "shop", append(shop, "CREATE TABLE cũ (id INT) ENGINE=MyISAM", "INSERT INTO cũ VALUES (1)", "CREATE TABLE nhớ (id INT) ENGINE=MEMORY", "INSERT INTO nhớ VALUES (1)", "CREATE SEQUENCE số")...)
	time.Sleep(1100 * time.Millisecond) // a table without transactions has facts when it was not written just now
	r := newRig(t)
	defer noServers(t, r)
	good := r.backup(t, "mariadb", &sources.MariaDB{Method: sources.MethodMariabackup, Host: s.Socket, User: "root", Now: backupTime})
	t.Run("facts", func(t *testing.T) {
		rows := sourcetest.Kept(good.Facts, sources.FactRows)
		want := map[string]string{"`shop`.`công văn`": "200", "`shop`.`chặn`": "1", "`shop`.`trống`": "0", "`shop`.`cũ`": "1"}
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Errorf("rows (-want +got):\n%s\n%v", diff, sourcetest.Kept(good.Facts, sources.FactSkipped))
		}
		if got := sourcetest.Kept(good.Facts, sources.FactCollation); len(got) != 2 || got["`trống rỗng`"] == "" {
			t.Errorf("databases: %v", got)
		}
	})
	t.Run("passes", func(t *testing.T) {
		q := good
		q.Checks = []Check{
			{SQL: "SELECT COUNT(*) FROM `công văn`", Part: sources.PartOfDatabase("shop"), Equals: ptr("200")},
			{SQL: "SELECT COUNT(*) FROM nhìn", Part: sources.PartOfDatabase("shop"), Equals: ptr("200")},
		}
		res := r.test(t, q)
		expect(t, res, Passed, LevelAsserted, nameSkipped) // a table in memory
		if c := res.Control; c == nil || !c.Caught || !strings.HasPrefix(c.By, "facts: ") {
			t.Errorf("control = %+v", c)
		}
		q.Checks[0].SQL = "DELETE FROM `công văn`"
		if _, err := r.tester.Test(t.Context(), q); fault.KindOf(err) != fault.Usage {
			t.Errorf("a check that writes: %v", err)
		}
	})
	good.Control = false
	s.Exec(t, "shop", "UPDATE `công văn` SET chữ = 'khác' WHERE id = 20", "DROP PROCEDURE làm")
	other := r.backup(t, "mariadb", &sources.MariaDB{Method: sources.MethodMariabackup, Host: s.Socket, User: "root", Now: backupTime})
	tests := []struct {
		name   string
		mangle func([]byte) []byte
		broken []string
	}{
		{"truncated", func(b []byte) []byte { return b[:len(b)*2/3] }, []string{"load"}},
		{"the last file is missing", func(b []byte) []byte {
			return b[:bytes.LastIndex(b[:bytes.Index(b, []byte("xtrabackup_info"))], []byte("XBSTCK01"))]
		}, []string{"load"}},
		{"no stream", func(b []byte) []byte { return []byte("not a stream") }, []string{"load"}},
		{"a chunk is damaged", func(b []byte) []byte { b[len(b)/2] ^= 0x55; return b }, []string{"load"}},
	}
	for _, tt := range tests {
		part := r.mangled(t, good.Parts[0], tt.mangle)
		t.Run(tt.name, func(t *testing.T) {
			q := good
			q.Parts = []PartCopy{part}
			expect(t, r.test(t, q), Failed, "", tt.broken...)
		})
	}
	t.Run("another state", func(t *testing.T) {
		q := good
		q.Parts = other.Parts
		expect(t, r.test(t, q), Failed, LevelAsserted, "facts: content", "facts: schema", nameSkipped)
	})
}

// What the machine lacks is told from what is wrong with the data.
func TestInstanceTrouble(t *testing.T) {
	for text, want := range map[string]fault.Kind{
		"[ERROR] InnoDB: preallocating 268435456 bytes for file ./ib_logfile101 failed with error 28\n[ERROR] Unknown/unsupported storage engine: InnoDB": fault.NoSpace,
		"ERROR 1114 (HY000) at line 5: The table 't' is full":                                        fault.NoSpace,
		"ERROR 1286 (42000) at line 3: Unknown storage engine 'CONNECT'":                             fault.MissingTool,
		"ERROR 1064 (42000) at line 22: You have an error in your SQL syntax near 'TABEL' at line 1": "",
		"ERROR 2013 (HY000) at line 9: Lost connection to server during query":                       fault.Unknown,
	} {
		if kind, _, _ := instanceTrouble(text); kind != want {
			t.Errorf("%q: %q, want %q", text, kind, want)
		}
	}
}

// A server that stores names in lower case, as those that came from Windows do, is
// compared with one that does.
func TestMariaLowerCase(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartMariaDB(t, "--skip-networking", "--lower-case-table-names=1")
	s.Exec(t, "", "CREATE DATABASE Shop")
	s.Exec(t, "SHOP", "CREATE TABLE ViecLam (id INT)", "INSERT INTO VIECLAM VALUES (1)")
	r := newRig(t)
	defer noServers(t, r)
	for _, method := range []string{sources.MethodDump, sources.MethodMariabackup} {
		m := &sources.MariaDB{Method: method, Host: s.Socket, User: "root", Now: backupTime}
		if method == sources.MethodDump {
			m.Database = "shop"
		}
		q := r.backup(t, "mariadb", m)
		q.Checks = []Check{{SQL: "SELECT COUNT(*) FROM VIECLAM", Part: q.Parts[0].Part}}
		if method == sources.MethodMariabackup {
			q.Checks[0].Part = sources.PartOfDatabase("shop")
		}
		expect(t, r.test(t, q), Passed, LevelAsserted)
	}
}
