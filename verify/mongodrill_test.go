package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// The programs are stand-ins that read and write the true archive format.
func TestMongoDrill(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	holds := func(more ...any) {
		all := map[string]any{"server": "7.0.14", "databases": map[string]any{"qlvb": map[string]int{"văn bản": 3000, "rỗng": 0}, "mot-cua": map[string]int{"ho so": 1}}}
		for i := 0; i+1 < len(more); i += 2 {
			all[more[i].(string)] = more[i+1]
		}
		bin.Server(t, "mongo", all)
	}
	r := newRig(t)
	source := func() *sources.MongoDB {
		return &sources.MongoDB{All: true, Oplog: true, Bin: bin.Bin, Now: backupTime}
	}
	t.Run("whole", func(t *testing.T) {
		holds()
		q := r.backup(t, "mongodb", source())
		q.Bin = bin.Bin
		res := r.test(t, q)
		expect(t, res, Passed, LevelAsserted)
		if res.Control == nil || !res.Control.Caught {
			t.Errorf("control: %+v", res.Control)
		}
	})
	t.Run("several", func(t *testing.T) {
		holds()
		s := source()
		s.All, s.Oplog, s.Databases = false, false, []string{"qlvb", "mot-cua"}
		q := r.backup(t, "mongodb", s)
		q.Bin = bin.Bin
		expect(t, r.test(t, q), Passed, LevelAsserted)
	})
	t.Run("a count that is another", func(t *testing.T) {
		holds()
		q := r.backup(t, "mongodb", source())
		q.Bin = bin.Bin
		for i := range q.Facts {
			if q.Facts[i].Of == "qlvb.văn bản" {
				q.Facts[i].Value = "3001"
			}
		}
		expect(t, r.test(t, q), Failed, LevelAsserted, "facts: rows")
	})
	t.Run("half a dump that mongodump called whole", func(t *testing.T) {
		holds("fault", "silent")
		q := r.backup(t, "mongodb", source())
		q.Bin = bin.Bin
		expect(t, r.test(t, q), Failed, "", "load")
	})
	for name, tt := range map[string]struct {
		server string
		bin    string
		text   string
	}{
		"another version": {"6.0.3", bin.Bin, "has version 6.0"},
		"no server":       {"7.0.14", t.TempDir(), `"mongod" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			holds()
			q := r.backup(t, "mongodb", source())
			holds("server", tt.server)
			q.Bin = tt.bin
			res, err := r.tester.Test(t.Context(), q)
			if res.Verdict != Unknown || fault.KindOf(err) != fault.MissingTool || !strings.Contains(err.Error(), tt.text) || !strings.Contains(fault.HintOf(err), "mongodb-org-server") {
				t.Errorf("verdict %q, error %v, hint %q", res.Verdict, err, fault.HintOf(err))
			}
		})
	}
	t.Run("no archive", func(t *testing.T) {
		q := r.backup(t, "mongodb", &sources.Command{Argv: []string{"/bin/echo", "none"}, Now: backupTime})
		q.Bin = bin.Bin
		expect(t, r.test(t, q), Failed, "", "dump")
	})
}

// What nothing but the engine can read passes no test without a program that asks it.
func TestNobodyAsked(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "qlvb.bak"), []byte(strings.Repeat("TAPE", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"sqlserver", "oracle"} {
		q := r.backup(t, kind, &sources.Files{Paths: []string{dir}, FactsMode: sources.ModeFull, Now: backupTime})
		res, err := r.tester.Test(t.Context(), q)
		if res.Verdict != Unknown || fault.KindOf(err) != fault.Unknown || fault.HintOf(err) == "" {
			t.Errorf("%s: verdict %q, error %v", kind, res.Verdict, err)
		}
		n := 1
		q.Checks = []Check{{MinFiles: &n}}
		if res, err := r.tester.Test(t.Context(), q); res.Verdict != Unknown || err == nil {
			t.Errorf("%s, files counted: verdict %q, error %v", kind, res.Verdict, err)
		}
		q.Checks = []Check{{Run: []string{"/bin/grep", "-qr", "TAPE", "{}"}}}
		expect(t, r.test(t, q), Passed, LevelAsserted)
		q.Checks = []Check{{Name: "hỏi", Run: []string{"/bin/grep", "-qr", "NONE", "{}"}}}
		expect(t, r.test(t, q), Failed, LevelAsserted, "hỏi")
	}
}
