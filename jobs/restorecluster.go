package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
)

// partialCluster is where the files of a server lie until all of them are there and
// the stream they came in has its digest. No server starts on the folder around it.
const partialCluster = ".saoluu-partial"

// A files is how the files of one kind of server become a data folder.
type files struct {
	unpack func(ctx context.Context, stream io.Reader, dir string) error
	finish func(ctx context.Context, dir string) error // once the stream is known to be right; nil: nothing is left to do
	last   string                                      // what a server cannot start without
}

// filesOf chooses by the part; it fails when a program is missing.
func (r *Runner) filesOf(ctx context.Context, p RestorePlan, part RestorePart) (files, error) {
	if sources.IsMariabackup(part.File) {
		return r.mariaFiles(ctx, p)
	}
	return files{last: "global", unpack: func(ctx context.Context, stream io.Reader, dir string) error {
		return sources.UnpackCluster(ctx, stream, dir, ownerOnceMore)
	}}, nil
}

// unpackServer brings the files of a server back as a data folder. On error the folder
// is as empty as before.
func (r *Runner) unpackServer(ctx context.Context, p RestorePlan, part RestorePart, from restic.Repo) (n int64, err error) {
	op := fmt.Sprintf("restore %q", p.Job.Name)
	f, err := r.filesOf(ctx, p, part)
	if err != nil {
		return 0, err
	}
	_, stat := os.Lstat(p.To)
	partial := filepath.Join(p.To, partialCluster)
	if err := os.MkdirAll(partial, 0o700); err != nil {
		return 0, fault.New(fault.Failed, op, err, "choose a folder that can be written")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
			if errors.Is(stat, os.ErrNotExist) {
				err = errors.Join(err, os.Remove(p.To))
			}
		}
	}()
	sum, n, err := r.unpackStream(ctx, p, part, from, func(stream io.Reader) error { return f.unpack(ctx, stream, partial) })
	if err != nil {
		return n, err
	}
	if part.SHA256 != "" && sum != part.SHA256 {
		return n, fault.New(fault.Damaged, op, fmt.Errorf("part %q reads back with another digest than it was saved with", part.Name),
			"restore an older run with --date, or another target with --target")
	}
	if f.finish != nil {
		r.show(Progress{Job: p.Job.Name, Step: "prepare the files"})
		if err := f.finish(ctx, partial); err != nil {
			return n, err
		}
	}
	return n, settleServer(p.To, partial, f.last)
}

// unpackStream unpacks while it reads.
func (r *Runner) unpackStream(ctx context.Context, p RestorePlan, part RestorePart, from restic.Repo, unpack func(io.Reader) error) (sum string, n int64, err error) {
	reader, writer := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := unpack(reader)
		_ = reader.CloseWithError(err) // ends the stream when it cannot be unpacked
		unpacked <- err
	}()
	sum, n, err = r.stream(ctx, p, part, from, writer)
	_ = writer.CloseWithError(err)
	if uerr := <-unpacked; uerr != nil && (err == nil || errors.Is(err, uerr)) {
		err = uerr
	}
	return sum, n, err
}

// ownerOnceMore gives what was unpacked its owner at the source, where that can be
// done.
func ownerOnceMore(root *os.Root, name string, uid, gid int) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return root.Lchown(name, uid, gid)
}

// settleServer moves the files to their place, last what a server cannot start
// without, and makes the folder theirs. On error they are all gone.
func settleServer(dir, partial, last string) (err error) {
	entries, err := os.ReadDir(partial)
	if err != nil {
		return err
	}
	var moved []string
	defer func() {
		for _, path := range moved {
			if err != nil {
				err = errors.Join(err, os.RemoveAll(path))
			}
		}
	}()
	move := func(name string) error {
		moved = append(moved, filepath.Join(dir, name))
		return os.Rename(filepath.Join(partial, name), filepath.Join(dir, name))
	}
	for _, e := range entries {
		if e.Name() == last {
			continue
		}
		if err := move(e.Name()); err != nil {
			return err
		}
	}
	if err := errors.Join(move(last), os.Remove(partial), os.Chmod(dir, 0o700)); err != nil {
		return err
	}
	st, err := os.Stat(filepath.Join(dir, last))
	if err != nil {
		return err
	}
	if owner, ok := st.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		err = os.Chown(dir, int(owner.Uid), int(owner.Gid))
	}
	return errors.Join(err, durable.SyncDir(dir))
}
