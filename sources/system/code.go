package system

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// Bounds of what is kept of a disk outside of its file systems.
const (
	recordLength = 446      // of a boot record, before the table
	maxGap       = 16 << 20 // GRUB needs less than 1 MiB of it
	maxBIOSBoot  = 64 << 20
)

// codeAreas lists what boot loaders keep outside of file systems, and an EFI system
// partition whose files are not in the tree.
func (h *Held) codeAreas() []Code {
	t := h.Layout.Disk.Table
	var all []Code
	if t.Kind == "gpt" || t.Kind == "dos" {
		all = append(all, Code{What: CodeRecord, Name: "boot-record.bin", Length: recordLength})
	}
	if start := firstStart(t); t.Kind == "dos" && start > h.Layout.Disk.Sector {
		// Behind a GPT nothing boots from the gap: there is a partition for it.
		all = append(all, Code{What: CodeGap, Name: "gap.bin", Offset: h.Layout.Disk.Sector, Length: min(start-h.Layout.Disk.Sector, maxGap)})
	}
	for _, p := range t.Partitions {
		name := fmt.Sprintf("partition-%d.bin", p.Number)
		switch {
		case strings.EqualFold(p.Type, biosBootType):
			all = append(all, Code{What: CodeBIOSBoot, Name: name, Partition: p.Number, Offset: p.Start, Length: min(p.Size, maxBIOSBoot)})
		case isESP(p) && !h.mountedPartition(p.Number):
			all = append(all, Code{What: CodeESP, Name: name, Partition: p.Number, Offset: p.Start, Length: p.Size})
		case strings.HasPrefix(p.System.Type, "ext"):
			all = append(all, Code{What: CodePartition, Name: name, Partition: p.Number, Offset: p.Start, Length: 1 << 10})
		case p.System.Type == TypeBtrfs:
			all = append(all, Code{What: CodePartition, Name: name, Partition: p.Number, Offset: p.Start, Length: btrfsSuper})
		}
	}
	return all
}

func firstStart(t disk.Table) int64 {
	var first int64
	for _, p := range t.Partitions {
		if first == 0 || p.Start < first {
			first = p.Start
		}
	}
	return first
}

func (h *Held) mountedPartition(number int) bool {
	return slices.ContainsFunc(h.places, func(p place) bool { return p.number == number })
}

// keepCode writes the areas that hold something into files.
func (h *Held) keepCode(dir string) error {
	for _, c := range h.codeAreas() {
		sum, length, err := copyCode(filepath.Join(dir, c.Name), io.NewSectionReader(h.disk, c.Offset, c.Length))
		if err != nil {
			return fault.New(fault.Failed, fmt.Sprintf("read %s of %q", c.What, h.Layout.Disk.Path), err, "see the kernel's log for errors of the disk")
		}
		if length == 0 {
			continue // zeros only
		}
		c.Length, c.SHA256 = length, sum
		h.Layout.Code = append(h.Layout.Code, c)
	}
	return nil
}

// copyCode copies bytes without the zeros at their end, and with holes for others.
func copyCode(path string, r io.Reader) (sum string, length int64, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return "", 0, err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if length == 0 {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	block, at := make([]byte, 64<<10), int64(0)
	for {
		n, err := io.ReadFull(r, block)
		if used := len(bytes.TrimRight(block[:n], "\x00")); used > 0 {
			length = at + int64(used)
			if _, err := file.WriteAt(block[:used], at); err != nil {
				return "", length, err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return "", length, err
		}
	}
	all := sha256.New()
	_, err = io.Copy(all, io.NewSectionReader(file, 0, length))
	return fmt.Sprintf("%x", all.Sum(nil)), length, err
}

// loaders finds out what would boot the disk.
func (h *Held) loaders(dir string) []string {
	var all []string
	code := func(what, mark string) bool {
		return slices.ContainsFunc(h.Layout.Code, func(c Code) bool {
			text, err := os.ReadFile(filepath.Join(dir, c.Name))
			return err == nil && c.What == what && bytes.Contains(text, []byte(mark))
		})
	}
	if h.onESP("grub") || code(CodeESP, "GRUB") {
		all = append(all, LoaderGRUBEFI)
	}
	if h.onESP("systemd-boot") || code(CodeESP, "systemd-boot") {
		all = append(all, LoaderSystemdBoot)
	}
	bios := 0
	if code(CodeRecord, "GRUB") {
		all, bios = slices.Insert(all, 0, LoaderGRUBBIOS), 1
	}
	if code(CodePartition, "LINUX") { // "SYSLINUX" or "EXTLINUX" in the sector that it writes
		all, bios = slices.Insert(all, 0, LoaderExtlinux), 1
	}
	if h.Layout.Firmware == FirmwareUEFI && bios > 0 && len(all) > bios {
		all = append(all[bios:], all[:bios]...)
	}
	if len(all) == 0 {
		all = []string{LoaderUnknown}
	}
	return all
}

// onESP reports whether a mounted EFI system partition holds a loader of that name.
func (h *Held) onESP(mark string) bool {
	for _, at := range []string{"/boot/efi", "/efi", "/boot"} {
		for _, vendor := range h.names(at + "/EFI") {
			for _, file := range h.names(vendor) {
				if name := strings.ToLower(filepath.Base(file)); strings.HasPrefix(name, mark) && strings.HasSuffix(name, ".efi") {
					return true
				}
			}
		}
	}
	return false
}

// firmware is how the machine was started, or for what a disk of another is made.
func (h *Held) firmware() string {
	if h.Root == "/" {
		if _, err := os.Stat("/sys/firmware/efi"); err == nil {
			return FirmwareUEFI
		}
		return FirmwareBIOS
	}
	code := slices.ContainsFunc(h.Layout.Code, func(c Code) bool { return c.What == CodeRecord || c.What == CodeBIOSBoot })
	if !code && slices.ContainsFunc(h.Layout.Disk.Table.Partitions, isESP) {
		return FirmwareUEFI
	}
	return FirmwareBIOS
}
