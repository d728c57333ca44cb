package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the reference anew")

// The reference of the commands is made from their help texts; this fails when
// somebody changed the one without the other.
func TestReferenceIsCurrent(t *testing.T) {
	t.Setenv("SAOLUU_CONFIG", "")
	dir := t.TempDir()
	if code := run([]string{"docs", "markdown", dir}); code != 0 {
		t.Fatalf("docs markdown: exit status %d", code)
	}
	const committed = "../../docs/reference/commands"
	made, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(made) < 20 {
		t.Fatalf("%d pages made: %v", len(made), err)
	}
	if *update {
		if err := os.RemoveAll(committed); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(committed, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, page := range made {
		want, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		there := filepath.Join(committed, filepath.Base(page))
		if *update {
			if err := os.WriteFile(there, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(there)
		if err != nil {
			t.Fatalf("%v: run go test ./cmd/saoluu -run Reference -update", err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s differs from the help texts: run go test ./cmd/saoluu -run Reference -update\n%s", there, diff)
		}
	}
	kept, err := filepath.Glob(filepath.Join(committed, "*.md"))
	if err != nil || len(kept) != len(made) {
		t.Errorf("%d pages are committed, %d are made: %v", len(kept), len(made), err)
	}
}

func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if code := run([]string{"docs", "man", dir}); code != 0 {
		t.Fatalf("docs man: exit status %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "saoluu-backup.1")); err != nil {
		t.Error(err)
	}
}
