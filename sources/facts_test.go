package sources_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"saoluu/sources"
)

// A name that is not UTF-8 survives the way through JSON.
func TestTreeFactsOddNames(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	odd := "l\xe0m \xff\"\n"
	write(t, dir, map[string]string{odd: "1", "bình thường": "2"})
	facts, _ := take(t, &sources.Files{Paths: []string{dir}, Now: clock})
	write(t, filepath.Join(out, dir), map[string]string{odd: "1", "bình thường": "2"})
	got, err := sources.TreeFacts(t.Context(), out, facts)
	if err != nil {
		t.Fatal(err)
	}
	for _, tally := range sources.Compare(facts, got) {
		if tally.Held != tally.Of || tally.Of == 0 {
			t.Errorf("%+v", tally)
		}
	}
}

// Restored links lead nowhere outside the tree.
func TestTreeFactsStaysInside(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, map[string]string{"secret": "alpha"})
	tests := map[string]func(root string) error{
		"file is a link out":   func(root string) error { return os.Symlink(outside+"/secret", root+"/d/a") },
		"folder is a link out": func(root string) error { return errors.Join(os.Remove(root+"/d"), os.Symlink(outside, root+"/d")) },
		"relative link out":    func(root string) error { return os.Symlink("../../../../../../../.."+outside+"/secret", root+"/d/a") },
		"nothing there":        func(string) error { return nil },
		"folder is a file":     func(root string) error { return errors.Join(os.Remove(root+"/d"), os.WriteFile(root+"/d", nil, 0o600)) },
		"pipe":                 func(root string) error { return syscall.Mkfifo(root+"/d/a", 0o600) },
	}
	for name, arrange := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := errors.Join(os.Mkdir(root+"/d", 0o755), arrange(root)); err != nil {
				t.Fatal(err)
			}
			want := []sources.Fact{{Part: "tree", Kind: sources.FactSHA256, Of: "/d/a", Value: sum("alpha")}}
			got, err := sources.TreeFacts(t.Context(), root, want)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 0 {
				t.Errorf("facts = %v, want none", got)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	want := []sources.Fact{
		{Kind: sources.FactRows, Of: "t", Value: "3"}, {Kind: sources.FactRows, Of: "u", Value: "0"},
		{Kind: sources.FactFiles, Value: "10"}, {Kind: sources.FactSequence, Of: "s", Value: "9"},
		{Kind: sources.FactSequence, Of: "down", Value: "descending -9"}, {Kind: sources.FactExtension, Of: "x", Value: "1.0"},
		{Kind: sources.FactIntegrity, Value: "damaged"}, {Kind: sources.FactSkipped, Of: "v", Value: "why"},
	}
	good := []sources.Fact{
		{Kind: sources.FactRows, Of: "t", Value: "3"}, {Kind: sources.FactRows, Of: "u", Value: "0"},
		{Kind: sources.FactFiles, Value: "11"}, {Kind: sources.FactSequence, Of: "s", Value: "10"},
		{Kind: sources.FactSequence, Of: "down", Value: "descending -10"}, {Kind: sources.FactExtension, Of: "x", Value: "1.1"},
		{Kind: sources.FactIntegrity, Value: "ok"}, {Kind: sources.FactRows, Of: "more", Value: "1"},
	}
	for _, tally := range sources.Compare(want, good) {
		if tally.Held != tally.Of {
			t.Errorf("good data: %+v", tally)
		}
	}
	bad := []sources.Fact{
		{Kind: sources.FactRows, Of: "t", Value: "2"}, {Kind: sources.FactFiles, Value: "9"}, {Kind: sources.FactSequence, Of: "s", Value: "8"},
		{Kind: sources.FactSequence, Of: "down", Value: "descending -8"}, {Kind: sources.FactIntegrity, Value: "damaged"},
	}
	for _, tally := range sources.Compare(want, bad) {
		if tally.Held != 0 {
			t.Errorf("bad data: %+v", tally)
		}
		for _, d := range tally.Broken {
			if d.Missing != (d.Fact.Of == "u" || d.Fact.Of == "x") {
				t.Errorf("difference = %+v", d)
			}
		}
	}
}
