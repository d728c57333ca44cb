package rebuild

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// A system partition that was not mounted comes back as it was, with a loader where every
// firmware looks for one.
func TestSystemPartitionThatWasNotMounted(t *testing.T) {
	need(t)
	l, dir := sample(t), t.TempDir()
	part := filepath.Join(dir, "efi.bin")
	if err := errors.Join(os.WriteFile(part, nil, 0o600), os.Truncate(part, 81920*512)); err != nil {
		t.Fatal(err)
	}
	tool(t, "/usr/sbin/mkfs.fat", "-F", "32", "-i", "5e1a00ee", part)
	loader := filepath.Join(dir, "grubx64.efi")
	if err := os.WriteFile(loader, []byte("grub"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "mmd", "-i", part, "::/EFI", "::/EFI/debian")
	tool(t, "mcopy", "-i", part, loader, "::/EFI/debian/")
	text, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.TrimRight(text, "\x00")
	sum := sha256.Sum256(text)
	l.Code = []system.Code{{What: system.CodeESP, Name: "efi.bin", Partition: 2, Offset: 10240 * 512, Length: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}}
	l.FileSystems[0].Saved, l.FileSystems[0].UUID = false, "5E1A-00EE"
	image := filepath.Join(dir, "disk.img")
	rebuild(t, l, dir, image)
	if got := tool(t, "mtype", "-i", image+"@@5M", "::/EFI/BOOT/BOOTX64.EFI"); got != "grub" {
		t.Errorf("the loader is %q", got)
	}
	if err := os.WriteFile(part, append(text[:len(text)-1:len(text)-1], 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.CreateTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := Make(t.Context(), l, dir, out, t.TempDir()); fault.KindOf(err) != fault.Damaged {
		t.Errorf("code that is not what was saved: %v", err)
	}
}

// Files in FAT have the owners and modes that the mount options of the system say.
func TestModesInFAT(t *testing.T) {
	for options, want := range map[string]modes{
		"":                               {file: 0o755, folder: 0o755},
		"umask=0077":                     {file: 0o700, folder: 0o700},
		"defaults,fmask=0133,dmask=0022": {file: 0o644, folder: 0o755},
		"uid=33,gid=44,umask=x":          {file: 0o755, folder: 0o755, uid: 33, gid: 44},
	} {
		if got := modesOf(options); got != want {
			t.Errorf("%q: %+v, want %+v", options, got, want)
		}
	}
}
