package inside

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

const mib = 1 << 20

// tool spells out a program, with the folders of administrators searched too.
func tool(argv ...string) (command.Cmd, error) {
	path, err := command.LookPath(argv[0])
	if err != nil {
		return command.Cmd{}, err
	}
	return command.Cmd{Argv: append([]string{path}, argv[1:]...), Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}}, nil
}

// sh runs a program that the test cannot do without.
func sh(t *testing.T, argv ...string) string {
	t.Helper()
	c, err := tool(argv...)
	if err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	out, err := command.Output(t.Context(), c, 16*mib)
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return string(out)
}

// device runs do with bytes of an image as a device.
func device(t *testing.T, image string, start, size int64, do func(device string)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	loop := strings.TrimSpace(sh(t, "losetup", "--find", "--show", "--offset", fmt.Sprint(start), "--sizelimit", fmt.Sprint(size), image))
	defer sh(t, "losetup", "--detach", loop)
	do(loop)
}

func mounted(t *testing.T, device string, do func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	sh(t, "mount", device, dir)
	defer sh(t, "umount", dir)
	do(dir)
	// All is in its place then, even where another mount namespace keeps it mounted.
	sh(t, "fsfreeze", "--freeze", dir)
	sh(t, "fsfreeze", "--unfreeze", dir)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// large is longer than what a driver reads at a time, and not the same everywhere.
func large() string {
	var b strings.Builder
	for n := range 300000 {
		fmt.Fprintln(&b, n)
	}
	return b.String()
}

// tree makes the root of a system.
func tree(t *testing.T, root, fstab string) {
	t.Helper()
	write(t, root+"/usr/lib/os-release", "NAME=\"Máy thử\"\nID=debian\nVERSION_ID=\"12\"\n")
	write(t, root+"/etc/hostname", "may-chu\n")
	write(t, root+"/etc/fstab", fstab)
	write(t, root+"/etc/tệp có dấu.conf", "một\n")
	write(t, root+"/etc/empty", "")
	write(t, root+"/srv/large", large())
	link(t, "../usr/lib/os-release", root+"/etc/os-release")
	link(t, "usr/lib", root+"/lib")
	link(t, "nowhere", root+"/etc/dangling")
	link(t, "/boot/loader", root+"/etc/loader")
	for n := range 400 {
		write(t, fmt.Sprintf("%s/srv/many/tep-%03d", root, n), fmt.Sprint(n))
	}
}

// kinds of root file system.
var kinds = []struct {
	kind, sub, options string
	make               []string
}{
	{"ext4", "", "defaults", []string{"mke2fs", "-q", "-t", "ext4"}},
	{"xfs", "", "defaults", []string{"mkfs.xfs", "-q", "-f"}},
	{"btrfs", "@rootfs", "subvol=@rootfs", []string{"mkfs.btrfs", "-q", "-f"}},
}

// build makes a disk with a FAT system partition, an ext4 of /boot, and a root.
func build(t *testing.T, root int) string {
	t.Helper()
	k := kinds[root]
	image := filepath.Join(t.TempDir(), "disk.img")
	write(t, image, "")
	if err := os.Truncate(image, 420*mib); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "parts")
	write(t, script, "label: gpt\nstart=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649\nsize=34MiB, type=U\nsize=16MiB, type=L\nsize=320MiB, type=L\n")
	sh(t, "sh", "-c", "sfdisk -q "+image+" <"+script)
	table := tableOf(t, image)
	esp, boot, last := table.Partitions[1], table.Partitions[2], table.Partitions[3]
	device(t, image, esp.Start, esp.Size, func(d string) {
		sh(t, "mkfs.fat", "-F", "32", d)
		loader := filepath.Join(t.TempDir(), "BOOTX64.EFI")
		write(t, loader, "loader")
		sh(t, "mmd", "-i", d, "::EFI", "::EFI/BOOT")
		sh(t, "mcopy", "-i", d, loader, "::EFI/BOOT/BOOTX64.EFI")
	})
	device(t, image, boot.Start, boot.Size, func(d string) {
		sh(t, "mke2fs", "-q", "-t", "ext4", d)
		mounted(t, d, func(dir string) {
			write(t, dir+"/vmlinuz-6.1.0-18-amd64", large()[:500000])
			write(t, dir+"/vmlinuz-6.1.0-21-amd64", large()[:600000])
			write(t, dir+"/loader", "đây\n")
		})
	})
	device(t, image, last.Start, last.Size, func(d string) { sh(t, append(k.make, d)...) })
	table = tableOf(t, image)
	fstab := fmt.Sprintf("# máy thử\nUUID=%s / %s %s 0 1\nUUID=%s /boot ext4 defaults 0 2\nUUID=%s /boot/efi vfat umask=0077 0 1\n/dev/sdz1 /kho ext4 nofail 0 2\n",
		table.Partitions[3].System.UUID, k.kind, k.options, table.Partitions[2].System.UUID, table.Partitions[1].System.UUID)
	device(t, image, last.Start, last.Size, func(d string) {
		mounted(t, d, func(dir string) {
			if k.sub != "" {
				write(t, dir+"/old/usr/lib/os-release", "ID=debian\nVERSION_ID=11\n")
				sh(t, "btrfs", "-q", "subvolume", "create", filepath.Join(dir, k.sub))
			}
			tree(t, filepath.Join(dir, k.sub), fstab)
		})
	})
	return image
}

func tableOf(t *testing.T, image string) disk.Table {
	t.Helper()
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := disk.ReadTable(file, st.Size(), 512)
	if err != nil || table.Trouble != "" {
		t.Fatal(table.Trouble, err)
	}
	return table
}

// open looks into an image by offsets, and counts the programs that it runs.
func open(t *testing.T, image string) *Disk {
	return &Disk{Table: tableOf(t, image), Where: func(p disk.Partition) (string, int64) { return image, p.Start }, Command: tool}
}

func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// All that is read of a system is what was written, whatever its file system.
func TestKnow(t *testing.T) {
	for n, k := range kinds {
		t.Run(k.kind, func(t *testing.T) {
			image := build(t, n)
			files := map[string]string{
				"/etc/tệp có dấu.conf": sum("một\n"), "/etc/empty": sum(""), "/srv/large": sum(large()), "/srv/many/tep-399": sum("399"),
				"/etc/os-release": sum("NAME=\"Máy thử\"\nID=debian\nVERSION_ID=\"12\"\n"), "/lib/os-release": sum("NAME=\"Máy thử\"\nID=debian\nVERSION_ID=\"12\"\n"),
				"/boot/loader": sum("đây\n"), "/boot/efi/EFI/BOOT/BOOTX64.EFI": sum("loader"),
				"/etc": NotRegular, "/srv/many/tep-400": NotThere, "/etc/hostname/x": NotThere, "/khong/co": NotThere, "/boot/khong-co": NotThere,
			}
			unsure := []string{"/kho/x"}
			if k.kind == "ext4" { // where links can be seen
				files["/etc/dangling"], files["/etc/loader"] = NotThere, sum("đây\n")
			} else {
				unsure = append(unsure, "/etc/dangling", "/etc/loader")
			}
			var names []string
			for name := range files {
				names = append(names, name)
			}
			got, err := open(t, image).Know(t.Context(), append(names, unsure...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(files, got.Files); diff != "" {
				t.Error(diff)
			}
			values := map[string]string{Release: "debian 12", Hostname: "may-chu", Kernels: "vmlinuz-6.1.0-18-amd64 vmlinuz-6.1.0-21-amd64", Fstab: sum(got.System.Fstab)}
			if diff := cmp.Diff(values, got.Values); diff != "" || !strings.HasPrefix(got.System.Fstab, "# máy thử\n") {
				t.Error(diff, got.System)
			}
			for _, name := range unsure {
				if err := got.Skipped[name]; fault.KindOf(err) != fault.Unknown {
					t.Errorf("%s: %v", name, err)
				}
			}
			if len(got.Skipped) != len(unsure) {
				t.Error(got.Skipped)
			}
		})
	}
}

// A program that is missing, and a partition that cannot be read, make nothing absent.
func TestKnowWithoutPrograms(t *testing.T) {
	image := build(t, 1)
	d := open(t, image)
	d.Command = func(argv ...string) (command.Cmd, error) {
		if argv[0] == grubProgram || argv[0] == grubProgram2 {
			return command.Cmd{}, fault.New(fault.MissingTool, "program", os.ErrNotExist, "install it")
		}
		return tool(argv...)
	}
	got, err := d.Know(t.Context(), []string{"/etc/empty", "/loader"})
	if err != nil || got.System != nil {
		t.Fatal(got.System, err)
	}
	if diff := cmp.Diff(map[string]string{"/loader": sum("đây\n")}, got.Files); diff != "" {
		t.Error(diff, got.Skipped)
	}
	for _, name := range []string{"system", "/etc/empty"} {
		if kind := fault.KindOf(got.Skipped[name]); kind != fault.MissingTool {
			t.Errorf("%s: %v", name, got.Skipped[name])
		}
	}
}

// Where the program has its other name it is found by that.
func TestKnowByTheOtherName(t *testing.T) {
	image := build(t, 1)
	d := open(t, image)
	d.Command = func(argv ...string) (command.Cmd, error) {
		switch argv[0] {
		case grubProgram:
			return command.Cmd{}, fault.New(fault.MissingTool, "program", os.ErrNotExist, "install it")
		case grubProgram2:
			argv = append([]string{grubProgram}, argv[1:]...)
		}
		return tool(argv...)
	}
	got, err := d.Know(t.Context(), []string{"/etc/empty"})
	if err != nil || len(got.Skipped) > 0 || got.Files["/etc/empty"] != sum("") {
		t.Error(got, err)
	}
}

// What cannot be read any more is an error, not a file that is missing.
func TestKnowOfDamage(t *testing.T) {
	for n, k := range kinds {
		t.Run(k.kind, func(t *testing.T) {
			image := build(t, n)
			root := tableOf(t, image).Partitions[3]
			file, err := os.OpenFile(image, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			for at := root.Start + mib; at < root.Start+root.Size; at += 64 << 10 { // all but its beginning
				old := make([]byte, 64<<10)
				if _, err := file.ReadAt(old, at); err != nil {
					t.Fatal(err)
				}
				if len(bytes.Trim(old, "\x00")) > 0 {
					if _, err := file.WriteAt(bytes.Repeat([]byte{0xa5}, len(old)), at); err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := open(t, image).Know(t.Context(), []string{"/etc/hostname"})
			if err != nil {
				t.Fatal(err)
			}
			if got.System != nil || got.Skipped["system"] == nil || slices.Contains([]string{NotThere, sum("may-chu\n")}, got.Files["/etc/hostname"]) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A system on volumes of LVM is read like any other. No volume is made active: the kernel
// of a machine that runs tests often has no device-mapper, and GRUB needs none.
func TestKnowOfLVM(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	write(t, image, "")
	if err := os.Truncate(image, 460*mib); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "parts")
	write(t, script, "label: dos\nstart=1MiB, size=16MiB, type=83, bootable\nsize=440MiB, type=8e\n")
	sh(t, "sh", "-c", "sfdisk -q "+image+" <"+script)
	table := tableOf(t, image)
	boot, group := table.Partitions[0], table.Partitions[1]
	device(t, image, boot.Start, boot.Size, func(d string) {
		sh(t, "mke2fs", "-q", "-t", "ext4", d)
		mounted(t, d, func(dir string) { write(t, dir+"/vmlinuz-5.14.0", "nhân") })
	})
	device(t, image, group.Start, group.Size, func(d string) {
		for _, argv := range [][]string{{"pvcreate", d}, {"vgcreate", "he-thong", d}, {"lvcreate", "-an", "-Zn", "-Wn", "-n", "goc", "-L", "320M", "he-thong"}, {"lvcreate", "-an", "-Zn", "-Wn", "-n", "srv", "-L", "64M", "he-thong"}} {
			sh(t, append([]string{argv[0], "-q", "--driverloaded", "n", "--devices", d}, argv[1:]...)...)
		}
	})
	// Both lie where lvcreate puts the first ones, behind the first megabyte.
	root, srv := group.Start+mib, group.Start+321*mib
	device(t, image, srv, 64*mib, func(d string) {
		sh(t, "mke2fs", "-q", "-t", "ext4", d)
		mounted(t, d, func(dir string) { write(t, dir+"/www/index.html", "chào\n") })
	})
	device(t, image, root, 320*mib, func(d string) {
		sh(t, "mkfs.xfs", "-q", d)
		mounted(t, d, func(dir string) {
			tree(t, dir, "/dev/mapper/he--thong-goc / xfs defaults 0 0\nUUID="+tableOf(t, image).Partitions[0].System.UUID+" /boot ext4 defaults 0 0\n/dev/he-thong/srv /srv ext4 defaults 0 0\n")
		})
	})
	got, err := open(t, image).Know(t.Context(), []string{"/etc/empty", "/srv/www/index.html", "/srv/large"})
	if err != nil || len(got.Skipped) > 0 {
		t.Fatal(err, got.Skipped)
	}
	want := map[string]string{"/etc/empty": sum(""), "/srv/www/index.html": sum("chào\n"), "/srv/large": NotThere}
	if diff := cmp.Diff(want, got.Files); diff != "" {
		t.Error(diff)
	}
	if got.Values[Release] != "debian 12" || got.Values[Kernels] != "vmlinuz-5.14.0" || got.System.Root.LVM != "he--thong-goc" {
		t.Error(got.Values, got.System.Root)
	}
	named, lost, err := open(t, image).Lost(t.Context(), got.System)
	if named != 1 || lost != 0 || err != nil {
		t.Error(named, lost, err)
	}
}
