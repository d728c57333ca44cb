package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// A view is a system put together in a folder as its own programs see it, but read-only
// and without anything that is not on its disk: what is mounted there besides, such as
// /proc, is an empty folder in it.
type view struct {
	dir      string
	attached []string // mount points, in their order
}

// quiet are the flags of all that is mounted in a view: nothing in it is to be run,
// opened as a device, or marked as read.
const quiet = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME

// bind shows a folder that is mounted on this machine, without what is mounted below it.
// The copy is read-only, and cut off from its original, before anybody can see it:
// otherwise a mount inside of it would appear in the running system too.
func (v *view) bind(folder, at string) error {
	op := fmt.Sprintf("show %q", folder)
	fd, err := unix.OpenTree(unix.AT_FDCWD, folder, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return mountError(op, err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOATIME,
		Attr_clr:    unix.MOUNT_ATTR__ATIME,
		Propagation: unix.MS_PRIVATE,
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return mountError(op, err)
	}
	point := filepath.Join(v.dir, at)
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return mountError(op, err)
	}
	v.attached = append(v.attached, point)
	return nil
}

// mount shows a file system of a device.
func (v *view) mount(device, kind, options, at string) error {
	point := filepath.Join(v.dir, at)
	if err := unix.Mount(device, point, kind, quiet, options); err != nil {
		return mountError(fmt.Sprintf("mount %q", device), err)
	}
	v.attached = append(v.attached, point)
	return nil
}

// complete fails when something else appeared in the view.
func (v *view) complete() error {
	there, err := mountsBelow(v.dir)
	if err != nil {
		return err
	}
	for _, point := range there {
		if !slices.Contains(v.attached, point) {
			return fault.New(fault.Failed, "put the system together", fmt.Errorf("something was mounted at %q meanwhile", point), "nothing needs doing: it is tried again")
		}
	}
	return nil
}

// Unmount takes away every mount at a folder and below, in use or not. Where there is
// none it does nothing.
func Unmount(dir string) error {
	points, err := mountsBelow(dir)
	problems := []error{err}
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			problems = append(problems, &os.PathError{Op: "unmount", Path: point, Err: err})
		}
	}
	return errors.Join(problems...)
}

func mountsBelow(dir string) ([]string, error) {
	all, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.Mountpoint != dir && !strings.HasPrefix(i.Mountpoint, dir+"/"), false
	})
	var points []string
	for _, m := range all {
		points = append(points, m.Mountpoint)
	}
	return points, err
}

// mountError classes an error of mounting.
func mountError(op string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fault.New(fault.Denied, op, err, "run saoluu as root, or give its service CAP_SYS_ADMIN and SystemCallFilter=@mount")
	case errors.Is(err, unix.ENOSYS):
		return fault.New(fault.MissingTool, op, err, "saving a system file by file needs Linux 5.12 or later")
	case errors.Is(err, unix.ENODEV):
		return fault.New(fault.MissingTool, op, errors.New("the kernel does not know this file system"), "load its module")
	}
	return fault.New(fault.Failed, op, err, "see the kernel's log")
}
