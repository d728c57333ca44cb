package system

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What fstab calls swap is left out of a backup only when it is swap.
func TestOnlySwapIsTakenForSwap(t *testing.T) {
	tree, outside := t.TempDir(), t.TempDir()
	swap := make([]byte, 64<<10)
	copy(swap[4096-10:], "SWAPSPACE2")
	large := make([]byte, 128<<10)
	copy(large[64<<10-10:], "SWAPSPACE2")
	for path, content := range map[string][]byte{
		tree + "/swap": swap, tree + "/large": large, tree + "/data": make([]byte, 64<<10), tree + "/small": []byte("SWAPSPACE2"), outside + "/swap": swap,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fstab := "/swap none swap sw\n/large none swap sw\n/data none swap sw\n/small none swap sw\n/out/swap none swap sw\n/link none swap sw\n"
	for _, err := range []error{
		os.Symlink(outside, filepath.Join(tree, "out")), os.Symlink("swap", filepath.Join(tree, "link")),
		os.Mkdir(filepath.Join(tree, "etc"), 0o700), os.WriteFile(filepath.Join(tree, "etc/fstab"), []byte(fstab), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h := &Held{System: &System{Root: tree}, Tree: tree}
	if diff := cmp.Diff([]SwapFile{{"/large", 128 << 10}, {"/swap", 64 << 10}}, h.swapFiles()); diff != "" {
		t.Error(diff)
	}
}
