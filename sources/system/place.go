package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// A place is where on which disk a file system lies.
type place struct {
	disk   string // device, or file behind a loop device
	number int    // of the partition; 0 where start says more
	start  int64  // byte of the disk
	volume string // of LVM, as group/name
	size   int64  // bytes of the volume
	group  Group
}

// sysfs is where the kernel describes block devices.
const sysfs = "/sys/dev/block"

// locate finds the place of a block device. The error is fault.Refused for what a disk
// cannot be rebuilt from.
func locate(ctx context.Context, device string) (place, error) {
	dir, err := describe(device)
	if err != nil {
		return place{}, err
	}
	if volume, group, err := volumeOf(ctx, device, dir); err != nil || volume != "" {
		if err != nil {
			return place{}, err
		}
		p, err := physical(ctx, device, group)
		p.volume = volume
		return p, err
	}
	return plainPlace(device, dir)
}

// describe returns the folder in which the kernel describes a device.
func describe(device string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return "", fault.New(fault.Absent, fmt.Sprintf("device %q", device), err, "let saoluu see the devices of its disks")
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fault.New(fault.Refused, fmt.Sprintf("device %q", device), errors.New("it is no block device"), `save its files with a source of type "files"`)
	}
	return filepath.EvalSymlinks(fmt.Sprintf("%s/%d:%d", sysfs, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))))
}

// plainPlace is that of a device without LVM: a disk, a partition, or a loop device that
// shows a part of a file.
func plainPlace(device, dir string) (place, error) {
	if number, ok := kernelNumber(dir, "partition"); ok {
		start, _ := kernelNumber(dir, "start")
		// The kernel counts in sectors of 512 bytes, whatever the disk has (Documentation/ABI, sysfs-block).
		return place{disk: devicePath(filepath.Dir(dir)), number: int(number), start: start * 512}, nil
	}
	if file := kernelText(dir, "loop/backing_file"); file != "" {
		start, _ := kernelNumber(dir, "loop/offset")
		if size, _ := kernelNumber(dir, "loop/sizelimit"); start > 0 || size > 0 {
			return place{disk: file, start: start}, nil
		}
	}
	for folder, what := range map[string]string{"dm": "encrypted or mapped", "md": "on a RAID", "bcache": "on bcache"} {
		if _, err := os.Stat(filepath.Join(dir, folder)); err == nil {
			return place{}, fault.New(fault.Refused, fmt.Sprintf("device %q", device), fmt.Errorf("it is %s, and no disk can be rebuilt from its files", what),
				`save its disk as blocks (method "blocks"), or its files with a source of type "files"`)
		}
	}
	return place{disk: devicePath(dir)}, nil
}

// devicePath turns the kernel's name of a device into that in /dev.
func devicePath(dir string) string {
	return "/dev/" + strings.ReplaceAll(filepath.Base(dir), "!", "/")
}

func kernelText(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "" // the kernel has nothing of the kind for this device
	}
	return strings.TrimSuffix(string(text), "\n")
}

func kernelNumber(dir, name string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(kernelText(dir, name)), 10, 64)
	return n, err == nil
}

// volumeOf returns which volume of LVM a device is, and its group; empty for none.
func volumeOf(ctx context.Context, device, dir string) (volume, group string, err error) {
	mapped := strings.HasPrefix(kernelText(dir, "dm/uuid"), "LVM-")
	if _, partition := kernelNumber(dir, "partition"); partition {
		return "", "", nil
	}
	out, err := LVM(ctx, "lvs", "--noheadings", "--separator", "/", "--options", "vg_name,lv_name", device)
	var exit *command.ExitError
	switch {
	case !mapped && (fault.KindOf(err) == fault.MissingTool || errors.As(err, &exit)):
		return "", "", nil
	case err != nil:
		return "", "", err
	}
	volume = strings.TrimSpace(out)
	group, _, ok := strings.Cut(volume, "/")
	if !ok || group == "" {
		return "", "", fault.New(fault.Unknown, fmt.Sprintf("device %q", device), fmt.Errorf("lvs says %q of it", volume), "")
	}
	return volume, group, nil
}

// physical finds the partition under a volume group that has no other.
func physical(ctx context.Context, device, group string) (place, error) {
	op := fmt.Sprintf("volume group %q", group)
	out, err := LVM(ctx, "vgs", "--noheadings", "--separator", "|", "--units", "b", "--nosuffix", "--options", "vg_uuid,vg_extent_size,pv_name", group)
	if err != nil {
		return place{}, err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fields := strings.Split(strings.TrimSpace(lines[0]), "|")
	if len(lines) != 1 || len(fields) != 3 {
		return place{}, fault.New(fault.Refused, op, fmt.Errorf("it lies on %d disks or partitions, and one disk is rebuilt", len(lines)), `save its disks as blocks (method "blocks")`)
	}
	dir, err := describe(fields[2])
	if err != nil {
		return place{}, err
	}
	p, err := plainPlace(fields[2], dir)
	if err != nil {
		return place{}, err
	}
	extent, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return place{}, fault.New(fault.Unknown, op, err, "")
	}
	p.group = Group{Name: group, UUID: fields[0], Extent: extent}
	p.size, err = deviceSize(device)
	return p, err
}

func deviceSize(device string) (int64, error) {
	file, err := os.Open(device)
	if err != nil {
		return 0, err
	}
	size, err := file.Seek(0, 2)
	return size, errors.Join(err, file.Close())
}

// maxSaid bounds what one program may say of a disk, in bytes.
const maxSaid = 4 << 20

// LVM runs a program of LVM and returns what it says. The error is fault.MissingTool
// where it is not installed.
func LVM(ctx context.Context, name string, args ...string) (string, error) {
	return tool(ctx, "lvm2", name, args...)
}

// tool runs a program that is part of a package and returns what it says.
func tool(ctx context.Context, pack, name string, args ...string) (string, error) {
	program, err := command.LookPath(name)
	if err != nil {
		return "", fault.New(fault.MissingTool, name, err, "install the package "+pack)
	}
	out, err := command.Output(ctx, command.Cmd{Argv: append([]string{program}, args...), Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}}, maxSaid)
	return string(out), err
}

// partition finds the partition of a table that a place is in; its number is 0 where a
// file system takes the whole disk.
func (p place) partition(t disk.Table) (disk.Partition, error) {
	for _, q := range t.Partitions {
		if p.number != 0 && q.Number == p.number || p.number == 0 && q.Start == p.start {
			return q, nil
		}
	}
	return disk.Partition{}, fault.New(fault.Refused, fmt.Sprintf("disk %q", p.disk), fmt.Errorf("its partition table has none at byte %d: %s", p.start, t.Trouble), "look at the disk with fdisk")
}
