package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"saoluu/internal/command"
	"saoluu/sources/disk"
)

// systemCheck is how a kind of file system is checked; nil when nothing here can.
func (i *image) systemCheck(kind string) func(context.Context, disk.Partition) error {
	switch kind {
	case "ext2", "ext3", "ext4":
		return i.checkExt
	case "vfat":
		return func(ctx context.Context, p disk.Partition) error {
			return i.checkCopy(ctx, p, clean, []int{1}, "fsck.fat", "-n")
		}
	case "xfs":
		return func(ctx context.Context, p disk.Partition) error {
			prepare := func(path string) error { return i.playedBack(ctx, path) }
			return i.checkCopy(ctx, p, prepare, []int{1}, "xfs_repair", "-n", "-f")
		}
	case "btrfs":
		return func(ctx context.Context, p disk.Partition) error {
			return i.checkCopy(ctx, p, nil, []int{1}, "btrfs", "check", "--readonly")
		}
	case "swap":
		return func(_ context.Context, p disk.Partition) error { return i.checkSwap(p) }
	}
	return nil
}

// errUnchecked says why a file system could not be judged, and not for want of a program.
type errUnchecked string

func (e errUnchecked) Error() string { return string(e) }

// playedBack refuses an XFS whose log holds what is not in its place yet, as after a power
// cut: only a kernel can play it back, and xfs_repair calls it damage.
func (i *image) playedBack(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, systemLimit, tooLong("xfs_logprint"))
	defer cancel()
	c, err := i.program("xfs_logprint", "-t", path)
	if err != nil {
		return err
	}
	enough := errors.New("enough was read")
	dirty := false
	_, err = command.Lines(ctx, c, func(line []byte) error {
		if !bytes.Contains(line, []byte("state: ")) {
			return nil
		}
		dirty = bytes.Contains(line, []byte("<DIRTY>"))
		return enough // all that is in the log follows
	})
	var exit *command.ExitError
	switch {
	case dirty:
		return errUnchecked("its log was not played back: only a kernel that mounts it can do that")
	case errors.Is(err, enough), errors.As(err, &exit): // of a log that cannot be read xfs_repair says more
		return nil
	}
	return err
}

// swapHead is where swap space is described (Linux, include/linux/swap.h, union swap_header).
const (
	swapHead    = 1024
	swapPage    = 4096
	swapVersion = 1
	swapMaxBad  = (swapPage - 10 - 1536) / 4
)

// checkSwap looks at the head of swap space, which is all that is saved of it.
func (i *image) checkSwap(p disk.Partition) error {
	file, err := os.Open(i.disk.file)
	if err != nil {
		return err
	}
	defer file.Close()
	var head [12]byte
	if _, err := file.ReadAt(head[:], p.Start+swapHead); err != nil {
		return err
	}
	version, last, bad := binary.LittleEndian.Uint32(head[:]), int64(binary.LittleEndian.Uint32(head[4:])), binary.LittleEndian.Uint32(head[8:])
	if version == swapVersion && last > 0 && (last+1)*swapPage <= p.Size && bad <= swapMaxBad {
		return nil
	}
	return &finding{"swap", "no errors", "errors", fmt.Errorf("its head speaks of version %d, %d pages and %d bad ones, in %d bytes", version, last, bad, p.Size)}
}

// Exit statuses of e2fsck (e2fsck(8)).
const (
	e2fsckErrors  = 4 // errors that were left
	e2fsckTrouble = 8
)

// checkExt checks an ext file system in its place. One whose journal holds what is not
// in its place yet, as after a power cut, is copied, and its journal played back first.
func (i *image) checkExt(ctx context.Context, p disk.Partition) error {
	at := fmt.Sprintf("%s?offset=%d", i.disk.file, p.Start)
	needs, err := i.journalPending(p)
	if err != nil {
		return err
	}
	if needs {
		dup, err := i.copyPartition(ctx, p)
		if err != nil {
			return err
		}
		defer os.Remove(dup)
		if err := i.runCheck(ctx, []int{e2fsckErrors, e2fsckTrouble, e2fsckErrors | e2fsckTrouble}, "e2fsck", "-y", "-E", "journal_only", dup); err != nil {
			return err
		}
		at = dup
	}
	return i.runCheck(ctx, []int{e2fsckErrors, e2fsckTrouble, e2fsckErrors | e2fsckTrouble}, "e2fsck", "-f", "-n", at)
}

// journalPending reads the flag of an ext file system that was not unmounted (Linux
// documentation, "ext4: The Super Block", INCOMPAT_RECOVER).
func (i *image) journalPending(p disk.Partition) (bool, error) {
	file, err := os.Open(i.disk.file)
	if err != nil {
		return false, err
	}
	defer file.Close()
	var flags [4]byte
	_, err = file.ReadAt(flags[:], p.Start+1024+96)
	return binary.LittleEndian.Uint32(flags[:])&4 != 0, err
}

// checkCopy has a program look at a copy of a partition: it knows nothing of disks.
// prepare, which may be nil, gets the copy first.
func (i *image) checkCopy(ctx context.Context, p disk.Partition, prepare func(path string) error, damaged []int, argv ...string) error {
	if _, err := command.LookPath(argv[0]); err != nil {
		return err
	}
	dup, err := i.copyPartition(ctx, p)
	if err != nil {
		return err
	}
	defer os.Remove(dup)
	if prepare != nil {
		if err := prepare(dup); err != nil {
			return err
		}
	}
	return i.runCheck(ctx, damaged, append(argv, dup)...)
}

// clean takes the mark away from a FAT file system that it was not unmounted, which
// fsck.fat cannot tell from damage (Linux, include/uapi/linux/msdos_fs.h, fat_boot_sector.state).
func clean(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	head := make([]byte, 512)
	if _, err := file.ReadAt(head, 0); err != nil {
		return err
	}
	at := int64(37)
	if string(head[82:87]) == "FAT32" {
		at = 65
	}
	_, err = file.WriteAt([]byte{head[at] &^ 1}, at)
	return err
}
