package rebuild

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"saoluu/sources/disk"
	"saoluu/sources/system"
)

// A disk of the old kind: partitions that begin in the middle of a page, logical ones, and
// GRUB in the gap.
const oldScript = `label: dos
label-id: 0x5a0107aa
unit: sectors

/dev/sda1 : start=63, size=40000, type=83, bootable
/dev/sda2 : start=40065, size=90000, type=5
/dev/sda5 : start=40131, size=60001, type=83
/dev/sda6 : start=100195, size=20000, type=82
`

// A disk with sectors of 4 KiB.
const largeScript = `label: gpt
label-id: 5A0107AA-0000-4000-8000-0000000000BB
unit: sectors
first-lba: 256
sector-size: 4096

/dev/nvme0n1p1 : start=256, size=10240, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=5A0107AA-0000-4000-8000-0000000000B1
/dev/nvme0n1p2 : start=10496, size=12000, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=5A0107AA-0000-4000-8000-0000000000B2
`

func TestTables(t *testing.T) {
	need(t, "mkfs.ext4")
	for name, c := range map[string]struct {
		script  string
		sector  int64
		systems []system.FileSystem
	}{
		"old": {oldScript, 512, []system.FileSystem{
			{Partition: 1, Type: "ext2", UUID: "6d617974-6875-4000-8000-0000000000a1", Mount: "/boot", Saved: true},
			{Partition: 5, Type: "ext4", UUID: "6d617974-6875-4000-8000-0000000000a5", Mount: "/", Saved: true},
			{Partition: 6, Type: "swap", UUID: "6d617974-6875-4000-8000-0000000000a6"},
		}},
		"large sectors": {largeScript, 4096, []system.FileSystem{
			{Partition: 1, Type: "vfat", UUID: "5E1A-00B1", Mount: "/boot/efi", Saved: true, Options: "umask=0077"},
			{Partition: 2, Type: "ext4", UUID: "6d617974-6875-4000-8000-0000000000b2", Mount: "/", Saved: true},
		}},
		"none": {"", 512, []system.FileSystem{{Type: "ext4", UUID: "6d617974-6875-4000-8000-0000000000c0", Mount: "/", Saved: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			const size = 96 << 20
			dir := t.TempDir()
			l := &system.Layout{Version: 1, Disk: system.Disk{Size: size, Sector: c.sector, Dump: c.script, Table: disk.Table{Kind: "none"}}, FileSystems: c.systems}
			if c.script != "" {
				l.Disk.Table = divided(t, c.script, size, c.sector)
			}
			if name == "old" {
				l.Code = []system.Code{code(t, dir, system.CodeRecord, 0, strings.Repeat("r", 440)), code(t, dir, system.CodeGap, 512, strings.Repeat("g", 62*512))}
			}
			image := filepath.Join(dir, "disk.img")
			rebuild(t, l, dir, image)
			got := readTable(t, image, size, c.sector)
			for n, p := range got.Partitions {
				for _, f := range c.systems {
					if f.Partition == p.Number && (p.System.Type != f.Type || !strings.EqualFold(p.System.UUID, f.UUID)) {
						t.Errorf("partition %d holds %+v, want %s %s", p.Number, p.System, f.Type, f.UUID)
					}
				}
				got.Partitions[n].System = disk.System{}
			}
			if diff := cmp.Diff(l.Disk.Table, got); diff != "" && c.script != "" {
				t.Errorf("partition table (-want +got):\n%s", diff)
			}
			if name == "old" {
				head, err := os.ReadFile(image)
				if err != nil || string(head[:440]) != strings.Repeat("r", 440) || string(head[512:63*512]) != strings.Repeat("g", 62*512) {
					t.Errorf("the boot code is not there: %v", err)
				}
			}
			d := opened(t, l, image)
			for name, want := range files {
				if text, err := os.ReadFile(filepath.Join(d.Root, name)); string(text) != want {
					t.Errorf("%s: %q, %v", name, text, err)
				}
			}
		})
	}
}

// code keeps boot code as a backup does.
func code(t *testing.T, dir, what string, offset int64, text string) system.Code {
	t.Helper()
	name := strings.ReplaceAll(what, " ", "-")
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	return system.Code{What: what, Name: name, Offset: offset, Length: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}
}

// divided is the table that sfdisk makes of a script.
func divided(t *testing.T, script string, size, sector int64) disk.Table {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	loop, err := attach(file, 0, 0, sector, true)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/usr/sbin/sfdisk", "-q", "--no-reread", loop.Name())
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	if err := loop.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := loop.Close(); err != nil {
		t.Fatal(err)
	}
	return readTable(t, file.Name(), size, sector)
}

func readTable(t *testing.T, path string, size, sector int64) disk.Table {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	table, err := disk.ReadTable(file, size, sector)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
