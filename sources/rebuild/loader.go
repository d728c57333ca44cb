package rebuild

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/sources/system"
)

// extlinuxFolders are where the files of extlinux lie in a system, the likeliest first
// (extlinux(1); Debian, update-extlinux).
var extlinuxFolders = []string{"boot/extlinux", "boot/syslinux", "boot", "extlinux"}

// extlinux installs that loader anew: it starts by the numbers of blocks, and its files
// are in others now.
func (d *Disk) extlinux(ctx context.Context) error {
	if !slices.Contains(d.layout.Loaders, system.LoaderExtlinux) {
		return nil
	}
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range extlinuxFolders {
		if st, err := root.Lstat(path.Join(dir, "ldlinux.sys")); err != nil || !st.Mode().IsRegular() {
			continue
		}
		at := filepath.Join(d.Root, dir)
		if real, err := filepath.EvalSymlinks(at); err != nil || real != at {
			continue
		}
		if err := d.removeLink(root, path.Join(dir, extlinuxModule)); err != nil {
			return err
		}
		return run(ctx, nil, "extlinux", "--install", at)
	}
	d.note("the files of extlinux are not in the backup: the disk may not boot")
	return nil
}

// extlinuxModule is the file that extlinux writes beside ldlinux.sys, with a link followed.
const extlinuxModule = "ldlinux.c32"

// removeLink takes away what is no regular file where a program of this machine is about
// to write one: a link of the saved system would lead it to a file of ours.
func (d *Disk) removeLink(root *os.Root, name string) error {
	st, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Mode().IsRegular() {
		return nil
	}
	if err == nil {
		err = root.Remove(name)
	}
	if err != nil {
		return writeError(err)
	}
	d.note("/%s was no regular file, and is one now", name)
	return nil
}

// Renewed reports whether a file of the system, by its path, is another one on the rebuilt
// disk: what extlinux starts by is written by the extlinux of this machine.
func Renewed(l *system.Layout, name string) bool {
	return slices.Contains(l.Loaders, system.LoaderExtlinux) && slices.Contains(extlinuxFolders, strings.TrimPrefix(path.Dir(name), "/")) &&
		slices.Contains([]string{"ldlinux.sys", extlinuxModule}, path.Base(name))
}

// makeSwapFiles makes the files anew that the system swaps to.
func (d *Disk) makeSwapFiles(context.Context) error {
	if len(d.layout.SwapFiles) == 0 {
		return nil
	}
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, s := range d.layout.SwapFiles {
		name := strings.TrimPrefix(path.Clean("/"+s.Path), "/")
		if err := makeSwapFile(root, name, s.Size); err != nil {
			d.note("the swap file %s was not made: %v", s.Path, err)
		}
	}
	return nil
}

// noCopy is the flag of a file that btrfs does not copy when it is written to (Linux,
// include/uapi/linux/fs.h, FS_NOCOW_FL).
const noCopy = 0x00800000

// What a swap file is (Linux, include/linux/swap.h, union swap_header).
const (
	swapPage    = 4096
	swapMark    = "SWAPSPACE2"
	swapVersion = 1024 // offset of the version, of the last page and, behind, of the UUID
)

// makeSwapFile makes a swap file without holes, which the kernel does not take.
func makeSwapFile(root *os.Root, name string, size int64) (err error) {
	if size < 10*swapPage || size/swapPage > 1<<32-1 {
		return fmt.Errorf("it had %d bytes", size)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, root.Remove(name))
		}
	}()
	// Btrfs swaps to nothing that is copied when it is written to.
	if flags, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags|noCopy) // others know no such flag
	}
	if err := unix.Fallocate(int(file.Fd()), 0, 0, size); err != nil {
		return err
	}
	head := make([]byte, swapPage)
	binary.LittleEndian.PutUint32(head[swapVersion:], 1)
	binary.LittleEndian.PutUint32(head[swapVersion+4:], uint32(size/swapPage-1))
	if _, err := rand.Read(head[swapVersion+12 : swapVersion+28]); err != nil {
		return err
	}
	copy(head[swapPage-len(swapMark):], swapMark)
	_, err = file.WriteAt(head, 0)
	return err
}
