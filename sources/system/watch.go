package system

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// watched is a file system that is read while others could write to it.
type watched struct {
	mount  Mount
	before map[string]string
}

// list returns what tells the state of every entry below dir. A file system that does
// not note when a file changed is small: its files are read.
func (w watched) list(ctx context.Context, dir string) (map[string]string, error) {
	all := map[string]string{}
	contents := !slices.Contains([]string{"ext2", "ext3", "ext4", typeXFS, TypeBtrfs, "f2fs", "jfs"}, w.mount.Type)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: no state", path)
		}
		state := fmt.Sprintf("%o %d:%d %d %d.%d %d.%d", st.Mode, st.Uid, st.Gid, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
		if contents && info.Mode().IsRegular() {
			sum, err := fileSum(path)
			if err != nil {
				return err
			}
			state += " " + sum
		}
		rest, err := filepath.Rel(dir, path)
		all[rest] = state
		return err
	})
	return all, err
}

// changed names one entry that is another than before; empty when none is.
func (w watched) changed(ctx context.Context, dir string) (string, error) {
	now, err := w.list(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "something was removed", nil
	}
	if err != nil {
		return "", err
	}
	for path, state := range now {
		if w.before[path] != state {
			return path, nil
		}
	}
	for path := range w.before {
		if _, there := now[path]; !there {
			return path + " is gone", nil
		}
	}
	return "", nil
}

func fileSum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	return fmt.Sprintf("%x", sum.Sum(nil)), errors.Join(err, file.Close())
}
