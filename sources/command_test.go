package sources_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

func TestCommand(t *testing.T) {
	program := func(argv ...string) func(t *testing.T) sources.Source {
		return func(t *testing.T) sources.Source {
			return &sources.Command{Argv: argv, Password: "bí mật", PasswordEnv: "SECRET", Now: time.Now}
		}
	}
	sourcetest.Run(t, sourcetest.Subject{
		New: program("/bin/sh", "-c", "for i in 1 2 3; do echo line $i; done; sleep 0.2; echo end; exec >&-"),
		Broken: map[string]func(t *testing.T) sources.Source{
			"no such program": program("/no/such/program"),
			"a folder":        program("/tmp"),
			"nothing":         program(),
		},
		Secrets: []string{"bí mật"},
	})
}

func TestCommandFolder(t *testing.T) {
	folder := t.TempDir()
	leave := func(argv ...string) *sources.Command {
		return &sources.Command{Argv: argv, Folder: folder, Now: time.Now}
	}
	if err := os.WriteFile(filepath.Join(folder, "old"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond) // older than the run by a tick of the file system's clock
	for name, c := range map[string]*sources.Command{
		"leaves nothing": leave("/bin/true"), "fails": leave("/bin/sh", "-c", "touch "+folder+"/half; exit 3"),
	} {
		if p, err := c.Prepare(t.Context(), t.TempDir()); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	p, err := leave("/bin/sh", "-c", "echo new > "+folder+"/new").Prepare(t.Context(), t.TempDir())
	if err != nil || len(p.Parts) != 1 || p.Parts[0].Paths[0] != folder {
		t.Fatalf("%+v, %v", p, err)
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sums := 0
	for _, f := range facts {
		if f.Kind == sources.FactSHA256 {
			sums++
		}
	}
	if sums != 3 {
		t.Errorf("facts of %d files, not 3: %+v", sums, facts)
	}
}
