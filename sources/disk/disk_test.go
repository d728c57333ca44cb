package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"saoluu/internal/command"
)

const mib = 1 << 20

// sh runs a program that the test cannot do without.
func sh(t *testing.T, argv ...string) string {
	t.Helper()
	path, err := command.LookPath(argv[0])
	if err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	out, err := command.Output(t.Context(), command.Cmd{Argv: append([]string{path}, argv[1:]...), Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}}, 16*mib)
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return string(out)
}

// content makes a folder with files of many sizes, and returns the digests of all.
func content(t *testing.T, dir string) {
	t.Helper()
	noise := rand.NewChaCha8([32]byte{1})
	for n := range 300 {
		sub := filepath.Join(dir, fmt.Sprint(n%7))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 1+(n*n*37)%50000)
		_, _ = noise.Read(data)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(n)), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if n%5 == 0 && n > 0 {
			_ = os.Remove(filepath.Join(dir, fmt.Sprint((n-3)%7), fmt.Sprint(n-3)))
		}
	}
}

// mounted runs do with a partition of an image mounted.
func mounted(t *testing.T, image string, start, size int64, options string, do func(dir string)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	loop := strings.TrimSpace(sh(t, "losetup", "--find", "--show", "--offset", fmt.Sprint(start), "--sizelimit", fmt.Sprint(size), image))
	defer sh(t, "losetup", "--detach", loop)
	dir := t.TempDir()
	sh(t, "mount", "-o", options, loop, dir)
	defer sh(t, "umount", dir)
	do(dir)
}

// blank makes a disk with one partition of the size from byte 1 MiB on.
func blank(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size+2*mib); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "parts")
	if err := os.WriteFile(script, fmt.Appendf(nil, "label: gpt\nstart=2048, size=%d\n", size/512), 0o600); err != nil {
		t.Fatal(err)
	}
	sh(t, "sh", "-c", "sfdisk -q "+path+" <"+script)
	return path
}

// survey opens an image and looks at it.
func survey(t *testing.T, path string) (*Image, *Survey) {
	t.Helper()
	i, err := Open(t.Context(), path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	s, err := i.Survey(t.Context(), t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	return i, s
}

// poisoned is a copy of an image with other bytes at the ends and in the middle of
// everything that is called free.
func poisoned(t *testing.T, i *Image, s *Survey) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "poisoned.img")
	sh(t, "cp", "--sparse=always", i.Path, path)
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	free, err := i.free(t.Context(), s, t.TempDir())
	if err != nil || len(free) == 0 {
		t.Fatal("nothing is free: ", err)
	}
	poison := bytes.Repeat([]byte{0xa5}, Block)
	for _, f := range free {
		for _, at := range []int64{f.at, f.at + f.length/2, f.at + f.length - Block} {
			from, to := max(at, f.at), min(at+Block, f.at+f.length)
			if _, err := out.WriteAt(poison[:max(0, to-from)], from); err != nil {
				t.Fatal(err)
			}
		}
	}
	return path
}

// What the free maps leave out is not missed: with other bytes in its place each file
// system passes its own check, and every file is there.
func TestFreeSpace(t *testing.T) {
	const size = 384 * mib
	for _, tc := range []struct {
		name, options string
		make          func(file string) []string
		check         func(file string) []string
	}{
		{"ext2", "rw", func(f string) []string { return []string{"mke2fs", "-q", "-t", "ext2", f} }, func(f string) []string { return []string{"sh", "-c", "e2fsck -fn " + f + " >&2"} }},
		{"ext4", "rw", func(f string) []string { return []string{"mke2fs", "-q", "-t", "ext4", f} }, func(f string) []string { return []string{"sh", "-c", "e2fsck -fn " + f + " >&2"} }},
		{"ext4 with blocks of 1 KiB", "rw", func(f string) []string { return []string{"mke2fs", "-q", "-t", "ext4", "-b", "1024", f} }, func(f string) []string { return []string{"sh", "-c", "e2fsck -fn " + f + " >&2"} }},
		{"xfs", "rw", func(f string) []string { return []string{"mkfs.xfs", "-q", f} }, func(f string) []string { return []string{"xfs_repair", "-n", f} }},
		{"btrfs", "rw,compress-force=zstd", func(f string) []string { return []string{"mkfs.btrfs", "-q", f} }, func(f string) []string { return []string{"btrfs", "check", "--readonly", "--check-data-csum", f} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := blank(t, size)
			loop := strings.TrimSpace(sh(t, "losetup", "--find", "--show", "--offset", fmt.Sprint(mib), "--sizelimit", fmt.Sprint(size), path))
			sh(t, tc.make(loop)...)
			sh(t, "losetup", "--detach", loop)
			var want string
			mounted(t, path, mib, size, tc.options, func(dir string) { content(t, dir); want = list(t, dir) })
			i, s := survey(t, path)
			if why := s.Free[1]; why != "" || len(s.Table.Partitions) != 1 {
				t.Fatalf("free space of %+v is stored: %s", s.Table, why)
			}
			if most := int64(110 * mib); s.Stored.Bytes() > most {
				t.Errorf("%d bytes are stored of a file system that is nearly empty", s.Stored.Bytes())
			}
			copied := poisoned(t, i, s)
			loop = strings.TrimSpace(sh(t, "losetup", "--find", "--show", "--offset", fmt.Sprint(mib), "--sizelimit", fmt.Sprint(size), copied))
			defer func() { sh(t, "losetup", "--detach", loop) }()
			sh(t, tc.check(loop)...)
			dir := t.TempDir()
			sh(t, "mount", "-o", "ro", loop, dir)
			got := list(t, dir)
			sh(t, "umount", dir)
			if got != want {
				t.Error("not all files are what they were")
			}
		})
	}
}

// list are the digests of all files below a folder.
func list(t *testing.T, dir string) string {
	t.Helper()
	return strings.ReplaceAll(sh(t, "sh", "-c", "cd "+dir+" && find . -type f | sort | xargs sha256sum"), dir, "")
}

func TestFreeSpaceOfNTFS(t *testing.T) {
	const size = 64 * mib
	path := filepath.Join(t.TempDir(), "ntfs.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	sh(t, "mkfs.ntfs", "-q", "-F", "-f", path)
	data := bytes.Repeat([]byte("dữ liệu "), 300000)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sh(t, "ntfscp", "-q", path, file, "file")
	i, s := survey(t, path)
	if s.Free[0] != "" || s.Stored.Bytes() > 16*mib {
		t.Fatalf("%d bytes are stored: %s", s.Stored.Bytes(), s.Free[0])
	}
	copied := poisoned(t, i, s)
	sh(t, "ntfsfix", "-n", copied)
	if got := sh(t, "ntfscat", copied, "file"); got != string(data) {
		t.Error("the file is not what it was")
	}
}

// A file system that was cut off is stored whole: its lists of free blocks may be old.
func TestFreeSpaceOfUncleanSystems(t *testing.T) {
	const size = 320 * mib
	for _, tc := range []struct{ name, make string }{{"ext4", "mke2fs -q -t ext4"}, {"xfs", "mkfs.xfs -q"}, {"btrfs", "mkfs.btrfs -q"}} {
		t.Run(tc.name, func(t *testing.T) {
			path := blank(t, size)
			loop := strings.TrimSpace(sh(t, "losetup", "--find", "--show", "--offset", fmt.Sprint(mib), "--sizelimit", fmt.Sprint(size), path))
			sh(t, append(strings.Fields(tc.make), loop)...)
			sh(t, "losetup", "--detach", loop)
			var frozen string
			mounted(t, path, mib, size, "rw", func(dir string) {
				content(t, dir)
				// What is on the disk while it is mounted is what a power cut leaves.
				sh(t, "sh", "-c", "sync; echo x >"+dir+"/late; fsync() { sync "+dir+"/late; }; fsync")
				frozen = filepath.Join(t.TempDir(), "frozen.img")
				sh(t, "cp", "--sparse=always", path, frozen)
			})
			_, s := survey(t, frozen)
			if s.Free[1] == "" {
				t.Error("its free space was believed")
			}
		})
	}
}

func TestNonsense(t *testing.T) {
	noise := make([]byte, 8*mib)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(noise)
	noise[510], noise[511] = 0x55, 0xaa
	for i := range 4 {
		noise[446+16*i] = 0x80
	}
	path := filepath.Join(t.TempDir(), "noise.img")
	if err := os.WriteFile(path, noise, 0o600); err != nil {
		t.Fatal(err)
	}
	_, s := survey(t, path)
	if s.Table.Trouble == "" {
		t.Errorf("the table is believed: %+v", s.Table)
	}
	if s.Stored.Count() != blocksOf(int64(len(noise))) {
		t.Errorf("%d blocks are stored of %d", s.Stored.Count(), blocksOf(int64(len(noise))))
	}
}
