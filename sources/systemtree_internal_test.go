package sources

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A link of a saved system leads to no file of the machine that saves it.
func TestFactsOfASystemFollowNoLink(t *testing.T) {
	tree, outside := t.TempDir(), t.TempDir()
	err := errors.Join(
		os.MkdirAll(filepath.Join(tree, "usr/boot"), 0o700), os.WriteFile(filepath.Join(tree, "usr/boot/vmlinuz"), nil, 0o600),
		os.WriteFile(filepath.Join(outside, "vmlinuz"), nil, 0o600), os.Symlink(outside, filepath.Join(tree, "boot")),
		os.Symlink("usr/boot", filepath.Join(tree, "near")), os.WriteFile(filepath.Join(tree, "vmlinuz"), nil, 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	alias := filepath.Join(t.TempDir(), "alias") // scratch itself may lie behind one
	if err := os.Symlink(tree, alias); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"vmlinuz": true, "usr/boot/vmlinuz": true, "boot/vmlinuz": false, "near/vmlinuz": false} {
		for _, at := range []string{tree, alias} {
			if got := reached(at, filepath.Join(at, path)); got != want {
				t.Errorf("%s in %s: %v, want %v", path, at, got, want)
			}
		}
	}
}
