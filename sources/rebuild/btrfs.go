package rebuild

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// Where things stand in a btrfs (btrfs documentation, "On-disk Format"): superblocks, and
// blocks of its trees, begin with a checksum of what follows and the UUID.
const (
	btrfsSum      = 32 // bytes of the checksum, of which CRC-32C takes four
	btrfsUUID     = 32 // offset of the UUID
	btrfsMagic    = 64 // offset of the mark of a superblock
	btrfsSuper    = 64 << 10
	btrfsSuperLen = 4096
	btrfsNode     = 148 // offset, in a superblock, of the bytes of a block of a tree
	btrfsSumKind  = 196 // offset of the kind of checksum: 0 is CRC-32C
	btrfsStep     = 4096
)

// btrfsMark is that of a superblock.
const btrfsMark = "_BHRfS_M"

// smallBtrfs is the size below which a btrfs has data and metadata in the same places, as
// otherwise it has no room (mkfs.btrfs(8), --mixed).
const smallBtrfs = 128 << 20

// formatBtrfs makes a btrfs and its subvolumes. It is made in a file beside the disk, with a UUID of its
// own, and gets the true one after: mkfs.btrfs makes no second one of a UUID that a
// disk of this machine has, and the machine whose system this is has one.
func (d *Disk) formatBtrfs(ctx context.Context, f *system.FileSystem, device *os.File) (err error) {
	size, err := device.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	path := filepath.Join(d.dir, "btrfs")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(path)) }()
	if err := file.Truncate(size); err != nil {
		return writeError(err)
	}
	argv := named([]string{"mkfs.btrfs", "--quiet", "--force"}, "--label", f.Label, "--sectorsize", number(f.Made.Block, ""))
	if size < smallBtrfs {
		argv = append(argv, "--mixed")
	}
	if err := run(ctx, nil, append(argv, path)...); err != nil {
		return err
	}
	if f.UUID != "" {
		if err := renumber(file, f.UUID); err != nil {
			return err
		}
	}
	if err := copyData(ctx, device, file, size); err != nil {
		return err
	}
	return d.subvolumes(ctx, f, device)
}

// renumber gives a fresh btrfs another UUID.
func renumber(file *os.File, uuid string) error {
	id, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil || len(id) != 16 {
		return fault.New(fault.Refused, op, fmt.Errorf("%q is no UUID", uuid), "")
	}
	super := make([]byte, btrfsSuperLen)
	if _, err := file.ReadAt(super, btrfsSuper); err != nil {
		return err
	}
	node := int64(binary.LittleEndian.Uint32(super[btrfsNode:]))
	if string(super[btrfsMagic:btrfsMagic+8]) != btrfsMark || binary.LittleEndian.Uint16(super[btrfsSumKind:]) != 0 || node < btrfsStep || node > 64<<10 {
		return fault.New(fault.Unknown, op, errors.New("mkfs.btrfs made a form that is not known here"), "use another version of btrfs-progs")
	}
	old := bytes.Clone(super[btrfsUUID : btrfsUUID+16])
	return eachData(file, func(at, end int64) error {
		for at -= at % btrfsStep; at < end; at += btrfsStep {
			if err := renumberBlock(file, at, node, old, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// renumberBlock gives a block its UUID, if it is one of the file system's own. Blocks are
// found by their old UUID, which is random: nothing else looks like it.
func renumberBlock(file *os.File, at, node int64, old, id []byte) error {
	block := make([]byte, node)
	n, err := file.ReadAt(block, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n < btrfsSuperLen || !bytes.Equal(block[btrfsUUID:btrfsUUID+16], old) {
		return nil
	}
	if string(block[btrfsMagic:btrfsMagic+8]) == btrfsMark {
		block = block[:btrfsSuperLen]
	} else if int64(n) < node {
		return nil
	}
	block = bytes.ReplaceAll(block, old, id) // items that describe devices have it too
	binary.LittleEndian.PutUint32(block, crc32.Checksum(block[btrfsSum:], crc32.MakeTable(crc32.Castagnoli)))
	_, err = file.WriteAt(block, at)
	return err
}

// eachData calls do for the runs of a sparse file that hold something.
func eachData(file *os.File, do func(at, end int64) error) error {
	for at := int64(0); ; {
		data, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if at, err = unix.Seek(int(file.Fd()), data, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := do(data, at); err != nil {
			return err
		}
	}
}

// copyData copies what a sparse file holds to the same places of a device.
func copyData(ctx context.Context, to *os.File, from *os.File, size int64) error {
	return eachData(from, func(at, end int64) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		_, err := io.Copy(io.NewOffsetWriter(to, at), io.NewSectionReader(from, at, min(end, size)-at))
		return writeError(err)
	})
}

// Numbers of subvolumes (btrfs documentation, "Trees, objectids"): the top of a file system,
// and the first that is given to one.
const (
	btrfsTop   = 5
	btrfsFirst = 256
)

// maxSpent bounds how many numbers of subvolumes are used up so that others get theirs.
const maxSpent = 1024

// subvolumes makes the subvolumes of a btrfs, and the default one. They get the numbers
// they had, which may stand in an fstab beside their names: numbers are given in order,
// so those that were used by subvolumes that are no more are used up.
func (d *Disk) subvolumes(ctx context.Context, f *system.FileSystem, device *os.File) error {
	wanted := slices.DeleteFunc(slices.Clone(f.Subvolumes), func(s system.Subvolume) bool {
		return s.Path == "" || s.At == "" && s.ID != f.Default
	})
	if len(wanted) == 0 {
		return nil
	}
	slices.SortFunc(wanted, func(a, b system.Subvolume) int { return cmp.Compare(a.ID, b.ID) })
	top := filepath.Join(d.dir, "top")
	if err := os.Mkdir(top, 0o700); err != nil {
		return err
	}
	if err := d.mount(device, top, f, fmt.Sprintf("subvolid=%d", btrfsTop)); err != nil {
		return err
	}
	if err := d.makeSubvolumes(ctx, f, top, wanted); err != nil {
		return err
	}
	if err := unmount(top); err != nil {
		return err
	}
	d.mounts = slices.DeleteFunc(d.mounts, func(m string) bool { return m == top })
	return os.Remove(top)
}

func (d *Disk) makeSubvolumes(ctx context.Context, f *system.FileSystem, top string, wanted []system.Subvolume) error {
	next, spend := uint64(btrfsFirst), wanted[len(wanted)-1].ID-btrfsFirst < maxSpent+uint64(len(wanted))
	made := func(id uint64) string { return filepath.Join(top, fmt.Sprintf("saoluu-%d", id)) }
	for _, s := range wanted {
		for ; spend && next < s.ID; next++ {
			if err := errors.Join(run(ctx, nil, "btrfs", "-q", "subvolume", "create", made(0)), run(ctx, nil, "btrfs", "-q", "subvolume", "delete", made(0))); err != nil {
				return err
			}
		}
		if err := run(ctx, nil, "btrfs", "-q", "subvolume", "create", made(s.ID)); err != nil {
			return err
		}
		next++
	}
	if !spend && numbered(f) {
		d.note("subvolumes of partition %d have other numbers than before: take subvolid= out of fstab and the boot loader", f.Partition)
	}
	// A subvolume may lie inside of another one with a higher number.
	slices.SortStableFunc(wanted, func(a, b system.Subvolume) int { return strings.Count(a.Path, "/") - strings.Count(b.Path, "/") })
	for _, s := range wanted {
		at := filepath.Join(top, s.Path)
		if err := os.MkdirAll(path.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.Rename(made(s.ID), at); err != nil {
			return err
		}
		if s.ID == f.Default && s.ID != btrfsTop {
			if err := run(ctx, nil, "btrfs", "subvolume", "set-default", at); err != nil {
				return err
			}
		}
	}
	return nil
}

// numbered reports whether the system mounts subvolumes by their numbers.
func numbered(f *system.FileSystem) bool {
	return strings.Contains(f.Options, "subvolid=") || slices.ContainsFunc(f.Subvolumes, func(s system.Subvolume) bool { return strings.Contains(s.Options, "subvolid=") })
}
