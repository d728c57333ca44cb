package sourcetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"saoluu/internal/command"
)

// StandIns are programs that cannot be had, played by e2e/standin.
type StandIns struct {
	Bin string // their folder
}

// BuildStandIns makes them in a folder of their own that goes with the test.
func BuildStandIns(t *testing.T) StandIns {
	t.Helper()
	s := StandIns{filepath.Join(t.TempDir(), "bin")}
	if err := os.MkdirAll(filepath.Join(s.Bin, "servers"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Servers run as another user, who must get here.
	for dir := filepath.Dir(s.Bin); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	built := filepath.Join(s.Bin, "standin")
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	build := command.Cmd{Argv: []string{"go", "build", "-o", built, "saoluu/e2e/standin"}, Env: append(os.Environ(), "CGO_ENABLED=0"), Dir: dir}
	if said, err := command.Run(t.Context(), build); err != nil {
		t.Fatalf("build the stand-ins: %v\n%s", err, said.Stderr)
	}
	for _, name := range []string{"mongodump", "mongorestore", "mongod", "sqlcmd", "expdp", "rman"} {
		if err := os.Link(built, filepath.Join(s.Bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Server says what the server called name holds: an object as e2e/standin reads it.
func (s StandIns) Server(t *testing.T, name string, holds map[string]any) {
	t.Helper()
	text, err := json.Marshal(holds)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Bin, "servers", name+".json"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
