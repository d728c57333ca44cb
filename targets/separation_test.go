package targets

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// fakeSys builds the part of sysfs that says what lies beneath a device.
func fakeSys(t *testing.T) probe {
	t.Helper()
	sys := t.TempDir()
	disk := func(parts ...string) string { return filepath.Join(append([]string{sys, "devices"}, parts...)...) }
	for _, dir := range []string{
		disk("sda", "sda1"), disk("sda", "sda2"), disk("sdb", "sdb1"), disk("dm-0", "slaves"), disk("md0", "slaves"),
		filepath.Join(sys, "dev/block"),
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{disk("sda", "sda1"), disk("sda", "sda2"), disk("sdb", "sdb1")} {
		if err := os.WriteFile(filepath.Join(part, "partition"), []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{
		"dev/block/8:1":            disk("sda", "sda1"),
		"dev/block/8:2":            disk("sda", "sda2"),
		"dev/block/8:17":           disk("sdb", "sdb1"),
		"dev/block/253:0":          disk("dm-0"),
		"dev/block/9:0":            disk("md0"),
		"devices/dm-0/slaves/sda2": disk("sda", "sda2"),
		"devices/md0/slaves/sda1":  disk("sda", "sda1"),
		"devices/md0/slaves/sdb1":  disk("sdb", "sdb1"),
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(sys, name)); err != nil {
			t.Fatal(err)
		}
	}
	return probe{sys: sys}
}

func TestDisksBeneathDevices(t *testing.T) {
	p := fakeSys(t)
	for dev, want := range map[string][]string{
		"8:1": {"sda"}, "8:17": {"sdb"}, "253:0": {"sda"}, "9:0": {"sda", "sdb"},
	} {
		var found place
		if err := p.blockDevice(dev, &found, 0); err != nil {
			t.Fatal(err)
		}
		slices.Sort(found.disks)
		if !slices.Equal(found.disks, want) || found.blind != "" {
			t.Errorf("device %s: disks %v (%s), want %v", dev, found.disks, found.blind, want)
		}
	}
	var lost place
	if err := p.blockDevice("7:7", &lost, 0); err != nil || lost.blind == "" {
		t.Errorf("a device the kernel does not know: %+v, %v", lost, err)
	}
}

func TestLevels(t *testing.T) {
	on := func(fs string, disks ...string) place { return place{files: []string{fs}, disks: disks} }
	blind := place{files: []string{"0:40"}, blind: "nfs without a block device"}
	tests := []struct {
		name        string
		here, there place
		level       int
		unknown     bool
	}{
		{"one file system", on("8:1", "sda"), on("8:1", "sda"), 0, false},
		{"two partitions of a disk", on("8:1", "sda"), on("8:2", "sda"), 1, false},
		{"two disks", on("8:1", "sda"), on("8:17", "sdb"), 2, false},
		{"a mirror over both disks", on("9:0", "sda", "sdb"), on("8:17", "sdb"), 1, false},
		{"a file system without a disk", on("8:1", "sda"), blind, 0, true},
		{"the same file system without a disk", blind, blind, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := compare(tt.here, tt.there)
			if got.Unknown != tt.unknown || (!tt.unknown && got.Level != tt.level) {
				t.Errorf("got %+v, want L%d unknown=%v", got, tt.level, tt.unknown)
			}
		})
	}
}
