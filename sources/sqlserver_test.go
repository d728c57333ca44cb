package sources_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

const sqlPassword = `p"ä's\ {x};$(a)`

// sqlOdd is a name with all that statements and sqlcmd treat in a way of their own.
const sqlOdd = "tên ] có 'nháy' $(x)\nGO\n:!! ls"

func sqlHolds(folder string, change map[string]any) map[string]any {
	holds := map[string]any{
		"user": "saoluu", "password": sqlPassword, "untrusted": true,
		"databases": map[string]string{"master": "ONLINE", "qlvb": "ONLINE", "QLVB": "ONLINE", "it's": "ONLINE", sqlOdd: "ONLINE"},
		"folders":   map[string]string{`\\nas\saoluu`: folder},
	}
	maps.Copy(holds, change)
	return holds
}

func TestSQLServerSuite(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	for name, program := range map[string]bool{"go-sqlcmd": true, "mssql-tools": false} {
		folder := t.TempDir()
		with := func(change func(s *sources.SQLServer)) func(*testing.T) sources.Source {
			return func(*testing.T) sources.Source {
				s := &sources.SQLServer{User: "saoluu", Password: sqlPassword, All: true, Folder: folder, ServerFolder: `\\nas\saoluu`, Bin: bin.Bin, Now: time.Now}
				change(s)
				return s
			}
		}
		t.Run(name, func(t *testing.T) {
			bin.Server(t, "sqlserver", sqlHolds(folder, map[string]any{"go": program}))
			sourcetest.Run(t, sourcetest.Subject{
				New:     with(func(s *sources.SQLServer) { s.FactsMode = sources.ModeFull }),
				Secrets: []string{sqlPassword},
				Broken: map[string]func(*testing.T) sources.Source{
					"wrong password":  with(func(s *sources.SQLServer) { s.Password += "x" }),
					"no server":       with(func(s *sources.SQLServer) { s.Port = 1 }),
					"no password":     with(func(s *sources.SQLServer) { s.Password = "" }),
					"nobody":          with(func(s *sources.SQLServer) { s.User, s.Password = "", "" }),
					"two answers":     with(func(s *sources.SQLServer) { s.Database = "qlvb" }),
					"no database":     with(func(s *sources.SQLServer) { s.All, s.Database = false, "none" }),
					"tempdb":          with(func(s *sources.SQLServer) { s.All, s.Databases = false, []string{"TempDB"} }),
					"no folder":       with(func(s *sources.SQLServer) { s.Folder += "x" }),
					"another folder":  with(func(s *sources.SQLServer) { s.ServerFolder = t.TempDir() }),
					"no program":      with(func(s *sources.SQLServer) { s.Bin = "/nonexistent" }),
					"bad sslmode":     with(func(s *sources.SQLServer) { s.SSLMode = "disable" }),
					"bad certificate": with(func(s *sources.SQLServer) { s.SSLMode = "verify-full" }),
				},
			})
		})
	}
}

// Every database has a file of its own, whatever it is called, and what others have
// left in the folder is not saved.
func TestSQLServerFiles(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	folder := t.TempDir()
	bin.Server(t, "sqlserver", sqlHolds(folder, map[string]any{"ticket": "/var/lib/saoluu/ve"}))
	if err := os.WriteFile(filepath.Join(folder, "other"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &sources.SQLServer{TicketCache: "/var/lib/saoluu/ve", All: true, Folder: folder, ServerFolder: `\\nas\saoluu\`, Bin: bin.Bin, Now: time.Now}
	for range 2 { // the second run writes over the first
		p, err := s.Prepare(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Parts) != 1 || len(p.Parts[0].Paths) != 5 {
			t.Fatalf("parts: %+v", p.Parts)
		}
		for _, path := range p.Parts[0].Paths {
			text, err := os.ReadFile(path)
			if err != nil || !bytes.HasPrefix(text, []byte("TAPE")) || filepath.Base(path) == "other" {
				t.Errorf("%q: %.10q, %v", path, text, err)
			}
		}
	}
}

func TestSQLServerFailures(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	for name, tt := range map[string]struct {
		holds  map[string]any
		change func(s *sources.SQLServer)
		kind   fault.Kind
		text   string
	}{
		"wrong password":      {nil, func(s *sources.SQLServer) { s.Password = "x" }, fault.Denied, "Login failed for user"},
		"no server":           {nil, func(s *sources.SQLServer) { s.Host = "10.0.0.1" }, fault.Absent, "Login timeout expired"},
		"certificate":         {nil, func(s *sources.SQLServer) { s.SSLMode = "verify-full" }, fault.Denied, "certificate"},
		"no right":            {map[string]any{"fault": "denied"}, nil, fault.Denied, "permission denied"},
		"does not see all":    {map[string]any{"blind": true}, func(s *sources.SQLServer) { s.Database, s.All = "", true }, fault.Denied, "without a word"},
		"disk full":           {map[string]any{"fault": "full"}, nil, fault.NoSpace, "not enough space"},
		"damaged page":        {map[string]any{"fault": "damaged"}, nil, fault.Failed, "detected an error on page"},
		"half a file":         {map[string]any{"fault": "half"}, nil, fault.Failed, "Damage to the backup set"},
		"offline":             {map[string]any{"databases": map[string]string{"qlvb": "RECOVERY_PENDING"}}, nil, fault.Failed, "RECOVERY_PENDING"},
		"ticket, wrong tool":  {map[string]any{"go": true}, func(s *sources.SQLServer) { s.User, s.Password, s.TicketCache = "", "", "/t" }, fault.MissingTool, "Kerberos"},
		"folder not the same": {nil, func(s *sources.SQLServer) { s.ServerFolder = t.TempDir() }, fault.Failed, "is not there"},
		"folder not writable": {nil, func(s *sources.SQLServer) { s.ServerFolder = "/nonexistent/x" }, fault.Denied, "Access is denied"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			bin.Server(t, "sqlserver", sqlHolds(folder, tt.holds))
			s := &sources.SQLServer{User: "saoluu", Password: sqlPassword, Database: "qlvb", Folder: folder, ServerFolder: `\\nas\saoluu`, Bin: bin.Bin, Now: time.Now}
			if tt.change != nil {
				tt.change(s)
			}
			_, err := s.Prepare(t.Context(), t.TempDir())
			if fault.KindOf(err) != tt.kind || err == nil || !strings.Contains(err.Error(), tt.text) || fault.HintOf(err) == "" {
				t.Errorf("kind %q, error %v, hint %q; want %q, %q", fault.KindOf(err), err, fault.HintOf(err), tt.kind, tt.text)
			}
		})
	}
}
