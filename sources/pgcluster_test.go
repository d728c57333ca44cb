package sources_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

func clusterServer(t *testing.T) *sourcetest.Server {
	t.Helper()
	s := pgServer(t)
	s.Exec(t, pgName, `ALTER ROLE saoluu REPLICATION`, `CREATE UNLOGGED TABLE tạm AS SELECT 1 AS a`)
	return s
}

func clusterSource(s *sourcetest.Server) *sources.PostgresCluster {
	return &sources.PostgresCluster{Server: sources.Postgres{Host: s.Sockets, User: "saoluu", Password: pgPassword, Now: clock}}
}

func TestPostgresClusterSuite(t *testing.T) {
	s := clusterServer(t)
	with := func(change func(p *sources.Postgres)) func(*testing.T) sources.Source {
		return func(*testing.T) sources.Source {
			c := clusterSource(s)
			change(&c.Server)
			return c
		}
	}
	sourcetest.Run(t, sourcetest.Subject{
		New:     with(func(*sources.Postgres) {}),
		Secrets: []string{pgPassword, "m:"},
		Broken: map[string]func(*testing.T) sources.Source{
			"wrong password": with(func(p *sources.Postgres) { p.Password += "x" }),
			"no server":      with(func(p *sources.Postgres) { p.Port = 5433 }),
			"no programs":    with(func(p *sources.Postgres) { p.Bin = "/nonexistent" }),
			"no user":        with(func(p *sources.Postgres) { p.User = "" }),
		},
	})
}

func TestPostgresClusterErrors(t *testing.T) {
	s := clusterServer(t)
	s.Exec(t, "postgres", `CREATE ROLE hẹp LOGIN PASSWORD 'hẹp'`)
	tests := []struct {
		name   string
		change func(p *sources.Postgres)
		setup  string
		kind   fault.Kind
		texts  []string
	}{
		{"no right to copy", func(p *sources.Postgres) { p.User, p.Password = "hẹp", "hẹp" }, "", fault.Denied, []string{`ALTER ROLE "hẹp" REPLICATION`}},
		{"wrong password", func(p *sources.Postgres) { p.Password = "no" }, "", fault.Denied, []string{"password authentication failed"}},
		{"no room for a session", func(*sources.Postgres) {}, `ALTER ROLE saoluu CONNECTION LIMIT 0`, fault.Absent, []string{"too many connections"}},
		{"a tablespace", func(*sources.Postgres) {}, `ALTER ROLE saoluu CONNECTION LIMIT -1; SET allow_in_place_tablespaces = on; CREATE TABLESPACE "chỗ khác" LOCATION ''`, fault.Refused, []string{`"chỗ khác"`, `method = "dump"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.setup != "" {
				s.Exec(t, "postgres", strings.Split(tt.setup, "; ")...)
			}
			c := clusterSource(s)
			tt.change(&c.Server)
			_, err := c.Prepare(t.Context(), t.TempDir())
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

// While nobody writes, all facts are those of the copy; what is not logged has none,
// for it comes back empty.
func TestPostgresClusterFactsOfAQuietServer(t *testing.T) {
	s := clusterServer(t)
	facts, _ := copyCluster(t, clusterSource(s), nil)
	rows := sourcetest.Kept(facts, sources.FactRows)
	table := func(of string) string { return sources.OfDatabase(pgName, of) }
	if rows[table(`"văn thư"."công văn"`)] != "1000" || rows[table(`"public"."trống"`)] != "0" {
		t.Errorf("rows = %v", rows)
	}
	if _, there := rows[table(`"public"."tạm"`)]; there {
		t.Error("a table that is not logged has a fact")
	}
	if len(sourcetest.Kept(facts, sources.FactContent)) == 0 || len(sourcetest.Kept(facts, sources.FactLeast)) > 0 {
		t.Errorf("facts = %v", facts)
	}
	if sourcetest.Kept(facts, sources.FactVersion)["server"] != fmt.Sprint(s.Major) || len(sourcetest.Kept(facts, sources.FactIdentifier)[""]) < 10 {
		t.Errorf("version, identifier: %v", facts)
	}
	if roles := sourcetest.Kept(facts, sources.FactRole); roles["saoluu"] == "" {
		t.Errorf("roles = %v", roles)
	}
}

// While others write, only rows that were there all the while are facts.
func TestPostgresClusterFactsOfABusyServer(t *testing.T) {
	s := clusterServer(t)
	s.Exec(t, pgName, `CREATE TABLE đổi AS SELECT i FROM generate_series(1, 100) i`, `CREATE TABLE cũ (a int)`, `INSERT INTO cũ VALUES (1)`)
	open := s.Connect(t, pgName)
	facts, _ := copyCluster(t, clusterSource(s), func() {
		s.Exec(t, pgName, `DELETE FROM đổi WHERE i <= 10`, `UPDATE đổi SET i = -i WHERE i <= 30`, `INSERT INTO đổi SELECT i FROM generate_series(1, 1000) i`,
			`CREATE TABLE mới AS SELECT 1`, `ALTER TABLE cũ RENAME TO "đã đổi tên"`, `TRUNCATE r`)
		for _, statement := range []string{"BEGIN", `DELETE FROM đổi WHERE i BETWEEN 40 AND 44`, `SAVEPOINT a`, `DELETE FROM đổi WHERE i BETWEEN 45 AND 49`} {
			if _, err := open.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	})
	least := sourcetest.Kept(facts, sources.FactLeast)
	table := func(of string) string { return sources.OfDatabase(pgName, of) }
	// 100, less 10 deleted, 20 changed and 10 that may be gone any moment.
	for of, want := range map[string]string{`"public"."đổi"`: "60", `"văn thư"."công văn"`: "1000", `"public"."trống"`: "0"} {
		if got := least[table(of)]; got != want {
			t.Errorf("%s: at least %q, want %q", of, got, want)
		}
	}
	for _, of := range []string{`"public"."mới"`, `"public"."đã đổi tên"`, `"public"."cũ"`, `"public"."tạm"`, `"public"."r"`} {
		if n, there := least[table(of)]; there {
			t.Errorf("%s: at least %s, want no fact", of, n)
		}
	}
	if len(sourcetest.Kept(facts, sources.FactRows)) > 0 || len(sourcetest.Kept(facts, sources.FactRole)) > 0 {
		t.Errorf("facts of another instant: %v", facts)
	}
	if !strings.Contains(sourcetest.Kept(facts, sources.FactSkipped)[""], "written to") {
		t.Errorf("nothing says why: %v", facts)
	}
}

// Of a server that is written to, rows are counted only as long as facts may take, small
// tables first, and those that were left out are named.
func TestPostgresClusterFactsLimit(t *testing.T) {
	s := clusterServer(t)
	s.Exec(t, pgName, `CREATE TABLE chậm AS SELECT i, repeat('x', 1000) AS x FROM generate_series(1, 50000) i`)
	source := clusterSource(s)
	source.Server.FactsLimit = 2 * time.Second
	now := time.Now()
	source.Server.Now = func() time.Time { // each look at the clock takes a tenth of the limit
		now = now.Add(200 * time.Millisecond)
		return now
	}
	facts, _ := copyCluster(t, source, func() { s.Exec(t, pgName, `CREATE TABLE mới AS SELECT 1`) })
	least, unread := sourcetest.Kept(facts, sources.FactLeast), sourcetest.Kept(facts, sources.FactUnread)
	table := sources.OfDatabase(pgName, `"public"."chậm"`)
	if _, counted := least[table]; counted || !strings.Contains(unread[table], "time for facts") || len(least) == 0 {
		t.Errorf("at least %v, unread %v", least, unread)
	}
}

// One that may copy and not read has no facts of tables, and that is said.
func TestPostgresClusterWithoutReading(t *testing.T) {
	s := clusterServer(t)
	s.Exec(t, pgName, `REVOKE pg_read_all_data FROM saoluu`)
	facts, _ := copyCluster(t, clusterSource(s), nil)
	if rows := append(kept(facts, sources.FactRows), kept(facts, sources.FactLeast)...); len(rows) > 0 {
		t.Errorf("rows of what may not be read: %v", rows)
	}
	if got := sourcetest.Kept(facts, sources.FactUnread)[sources.OfDatabase(pgName, `"public"."r"`)]; !strings.Contains(got, "may not read it") {
		t.Errorf("skipped = %q", got)
	}
}

// A database that the user may not enter, or nobody may, is in the copy and has no
// facts, and that is said.
func TestPostgresClusterShutDatabases(t *testing.T) {
	s := clusterServer(t)
	s.Exec(t, pgName, `CREATE DATABASE kín`, `REVOKE CONNECT ON DATABASE kín FROM PUBLIC`, `CREATE DATABASE khoá ALLOW_CONNECTIONS false`,
		`CREATE DATABASE mẫu IS_TEMPLATE true`)
	facts, _ := copyCluster(t, clusterSource(s), nil)
	unread := sourcetest.Kept(facts, sources.FactUnread)
	for name, want := range map[string]bool{"kín": true, "khoá": true, "mẫu": false, "postgres": false} {
		if _, got := unread[sources.OfDatabase(name, "")]; got != want {
			t.Errorf("%s: said to be unread: %v, want %v", name, got, want)
		}
	}
}

func kept(facts []sources.Fact, kind string) []sources.Fact {
	return slices.DeleteFunc(slices.Clone(facts), func(f sources.Fact) bool { return f.Kind != kind })
}

// copyCluster reads a copy, has something happen meanwhile, and returns its facts and
// the tar.
func copyCluster(t *testing.T, c *sources.PostgresCluster, meanwhile func()) ([]sources.Fact, []byte) {
	t.Helper()
	p, err := c.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	if meanwhile != nil {
		meanwhile()
	}
	var out bytes.Buffer
	if _, err := sourcetest.Read(t.Context(), p.Parts[0], &out); err != nil {
		t.Fatal(err)
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return facts, out.Bytes()
}

// What was copied is unpacked as the server itself says it is.
func TestUnpackCluster(t *testing.T) {
	s := clusterServer(t)
	_, text := copyCluster(t, clusterSource(s), nil)
	dir := t.TempDir()
	if err := sources.UnpackCluster(t.Context(), bytes.NewReader(text), dir, nil); err != nil {
		t.Fatal(err)
	}
	verify := command.Cmd{Argv: []string{filepath.Join(s.Bin, "pg_verifybackup"), dir}, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}}
	if _, err := command.Run(t.Context(), verify); err != nil {
		t.Error(err)
	}
	if err := sources.UnpackCluster(t.Context(), bytes.NewReader(text), dir, nil); err == nil {
		t.Error("a second time over the first")
	}
	if version, err := sources.ClusterVersion(bytes.NewReader(text)); err != nil || version != fmt.Sprint(s.Major) {
		t.Errorf("version %q, %v", version, err)
	}
	for name, broken := range map[string][]byte{
		"cut off": text[:len(text)/2], "cut off between files": text[:1024], "garbage": bytes.Repeat([]byte("x"), 5000), "nothing": nil,
	} {
		if err := sources.UnpackCluster(t.Context(), bytes.NewReader(broken), t.TempDir(), nil); fault.KindOf(err) != fault.Damaged {
			t.Errorf("%s: %v (%s)", name, err, fault.KindOf(err))
		}
	}
	if err := sources.UnpackCluster(t.Context(), io.MultiReader(bytes.NewReader(text[:4000]), failingReader{}), t.TempDir(), nil); fault.KindOf(err) != fault.Absent {
		t.Errorf("a reader of ours that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sources.UnpackCluster(ctx, bytes.NewReader(text), t.TempDir(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) {
	return 0, fault.New(fault.Absent, "read", errors.New("the target is away"), "")
}

// A tar that was made to harm writes nothing outside of its folder.
func TestUnpackHostileCluster(t *testing.T) {
	entry := func(name string, kind byte, link string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		h := &tar.Header{Name: name, Typeflag: kind, Linkname: link, Mode: 0o4777, Size: 0}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for name, text := range map[string][]byte{
		"up":       entry("../x", tar.TypeReg, ""),
		"absolute": entry("/x", tar.TypeReg, ""),
		"link":     entry("base", tar.TypeSymlink, "/etc"),
		"hard":     entry("base", tar.TypeLink, "/etc/passwd"),
		"device":   entry("base", tar.TypeChar, ""),
		"twice":    append(entry("a", tar.TypeReg, ""), entry("./a", tar.TypeReg, "")...),
	} {
		outer := t.TempDir()
		dir := filepath.Join(outer, "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := sources.UnpackCluster(t.Context(), bytes.NewReader(text), dir, nil); fault.KindOf(err) != fault.Damaged {
			t.Errorf("%s: %v (%s)", name, err, fault.KindOf(err))
		}
		if _, err := os.Lstat(filepath.Join(outer, "x")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: written outside", name)
		}
	}
}
