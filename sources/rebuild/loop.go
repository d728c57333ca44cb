package rebuild

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// attachTries bounds how often a loop device is asked for that another process took first.
const attachTries = 64

// attach makes a loop device of a piece of a disk; a size of 0 means up to its end. The
// device goes when the file that is returned is closed and nothing on it is mounted any
// more, also when we are killed.
func attach(backing *os.File, offset, size, sector int64, write bool) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, loopError(err)
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: uint32(sector)}
	config.Info.Offset, config.Info.Sizelimit, config.Info.Flags = uint64(offset), uint64(size), unix.LO_FLAGS_AUTOCLEAR
	mode := os.O_RDWR
	if !write {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
		mode = os.O_RDONLY
	}
	for range attachTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, loopError(err)
		}
		device, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), mode, 0)
		if err != nil {
			return nil, loopError(err)
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			// Who holds this lock is left alone by udev, which would show a second file system
			// of the same UUID to whoever looks for one (systemd, "Locking Block Device Access").
			return device, unix.Flock(int(device.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		_ = device.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, loopError(err)
		}
	}
	return nil, loopError(errors.New("other programs take them as fast as they come"))
}

func loopError(err error) error {
	return fault.New(fault.Denied, op, fmt.Errorf("no loop device: %w", err),
		"run it as root, where the kernel has loop devices; a service needs DeviceAllow=/dev/loop-control rw and DeviceAllow=block-loop rw")
}

// device attaches the piece of the disk with a file system, until Close.
func (d *Disk) device(n int) (*os.File, error) {
	if l := d.devices[n]; l != nil {
		return l, nil
	}
	p, err := place(d.layout, &d.layout.FileSystems[n])
	if err != nil {
		return nil, err
	}
	l, err := attach(d.out, p.Start, p.Size, d.layout.Disk.Sector, d.write)
	if l != nil {
		d.loops = append(d.loops, l)
		d.devices[n] = l
	}
	return l, err
}
