package command_test

import (
	"os"
	"path/filepath"
	"testing"

	"saoluu/internal/command"
)

// What a program read is known after it has ended, also when it failed.
func TestOnRead(t *testing.T) {
	if err := command.Counts(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, make([]byte, 5_000_000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		argv  []string
		least int64
	}{
		{[]string{"/bin/cat", file}, 5_000_000},
		{[]string{"/bin/true"}, 0},
		{[]string{"/bin/cat", file, "/nonexistent"}, 5_000_000},
	} {
		calls, read := 0, int64(0)
		_, err := command.Run(t.Context(), command.Cmd{Argv: tt.argv, OnRead: func(n int64) { calls, read = calls+1, n }})
		if failed := len(tt.argv) == 3; (err != nil) != failed || calls != 1 || read < tt.least || read > tt.least+200_000 {
			t.Errorf("%v: read %d in %d calls, %v", tt.argv, read, calls, err)
		}
	}
}
