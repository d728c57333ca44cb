package sources_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

func TestConfigSuite(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.conf"), []byte("port = 1\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("app.conf", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond) // older than the run by a tick of the file system's clock
	say := func(argv ...string) sources.ConfigCommand { return sources.ConfigCommand{Name: "say", Argv: argv} }
	sourcetest.Run(t, sourcetest.Subject{
		New: func(*testing.T) sources.Source {
			return &sources.Config{Paths: []string{dir}, Commands: []sources.ConfigCommand{say("/bin/echo", "x")}, Now: time.Now}
		},
		Broken: map[string]func(*testing.T) sources.Source{
			"nothing": func(*testing.T) sources.Source { return &sources.Config{Now: time.Now} },
			"missing path": func(*testing.T) sources.Source {
				return &sources.Config{Paths: []string{dir + "/none"}, Commands: []sources.ConfigCommand{say("/bin/echo", "x")}, Now: time.Now}
			},
			"only a command that fails": func(*testing.T) sources.Source {
				return &sources.Config{Commands: []sources.ConfigCommand{say("/bin/false")}, Now: time.Now}
			},
		},
	})
}

// One that fails is named, and takes nothing else down.
func TestConfigLacks(t *testing.T) {
	c := &sources.Config{Now: time.Now, Commands: []sources.ConfigCommand{
		{Name: "good", Argv: []string{"/bin/sh", "-c", "echo '# now'; echo x"}, Drop: []string{"^# "}},
		{Name: "bad", Argv: []string{"/bin/sh", "-c", "echo half; echo why >&2; exit 4"}},
	}}
	scratch := t.TempDir()
	p, err := c.Prepare(t.Context(), scratch)
	if err != nil {
		t.Fatal(err)
	}
	if p.Lacks == nil || !strings.Contains(p.Lacks.Error(), `command "bad": sh: exit status 4: why`) || fault.HintOf(p.Lacks) == "" && len(p.Parts) != 1 {
		t.Errorf("lacks %v", p.Lacks)
	}
	if text, err := os.ReadFile(filepath.Join(scratch, "commands", "good.txt")); err != nil || string(text) != "x\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(scratch); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// The programs of a preset that are here run to their end, twice to the same.
func TestCommandPresets(t *testing.T) {
	for _, family := range []string{"debian", "rhel"} {
		c := &sources.Config{Commands: sources.CommandPresets(family), Now: time.Now}
		var facts [2][]sources.Fact
		for i := range facts {
			p, err := c.Prepare(t.Context(), t.TempDir())
			if err != nil || p.Lacks != nil {
				t.Fatalf("%s: %v, %v", family, err, p.Lacks)
			}
			if facts[i], err = p.Facts(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.Release(); err != nil {
				t.Fatal(err)
			}
		}
		for _, tally := range sources.Compare(facts[0], facts[1]) {
			for _, d := range tally.Broken {
				t.Errorf("%s: %s %s is another the second time", family, d.Fact.Kind, d.Fact.Of)
			}
		}
	}
	if sources.CommandPresets("windows") != nil {
		t.Error("an unknown family has commands")
	}
}
