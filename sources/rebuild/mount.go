package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// A seat is one mount of the system.
type seat struct {
	at      string // in the system
	n       int    // of the file system in the layout
	options string
}

// seats are the mounts of the system, outer ones first.
func (d *Disk) seats() []seat {
	var all []seat
	for n := range d.layout.FileSystems {
		f := &d.layout.FileSystems[n]
		if !made(d.layout, f) || f.Type == typeSwap {
			continue
		}
		if f.Mount != "" {
			all = append(all, seat{f.Mount, n, map[bool]string{true: fmt.Sprintf("subvolid=%d", btrfsTop)}[f.Type == typeBtrfs]})
		}
		for _, s := range f.Subvolumes {
			if s.Mounted && s.At != f.Mount {
				all = append(all, seat{s.At, n, subvolume(s)})
			}
		}
	}
	for i, s := range all { // a subvolume may stand for the whole file system
		f := &d.layout.FileSystems[s.n]
		for _, v := range f.Subvolumes {
			if v.Mounted && v.At == s.at {
				all[i].options = subvolume(v)
			}
		}
	}
	slices.SortFunc(all, func(a, b seat) int {
		return cmp.Or(cmp.Compare(strings.Count(strings.TrimSuffix(a.at, "/"), "/"), strings.Count(strings.TrimSuffix(b.at, "/"), "/")), cmp.Compare(a.at, b.at))
	})
	return all
}

func subvolume(s system.Subvolume) string {
	if s.Path == "" {
		return fmt.Sprintf("subvolid=%d", btrfsTop)
	}
	return "subvol=" + s.Path
}

// mountAll mounts the file systems below Root as the system does. What lies in FAT stands
// in a folder beside meanwhile: its owners and modes have no place there, and not every
// kernel knows it.
func (d *Disk) mountAll(context.Context) error {
	for _, s := range d.seats() {
		at := filepath.Join(d.Root, s.at)
		if s.at != "/" {
			if err := d.seatFolder(s.at); err != nil {
				return err
			}
		}
		device, err := d.device(s.n)
		if err != nil {
			return err
		}
		f := &d.layout.FileSystems[s.n]
		if f.Type == typeVFAT {
			err = d.standIn(s, device)
		} else {
			err = d.mount(device, at, f, s.options)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// seatFolder makes the folder that something is mounted at, and refuses a link that leads
// out of the system: what is looked at may not be what was made.
func (d *Disk) seatFolder(at string) error {
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	name := strings.TrimPrefix(at, "/")
	if d.write {
		if err := root.MkdirAll(name, 0o755); err != nil {
			return writeError(err)
		}
	}
	real, err := filepath.EvalSymlinks(filepath.Join(d.Root, name))
	if err != nil || real != filepath.Join(d.Root, name) {
		return fault.New(fault.Refused, op, errors.Join(fmt.Errorf("%q is no folder in which something can be mounted", at), err), "")
	}
	return nil
}

// mount mounts a file system with as few rights as there are: nothing on it is run, and
// no link on it followed by the kernel (Linux 5.10), which would lead to files of ours.
func (d *Disk) mount(device *os.File, at string, f *system.FileSystem, options string) error {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NOSYMFOLLOW)
	if !d.write {
		flags |= unix.MS_RDONLY
	}
	if f.Type == typeXFS {
		options = "nouuid" // the system itself may be mounted on this machine
	}
	if err := unix.Mount(device.Name(), at, f.Type, flags, options); err != nil {
		return mountError(f, err)
	}
	d.mounts = append(d.mounts, at)
	return nil
}

func mountError(f *system.FileSystem, err error) error {
	problem := fmt.Errorf("mount partition %d, %s: %w", f.Partition, f.Type, err)
	switch {
	case errors.Is(err, unix.EPERM):
		return fault.New(fault.Denied, op, problem, "run it as root, where file systems may be mounted")
	case errors.Is(err, unix.ENODEV):
		return fault.New(fault.MissingTool, op, problem, "use a kernel that knows "+f.Type)
	case f.Type == typeBtrfs && (errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST)):
		return fault.New(fault.Unknown, op, problem, "do it on another machine, or with Linux 6.7: older ones mount no second Btrfs of the same UUID")
	}
	return fault.New(fault.Unknown, op, problem, "see the kernel's log")
}

// Somebody who looks at every file system that appears, such as an indexer, leaves again.
const (
	busyTries = 20
	busyPause = 100 * time.Millisecond
)

// unmount takes a mount away, when nobody uses it any more.
func unmount(at string) error {
	for try := 1; ; try++ {
		err := unix.Unmount(at, 0)
		if !errors.Is(err, unix.EBUSY) || try == busyTries {
			return err
		}
		time.Sleep(busyPause)
	}
}

// CleanUp takes away the mounts that a rebuild left below its scratch folder, when its
// process was killed; where there are none it does nothing. Loop devices go with them.
func CleanUp(scratch string) error {
	dir := filepath.Join(scratch, folderName)
	all, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(i.Mountpoint, dir+"/"), false
	})
	if err != nil {
		return err
	}
	var problems []error
	for _, m := range slices.Backward(all) {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			problems = append(problems, &os.PathError{Op: "unmount", Path: m.Mountpoint, Err: err})
		}
	}
	return errors.Join(problems...)
}
