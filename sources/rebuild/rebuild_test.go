package rebuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
	"saoluu/sources/system"
)

// need skips a test where a tool is missing, unless none may be.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, name := range append(tools, "sfdisk", "mcopy", "mkfs.fat") {
		if _, err := exec.LookPath(name); err != nil && os.Getenv("SAOLUU_MUST_RUN") == "" {
			t.Skip(err)
		}
	}
	if os.Geteuid() != 0 && os.Getenv("SAOLUU_MUST_RUN") == "" {
		t.Skip("only root mounts file systems")
	}
}

func tool(t *testing.T, argv ...string) string {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

const script = `label: gpt
label-id: 5A0107AA-0000-4000-8000-0000000000AA
unit: sectors
first-lba: 2048
sector-size: 512

/dev/sdz1 : start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649, uuid=5A0107AA-0000-4000-8000-000000000001
/dev/sdz2 : start=10240, size=81920, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=5A0107AA-0000-4000-8000-000000000002, name="esp"
/dev/sdz3 : start=92160, size=40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=5A0107AA-0000-4000-8000-000000000003
/dev/sdz4 : start=133120, size=524288, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=5A0107AA-0000-4000-8000-000000000004
/dev/sdz5 : start=657408, size=819200, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=5A0107AA-0000-4000-8000-000000000005
/dev/sdz6 : start=1476608, size=20480, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F, uuid=5A0107AA-0000-4000-8000-000000000006
`

const size = 736 << 20

// sample is the layout of a disk with every kind of file system.
func sample(t *testing.T) *system.Layout {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table.img")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/usr/sbin/sfdisk", "-q", path)
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	return &system.Layout{
		Version: 1, Root: "/", Firmware: system.FirmwareUEFI, Loaders: []string{system.LoaderSystemdBoot},
		Disk: system.Disk{Size: size, Sector: 512, Table: tableOf(t, path), Dump: script},
		OS:   system.OS{Arch: "x86_64"},
		FileSystems: []system.FileSystem{
			{Partition: 2, Type: "vfat", UUID: "5E1A-00FF", Label: "ESP", Mount: "/boot/efi", Saved: true, Made: system.Made{FAT: 32}},
			{Partition: 3, Type: "ext4", UUID: "6d617974-6875-4000-8000-000000000003", Label: "boot", Mount: "/boot", Saved: true,
				Made: system.Made{Block: 1024, Inode: 256, Inodes: 20160, Features: []string{"has_journal", "ext_attr", "filetype", "needs_recovery", "extent", "sparse_super"}}},
			{Partition: 4, Type: "btrfs", UUID: "6d617974-6875-4000-8000-000000000004", Label: "goc", Saved: true, Default: 257, Subvolumes: []system.Subvolume{
				{ID: 257, Path: "@", At: "/", Mounted: true}, {ID: 261, Path: "@/var/lib/may", At: "/var/lib/may"}, {ID: 262, Path: "nha", At: "/home", Mounted: true}, {ID: 270, Path: "cu"},
			}},
			{Partition: 5, Type: "xfs", UUID: "6d617974-6875-4000-8000-000000000005", Label: "du-lieu", Mount: "/srv", Saved: true, Made: system.Made{Block: 4096, Inode: 512, Features: []string{"finobt", "sparse"}}},
			{Partition: 6, Type: "swap", UUID: "6d617974-6875-4000-8000-000000000006"},
		},
		SwapFiles: []system.SwapFile{{Path: "/srv/swap", Size: 1 << 20}},
	}
}

func tableOf(t *testing.T, path string) disk.Table {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	table, err := disk.ReadTable(file, size, 512)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// files are what the system holds, by their place.
var files = map[string]string{
	"boot/efi/EFI/systemd/systemd-bootx64.efi": "loader",
	"boot/efi/loader/Ngày một.conf":            "title",
	"boot/vmlinuz":                             "kernel",
	"etc/hostname":                             "may-thu",
	"home/an/ghi-chu":                          "xin chào",
	"var/lib/may/disk":                         "guest",
	"srv/kho":                                  "data",
}

func TestEveryKindOfFileSystemComesBack(t *testing.T) {
	need(t, "mkfs.xfs", "mkfs.btrfs", "mkfs.ext4")
	l, dir := sample(t), t.TempDir()
	code := []byte("boot code of a BIOS partition")
	sum := sha256.Sum256(code)
	l.Code = []system.Code{{What: system.CodeBIOSBoot, Name: "code", Partition: 1, Offset: 2048 * 512, Length: int64(len(code)), SHA256: hex.EncodeToString(sum[:])}}
	if err := os.WriteFile(filepath.Join(dir, "code"), code, 0o600); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "disk.img")
	notes := rebuild(t, l, dir, image)

	if got, want := tableOf(t, image), l.Disk.Table; true {
		for n := range got.Partitions {
			got.Partitions[n].System = disk.System{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("partition table (-want +got):\n%s", diff)
		}
	}
	for n, f := range l.FileSystems {
		p, err := place(l, &l.FileSystems[n])
		if err != nil {
			t.Fatal(err)
		}
		part := filepath.Join(dir, "part")
		tool(t, "dd", "if="+image, "of="+part, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none", "skip="+itoa(p.Start), "count="+itoa(p.Size))
		said := tool(t, "/usr/sbin/blkid", "-p", "-o", "export", part)
		for _, want := range []string{"TYPE=" + f.Type, "UUID=" + f.UUID, prefixed("LABEL=", f.Label)} {
			if !strings.Contains(said, want) {
				t.Errorf("partition %d: no %s in:\n%s", f.Partition, want, said)
			}
		}
		switch f.Type {
		case "ext4":
			tool(t, "/usr/sbin/e2fsck", "-fn", part)
			if said := tool(t, "/usr/sbin/dumpe2fs", "-h", part); strings.Contains(said, "64bit") || !strings.Contains(said, "Block size:               1024") || !strings.Contains(said, "Inode count:              20160") {
				t.Errorf("the features are not those of the old one:\n%s", said)
			}
		case "btrfs":
			tool(t, "btrfs", "check", "--readonly", part)
		case "xfs":
			tool(t, "/usr/sbin/xfs_repair", "-n", part)
			if said := tool(t, "/usr/sbin/xfs_db", "-r", "-c", "version", part); !strings.Contains(said, "FINOBT") || strings.Contains(said, "REFLINK") || strings.Contains(said, "BIGTIME") {
				t.Errorf("made with other features than it had: %s", said)
			}
		case "vfat":
			tool(t, "/usr/sbin/fsck.fat", "-n", part)
		}
		if err := os.Remove(part); err != nil {
			t.Fatal(err)
		}
	}
	at := make([]byte, len(code))
	if file, err := os.Open(image); err != nil {
		t.Fatal(err)
	} else if _, err := file.ReadAt(at, 2048*512); err != nil || string(at) != string(code) {
		t.Errorf("boot code %q, %v", at, err)
	}
	if !strings.Contains(notes, `systemd-bootx64.efi was copied to \EFI\BOOT\BOOTX64.EFI`) {
		t.Errorf("notes: %s", notes)
	}
	lookAt(t, l, image)
}

func itoa(n int64) string { return number(n, "") }

// rebuild makes a disk with the files, and returns what was noted.
func rebuild(t *testing.T, l *system.Layout, code, image string) string {
	t.Helper()
	out, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	scratch := t.TempDir()
	d, err := Make(t.Context(), l, code, out, scratch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for name, text := range files {
		path := filepath.Join(d.Root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, scratch, image)
	return strings.Join(d.Notes, "\n")
}

// nothingLeft fails when something is still mounted, attached or lying about.
func nothingLeft(t *testing.T, scratch, image string) {
	t.Helper()
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), scratch) {
		t.Errorf("left mounted: %v\n%s", err, mounts)
	}
	if loops := tool(t, "/usr/sbin/losetup", "--noheadings", "--output", "NAME", "--associated", image); loops != "" {
		t.Errorf("left attached: %s", loops)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left in scratch: %v, %v", left, err)
	}
}

// opened shows a rebuilt disk until the test ends.
func opened(t *testing.T, l *system.Layout, image string) *Disk {
	t.Helper()
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), l, file, t.TempDir(), false)
	if err != nil {
		t.Fatal(errors.Join(err, file.Close()))
	}
	t.Cleanup(func() {
		if err := errors.Join(d.Close(), file.Close()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// lookAt opens a rebuilt disk and compares its files.
func lookAt(t *testing.T, l *system.Layout, image string) {
	t.Helper()
	d := opened(t, l, image)
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(d.Root, name)); string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(d.Root, "boot/efi/EFI/BOOT/BOOTX64.EFI")); err != nil {
		t.Error(err)
	}
	if said := tool(t, "/usr/sbin/blkid", "-p", filepath.Join(d.Root, "srv/swap")); !strings.Contains(said, `TYPE="swap"`) {
		t.Errorf("swap file: %s", said)
	}
	for at, want := range map[string]string{"/": "257", "/var/lib/may": "261", "/home": "262"} {
		if got := strings.TrimSpace(tool(t, "btrfs", "inspect-internal", "rootid", filepath.Join(d.Root, at))); got != want {
			t.Errorf("the subvolume of %s has the number %s, want %s", at, got, want)
		}
	}
	if err := os.WriteFile(filepath.Join(d.Root, "etc/hostname"), nil, 0o600); err == nil {
		t.Error("a disk that is only looked at was written to")
	}
}

// A second file system of the same UUID is made and mounted beside the first one, as on the
// machine whose system is tested.
func TestBesideTheSystemItself(t *testing.T) {
	need(t, "mkfs.btrfs")
	l, dir := sample(t), t.TempDir()
	first := filepath.Join(dir, "first.img")
	rebuild(t, l, dir, first)
	opened(t, l, first)
	second := filepath.Join(dir, "second.img")
	rebuild(t, l, dir, second)
	lookAt(t, l, second)
}

func TestWhatCannotBeRebuiltIsRefused(t *testing.T) {
	need(t)
	text, err := sample(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(l *system.Layout){
		"no root":         func(l *system.Layout) { l.FileSystems = l.FileSystems[:2] },
		"LVM":             func(l *system.Layout) { l.FileSystems[3].Volume = "vg/root" },
		"unknown kind":    func(l *system.Layout) { l.FileSystems[3].Type = "zfs_member" },
		"no partition":    func(l *system.Layout) { l.FileSystems[1].Partition = 9 },
		"off the disk":    func(l *system.Layout) { l.Disk.Size = 64 << 20 },
		"mounted outside": func(l *system.Layout) { l.FileSystems[1].Mount = "/boot/../../etc" },
		"subvolume":       func(l *system.Layout) { l.FileSystems[2].Subvolumes[0].Path = "../@" },
		"label is a flag": func(l *system.Layout) { l.FileSystems[1].Label = "-F" },
		"FAT number":      func(l *system.Layout) { l.FileSystems[0].UUID = "x" },
		"code outside":    func(l *system.Layout) { l.Code = []system.Code{{What: system.CodeRecord, Name: "../code", Length: 4}} },
		"code over a file system": func(l *system.Layout) {
			l.Code = []system.Code{{What: system.CodePartition, Name: "code", Partition: 3, Offset: 92160 * 512, Length: 4096}}
		},
		"code over the table": func(l *system.Layout) { l.Code = []system.Code{{What: system.CodeRecord, Name: "code", Length: 512}} },
	} {
		t.Run(name, func(t *testing.T) {
			scratch := t.TempDir()
			l, err := system.Decode(text)
			if err != nil {
				t.Fatal(err)
			}
			spoil(l)
			out, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			d, err := Make(t.Context(), l, t.TempDir(), out, scratch)
			if fault.KindOf(err) != fault.Refused {
				t.Errorf("%v, want it refused", err)
			}
			if d != nil {
				_ = d.Close()
			}
			nothingLeft(t, scratch, out.Name())
		})
	}
}

// What a process leaves that was killed is taken away by its scratch folder alone.
func TestCleanUp(t *testing.T) {
	need(t)
	l, dir, scratch := sample(t), t.TempDir(), t.TempDir()
	image := filepath.Join(dir, "disk.img")
	out, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Make(t.Context(), l, dir, out, scratch)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(d.loops, out) {
		_ = f.Close() // as the kernel does for the dead
	}
	if err := errors.Join(CleanUp(scratch), os.RemoveAll(filepath.Join(scratch, folderName))); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, scratch, image)
}

func TestCancelled(t *testing.T) {
	need(t)
	l, scratch := sample(t), t.TempDir()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := Make(ctx, l, t.TempDir(), out, scratch); err == nil {
		t.Error("it went on")
	}
	nothingLeft(t, scratch, out.Name())
}
