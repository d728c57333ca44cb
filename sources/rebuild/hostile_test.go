package rebuild

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// hostile is the layout of a small disk for which extlinux is installed, with /boot on FAT.
func hostile(t *testing.T) *system.Layout {
	t.Helper()
	const dump = "label: dos\nunit: sectors\n\n1 : start=2048, size=32768, type=ef\n2 : start=34816, size=28672, type=83, bootable\n"
	path := filepath.Join(t.TempDir(), "table.img")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 32<<20)); err != nil {
		t.Fatal(err)
	}
	tool(t, "sh", "-c", "printf '"+strings.ReplaceAll(dump, "\n", `\n`)+"' | /usr/sbin/sfdisk -q "+path)
	return &system.Layout{
		Version: 1, Root: "/mnt", Firmware: system.FirmwareBIOS, Loaders: []string{system.LoaderExtlinux},
		Disk: system.Disk{Size: 32 << 20, Sector: 512, Table: tableOf(t, path), Dump: dump},
		OS:   system.OS{Arch: "x86_64"},
		FileSystems: []system.FileSystem{
			{Partition: 1, Type: "vfat", UUID: "5E1A-00FF", Mount: "/boot/efi", Saved: true, Made: system.Made{FAT: 16}},
			{Partition: 2, Type: "ext4", UUID: "6d617974-6875-4000-8000-000000000003", Mount: "/", Saved: true, Made: system.Made{Block: 1024}},
		},
	}
}

// What runs here as root follows no link of a saved system to the files of this machine,
// neither to write nor to read them.
func TestLinksLeadNowhere(t *testing.T) {
	need(t, "extlinux", "mkfs.ext4")
	ours := filepath.Join(t.TempDir(), "ours")
	if err := os.WriteFile(ours, []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, link string
		want       fault.Kind
		note       string
	}{
		{"what extlinux writes", "boot/extlinux/ldlinux.c32", "", "/boot/extlinux/ldlinux.c32 was no regular file"},
		{"what is copied to FAT", "boot/efi/link", fault.Refused, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			scratch := t.TempDir()
			d, err := Make(t.Context(), hostile(t), t.TempDir(), out, scratch)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			boot := filepath.Join(d.Root, "boot/extlinux")
			if err := errors.Join(os.MkdirAll(boot, 0o755), os.WriteFile(filepath.Join(boot, "ldlinux.sys"), nil, 0o600), os.Symlink(ours, filepath.Join(d.Root, c.link))); err != nil {
				t.Fatal(err)
			}
			if c.want == "" { // on FAT there are none, so nothing needs to hinder it there
				if text, err := os.ReadFile(filepath.Join(d.Root, c.link)); err == nil {
					t.Errorf("the kernel follows the link to %q", text)
				}
			}
			err = d.Finish(t.Context())
			if c.want == "" && err != nil || c.want != "" && fault.KindOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			if notes := strings.Join(d.Notes, "\n"); !strings.Contains(notes, c.note) {
				t.Errorf("it notes %q", notes)
			}
			if text, err := os.ReadFile(ours); err != nil || string(text) != "ours" {
				t.Errorf("a file of this machine has %d other bytes, %v", len(text), err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			nothingLeft(t, scratch, out.Name())
		})
	}
}

// Layouts that somebody made up are refused, or do no harm: with numbers that leave no room
// for arithmetic, and with names that are more than names.
func TestHostileLayouts(t *testing.T) {
	need(t)
	const most = 1<<63 - 1
	for name, spoil := range map[string]func(l *system.Layout){
		"partition": func(l *system.Layout) {
			l.Disk.Table.Partitions[1].Start, l.Disk.Table.Partitions[1].Size = most-511, most-511
		},
		"code": func(l *system.Layout) {
			l.Code = []system.Code{{What: system.CodeGap, Name: "gap", Offset: most - 100, Length: 400}}
		},
		"a name with an option": func(l *system.Layout) {
			l.FileSystems[1].Type, l.FileSystems[1].Mount = "btrfs", ""
			l.FileSystems[1].Subvolumes = []system.Subvolume{{ID: 256, Path: "@,device=sda", At: "/", Mounted: true}}
		},
	} {
		l := hostile(t)
		spoil(l)
		if err := Check(l); fault.KindOf(err) != fault.Refused {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
}
