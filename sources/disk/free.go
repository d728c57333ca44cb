package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// Which blocks a file system does not use is asked of the programs of its own people:
// dumpe2fs for ext2 to ext4; partclone, which is built on the libraries of each, for
// XFS, Btrfs and NTFS. What they say is believed only where nothing speaks against
// it: a file system that was not unmounted cleanly, or that counts less free space
// itself, is stored whole. A block that was wrongly called free would be missing from
// every backup, and nobody would notice before the day it is needed.

// A freeMap asks for the free bytes of a file system, counted from its beginning.
// What it returns as an error of errStored is a reason to store all of it.
type freeMap func(ctx context.Context, file string, p Partition, r io.ReaderAt) ([]extent, error)

func freeMaps() map[string]freeMap {
	return map[string]freeMap{
		typeExt + "2": extFree, typeExt + "3": extFree, typeExt + "4": extFree,
		typeXFS: xfsFree, typeBtrfs: btrfsFree, typeNTFS: ntfsFree, typeSwap: swapFree,
	}
}

// errStored wraps why free space is stored too.
type errStored struct{ why string }

func (e errStored) Error() string { return e.why }

// bootArea is kept at the beginning of every partition whatever its file system says:
// boot loaders put themselves there.
const bootArea = 1 << 20

// free asks every file system of the table. The error is one of reading the image.
func (i *Image) free(ctx context.Context, s *Survey, dir string) ([]extent, error) {
	shown, err := ShowPartitions(ctx, dir, i, s.Table)
	if err != nil {
		shown = nil // without FUSE some of them can still be asked
	} else {
		defer shown.Unmount()
	}
	var all []extent
	maps := freeMaps()
	for _, p := range s.Table.Partitions {
		ask := maps[p.System.Type]
		file, ok := i.partitionFile(shown, p)
		if ask == nil || !ok && p.System.Type != typeSwap {
			s.Free[p.Number] = noMap(p.System.Type, ok)
			continue
		}
		found, err := ask(ctx, file, p, io.NewSectionReader(i, p.Start, p.Size))
		var why errStored
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &why):
			s.Free[p.Number] = why.why
			continue
		case err != nil:
			return nil, fmt.Errorf("partition %d: %w", p.Number, err)
		}
		for _, f := range found {
			at, end := max(f.at, bootArea), min(f.at+f.length, p.Size)
			if at < end {
				all = append(all, extent{p.Start + at, end - at})
			}
		}
	}
	return all, nil
}

func noMap(kind string, shown bool) string {
	switch {
	case kind == "":
		return "no file system that is known here"
	case !shown:
		return "FUSE cannot be used, so that no program could look into it"
	}
	return "no program here tells the free space of " + kind
}

// partitionFile is what programs are told to read. Those of ext know an offset in a file.
func (i *Image) partitionFile(shown *Partitions, p Partition) (string, bool) {
	if shown != nil {
		return shown.File(p.Number), true
	}
	if strings.HasPrefix(p.System.Type, typeExt) && i.qcow == nil && i.other == nil {
		return fmt.Sprintf("%s?offset=%d", i.Path, p.Start), true
	}
	return "", false
}

// program finds a program and makes its command.
func program(name, pkg string, args ...string) (command.Cmd, error) {
	path, err := command.LookPath(name)
	if err != nil {
		return command.Cmd{}, errStored{fmt.Sprintf("%s is not installed (package %s)", name, pkg)}
	}
	return command.Cmd{Argv: append([]string{path}, args...), Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TERM=dumb"}}, nil
}

// failed turns the end of a program into a reason to store everything.
func failed(name string, err error) error {
	var exit *command.ExitError
	if errors.As(err, &exit) {
		return errStored{fmt.Sprintf("%s cannot read it: %s", name, exit.Error())}
	}
	return err
}

// extFree reads what dumpe2fs lists.
func extFree(ctx context.Context, file string, p Partition, _ io.ReaderAt) ([]extent, error) {
	cmd, err := program("dumpe2fs", "e2fsprogs", file)
	if err != nil {
		return nil, err
	}
	var d extDump
	if _, err := command.Lines(ctx, cmd, d.line); err != nil {
		if fault.KindOf(err) == fault.Cancelled {
			return nil, err
		}
		return nil, failed("dumpe2fs", err)
	}
	return d.result(p.Size)
}

// extDump is what dumpe2fs says of a file system.
type extDump struct {
	features, state  string
	block, free, sum int64
	groups, listed   int
	extents          []extent
}

func (d *extDump) line(line []byte) error {
	text := string(line)
	if rest, ok := strings.CutPrefix(text, "  Free blocks:"); ok {
		d.listed++
		return d.ranges(rest)
	}
	if strings.HasPrefix(text, "Group ") && strings.Contains(text, "(Blocks ") {
		d.groups++
	}
	key, value, _ := strings.Cut(text, ":")
	value = strings.TrimSpace(value)
	switch key {
	case "Filesystem features":
		d.features = " " + value + " "
	case "Filesystem state":
		d.state = value
	case "Block size":
		d.block, _ = strconv.ParseInt(value, 10, 64) // 0 is refused below
	case "Free blocks":
		d.free, _ = strconv.ParseInt(value, 10, 64)
	}
	return nil
}

// ranges reads "7988-8192, 8200".
func (d *extDump) ranges(text string) error {
	for _, r := range strings.Split(text, ",") {
		if r = strings.TrimSpace(r); r == "" {
			continue
		}
		from, to, two := strings.Cut(r, "-")
		if !two {
			to = from
		}
		first, err1 := strconv.ParseInt(from, 10, 64)
		last, err2 := strconv.ParseInt(to, 10, 64)
		if err := errors.Join(err1, err2); err != nil || last < first {
			return errStored{fmt.Sprintf("dumpe2fs lists free blocks as %q", r)}
		}
		d.sum += last - first + 1
		d.extents = append(d.extents, extent{first * d.block, (last - first + 1) * d.block})
	}
	return nil
}

func (d *extDump) result(size int64) ([]extent, error) {
	switch {
	case d.state != "clean" || strings.Contains(d.features, " needs_recovery "):
		return nil, errStored{"it was not unmounted cleanly"}
	case strings.Contains(d.features, " bigalloc "):
		return nil, errStored{"its blocks are counted in clusters (bigalloc)"}
	case d.block < 1024 || d.groups == 0 || d.listed != d.groups || d.sum != d.free:
		return nil, errStored{fmt.Sprintf("dumpe2fs lists %d free blocks in %d of %d groups, and the file system counts %d", d.sum, d.listed, d.groups, d.free)}
	}
	return within(d.extents, size)
}

// within refuses what cannot be so.
func within(all []extent, size int64) ([]extent, error) {
	for _, e := range all {
		if e.at < 0 || e.length < 0 || e.at+e.length > size {
			return nil, errStored{fmt.Sprintf("%d free bytes at %d lie outside of it", e.length, e.at)}
		}
	}
	return all, nil
}

// swapFree keeps the header of a swap partition: what lies in it is lost with the
// power. One that holds a hibernated machine has another mark, and is stored whole.
func swapFree(_ context.Context, _ string, p Partition, _ io.ReaderAt) ([]extent, error) {
	return []extent{{bootArea, max(0, p.Size-bootArea)}}, nil
}

// Places in the superblock of XFS (xfs_format.h, struct xfs_dsb).
const (
	xfsBlockSize = 4
	xfsFreeCount = 144
)

func xfsFree(ctx context.Context, file string, p Partition, r io.ReaderAt) ([]extent, error) {
	if err := xfsClean(ctx, file); err != nil {
		return nil, err
	}
	head := make([]byte, 512)
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, err
	}
	free := int64(binary.BigEndian.Uint64(head[xfsFreeCount:])) * int64(binary.BigEndian.Uint32(head[xfsBlockSize:]))
	return partclone(ctx, "xfs", file, p, func(mapped int64) error {
		if mapped > free {
			return errStored{fmt.Sprintf("partclone calls %d bytes free, and the file system %d", mapped, free)}
		}
		return nil
	})
}

// errEnough ends a program of which no more need be read.
var errEnough = errors.New("enough was read")

// xfsClean looks whether the log is empty: what is in it has yet to reach its place,
// the lists of free blocks among it. partclone does not look.
func xfsClean(ctx context.Context, file string) error {
	cmd, err := program("xfs_logprint", "xfsprogs", "-t", file)
	if err != nil {
		return err
	}
	clean := false
	_, err = command.Lines(ctx, cmd, func(line []byte) error {
		if !bytes.Contains(line, []byte("state: ")) {
			return nil
		}
		clean = bytes.Contains(line, []byte("<CLEAN>"))
		return errEnough // of a log that is not empty all that is in it follows
	})
	switch {
	case clean:
		return nil
	case err == nil || errors.Is(err, errEnough):
		return errStored{"it was not unmounted cleanly"}
	}
	return failed("xfs_logprint", err)
}

// Places in the superblock of Btrfs (kernel documentation, "Btrfs design"), which
// lies at 64 KiB; its copies lie at 64 MiB and 256 GiB.
const (
	btrfsSuper   = 64 << 10
	btrfsLog     = 0x60
	btrfsUsed    = 0x78
	btrfsDevices = 0x88
	btrfsCopy1   = 64 << 20
	btrfsCopy2   = 256 << 30
)

func btrfsFree(ctx context.Context, file string, p Partition, r io.ReaderAt) ([]extent, error) {
	super := make([]byte, 4096)
	if _, err := r.ReadAt(super, btrfsSuper); err != nil {
		return nil, err
	}
	switch {
	case binary.LittleEndian.Uint64(super[btrfsLog:]) != 0:
		return nil, errStored{"it was not unmounted cleanly"}
	case binary.LittleEndian.Uint64(super[btrfsDevices:]) != 1:
		return nil, errStored{"it lies on several disks"}
	}
	used := int64(binary.LittleEndian.Uint64(super[btrfsUsed:]))
	all, err := partclone(ctx, "btrfs", file, p, func(mapped int64) error {
		if p.Size-mapped < used {
			return errStored{fmt.Sprintf("partclone calls %d bytes used, and the file system %d", p.Size-mapped, used)}
		}
		return nil
	})
	for _, at := range []int64{btrfsCopy1, btrfsCopy2} {
		all = without(all, extent{at, 4096})
	}
	return all, err
}

// without takes an extent out of a list.
func without(all []extent, gone extent) (left []extent) {
	for _, e := range all {
		if head := min(e.at+e.length, gone.at) - e.at; head > 0 {
			left = append(left, extent{e.at, head})
		}
		if from := max(e.at, gone.at+gone.length); from < e.at+e.length {
			left = append(left, extent{from, e.at + e.length - from})
		}
	}
	return left
}

// ntfsFree asks ntfs-3g first whether Windows shut the file system down: one that
// sleeps, or whose journal is not empty, is refused for writing.
func ntfsFree(ctx context.Context, file string, p Partition, _ io.ReaderAt) ([]extent, error) {
	cmd, err := program("ntfsinfo", "ntfs-3g", "--mft", file)
	if err != nil {
		return nil, err
	}
	out, err := command.Output(ctx, cmd, maxMap)
	if err != nil {
		return nil, failed("ntfsinfo", err)
	}
	if !bytes.Contains(out, []byte("Volume Flags: 0x0000")) {
		return nil, errStored{"it was not shut down cleanly"}
	}
	return partclone(ctx, "ntfs", file, p, func(int64) error { return nil })
}

// partclone reads the domain map that partclone writes (GNU ddrescue manual, "Mapfile
// structure"): a line for each run of bytes, with "?" for those that are free. check
// is told how many these are.
func partclone(ctx context.Context, kind, file string, p Partition, check func(free int64) error) ([]extent, error) {
	dir, err := os.MkdirTemp("", "saoluu-map-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := "partclone." + kind
	cmd, err := program(name, "partclone", "--domain", "--source", file, "--output", dir+"/map", "--logfile", dir+"/log")
	if err != nil {
		return nil, err
	}
	if _, err := command.Run(ctx, cmd); err != nil {
		return nil, failed(name, err)
	}
	text, err := os.ReadFile(dir + "/map")
	if err != nil {
		return nil, errStored{name + " wrote no map"}
	}
	var all []extent
	var free, end int64
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] == "#" || strings.HasPrefix(line, "#") {
			continue
		}
		at, err1 := strconv.ParseInt(fields[0], 0, 64)
		length, err2 := strconv.ParseInt(fields[1], 0, 64)
		if err1 != nil || err2 != nil || at != end || length <= 0 {
			return nil, errStored{fmt.Sprintf("the map of %s cannot be read at %q", name, strings.TrimSpace(line))}
		}
		end = at + length
		if fields[2] == "?" {
			all, free = append(all, extent{at, length}), free+length
		}
	}
	if end == 0 {
		return nil, errStored{name + " wrote an empty map"}
	}
	if err := check(free); err != nil {
		return nil, err
	}
	return within(all, p.Size)
}
