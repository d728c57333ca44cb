package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

func TestJudge(t *testing.T) {
	vietnam := time.FixedZone("+07", 7*3600)
	value := func(s string) answer { return answer{text: s} }
	fresh := Check{NewerThan: 48 * time.Hour}
	tests := []struct {
		check Check
		got   answer
		ok    bool
		shown string
	}{
		{Check{Min: ptr(1.0)}, value("1"), true, "1"},
		{Check{Min: ptr(1.0)}, value("0.5"), false, "0.5"},
		{Check{Max: ptr(1.0)}, value("1e3"), false, "1000"},
		{Check{Min: ptr(0.0)}, answer{none: true}, false, "no row"},
		{Check{Min: ptr(0.0)}, answer{null: true}, false, "no value"},
		{Check{Min: ptr(0.0)}, value("NaN"), false, "NaN"},
		{Check{Min: ptr(0.0), Equals: ptr("5")}, value("4"), false, "another value"},
		{Check{}, value("x"), true, "a value"},
		{Check{}, value("0"), false, "empty or zero"},
		{Check{}, value("f"), false, "empty or zero"},
		{Check{}, value(""), false, "empty or zero"},
		{Check{ExpectedEmpty: true}, value("0"), true, "empty"},
		{Check{ExpectedEmpty: true}, answer{null: true}, true, "empty"},
		{Check{ExpectedEmpty: true}, answer{none: true}, true, "empty"},
		{Check{ExpectedEmpty: true}, value("1"), false, "not empty"},
		{Check{ExpectedEmpty: true}, answer{refused: "gone"}, false, "gone"},
		// The backup is of 2026-05-04 01:02:03 UTC, which is 08:02:03 in Vietnam.
		{fresh, value("2026-05-02 08:02:03"), true, "48h0m0s before the backup"},
		{fresh, value("2026-05-02 08:02:02"), false, "48h0m1s before the backup"},
		{fresh, value("2026-05-02 01:02:03+00"), true, "48h0m0s before the backup"},
		{fresh, value("2026-05-02T01:02:03Z"), true, "48h0m0s before the backup"},
		{fresh, value("2026-05-02 08:02:03.000+07:00"), true, "48h0m0s before the backup"},
		{fresh, value("2026-05-03"), true, "32h2m3s before the backup"},
		{fresh, value("03/05/2026"), true, "32h2m3s before the backup"},
		{fresh, value("1777683723"), true, "48h0m0s before the backup"},
		{fresh, value("1777683723000"), true, "48h0m0s before the backup"},
		{fresh, value("2026-05-05"), true, "at the time of the backup"},
		{fresh, value("2026-05-06"), false, "39h57m57s after the backup"},
		{fresh, value("9999-12-31"), false, "after the backup"},
		{fresh, value("3"), false, "not a time"},
		{fresh, value("mai"), false, "not a time"},
		{fresh, answer{null: true}, false, "no value"},
	}
	for _, tt := range tests {
		var a Assertion
		judge(tt.check, tt.got, Request{ConsistentAt: backupTime(), Location: vietnam}, &a)
		if a.OK != tt.ok || !strings.Contains(a.Actual, tt.shown) || a.Expected == "" {
			t.Errorf("%+v of %+v: %+v, want %v, %q", tt.got, tt.check, a, tt.ok, tt.shown)
		}
	}
}

// What the system does is no damage, what the data do is.
func TestEnvironment(t *testing.T) {
	tests := map[string]fault.Kind{
		`ERROR:  could not extend file "base/1": No space left on device`:                         fault.NoSpace,
		`FATAL:  could not map anonymous shared memory: Cannot allocate memory`:                   fault.Unknown,
		`ERROR:  pg_cron can only be loaded via shared_preload_libraries`:                         fault.MissingTool,
		`ERROR:  timescaledb must be loaded via shared_preload_libraries`:                         fault.MissingTool,
		`ERROR:  could not access file "$libdir/postgis-3": No such file or directory`:            fault.MissingTool,
		`ERROR:  invalid LC_COLLATE locale name: "vi_VN.UTF-8"`:                                   fault.MissingTool,
		`pg_restore: error: unsupported version (1.16) in file header`:                            fault.MissingTool,
		`server closed the connection unexpectedly`:                                               fault.Unknown,
		`ERROR:  duplicate key value violates unique constraint "t_pkey"`:                         "",
		`ERROR:  invalid input syntax for type integer: "x"`:                                      "",
		`pg_restore: error: could not read from input file: end of file`:                          "",
		`pg_restore: error: could not execute query: ERROR:  role "chủ" does not exist`:           "",
		`pg_restore: error: input file does not appear to be a valid archive`:                     "",
		`ERROR:  invalid byte sequence for encoding "UTF8": 0xff`:                                 "",
		`pg_restore: error: could not uncompress data: (null)`:                                    "",
		`ERROR:  insert or update on table "a" violates foreign key constraint "b" DETAIL: key x`: "",
	}
	for text, want := range tests {
		kind, hint, ok := environment(text)
		if kind != want || ok != (want != "") || ok && hint == "" {
			t.Errorf("%s: %s, hint %q; want %q", text, kind, hint, want)
		}
	}
	c := &cluster{tenant: &tenant{}}
	if err := c.fault("start", &command.ExitError{Stderr: "FATAL: out of memory"}); fault.KindOf(err) != fault.Unknown || fault.HintOf(err) == "" {
		t.Errorf("error = %v", err)
	}
}

// A folder the server's user cannot pass through is told by its name.
func TestPassable(t *testing.T) {
	dir, err := os.MkdirTemp("", "saoluu-passable-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	inner := filepath.Join(dir, "scratch")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	c := &tenant{credential: &command.Credential{UID: 65534, GID: 65534}}
	if err := c.passable(inner); fault.KindOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), dir) {
		t.Errorf("error = %v, hint %s", err, fault.HintOf(err))
	}
	if st, err := os.Stat(inner); err != nil || st.Mode().Perm() != 0o711 {
		t.Errorf("scratch itself is not opened: %v, %v", st.Mode(), err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := c.passable(inner); err != nil {
		t.Error(err)
	}
}

// The path of a socket fits whatever the folder for temporary files is called.
func TestSocketFolder(t *testing.T) {
	b := &sandbox{dir: t.TempDir()}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := b.socketFolder(long)
	if err != nil {
		t.Fatal(err)
	}
	if len(dir+"/.s.PGSQL.5432") > 107 {
		t.Errorf("%s is too long for a socket", dir)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder is left")
	}
}

// A kind of source of which nothing is known is held against its digests.
func TestUnknownKindOfStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"x": strings.Repeat("dump ", 1000)})
	part := r.save(t, sources.Part{Name: "dump", File: dir + "/x", Filename: "x"})
	q := Request{Test: "t", Job: "j", Source: "command", Repo: r.repo, Parts: []PartCopy{part}, Seed: "s", Control: true, ConsistentAt: backupTime()}
	expect(t, r.test(t, q), NotConfigured, LevelRestored, "data")
	q.Facts = []sources.Fact{
		{Part: "dump", Kind: sources.FactSHA256, Value: part.SHA256}, {Part: "dump", Kind: sources.FactSize, Value: fmt.Sprint(part.Bytes)},
	}
	res := r.test(t, q)
	expect(t, res, Passed, LevelAsserted)
	if c := res.Control; c == nil || !c.Caught || c.By != "stream digest" {
		t.Errorf("control = %+v", c)
	}
	q.Facts[0].Value = strings.Repeat("0", 64)
	expect(t, r.test(t, q), Failed, LevelAsserted, "facts: sha256")
	q.Checks = []Check{{SQL: "SELECT 1"}}
	if _, err := r.tester.Test(t.Context(), q); fault.KindOf(err) != fault.Usage {
		t.Errorf("error = %v", err)
	}
}
