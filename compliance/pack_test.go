package compliance

import (
	"io/fs"
	"testing"
)

// Every shipped pack parses and its own tests hold.
func TestShippedPacks(t *testing.T) {
	names, err := fs.Glob(embedded, "packs/*.toml")
	if err != nil || len(names) < 2 {
		t.Fatalf("packs: %v, %v", names, err)
	}
	for _, name := range names {
		text, err := embedded.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := Lint(t.Context(), name, text); err != nil {
			t.Error(err)
		}
	}
}
