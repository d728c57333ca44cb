package sources_test

import (
	"bytes"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// mongoPassword has all that YAML treats in a way of its own.
const mongoPassword = `p: "a#s'\ {x} ật-khẩu`

func mongoHolds(change map[string]any) map[string]any {
	holds := map[string]any{
		"host": "127.0.0.1:27017", "user": "saoluu", "password": mongoPassword,
		"databases": map[string]any{"qlvb": map[string]int{"văn bản": 2000, "rỗng": 0, "system.buckets.x": 3}, "mot-cua": map[string]int{"ho so": 1}},
	}
	maps.Copy(holds, change)
	return holds
}

func TestMongoDBSuite(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	bin.Server(t, "mongo", mongoHolds(nil))
	with := func(change func(m *sources.MongoDB)) func(*testing.T) sources.Source {
		return func(*testing.T) sources.Source {
			m := &sources.MongoDB{User: "saoluu", Password: mongoPassword, Databases: []string{"qlvb", "mot-cua"}, Bin: bin.Bin, Now: time.Now}
			change(m)
			return m
		}
	}
	sourcetest.Run(t, sourcetest.Subject{
		New:     with(func(*sources.MongoDB) {}),
		Secrets: []string{mongoPassword},
		Broken: map[string]func(*testing.T) sources.Source{
			"wrong password":       with(func(m *sources.MongoDB) { m.Password += "x" }),
			"other auth database":  with(func(m *sources.MongoDB) { m.AuthDatabase = "qlvb" }),
			"no server":            with(func(m *sources.MongoDB) { m.Port = 1 }),
			"no password":          with(func(m *sources.MongoDB) { m.Password = "" }),
			"nobody":               with(func(m *sources.MongoDB) { m.User, m.Password = "", "" }),
			"no databases":         with(func(m *sources.MongoDB) { m.Databases = nil }),
			"two answers":          with(func(m *sources.MongoDB) { m.All = true }),
			"oplog of a database":  with(func(m *sources.MongoDB) { m.Oplog = true }),
			"no program":           with(func(m *sources.MongoDB) { m.Bin = "/nonexistent" }),
			"bad sslmode":          with(func(m *sources.MongoDB) { m.SSLMode = "prefer" }),
			"TLS, and none spoken": with(func(m *sources.MongoDB) { m.SSLMode = "require" }),
		},
	})
}

// What the dump says of itself are the facts; the server's own collections have none.
func TestMongoDBFacts(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	bin.Server(t, "mongo", mongoHolds(nil))
	m := &sources.MongoDB{User: "saoluu", Password: mongoPassword, All: true, Oplog: true, Bin: bin.Bin, Now: time.Now}
	p, err := m.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Parts) != 1 || p.Parts[0].Filename != "database.archive" {
		t.Fatalf("parts: %+v", p.Parts)
	}
	var out bytes.Buffer
	if _, err := sourcetest.Read(t.Context(), p.Parts[0], &out); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte{0x6d, 0xe2, 0x99, 0x81}) {
		t.Errorf("the dump begins with %x", out.Bytes()[:4])
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"qlvb.văn bản": "2000", "qlvb.rỗng": "0", "mot-cua.ho so": "1"}
	if diff := cmp.Diff(want, sourcetest.Kept(facts, sources.FactRows)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
}

func TestMongoDBFailures(t *testing.T) {
	bin := sourcetest.BuildStandIns(t)
	for name, tt := range map[string]struct {
		holds  map[string]any
		change func(m *sources.MongoDB)
		kind   fault.Kind
		text   string
	}{
		"wrong password":       {nil, func(m *sources.MongoDB) { m.Password = "x" }, fault.Denied, "AuthenticationFailed"},
		"no server":            {nil, func(m *sources.MongoDB) { m.Port = 1 }, fault.Absent, "connection refused"},
		"old tools":            {map[string]any{"tools": "r4.2.8"}, nil, fault.MissingTool, "takes its password as an argument alone"},
		"unknown certificate":  {map[string]any{"ca": "/ca.pem"}, func(m *sources.MongoDB) { m.SSLMode = "verify-full" }, fault.Denied, "x509"},
		"its own authority":    {map[string]any{"ca": "/ca.pem"}, func(m *sources.MongoDB) { m.SSLMode, m.CA = "verify-full", "/ca.pem" }, "", ""},
		"any certificate":      {map[string]any{"ca": "/ca.pem"}, func(m *sources.MongoDB) { m.SSLMode = "require" }, "", ""},
		"breaks off":           {map[string]any{"fault": "half"}, nil, fault.Failed, "socket was unexpectedly closed"},
		"no such database":     {nil, func(m *sources.MongoDB) { m.Database = "qlbv" }, fault.Failed, "does not exist, or is empty"},
		"a server of old name": {map[string]any{"tools": "100.3.0"}, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bin.Server(t, "mongo", mongoHolds(tt.holds))
			m := &sources.MongoDB{User: "saoluu", Password: mongoPassword, Database: "qlvb", Bin: bin.Bin, Now: time.Now}
			if tt.change != nil {
				tt.change(m)
			}
			p, err := m.Prepare(t.Context(), t.TempDir())
			if err == nil {
				_, err = sourcetest.Read(t.Context(), p.Parts[0], io.Discard)
			}
			if fault.KindOf(err) != tt.kind || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("kind %q, error %v; want %q, %q", fault.KindOf(err), err, tt.kind, tt.text)
			}
			if tt.kind == fault.Denied && fault.HintOf(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

func FuzzMongoCounts(f *testing.F) {
	f.Add("2026-11-22T01:00:00.000+0700\tdone dumping `qlvb.văn bản` (2 documents)\n")
	f.Add("2026-11-22T01:00:00.000+0700\tdone dumping qlvb.a.b (1 document)\n")
	f.Fuzz(func(t *testing.T, said string) {
		for _, fact := range sources.MongoCounts(said, sources.MongoDumped) {
			if fact.Of == "" || fact.Value == "" || strings.HasPrefix(fact.Of, "admin.") {
				t.Errorf("fact %+v", fact)
			}
		}
	})
}
