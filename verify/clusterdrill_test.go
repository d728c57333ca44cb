package verify

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// newWhole is a server with two databases, and with settings that would do harm or
// fail elsewhere.
func newWhole(t *testing.T, mark string) *sourcetest.Server {
	t.Helper()
	s := newOffice(t)
	s.Exec(t, "postgres", `CREATE DATABASE "một, cửa = 1"`, `ALTER SYSTEM SET shared_preload_libraries = 'không_có'`, `ALTER SYSTEM SET listen_addresses = '*'`,
		`ALTER SYSTEM SET archive_mode = on`, `ALTER SYSTEM SET archive_command = 'touch `+mark+`'`, `ALTER SYSTEM SET ssl = on`, `ALTER SYSTEM SET logging_collector = on`,
		`ALTER DATABASE văn_phòng SET default_transaction_read_only = on`, `CREATE ROLE saoluu LOGIN PASSWORD 'x' REPLICATION BYPASSRLS IN ROLE pg_read_all_data`)
	s.Exec(t, "một, cửa = 1", `CREATE TABLE hồ_sơ AS SELECT i, i::text AS t FROM generate_series(1, 3000) i`, `CREATE INDEX ON hồ_sơ (t)`, `ALTER TABLE hồ_sơ ADD PRIMARY KEY (i)`,
		`CREATE UNLOGGED TABLE tạm AS SELECT 1 AS a`, `CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)`)
	return s
}

func (r *rig) whole(t *testing.T, s *sourcetest.Server) Request {
	t.Helper()
	return r.backup(t, "postgres", &sources.PostgresCluster{Server: sources.Postgres{Host: s.Sockets, User: "saoluu", Password: "x", Now: backupTime}})
}

func TestClusterDrillPass(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "archived")
	s := newWhole(t, mark)
	s.Exec(t, "postgres", `ALTER ROLE postgres SET local_preload_libraries = 'không_có'`, `ALTER ROLE postgres NOLOGIN`)
	r := newRig(t)
	defer noServers(t, r)
	q := r.whole(t, s)
	q.RTO, q.MaxAge = time.Hour, 2*time.Hour
	office := sources.PartOfDatabase("văn_phòng")
	q.Checks = []Check{
		{SQL: `SELECT count(*) FROM "văn thư"."công văn"`, Min: ptr(500.0), Max: ptr(500.0), Part: office},
		{SQL: `SELECT count(*) FROM hồ_sơ`, Equals: ptr("3000"), Part: sources.PartOfDatabase("một, cửa = 1")},
		{SQL: `SELECT current_setting('transaction_read_only')`, Equals: ptr("on"), Part: office},
		{SQL: `SELECT current_setting('listen_addresses') || current_setting('archive_command')`, Equals: ptr("(disabled)"), Part: office},
		{SQL: `SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'`, Max: ptr(0.0), Part: office},
	}
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || !strings.HasPrefix(c.By, "facts: ") || c.Damage != "one row of one table deleted" {
		t.Errorf("control = %+v", c)
	}
	for _, name := range []string{"manifest", "facts: rows", "facts: content", "facts: schema", "facts: identifier", "facts: role"} {
		if !slices.ContainsFunc(res.Assertions, func(a Assertion) bool { return a.Name == name && a.OK }) {
			t.Errorf("no assertion %q in %v", name, res.Assertions)
		}
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the source's archive_command was run")
	}
	if text := fmt.Sprint(res.Assertions); strings.Contains(text, "công") || strings.Contains(text, "cửa") {
		t.Errorf("assertions name data: %s", text)
	}
}

// A copy of a server that is written to passes by the rows that were there all the
// while; and a copy without facts by its files, which are tried for themselves.
func TestClusterDrillOfABusyServer(t *testing.T) {
	t.Parallel()
	s := newWhole(t, "/dev/null")
	r := newRig(t)
	defer noServers(t, r)
	done, stopped := make(chan bool), make(chan error, 1)
	conn := s.Connect(t, "một, cửa = 1")
	go func() {
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-done:
				stopped <- nil
				return
			default:
			}
			_, err = conn.Exec(t.Context(), `WITH x AS (DELETE FROM hồ_sơ WHERE i = (SELECT min(i) FROM hồ_sơ)) INSERT INTO hồ_sơ SELECT max(i) + 1, 'mới' FROM hồ_sơ`)
		}
		stopped <- err
	}()
	q := r.whole(t, s)
	close(done)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || c.By != "facts: rows at least" || c.Damage != "all rows of one table deleted" {
		t.Errorf("control = %+v", c)
	}
	if slices.ContainsFunc(res.Assertions, func(a Assertion) bool { return a.Name == "facts: content" }) {
		t.Errorf("contents of another instant were compared: %v", res.Assertions)
	}
	q.Facts, q.Control = nil, false
	res = r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || c.By != "manifest" {
		t.Errorf("control without facts = %+v", c)
	}
}

// retarred saves a changed version of a tar. change returns the content of an entry,
// nil to leave it out.
func (r *rig) retarred(t *testing.T, c PartCopy, change func(name string, content []byte) []byte) PartCopy {
	t.Helper()
	return r.mangled(t, c, func(text []byte) []byte {
		var out bytes.Buffer
		from, to := tar.NewReader(bytes.NewReader(text)), tar.NewWriter(&out)
		for {
			h, err := from.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(from)
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				if content = change(h.Name, append(content, 0)[:len(content)]); content == nil {
					continue
				}
			}
			h.Size = int64(len(content))
			if err := to.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := to.Write(content); err != nil {
				t.Fatal(err)
			}
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	})
}

func TestClusterDrillDamage(t *testing.T) {
	t.Parallel()
	s := newWhole(t, "/dev/null")
	r := newRig(t)
	defer noServers(t, r)
	good := r.whole(t, s)
	good.Control = false
	without := func(prefix string) PartCopy {
		return r.retarred(t, good.Parts[0], func(name string, content []byte) []byte {
			if strings.HasPrefix(name, prefix) {
				return nil
			}
			return content
		})
	}
	flipped := r.retarred(t, good.Parts[0], func(name string, content []byte) []byte {
		if strings.HasPrefix(name, "base/") && len(content) > 8192 {
			content[len(content)/2] ^= 1
		}
		return content
	})
	tests := []struct {
		name   string
		change func(q *Request)
		level  string
		broken []string
	}{
		{"one bit of a file", func(q *Request) { q.Parts[0] = flipped }, "", []string{"manifest"}},
		{"without its log", func(q *Request) { q.Parts[0] = without("pg_wal/0") }, "", []string{"manifest"}},
		{"without its manifest", func(q *Request) { q.Parts[0] = without("backup_manifest") }, "", []string{"manifest"}},
		{"without a file", func(q *Request) { q.Parts[0] = without("global/pg_control") }, "", []string{"manifest"}},
		{"cut off", func(q *Request) {
			q.Parts[0] = r.mangled(t, good.Parts[0], func(b []byte) []byte { return b[:len(b)/2] })
		}, "", []string{"manifest"}},
		{"no tar at all", func(q *Request) {
			q.Parts[0] = r.mangled(t, good.Parts[0], func([]byte) []byte { return bytes.Repeat([]byte("x"), 2000) })
			q.Facts = nil
		}, "", []string{"manifest"}},
		{"another server", func(q *Request) { setFact(q, sources.FactIdentifier, "", "4711") }, LevelAsserted, []string{"facts: identifier"}},
		{"a row is missing", func(q *Request) {
			setFact(q, sources.FactRows, sources.OfDatabase("một, cửa = 1", `"public"."hồ_sơ"`), "3001")
		}, LevelAsserted, []string{"facts: rows"}},
		{"stream digest", func(q *Request) { q.Parts[0].SHA256 = strings.Repeat("0", 64) }, "", []string{"stream digest"}},
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

// What this host lacks makes a test unknown, with a way out, and not failed.
func TestClusterDrillCouldNotLook(t *testing.T) {
	t.Parallel()
	s := newWhole(t, "/dev/null")
	r := newRig(t)
	defer noServers(t, r)
	good := r.whole(t, s)
	tests := []struct {
		name   string
		change func(q *Request)
		kind   fault.Kind
		hint   string
	}{
		{"no server of this version", func(q *Request) { setFact(q, sources.FactVersion, "server", "13") }, fault.MissingTool, "postgresql-13"},
		{"wrong SQL", func(q *Request) { q.Checks = []Check{{SQL: "SELEC 1"}} }, fault.Usage, "sql"},
		{"two parts", func(q *Request) { q.Parts = append(q.Parts, q.Parts[0]); q.Parts[1].Part = "database" }, fault.Unknown, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := good
			q.Parts, q.Facts = slices.Clone(good.Parts), slices.Clone(good.Facts)
			tt.change(&q)
			res, err := r.tester.Test(t.Context(), q)
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

// A server without a row in any table proves nothing, however whole its files are.
func TestClusterDrillOfNothing(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartPostgres(t)
	r := newRig(t)
	q := r.backup(t, "postgres", &sources.PostgresCluster{Server: sources.Postgres{Host: s.Sockets, User: s.Superuser, Now: backupTime}})
	expect(t, r.test(t, q), NotConfigured, LevelRestored, "data")
}

// A scratch folder that is full while the files are unpacked is no damage.
func TestClusterScratchFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	if err := w.WriteHeader(&tar.Header{Name: "base/1/1", Typeflag: tar.TypeReg, Mode: 0o600, Size: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 4<<20)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cluster.tar")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	small := t.TempDir()
	if err := syscall.Mount("none", small, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	}()
	c := &cluster{tenant: &tenant{dir: small}}
	var found *finding
	if err := c.unpack(t.Context(), file); errors.As(err, &found) || fault.KindOf(err) != fault.NoSpace {
		t.Errorf("error = %v (%s), want %s", err, fault.KindOf(err), fault.NoSpace)
	}
}
