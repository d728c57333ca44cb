package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/verify"
)

// imageDigest is what the blocks of a run's image must come to; empty when the run
// has no facts.
func (r *Runner) imageDigest(ctx context.Context, run catalog.Run) (string, error) {
	facts, err := r.factsOf(ctx, run)
	for _, f := range facts {
		if f.Part == sources.PartImage && f.Kind == sources.FactImage {
			return f.Value, err
		}
	}
	return "", err
}

// placedImage is placed for a run with an image: alone into a file or onto a device,
// or with what is known of its disk into a folder.
func (p RestorePlan) placedImage() RestorePlan {
	image := slices.IndexFunc(p.Parts, func(part RestorePart) bool { return part.Name == sources.PartImage })
	if p.Job.Source.Type != "image" || image < 0 || isDir(p.To) || p.wantsFolder {
		return p
	}
	p.Parts, p.Kind = p.Parts[image:image+1], "file"
	if st, err := os.Stat(p.To); err == nil && st.Mode()&os.ModeDevice != 0 {
		p.Kind = "device"
	}
	return p
}

// restoreImage puts an image together: in a file, under a name of its own until its
// digest has been compared, or on a device.
func (r *Runner) restoreImage(ctx context.Context, p RestorePlan, part RestorePart, from restic.Repo, id string) (n int64, err error) {
	dir, clean, err := r.scratch(id)
	if err != nil {
		return 0, fault.New(fault.Failed, "make a scratch folder", err, "check paths.scratch")
	}
	defer func() { err = errors.Join(err, clean()) }()
	path := p.To
	if p.Kind == "dir" {
		if err := os.MkdirAll(p.To, 0o700); err != nil {
			return 0, err
		}
		path = filepath.Join(p.To, sources.ImageFile)
	}
	out, err := p.imageFile(path, part)
	if err == nil {
		err = markUnfinished(dir, out)
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil && p.Kind != "device" {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	read, err := verify.ReadImage(ctx, r.Engine, from, part.Snapshot, out, filepath.Join(dir, "sums"), restic.DumpOptions{}, func(done, total int64) {
		r.show(Progress{Job: p.Job.Name, Step: "restore " + part.Name, Done: done, Total: total})
	})
	if err = errors.Join(err, out.Close()); err != nil {
		return read.Bytes, err
	}
	if part.SHA256 != "" && read.Digest != part.SHA256 {
		return read.Bytes, fault.New(fault.Damaged, fmt.Sprintf("restore %q", p.Job.Name), fmt.Errorf("part %q reads back with another digest than it was saved with", part.Name),
			"restore an older run with --date, or another target with --target")
	}
	if p.Kind == "device" {
		return read.Bytes, nil
	}
	return read.Bytes, os.Rename(out.Name(), path)
}

// streamToDevice writes an image that was saved as one stream onto a device.
func (r *Runner) streamToDevice(ctx context.Context, p RestorePlan, part RestorePart, from restic.Repo) (int64, error) {
	op := fmt.Sprintf("restore %q", p.Job.Name)
	out, err := p.imageFile(p.To, part)
	if err != nil {
		return 0, err
	}
	room, err := out.Seek(0, io.SeekEnd)
	if err == nil && room < part.Bytes {
		err = fault.New(fault.NoSpace, op, fmt.Errorf("the device has %d bytes, and the image %d", room, part.Bytes), "choose a device that is large enough")
	}
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		return 0, errors.Join(err, out.Close())
	}
	sum, n, err := r.stream(ctx, p, part, from, out)
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil && part.SHA256 != "" && sum != part.SHA256 {
		err = fault.New(fault.Damaged, op, fmt.Errorf("part %q reads back with another digest than it was saved with", part.Name), "restore an older run with --date, or another target with --target")
	}
	return n, err
}

// imageFile opens what the image is written to.
func (p RestorePlan) imageFile(path string, part RestorePart) (*os.File, error) {
	op := fmt.Sprintf("restore %q", p.Job.Name)
	if p.Kind == "device" {
		if !p.Overwrite {
			return nil, fault.New(fault.Refused, op, fmt.Errorf("%s is a device with data of its own", path), "look whether it is the right one, then say --overwrite")
		}
		device, err := os.OpenFile(path, os.O_RDWR|os.O_EXCL, 0)
		if errors.Is(err, syscall.EBUSY) {
			return nil, fault.New(fault.Refused, op, fmt.Errorf("%s is in use: it, or a part of it, is mounted", path), "unmount it first")
		}
		return device, err
	}
	if _, err := os.Lstat(path); err == nil && !p.Overwrite {
		return nil, fault.New(fault.Refused, op, fmt.Errorf("%s is there already", path), "choose another destination, or say --overwrite")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err == nil && int64(fs.Bavail)*fs.Bsize < part.Bytes {
		return nil, fault.New(fault.NoSpace, op, fmt.Errorf("%d MiB are free there, and up to %d MiB will be written", int64(fs.Bavail)*fs.Bsize>>20, part.Bytes>>20), "choose a place with more room")
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fault.New(fault.Failed, op, err, "choose a folder that exists and can be written")
	}
	return file, nil
}

// unfinishedMark is the file below scratch that names the file which a restore is writing,
// so that one of a process that was killed is found.
const unfinishedMark = "unfinished"

// markUnfinished names a file that is being written; a device is not taken away.
func markUnfinished(scratch string, out *os.File) error {
	if !strings.HasPrefix(filepath.Base(out.Name()), ".") {
		return nil
	}
	err := os.WriteFile(filepath.Join(scratch, unfinishedMark), []byte(out.Name()), 0o600)
	if err != nil {
		err = errors.Join(fault.New(fault.Failed, "make a scratch folder", err, "check paths.scratch"), out.Close(), os.Remove(out.Name()))
	}
	return err
}

// removeUnfinished takes away what a restore was writing that was killed. Names of ours
// begin with a dot until they are finished.
func removeUnfinished(scratch string) error {
	name, err := os.ReadFile(filepath.Join(scratch, unfinishedMark))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !strings.HasPrefix(filepath.Base(string(name)), ".") {
		return err
	}
	if err := os.Remove(string(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
