// Package rebuild makes a disk that boots out of a system that was saved file by file:
// the partition table, what boot loaders keep outside of files, and the file systems are
// made anew after its layout, and mounted; whoever called fills in the files, and the boot
// loader is put in place around them. Nothing of the saved system is ever run, and
// everything that was mounted or attached is gone when the Disk is closed. Of a process
// that was killed CleanUp takes away the mounts; its loop devices go with them.
package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// op is what is being done, for errors.
const op = "rebuild a disk"

// A Disk is one that is being rebuilt, or looked at afterwards.
type Disk struct {
	// Root is the folder below which the files of the system belong.
	Root string
	// Notes say what the rebuilt system lacks, or has that the saved one had not.
	Notes []string

	layout *system.Layout
	out    *os.File
	dir    string // for everything temporary
	write  bool   // it may be written to
	loops  []*os.File
	// devices are the loop devices of file systems, by their place in the layout.
	devices map[int]*os.File
	mounts  []string // in the order in which they were made
	esps    []esp
}

// folderName is the folder below scratch for what is mounted.
const folderName = "rebuild"

// Make makes the disk of a layout in out, a new file, or a block device that nobody uses
// and that is open exclusively, for reading and writing. code is the folder with the files
// that the layout names, and scratch one for temporary files and mounts. Files may be put
// below Root then; Finish makes the disk whole. The error is fault.Refused for a layout
// that cannot be rebuilt, and fault.Denied where loop devices or mounts are not allowed.
func Make(ctx context.Context, l *system.Layout, code string, out *os.File, scratch string) (_ *Disk, err error) {
	if err := check(l); err != nil {
		return nil, err
	}
	d, err := open(l, out, scratch, true)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.clear(ctx); err != nil {
		return nil, err
	}
	if err := d.divide(ctx); err != nil {
		return nil, err
	}
	if err := d.putCode(code); err != nil {
		return nil, err
	}
	for n := range l.FileSystems {
		if made(l, &l.FileSystems[n]) {
			if err := d.format(ctx, n, code); err != nil {
				return nil, err
			}
		}
	}
	if err := d.mountAll(ctx); err != nil {
		return nil, err
	}
	d.noteLacks()
	return d, nil
}

// Open mounts the file systems of a rebuilt disk as the layout says, to be looked at, or
// to be changed when write is true. What the system keeps in FAT is a copy, which changes
// nothing on the disk.
func Open(ctx context.Context, l *system.Layout, file *os.File, scratch string, write bool) (_ *Disk, err error) {
	if err := check(l); err != nil {
		return nil, err
	}
	d, err := open(l, file, scratch, write)
	if err != nil {
		return nil, err
	}
	if err := d.mountAll(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	for _, e := range d.esps {
		if err := d.readFAT(ctx, e); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

func open(l *system.Layout, out *os.File, scratch string, write bool) (*Disk, error) {
	if err := allowed(); err != nil {
		return nil, err
	}
	dir := filepath.Join(scratch, folderName)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fault.New(fault.Failed, op, err, "check paths.scratch")
	}
	d := &Disk{Root: filepath.Join(dir, "root"), layout: l, out: out, dir: dir, write: write, devices: map[int]*os.File{}}
	return d, os.Mkdir(d.Root, 0o700)
}

// Finish makes a disk whole whose files are there: the boot loader, what lies in FAT, swap
// files. All of it is on the disk, and nothing mounted, when it returns nil.
func (d *Disk) Finish(ctx context.Context) error {
	steps := []func(context.Context) error{d.makeFolders, d.makeSwapFiles, d.extlinux, d.fillFAT, d.flush}
	for _, step := range steps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return errors.Join(d.Close(), writeError(d.out.Sync()))
}

// Close takes away what is mounted and attached. It may be called twice.
func (d *Disk) Close() error {
	var problems []error
	for _, at := range slices.Backward(d.mounts) {
		if err := unmount(at); err != nil {
			// Somebody looks into it: it goes when they leave, and its loop device with it.
			problems = append(problems, &os.PathError{Op: "unmount", Path: at, Err: err}, unix.Unmount(at, unix.MNT_DETACH))
		}
	}
	d.mounts = nil
	for _, l := range d.loops {
		if d.write {
			problems = append(problems, writeError(l.Sync()))
		}
		problems = append(problems, l.Close())
	}
	d.loops, d.devices = nil, nil
	if err := CleanUp(filepath.Dir(d.dir)); err != nil { // nothing may be mounted where files are removed
		return errors.Join(append(problems, err)...)
	}
	return errors.Join(append(problems, os.RemoveAll(d.dir))...)
}

// flush brings all files to the disk: only this tells when there was no room for them, or
// they could not be written.
func (d *Disk) flush(context.Context) error {
	for _, at := range d.mounts {
		dir, err := os.Open(at)
		if err != nil {
			return err
		}
		if err := errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close()); err != nil {
			return writeError(err)
		}
	}
	return nil
}

// writeError is that of what was to be written to the disk.
func writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EIO):
		return fault.New(fault.NoSpace, op, err, "see whether there is room where the disk is made, and the kernel's log for errors")
	}
	return fault.New(fault.Failed, op, err, "")
}

// makeFolders makes the folders that a kernel needs to start a system, where the backup
// has none because something was mounted there.
func (d *Disk) makeFolders(context.Context) error {
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, mode := range map[string]os.FileMode{"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755} {
		err := root.Mkdir(name, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = root.Chmod(name, mode)
		}
		if err != nil {
			return writeError(err)
		}
	}
	return nil
}

func (d *Disk) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

// noteLacks says what of the layout is not made.
func (d *Disk) noteLacks() {
	for _, u := range d.layout.Uncovered {
		d.note("%s is not in the backup: %s", u.What, u.Why)
	}
	for n := range d.layout.FileSystems {
		switch f := &d.layout.FileSystems[n]; {
		case whole(d.layout, f):
		case !made(d.layout, f):
			d.note("partition %d, %q, is left empty: it was not saved", f.Partition, f.Type)
		case !f.Saved && f.Type != typeSwap:
			d.note("partition %d is made anew without files: they were not saved", f.Partition)
		}
	}
	grub := slices.Contains(d.layout.Loaders, system.LoaderGRUBBIOS)
	if grub && !slices.ContainsFunc(d.layout.Code, func(c system.Code) bool { return c.What == system.CodeRecord }) {
		d.note("the boot code of GRUB was not saved: start a rescue system and run grub-install")
	}
	if slices.Contains(d.layout.Loaders, system.LoaderUnknown) {
		d.note("no boot loader was recognised: the disk may not boot")
	}
}
