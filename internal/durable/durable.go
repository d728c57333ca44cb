// Package durable makes changes to files that survive a loss of power. What a
// function here has returned from without error is on the disk, as far as the
// disk tells the truth; what it has failed at has left the old state visible.
//
// The order of system calls for replacing a file is
//
//	open(temp, O_EXCL)  in the same folder, so that the rename cannot cross file systems
//	write, fchmod
//	fsync(temp)         the bytes, before any name leads to them
//	rename(temp, path)  atomically the new file or the old one, never a mixture
//	fsync(folder)       the name
//
// and for a new folder: mkdir, then fsync of its parent, for each level made.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A Step is one system call that can fail.
type Step string

// The steps, in the order of the package comment.
const (
	Create     Step = "create"
	Write      Step = "write"
	Chmod      Step = "chmod"
	SyncFile   Step = "fsync file"
	Rename     Step = "rename"
	SyncFolder Step = "fsync folder"
	Mkdir      Step = "mkdir"
)

// A Disk writes durably. The zero Disk is the one to use; the functions of the
// package use it.
type Disk struct {
	// Before is called before each step, and its error is taken for the step's.
	// It is for tests that need a disk that fails or a machine that dies there.
	Before func(Step) error
}

// WriteFile replaces path by data with the permissions perm (umask does not
// apply). On error the old file is untouched and no temporary file remains,
// except that an error of the last step leaves the new file in place with its
// name not known to be durable.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return Disk{}.WriteFile(path, data, perm)
}

// MkdirAll makes the folder path and its missing parents, durably. A folder
// that exists is not touched.
func MkdirAll(path string, perm fs.FileMode) error { return Disk{}.MkdirAll(path, perm) }

// SyncDir makes the names in a folder durable, after a rename or removal there.
func SyncDir(dir string) error { return Disk{}.SyncDir(dir) }

// WriteFile is the function of that name.
func (d Disk) WriteFile(path string, data []byte, perm fs.FileMode) (err error) {
	temp, err := d.create(path)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name()) // already renamed or already gone: nothing to do
			err = fmt.Errorf("write %q: %w", path, err)
		}
	}()
	if err := d.fill(temp, data, perm); err != nil {
		_ = temp.Close()
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := d.step(Rename, func() error { return os.Rename(temp.Name(), path) }); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(path))
}

func (d Disk) create(path string) (f *os.File, err error) {
	err = d.step(Create, func() error {
		f, err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
		return err
	})
	return f, err
}

func (d Disk) fill(f *os.File, data []byte, perm fs.FileMode) error {
	if err := d.step(Write, func() error { _, err := f.Write(data); return err }); err != nil {
		return err
	}
	if err := d.step(Chmod, func() error { return f.Chmod(perm) }); err != nil {
		return err
	}
	return d.step(SyncFile, f.Sync)
}

// MkdirAll is the function of that name.
func (d Disk) MkdirAll(path string, perm fs.FileMode) error {
	path = filepath.Clean(path)
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("make folder %q: a file is in the way", path)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("make folder %q: %w", path, err)
	}
	parent := filepath.Dir(path)
	if err := d.MkdirAll(parent, perm); err != nil {
		return err
	}
	err = d.step(Mkdir, func() error { return os.Mkdir(path, perm) })
	if err != nil && !errors.Is(err, fs.ErrExist) { // somebody else may have made it meanwhile
		return fmt.Errorf("make folder %q: %w", path, err)
	}
	return d.SyncDir(parent)
}

// SyncDir is the function of that name.
func (d Disk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.step(SyncFolder, f.Sync)
	return errors.Join(err, f.Close())
}

func (d Disk) step(s Step, do func() error) error {
	if d.Before != nil {
		if err := d.Before(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return do()
}
