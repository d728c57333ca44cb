package durable

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for _, text := range []string{"first", "", "second, longer"} {
		if err := WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := WriteFile(filepath.Join(path, "below"), nil, 0o600); err == nil {
		t.Error("a file is no folder")
	}
}

// The order of the package comment is the promise; a failure at any step must
// leave the old file whole and no temporary one.
func TestWriteFileFailsCleanlyAtEveryStep(t *testing.T) {
	want := []Step{Create, Write, Chmod, SyncFile, Rename, SyncFolder}
	var order []Step
	d := Disk{Before: func(s Step) error { order = append(order, s); return nil }}
	if err := d.WriteFile(filepath.Join(t.TempDir(), "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Error(diff)
	}
	broken := errors.New("input/output error")
	for _, step := range want {
		t.Run(string(step), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			d := Disk{Before: func(s Step) error {
				if s == step {
					return broken
				}
				return nil
			}}
			if err := d.WriteFile(path, []byte("new"), 0o600); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			content := "old"
			if step == SyncFolder {
				content = "new"
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != content {
				t.Errorf("got %q, %v", got, err)
			}
			if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
				t.Errorf("left behind: %v, %v", names, err)
			}
		})
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	var order []Step
	d := Disk{Before: func(s Step) error { order = append(order, s); return nil }}
	path := filepath.Join(dir, "a", "b")
	for range 2 {
		if err := d.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(order, []Step{Mkdir, SyncFolder, Mkdir, SyncFolder}) {
		t.Errorf("steps %v", order)
	}
	file := filepath.Join(dir, "file")
	if err := WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(file, 0o700); err == nil {
		t.Error("a file is no folder")
	}
	if err := MkdirAll(filepath.Join(file, "x"), 0o700); err == nil {
		t.Error("a file is no parent")
	}
	broken := errors.New("read-only file system")
	for _, step := range []Step{Mkdir, SyncFolder} {
		d := Disk{Before: func(s Step) error {
			if s == step {
				return broken
			}
			return nil
		}}
		if err := d.MkdirAll(filepath.Join(dir, "new-"+string(step[0])), 0o700); !errors.Is(err, broken) {
			t.Errorf("%s: %v", step, err)
		}
	}
	if err := SyncDir(filepath.Join(dir, "absent")); err == nil {
		t.Error("no folder to sync")
	}
}
