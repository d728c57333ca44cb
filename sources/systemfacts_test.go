package sources

import (
	"os"
	"path/filepath"
	"testing"

	"saoluu/sources/disk"
	"saoluu/sources/system"
)

// A layout that came back damaged is a difference, not something that nobody could look at.
func TestDamagedLayoutIsADifference(t *testing.T) {
	saved, back := t.TempDir(), t.TempDir()
	l := system.Layout{
		Disk:        system.Disk{Table: disk.Table{Kind: "dos", ID: "5a0107aa", Partitions: []disk.Partition{{Number: 1, Start: 1 << 20, Size: 1 << 20}}}},
		FileSystems: []system.FileSystem{{Partition: 1, Type: "ext4", UUID: "a"}}, OS: system.OS{ID: "debian"},
	}
	text, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write := func(dir, name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(saved, system.LayoutFile, text)
	write(saved, "gap.bin", []byte("core"))
	want, err := layoutFacts(t.Context(), saved)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		layout, code string
		broken       int
	}{
		"whole":          {string(text), "core", 0},
		"not JSON":       {"x" + string(text), "core", len(want) - 1}, // all but the digest of the code
		"gone":           {"", "core", len(want) - 1},
		"other code":     {string(text), "corf", 1},
		"another layout": {`{"version":1,"disk":{"table":{"kind":"dos","id":"5a0107aa"}}}`, "core", len(want) - 2},
	} {
		if err := os.RemoveAll(filepath.Join(back, system.LayoutFile)); err != nil {
			t.Fatal(err)
		}
		if c.layout != "" {
			write(back, system.LayoutFile, []byte(c.layout))
		}
		write(back, "gap.bin", []byte(c.code))
		got, err := SystemTreeFacts(t.Context(), PartLayout, back, want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		broken := 0
		for _, tally := range Compare(want, got) {
			broken += len(tally.Broken)
		}
		if broken != c.broken {
			t.Errorf("%s: %d facts do not hold, want %d of %d", name, broken, c.broken, len(want))
		}
	}
}
