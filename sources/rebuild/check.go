package rebuild

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
	"saoluu/sources/system"
)

// Types of file systems that can be made, as blkid calls them.
const (
	typeXFS   = "xfs"
	typeBtrfs = "btrfs"
	typeVFAT  = "vfat"
	typeSwap  = "swap"
)

func isExt(kind string) bool { return kind == "ext2" || kind == "ext3" || kind == "ext4" }

func known(kind string) bool {
	return isExt(kind) || slices.Contains([]string{typeXFS, typeBtrfs, typeVFAT, typeSwap}, kind)
}

// made reports whether a file system is made anew: one that was saved, or that the system
// expects to be there. One that was saved as it was is not.
func made(l *system.Layout, f *system.FileSystem) bool {
	if whole(l, f) {
		return false
	}
	wanted := f.Saved || f.Mount != "" || f.Options != "" || f.Type == typeSwap || slices.ContainsFunc(f.Subvolumes, func(s system.Subvolume) bool { return s.Mounted })
	return known(f.Type) && wanted
}

// whole reports whether a file system was saved as it was, and not its files.
func whole(l *system.Layout, f *system.FileSystem) bool {
	return slices.ContainsFunc(l.Code, func(c system.Code) bool { return c.What == system.CodeESP && c.Partition == f.Partition })
}

// Check tells whether a disk can be rebuilt from a layout. The error is fault.Refused when
// not. A layout comes out of a backup, so nothing in it is taken for granted.
func Check(l *system.Layout) error { return check(l) }

func check(l *system.Layout) error {
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Refused, op, fmt.Errorf(format, args...), "restore the files into a folder with --to DIR/, and build the disk by hand: docs/how-to/images.md")
	}
	sector := l.Disk.Sector
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || l.Disk.Size <= 0 || l.Disk.Size%sector != 0 {
		return refuse("the layout has a disk of %d bytes in sectors of %d", l.Disk.Size, sector)
	}
	if l.Disk.Table.Trouble != "" {
		return refuse("the partition table: %s", l.Disk.Table.Trouble)
	}
	if l.At("/") == nil {
		return refuse("the layout has no file system for /")
	}
	for n := range l.FileSystems {
		f := &l.FileSystems[n]
		if f.Volume != "" && made(l, f) {
			return refuse("%q lies on a volume of LVM, which is not made anew", f.Volume)
		}
		if !known(f.Type) && f.Saved {
			return refuse("partition %d has a file system of type %q, which is not made anew", f.Partition, f.Type)
		}
		if !made(l, f) {
			continue
		}
		if _, err := place(l, f); err != nil {
			return refuse("%w", err)
		}
		if err := paths(f); err != nil {
			return refuse("%w", err)
		}
	}
	for _, c := range l.Code {
		if err := codeFits(l, c); err != nil {
			return refuse("%w", err)
		}
	}
	return nil
}

// place is the partition of a file system; of a disk without a table the whole of it.
func place(l *system.Layout, f *system.FileSystem) (disk.Partition, error) {
	if l.Disk.Table.Kind == "none" && f.Partition == 0 {
		return disk.Partition{Size: l.Disk.Size}, nil
	}
	for _, p := range l.Disk.Table.Partitions {
		if p.Number == f.Partition {
			if p.Start < 0 || p.Size <= 0 || p.Size > l.Disk.Size || p.Start > l.Disk.Size-p.Size {
				return p, fmt.Errorf("partition %d is not on the disk", p.Number)
			}
			return p, nil
		}
	}
	return disk.Partition{}, fmt.Errorf("the table has no partition %d", f.Partition)
}

// paths refuses names that lead out of where they belong.
func paths(f *system.FileSystem) error {
	mounts := []string{f.Mount}
	for _, s := range f.Subvolumes {
		if s.Path != "" && !filepath.IsLocal(s.Path) || path.Clean(s.Path) != s.Path && s.Path != "" {
			return fmt.Errorf("the subvolume %q is at no path", s.Path)
		}
		if s.Mounted && strings.ContainsRune(s.Path, ',') { // it would end the option of mount(8), and begin another
			return fmt.Errorf("the subvolume %q cannot be mounted by its name", s.Path)
		}
		if s.Mounted {
			mounts = append(mounts, s.At)
		}
	}
	for _, m := range mounts {
		if m != "" && (!path.IsAbs(m) || path.Clean(m) != m) {
			return fmt.Errorf("the mount point %q is no path", m)
		}
	}
	for _, text := range []string{f.UUID, f.Label} {
		if strings.HasPrefix(text, "-") || strings.ContainsAny(text, "\x00\n") {
			return fmt.Errorf("partition %d has the name %q", f.Partition, text)
		}
	}
	return nil
}

// Room that file systems leave at their start (Linux documentation, "ext4: Layout";
// btrfs(5), "Bootloader support").
const (
	roomExt   = 1 << 10
	roomBtrfs = 64 << 10
)

// recordSize is the room for code in the first sector: the table begins behind.
const recordSize = 446

// codeFits refuses code that would be written over a table or a file system.
func codeFits(l *system.Layout, c system.Code) error {
	if c.Name == "" || !filepath.IsLocal(c.Name) || strings.ContainsRune(c.Name, filepath.Separator) {
		return fmt.Errorf("the boot code %q is no file of the layout", c.Name)
	}
	start, end := int64(0), int64(recordSize)
	switch c.What {
	case system.CodeRecord:
	case system.CodeGap:
		start, end = gap(l)
	case system.CodeBIOSBoot, system.CodePartition, system.CodeESP:
		i := slices.IndexFunc(l.Disk.Table.Partitions, func(p disk.Partition) bool { return p.Number == c.Partition })
		if i < 0 {
			return fmt.Errorf("the boot code %q is of a partition that is not there", c.Name)
		}
		p := l.Disk.Table.Partitions[i]
		start, end = p.Start, p.End()
		for _, f := range l.FileSystems {
			if f.Partition == c.Partition && c.What != system.CodeESP {
				end = min(end, start+map[bool]int64{true: roomExt}[isExt(f.Type)]+map[bool]int64{true: roomBtrfs}[f.Type == typeBtrfs])
			}
		}
	default:
		return errors.New("boot code of an unknown kind: " + c.What)
	}
	if c.Length < 0 || c.Length > end || c.Offset < start || c.Offset > end-c.Length {
		return fmt.Errorf("the boot code %q does not fit where it was", c.Name)
	}
	return nil
}

// gap is what lies between the table and the first partition: of a GPT the header, the
// entries and thus 33 sectors belong to it (UEFI specification; entries may be more, which
// sfdisk writes over again).
func gap(l *system.Layout) (start, end int64) {
	start, end = l.Disk.Sector, l.Disk.Size
	if l.Disk.Table.Kind == "gpt" {
		start = 2*l.Disk.Sector + 128*128
	}
	for _, p := range l.Disk.Table.Partitions {
		end = min(end, p.Start)
	}
	return start, end
}
