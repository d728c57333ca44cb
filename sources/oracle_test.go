package sources_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

const oraclePassword = `p@ss#1/{ật-khẩu} =x`

func oracleHolds(folder string, change map[string]any) map[string]any {
	holds := map[string]any{
		"user": "saoluu", "password": oraclePassword, "schemas": []string{"HR", "VANTHU"},
		"directories": map[string]string{"SAOLUU": folder},
	}
	maps.Copy(holds, change)
	return holds
}

func TestOracleSuite(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	folder := t.TempDir()
	bin.Server(t, "oracle", oracleHolds(folder, nil))
	with := func(change func(o *sources.Oracle)) func(*testing.T) sources.Source {
		return func(*testing.T) sources.Source {
			o := &sources.Oracle{Database: "QLVB", User: "saoluu", Password: oraclePassword, All: true, Directory: "SAOLUU", Folder: folder, Name: "ke-toan", Bin: bin.Bin, Now: time.Now}
			change(o)
			return o
		}
	}
	sourcetest.Run(t, sourcetest.Subject{
		New:     with(func(o *sources.Oracle) { o.FactsMode = sources.ModeFull }),
		Secrets: []string{oraclePassword},
		Broken: map[string]func(*testing.T) sources.Source{
			"wrong password":    with(func(o *sources.Oracle) { o.Password += "x" }),
			"quoted password":   with(func(o *sources.Oracle) { o.Password += `"` }),
			"no server":         with(func(o *sources.Oracle) { o.Port = 1 }),
			"no user":           with(func(o *sources.Oracle) { o.User = "" }),
			"nothing saved":     with(func(o *sources.Oracle) { o.All = false }),
			"two answers":       with(func(o *sources.Oracle) { o.Schemas = []string{"HR"} }),
			"odd schema":        with(func(o *sources.Oracle) { o.All, o.Schemas = false, []string{"HR,SYS"} }),
			"no directory":      with(func(o *sources.Oracle) { o.Directory = "NONE" }),
			"no folder":         with(func(o *sources.Oracle) { o.Folder += "x" }),
			"no program":        with(func(o *sources.Oracle) { o.Bin = "/nonexistent" }),
			"unknown method":    with(func(o *sources.Oracle) { o.Method = "exp" }),
			"rman with a user":  with(func(o *sources.Oracle) { o.Method = sources.MethodRMAN }),
			"odd service":       with(func(o *sources.Oracle) { o.Database = "QLVB' x" }),
			"folder with quote": with(func(o *sources.Oracle) { o.Folder += "'" }),
		},
	})
}

func TestOracleFailures(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	rman := func(o *sources.Oracle) {
		*o = sources.Oracle{Method: sources.MethodRMAN, Database: "QLVB", Folder: o.Folder, Bin: o.Bin, Now: time.Now}
	}
	for name, tt := range map[string]struct {
		holds  map[string]any
		change func(o *sources.Oracle)
		kind   fault.Kind
		text   string
	}{
		"wrong password":       {nil, func(o *sources.Oracle) { o.Password = "x" }, fault.Denied, "ORA-01017"},
		"no listener":          {nil, func(o *sources.Oracle) { o.Host = "db.example.vn" }, fault.Absent, "ORA-12541"},
		"no directory":         {nil, func(o *sources.Oracle) { o.Directory = "X" }, fault.Denied, "ORA-39070"},
		"errors":               {map[string]any{"fault": "errors"}, nil, fault.Failed, "ORA-01555"},
		"one schema not there": {nil, func(o *sources.Oracle) { o.Schemas = []string{"HR", "NHANSU"} }, fault.Failed, "completed with 1 error"},
		"half":                 {map[string]any{"fault": "half"}, nil, fault.NoSpace, "ORA-19502"},
		"still running":        {map[string]any{"fault": "running"}, nil, fault.Locked, "ORA-31634"},
		"other folder":         {map[string]any{"directories": map[string]string{"SAOLUU": t.TempDir()}}, nil, fault.Failed, "is not there"},
		"rman":                 {nil, rman, "", ""},
		"rman, no instance":    {map[string]any{"sid": "KHAC"}, rman, fault.Absent, "ORA-01034"},
		"rman, no archive log": {map[string]any{"noarchivelog": true}, rman, fault.Failed, "RMAN-06149"},
		"rman, half":           {map[string]any{"fault": "half"}, rman, fault.NoSpace, "ORA-19502"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			bin.Server(t, "oracle", oracleHolds(folder, tt.holds))
			o := &sources.Oracle{Database: "QLVB", User: "saoluu", Password: oraclePassword, Schemas: []string{"HR"}, Directory: "SAOLUU", Folder: folder, Name: "a", Bin: bin.Bin, Now: time.Now}
			if tt.change != nil {
				tt.change(o)
			}
			_, err := o.Prepare(t.Context(), t.TempDir())
			if fault.KindOf(err) != tt.kind || err != nil && (!strings.Contains(err.Error(), tt.text) || fault.HintOf(err) == "") {
				t.Errorf("kind %q, error %v, hint %q; want %q, %q", fault.KindOf(err), err, fault.HintOf(err), tt.kind, tt.text)
			}
		})
	}
}

// What rman leaves has other names each time. Only what is of this run is saved, what
// is older than a run goes, and files of others stay.
func TestOraclePieces(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	folder := t.TempDir()
	bin.Server(t, "oracle", oracleHolds(folder, nil))
	if err := os.WriteFile(filepath.Join(folder, "other"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	o := &sources.Oracle{Method: sources.MethodRMAN, Database: "QLVB", Folder: folder, Bin: bin.Bin, Now: func() time.Time { return now }}
	var last []string
	for range 2 {
		p, err := o.Prepare(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		paths := p.Parts[0].Paths
		if len(paths) != 3 || slices.ContainsFunc(paths, func(path string) bool { return slices.Contains(last, path) || filepath.Base(path) == "other" }) {
			t.Errorf("saved %q after %q", paths, last)
		}
		last = paths
	}
}
