package system

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// probe returns what blkid says of what a device holds.
func probe(ctx context.Context, device string) (map[string]string, error) {
	out, err := tool(ctx, "util-linux", "blkid", "-p", "-o", "export", "--", device)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), fmt.Sprintf("look at %q", device), err, fault.HintOf(err))
	}
	said := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		said[key] = strings.ReplaceAll(value, `\`, "") // blkid(8): unsafe characters are escaped
	}
	return said, nil
}

// describeAll fills in the file systems of the layout.
func (h *Held) describeAll(ctx context.Context) error {
	l, entries := &h.Layout, fstab(h.text("/etc/fstab"))
	mounted := map[int]bool{}
	for n, m := range h.Mounts {
		p := h.places[n]
		mounted[p.number] = true
		if p.volume != "" {
			h.addGroup(p)
		}
		f, err := h.fileSystem(p)
		if err != nil {
			return err
		}
		if err := h.describe(ctx, f, m, entries); err != nil {
			return err
		}
	}
	for _, p := range l.Disk.Table.Partitions {
		if p.System.Type == "" || p.System.Type == typeLVM || mounted[p.Number] {
			continue
		}
		l.FileSystems = append(l.FileSystems, unmounted(p, entries))
		if p.System.Type != typeSwap && !isESP(p) {
			l.Uncovered = append(l.Uncovered, Uncovered{fmt.Sprintf("partition %d", p.Number), fmt.Sprintf("its %s is not mounted", p.System.Type)})
		}
	}
	slices.SortStableFunc(l.FileSystems, func(a, b FileSystem) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), strings.Compare(a.Volume, b.Volume))
	})
	return nil
}

func (h *Held) addGroup(p place) {
	g := p.group
	g.Partition = p.number
	if !slices.Contains(h.Layout.Disk.Groups, g) {
		h.Layout.Disk.Groups = append(h.Layout.Disk.Groups, g)
	}
}

// fileSystem returns the entry of what lies at a place, which may have several mounts.
func (h *Held) fileSystem(p place) (*FileSystem, error) {
	l := &h.Layout
	for n := range l.FileSystems {
		if f := &l.FileSystems[n]; f.Partition == p.number && f.Volume == p.volume {
			return f, nil
		}
	}
	f := FileSystem{Partition: p.number, Volume: p.volume, VolumeSize: p.size, Size: p.size, Saved: true}
	if p.volume == "" {
		q, err := p.partition(l.Disk.Table)
		if err != nil {
			return nil, err
		}
		f.Size = q.Size
	}
	l.FileSystems = append(l.FileSystems, f)
	return &l.FileSystems[len(l.FileSystems)-1], nil
}

// describe adds what a mount tells of a file system.
func (h *Held) describe(ctx context.Context, f *FileSystem, m Mount, entries []entry) error {
	options := optionsOf(m.At, entries)
	if f.Type == "" {
		said := map[string]string{"TYPE": typeZFSMember, "LABEL": m.Source}
		var err error
		if m.Type != TypeZFS {
			said, err = probe(ctx, m.Device)
		}
		if err != nil {
			return err
		}
		f.Type, f.UUID, f.Label, f.Used = cmp.Or(said["TYPE"], m.Type), said["UUID"], said["LABEL"], used(m.Path)
		if f.Made, err = made(ctx, m.Device, f.Type); err != nil {
			return err
		}
	}
	if m.Type != TypeBtrfs {
		f.Mount, f.Options = m.At, options
		return nil
	}
	if devices, err := btrfsDevices(f.UUID); err != nil || len(devices) > 1 {
		return fault.New(fault.Refused, fmt.Sprintf("btrfs on %q", m.Source), cmp.Or(err, fmt.Errorf("it lies on %d disks or partitions, and one disk is rebuilt", len(devices))), `save its disks as blocks (method "blocks")`)
	}
	if len(f.Subvolumes) > 0 {
		return nil // with its first mount all were added
	}
	var err error
	f.Default, err = defaultVolume(ctx, m.Path)
	for _, v := range h.saved[m.Source] {
		if v.Mounted {
			v.Options = optionsOf(v.At, entries)
		}
		f.Subvolumes = append(f.Subvolumes, v)
	}
	return err
}

// optionsOf are the mount options of fstab for a mount point.
func optionsOf(at string, entries []entry) string {
	for _, e := range entries {
		if e.at == at {
			return e.options
		}
	}
	return ""
}

// unmounted is a partition that is not mounted.
func unmounted(p disk.Partition, entries []entry) FileSystem {
	f := FileSystem{Partition: p.Number, Type: p.System.Type, UUID: p.System.UUID, Size: p.Size}
	for _, e := range entries {
		if f.UUID != "" && strings.EqualFold(e.spec, "UUID="+f.UUID) {
			f.Options = e.options
			if strings.HasPrefix(e.at, "/") {
				f.Mount = e.at
			}
		}
	}
	return f
}

// made reads how a file system was made.
func made(ctx context.Context, device, kind string) (Made, error) {
	switch kind {
	case "ext2", "ext3", "ext4":
		out, err := tool(ctx, "e2fsprogs", "dumpe2fs", "-h", "--", device)
		return madeExt(out), err
	case typeXFS:
		return madeXFS(device)
	case TypeBtrfs:
		head, err := headOf(device, btrfsSuper+0x98)
		if err != nil {
			return Made{}, err
		}
		return Made{Block: int64(binary.LittleEndian.Uint32(head[btrfsSuper+0x90:]))}, nil // sectorsize
	case typeVFAT:
		head, err := headOf(device, 512)
		if err != nil {
			return Made{}, err
		}
		return madeFAT(head), nil
	}
	return Made{}, nil
}

// btrfsSuper is where the superblock of a btrfs lies.
const btrfsSuper = 64 << 10

func headOf(device string, length int) ([]byte, error) {
	file, err := os.Open(device)
	if err != nil {
		return nil, fault.New(fault.Denied, fmt.Sprintf("look at %q", device), err, "let saoluu read the device")
	}
	head := make([]byte, length)
	_, err = file.ReadAt(head, 0)
	return head, errors.Join(err, file.Close())
}

func madeExt(said string) (m Made) {
	lines := bufio.NewScanner(strings.NewReader(said))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch value = strings.TrimSpace(value); key {
		case "Block size":
			_, _ = fmt.Sscan(value, &m.Block)
		case "Inode size":
			_, _ = fmt.Sscan(value, &m.Inode)
		case "Inode count":
			_, _ = fmt.Sscan(value, &m.Inodes)
		case "Filesystem features":
			m.Features = slices.DeleteFunc(strings.Fields(value), func(f string) bool { return f == "needs_recovery" || f == "orphan_present" })
		}
	}
	return m
}

// XFSFeatures are the features of an XFS that one can be made without, and without which
// an older boot loader or kernel may want it: names of mkfs.xfs, in the order of their bits.
func XFSFeatures() (named, inodes []string) {
	return []string{"finobt", "rmapbt", "reflink", "inobtcount", "bigtime"}, []string{"sparse", "nrext64"}
}

// madeXFS reads the superblock (XFS Algorithms & Data Structures, "Superblocks"; bits of
// features: Linux, fs/xfs/libxfs/xfs_format.h), whose numbers are big-endian.
func madeXFS(device string) (Made, error) {
	head, err := headOf(device, 512)
	if err != nil {
		return Made{}, err
	}
	m := Made{Block: int64(binary.BigEndian.Uint32(head[4:])), Inode: int64(binary.BigEndian.Uint16(head[104:]))}
	if binary.BigEndian.Uint16(head[100:])&15 != 5 {
		return m, nil // of before 2013, with none of them
	}
	compatible, incompatible := binary.BigEndian.Uint32(head[212:]), binary.BigEndian.Uint32(head[216:])
	for name, has := range map[string]bool{
		"finobt": compatible&1 != 0, "rmapbt": compatible&2 != 0, "reflink": compatible&4 != 0, "inobtcount": compatible&8 != 0,
		"sparse": incompatible&2 != 0, "bigtime": incompatible&8 != 0, "nrext64": incompatible&32 != 0,
	} {
		if has {
			m.Features = append(m.Features, name)
		}
	}
	slices.Sort(m.Features)
	return m, nil
}

// madeFAT reads a boot sector (Microsoft, "FAT: General Overview of On-Disk Format").
func madeFAT(head []byte) Made {
	m := Made{Block: int64(binary.LittleEndian.Uint16(head[11:])) * int64(head[13]), FAT: 16}
	switch {
	case string(head[82:87]) == "FAT32":
		m.FAT = 32
	case string(head[54:59]) == "FAT12":
		m.FAT = 12
	}
	return m
}

// isESP reports whether a partition is an EFI system partition, of either kind of table.
func isESP(p disk.Partition) bool {
	return p.Type == espType || p.Type == "ef"
}

// Types of partitions (UEFI specification; GRUB manual, "BIOS installation").
const (
	espType      = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	biosBootType = "21686148-6449-6e6f-744e-656564454649"
)

// text reads a small file of the system; empty when it has none.
func (h *Held) text(path string) string {
	root, err := os.OpenRoot(h.Tree)
	if err != nil {
		return ""
	}
	defer root.Close()
	text, err := root.ReadFile(strings.TrimPrefix(path, "/"))
	if err != nil || len(text) > maxSaid {
		return ""
	}
	return string(text)
}

// names lists a folder of the system; nothing when it has none.
func (h *Held) names(path string) []string {
	root, err := os.OpenRoot(h.Tree)
	if err != nil {
		return nil
	}
	defer root.Close()
	dir, err := root.Open(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil
	}
	defer dir.Close()
	all, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	slices.Sort(all)
	for n, name := range all {
		all[n] = filepath.Join(path, name)
	}
	return all
}
