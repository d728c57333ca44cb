package verify

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// diskTool runs a program that makes a file system.
func diskTool(t *testing.T, argv ...string) {
	t.Helper()
	path, err := command.LookPath(argv[0])
	if err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if _, err := command.Run(t.Context(), command.Cmd{Argv: append([]string{path}, argv[1:]...), Env: plainEnv}); err != nil {
		t.Fatal(err)
	}
}

// A made file system is a file of it, and how it is damaged.
type madeSystem struct {
	name   string
	size   int64
	make   func(t *testing.T, file, content string)
	damage func(t *testing.T, part []byte)
}

func madeSystems() []madeSystem {
	return []madeSystem{
		{"ext4", 32 << 20, func(t *testing.T, file, content string) {
			diskTool(t, "mke2fs", "-q", "-t", "ext4", "-d", content, file)
		},
			func(t *testing.T, part []byte) { // bitmap of blocks of the first group
				block := 1024 << binary.LittleEndian.Uint32(part[1024+24:])
				table := max(2048, block)
				bitmap := int(binary.LittleEndian.Uint32(part[table:])) * block
				clear(part[bitmap : bitmap+block/2])
			}},
		{"xfs", 304 << 20, func(t *testing.T, file, content string) {
			proto := filepath.Join(t.TempDir(), "proto")
			if err := os.WriteFile(proto, fmt.Appendf(nil, "x\n0 0\nd--755 0 0\ntep ---644 0 0 %s\n$\n", filepath.Join(content, "tep")), 0o600); err != nil {
				t.Fatal(err)
			}
			diskTool(t, "mkfs.xfs", "-q", "-p", proto, file)
		}, func(t *testing.T, part []byte) { // the free space of the second group, as its head has it
			group := int(binary.BigEndian.Uint32(part[84:])) * int(binary.BigEndian.Uint32(part[4:]))
			if string(part[group+512:group+516]) != "XAGF" {
				t.Fatal("there is no XAGF")
			}
			part[group+512+40] ^= 0xff
		}},
		{"btrfs", 128 << 20, func(t *testing.T, file, content string) {
			diskTool(t, "mkfs.btrfs", "-q", "--metadata", "single", "--rootdir", content, file)
		}, func(t *testing.T, part []byte) { // every leaf of the tree of files
			id, hits := part[65536+32:65536+48], 0
			for at := 1 << 20; at+16384 <= len(part); at += 4096 {
				if bytes.Equal(part[at+32:at+48], id) && binary.LittleEndian.Uint64(part[at+88:]) == 5 {
					part[at+200] ^= 0xff
					hits++
				}
			}
			if hits == 0 {
				t.Fatal("there is no leaf")
			}
		}},
		{"fat", 40 << 20, func(t *testing.T, file, content string) {
			diskTool(t, "mkfs.fat", "-F", "32", file)
			diskTool(t, "mcopy", "-i", file, filepath.Join(content, "tep"), "::tep")
		}, func(t *testing.T, part []byte) { // the first of two tables, past its head
			reserved := int(binary.LittleEndian.Uint16(part[14:])) * 512
			clear(part[reserved+12 : reserved+64])
		}},
		{"swap", 16 << 20, func(t *testing.T, file, _ string) { diskTool(t, "mkswap", "--quiet", file) },
			func(t *testing.T, part []byte) { binary.LittleEndian.PutUint32(part[1024+4:], 1<<30) }},
	}
}

// restoredImage is a disk that came back, of one partition or none.
func restoredImage(t *testing.T, content []byte) *image {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return &image{files: &files{examination: &examination{}}, disk: restoredPart{file: file}, size: int64(len(content)), stored: disk.Full(int64(len(content))), tenant: &tenant{dir: dir}}
}

func made(t *testing.T, m madeSystem) []byte {
	t.Helper()
	dir := t.TempDir()
	content := filepath.Join(dir, "content")
	file := filepath.Join(dir, "part")
	if err := errors.Join(os.Mkdir(content, 0o755), os.WriteFile(filepath.Join(content, "tep"), bytes.Repeat([]byte("dữ liệu\n"), 20000), 0o644), os.WriteFile(file, nil, 0o600), os.Truncate(file, m.size)); err != nil {
		t.Fatal(err)
	}
	m.make(t, file, content)
	part, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return part
}

// A file system whose description of itself was damaged after it was saved is found by
// its own checker, beside the digest that tells so too.
func TestStructureOfDamagedSystems(t *testing.T) {
	for _, m := range madeSystems() {
		t.Run(m.name, func(t *testing.T) {
			part := made(t, m)
			sound := restoredImage(t, part)
			if err := sound.structure(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := Assertion{Name: nameSystems, Expected: "1 of 1 sound", Actual: "1 of 1 sound", OK: true}
			if !slices.Contains(sound.result.Assertions, want) || len(sound.result.Detail) > 0 {
				t.Fatalf("sound: %+v", sound.result)
			}
			m.damage(t, part)
			broken := restoredImage(t, part)
			if err := broken.structure(t.Context()); err != nil {
				t.Fatal(err)
			}
			want.Actual, want.OK = "0 of 1 sound", false
			if !slices.Contains(broken.result.Assertions, want) || broken.verdict() != Failed || len(broken.result.Detail) != 1 {
				t.Errorf("damaged: %+v", broken.result)
			}
			if names, err := os.ReadDir(broken.tenant.dir); err != nil || len(names) != 1 {
				t.Errorf("left behind: %v, %v", names, err)
			}
		})
	}
}

// A log of XFS that only a kernel can play back makes the file system unchecked: neither
// sound nor damaged.
func TestStructureOfXFSInUse(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	m := madeSystems()[1]
	file, dir := filepath.Join(t.TempDir(), "part"), t.TempDir()
	if err := os.WriteFile(file, made(t, m), 0o600); err != nil {
		t.Fatal(err)
	}
	diskTool(t, "mount", "-o", "loop", file, dir)
	for n := range 200 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), []byte("mới"), 0o600); err != nil {
			t.Error(err)
		}
	}
	diskTool(t, "sync", "-f", dir)
	part, err := os.ReadFile(file)
	diskTool(t, "umount", dir)
	if err != nil {
		t.Fatal(err)
	}
	i := restoredImage(t, part)
	if err := i.structure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (Assertion{Name: nameUnchecked, Expected: "0", Actual: "1"}); len(i.result.Assertions) != 1 || i.result.Assertions[0] != want || !strings.Contains(strings.Join(i.result.Detail, ""), "log") {
		t.Errorf("%+v", i.result)
	}
}

// Without its checker nothing is said of a file system, and damage that another one found
// stays red.
func TestStructureWithoutCheckers(t *testing.T) {
	i := restoredImage(t, made(t, madeSystems()[3]))
	i.tenant.shed = []string{"/khong/co"}
	err := i.structure(t.Context())
	if fault.KindOf(err) != fault.MissingTool || len(i.result.Assertions) > 0 {
		t.Errorf("%v, %+v", err, i.result)
	}
}

// A program that was hindered from looking says nothing of a disk.
func TestStructureOfHinderedPrograms(t *testing.T) {
	i := restoredImage(t, made(t, madeSystems()[0]))
	table := make([]byte, 2<<20) // a disk with a table, whose partition holds nothing
	copy(table[446:], []byte{0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0})
	table[510], table[511] = 0x55, 0xaa
	for _, i := range []*image{i, restoredImage(t, table)} {
		i.tenant.shed = []string{"/bin/sh", "-c", "echo 'setpriv: activate capabilities: Operation not permitted' >&2; exit 127"}
		err := errors.Join(i.structure(t.Context()), i.describe(t.Context()))
		if fault.KindOf(err) != fault.Unknown || !strings.Contains(fault.HintOf(err), "capset") {
			t.Errorf("%v: %q", err, fault.HintOf(err))
		}
		for _, a := range i.result.Assertions {
			if a.decides() {
				t.Errorf("%+v", a)
			}
		}
	}
}
