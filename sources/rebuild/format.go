package rebuild

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// format makes a file system anew, with the name, the UUID and the features it had.
func (d *Disk) format(ctx context.Context, n int, code string) error {
	f := &d.layout.FileSystems[n]
	device, err := d.device(n)
	if err != nil {
		return err
	}
	switch {
	case isExt(f.Type):
		err = run(ctx, nil, append(extArgs(f), device.Name())...)
	case f.Type == typeXFS:
		err = formatXFS(ctx, f, device.Name())
	case f.Type == typeBtrfs:
		err = d.formatBtrfs(ctx, f, device)
	case f.Type == typeVFAT:
		var args []string
		if args, err = fatArgs(f); err == nil {
			err = run(ctx, nil, append(args, device.Name())...)
		}
	case f.Type == typeSwap:
		err = run(ctx, nil, append(named([]string{"mkswap", "--force"}, "-U", f.UUID, "-L", f.Label), device.Name())...)
	}
	if err != nil {
		return fmt.Errorf("partition %d: %w", f.Partition, err)
	}
	return d.putPartitionCode(f, device, code)
}

// named adds options and their values, leaving out those without a value.
func named(argv []string, options ...string) []string {
	for pair := range slices.Chunk(options, 2) {
		if pair[1] != "" {
			argv = append(argv, pair...)
		}
	}
	return argv
}

// number is a positive number as text, and "" for none.
func number(n int64, prefix string) string {
	if n <= 0 {
		return ""
	}
	return prefix + strconv.FormatInt(n, 10)
}

// notMade are words among the features of an ext file system that say how it is, not how
// it was made (e2fsprogs, lib/e2p/feature.c); one that is mounted nowhere else needs no
// protection against that either.
var notMade = []string{"needs_recovery", "orphan_present", "journal_dev", "mmp", "shared_blocks", "(none)"}

// extArgs makes an ext file system with the features that it had and no others: boot
// loaders and old kernels know fewer than the programs of today.
func extArgs(f *system.FileSystem) []string {
	argv := named([]string{"mkfs." + f.Type, "-q", "-F"}, "-U", f.UUID, "-L", f.Label, "-b", number(f.Made.Block, ""), "-I", number(f.Made.Inode, ""), "-N", number(f.Made.Inodes, ""))
	if len(f.Made.Features) > 0 {
		features := []string{"none"}
		for _, name := range f.Made.Features {
			if !slices.Contains(notMade, name) {
				features = append(features, name)
			}
		}
		argv = append(argv, "-O", strings.Join(features, ","))
	}
	return argv
}

// xfsLeast is the size below which mkfs.xfs makes no file system by itself since xfsprogs
// 5.19; what is smaller was made by an older one.
const xfsLeast = 300 << 20

// formatXFS makes an XFS with the features that it had and no others: the boot loader that
// comes back beside it may know no newer ones. A mkfs.xfs that is older itself does not know
// the names of all that are to be left out, and makes none of these.
func formatXFS(ctx context.Context, f *system.FileSystem, device string) error {
	var err error
	for _, all := range []bool{true, false} {
		if err = run(ctx, nil, append(xfsArgs(f, all), device)...); err != nil && f.Size < xfsLeast {
			err = run(ctx, nil, append(xfsArgs(f, all), "--unsupported", device)...)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// xfsArgs are the arguments of mkfs.xfs; with all set, they name the features to be left
// out too.
func xfsArgs(f *system.FileSystem, all bool) []string {
	argv := named([]string{"mkfs.xfs", "-q", "-f"}, "-m", prefixed("uuid=", f.UUID), "-L", f.Label, "-b", number(f.Made.Block, "size="), "-i", number(f.Made.Inode, "size="))
	if len(f.Made.Features) == 0 {
		return argv // nothing is known of them
	}
	said := func(names []string) string {
		var words []string
		for _, name := range names {
			if slices.Contains(f.Made.Features, name) {
				words = append(words, name+"=1")
			} else if all {
				words = append(words, name+"=0")
			}
		}
		return strings.Join(words, ",")
	}
	meta, inodes := system.XFSFeatures()
	return named(argv, "-m", said(meta), "-i", said(inodes))
}

func prefixed(prefix, value string) string {
	if value == "" {
		return ""
	}
	return prefix + value
}

// fatID is the form of the number of a FAT file system.
var fatID = regexp.MustCompile(`^([0-9A-Fa-f]{4})-([0-9A-Fa-f]{4})$`)

func fatArgs(f *system.FileSystem) ([]string, error) {
	id := ""
	if f.UUID != "" {
		m := fatID.FindStringSubmatch(f.UUID)
		if m == nil {
			return nil, fault.New(fault.Refused, op, fmt.Errorf("%q is no number of a FAT file system", f.UUID), "")
		}
		id = m[1] + m[2]
	}
	return named([]string{"mkfs.fat"}, "-i", id, "-n", f.Label, "-F", number(int64(f.Made.FAT), "")), nil
}

// putPartitionCode writes what a boot loader keeps at the start of a file system. The table
// of a disk lies there too where the disk has no other.
func (d *Disk) putPartitionCode(f *system.FileSystem, device *os.File, dir string) error {
	for _, c := range d.layout.Code {
		if c.What != system.CodePartition || c.Partition != f.Partition {
			continue
		}
		p, err := place(d.layout, f)
		if err != nil {
			return err
		}
		if err := putCode(device, c.Offset-p.Start, dir, c); err != nil {
			return err
		}
	}
	return writeError(device.Sync())
}
