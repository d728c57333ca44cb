package sources

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/sources/disk"
)

// needed runs a program that the test cannot do without.
func needed(t *testing.T, argv ...string) string {
	t.Helper()
	path, err := command.LookPath(argv[0])
	if err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	out, err := command.Output(t.Context(), command.Cmd{Argv: append([]string{path}, argv[1:]...), Env: []string{"PATH=" + plainPath, "LC_ALL=C"}}, 1<<20)
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return string(out)
}

// smallSystem makes the file of a disk with a GPT, a BIOS boot partition and a system.
func smallSystem(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n", "etc/hostname": "máy\n", "etc/fstab": "LABEL=goc / ext4 defaults 0 1\n", "boot/vmlinuz-6.1": "nhân",
		"var/lib/dpkg/status": "Package: nginx\nStatus: install ok installed\nVersion: 1.22-1\nDescription: web\n Package: none\n\nPackage: vim\nStatus: deinstall ok config-files\nVersion: 2:9\n\n",
	} {
		path := filepath.Join(dir, "tree", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(dir, "disk.img")
	needed(t, "sh", "-ec", fmt.Sprintf(`cd %s; truncate -s 20M disk.img; truncate -s 16M part; mke2fs -q -t ext4 -d tree part
printf 'label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=khoi-dong\nstart=4096, size=32768, type=L\n' | sfdisk -q disk.img
dd if=part of=disk.img bs=1M seek=2 conv=notrunc,sparse status=none`, dir))
	return image
}

// What is kept beside the blocks is enough to make the disk anew by hand, and says what
// the system on it was.
func TestImageLayout(t *testing.T) {
	image := smallSystem(t)
	path := image
	if os.Getuid() == 0 {
		path = strings.TrimSpace(needed(t, "losetup", "--find", "--show", image))
		defer func() { needed(t, "losetup", "--detach", path) }()
	}
	scratch := filepath.Join(t.TempDir(), "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 4, 1, 2, 3, 0, time.UTC)
	p, err := (&Image{Path: path, Now: func() time.Time { return now }, Files: []string{"/etc/hostname", "/etc/khong-co"}}).Prepare(t.Context(), scratch)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Release(); err != nil {
			t.Error(err)
		}
	}()
	n := slices.IndexFunc(p.Parts, func(p Part) bool { return p.Name == PartLayout })
	text := func(name string) string {
		content, err := os.ReadFile(filepath.Join(p.Parts[n].Root, name))
		if err != nil {
			t.Error(err)
		}
		return string(content)
	}
	want := map[string][]string{
		"sfdisk.txt":   {"label: gpt", "label-id: ", "size=       32768", "name=\"khoi-dong\""},
		"system.json":  {`"os-release": "debian 12"`, `"hostname": "máy"`, `"kernels": "vmlinuz-6.1"`, `"fstab": "`},
		"fstab.txt":    {"LABEL=goc / ext4"},
		"packages.txt": {"nginx 1.22-1 installed\nvim 2:9 config-files\n"},
	}
	if os.Getuid() == 0 {
		want["lsblk.json"] = []string{`"name": "` + filepath.Base(path), `"size": 20971520`}
		want["blkid.txt"] = []string{`PTTYPE="gpt"`, "PTUUID="}
		want["kernel.txt"] = []string{"Linux"}
	}
	for name, words := range want {
		got := text(name)
		for _, word := range words {
			if !strings.Contains(got, word) {
				t.Errorf("%s has no %q:\n%s", name, word, got)
			}
		}
	}
	var about struct {
		Size   int64
		Sector int64
		Table  disk.Table
	}
	if err := json.Unmarshal([]byte(text("disk.json")), &about); err != nil || about.Size != 20<<20 || about.Sector != 512 ||
		len(about.Table.Partitions) != 2 || about.Table.Partitions[1].Start != 2<<20 || about.Table.Partitions[1].System.Type != "ext4" {
		t.Errorf("disk.json: %+v, %v", about, err)
	}
	if strings.Contains(text("packages.txt"), "none") {
		t.Error("a line of a description was taken for a package")
	}
}

// Boot sectors, tables and gaps are among the blocks: what comes back is the disk, byte
// by byte.
func TestImageKeepsWhatIsBetween(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root") // or fusermount3, which is not asked for
	}
	image := smallSystem(t)
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	marks := map[int64]string{0: "boot code", 446 - 10: "more of it", 40 << 10: "behind the table", 1<<20 + 5000: "a core image", 19 << 20: "behind all partitions"}
	for at, text := range marks {
		if _, err := file.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Join(t.TempDir(), "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := (&Image{Path: image, Now: func() time.Time { return time.Time{} }}).Prepare(t.Context(), scratch)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Release(); err != nil {
			t.Error(err)
		}
	}()
	root := p.Parts[0].Root
	for at, text := range marks {
		n := at / disk.Block
		block := filepath.Join(root, fmt.Sprintf("%05x/%02x/%02x", n>>12, n>>6&63, n&63))
		content, err := os.ReadFile(block)
		if from := at % disk.Block; err != nil || !strings.HasPrefix(string(content[from:]), text) {
			t.Errorf("%q at %d is not in %s: %v", text, at, block, err)
		}
	}
	for _, at := range []int64{512, 20<<20 - 512} { // both heads of the table
		n := at / disk.Block
		content, err := os.ReadFile(filepath.Join(root, fmt.Sprintf("%05x/%02x/%02x", n>>12, n>>6&63, n&63)))
		if from := at % disk.Block; err != nil || string(content[from:from+8]) != "EFI PART" {
			t.Errorf("the head of the table at %d is not kept: %v", at, err)
		}
	}
}
