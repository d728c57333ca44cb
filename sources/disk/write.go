package disk

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// A Writer puts an image together again.
type Writer struct {
	out    *os.File
	device bool
	sums   *Sums
	stored *Set
	size   int64
	want   int64 // how many blocks there should be
	done   func(bytes, total int64)
	bytes  int64
}

// NewWriter writes to out, a new file or a block device that nobody uses; sums is the
// path of a file for digests. done, which may be nil, hears how many bytes came of how many.
func NewWriter(out *os.File, sums string, done func(bytes, total int64)) (*Writer, error) {
	st, err := out.Stat()
	if err != nil {
		return nil, err
	}
	if done == nil {
		done = func(int64, int64) {}
	}
	w := &Writer{out: out, device: st.Mode()&fs.ModeDevice != 0, done: done}
	w.sums, err = NewSums(sums, 0)
	return w, err
}

// Size is the size of the image, known once its beginning was read.
func (w *Writer) Size() int64 { return w.size }

// Bytes is how many bytes were written or found to be zeros.
func (w *Writer) Bytes() int64 { return w.bytes }

// ReadTar puts together the image whose tree comes as a tar archive, in the order of
// its names. It is whole only when ReadTar returned nil; Digest then says what came.
func (w *Writer) ReadTar(ctx context.Context, r io.Reader) error {
	archive := tar.NewReader(r)
	buf := make([]byte, Block)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("image in blocks: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := w.member(strings.TrimPrefix(h.Name, "/"), h.Size, archive, buf); err != nil {
			return err
		}
	}
	if err := w.complete(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r) // what pads the archive
	return errors.Join(err, w.finish())
}

func (w *Writer) complete() error {
	if w.stored == nil || w.stored.Count() != w.want {
		return damaged("%d of %d blocks came", w.stored.countOrNone(), w.want)
	}
	return nil
}

// An image may also come in pieces: Begin, ReadFolder for each folder of its tree, End.

// Begin takes the file DescriptionName.
func (w *Writer) Begin(description []byte) error { return w.begin(description) }

// ReadFolder takes the blocks of one folder of the tree, which was put into dir.
func (w *Writer) ReadFolder(ctx context.Context, name, dir string) error {
	buf := make([]byte, Block)
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || e.IsDir() {
			return err
		}
		below, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil || !st.Mode().IsRegular() {
			return errors.Join(err, damaged("%q is no block of an image", name+"/"+below))
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		return w.member(name+"/"+below, st.Size(), file, buf)
	})
}

// End makes sure that all blocks came. The image is whole when it returned nil.
func (w *Writer) End() error {
	if err := w.complete(); err != nil {
		return err
	}
	return w.finish()
}

func (s *Set) countOrNone() int64 {
	if s == nil {
		return 0
	}
	return s.count
}

func damaged(format string, args ...any) error {
	return fault.New(fault.Damaged, "image in blocks", fmt.Errorf(format, args...), "restore an older run with --date, or another target with --target")
}

// member takes one file of the tree.
func (w *Writer) member(name string, length int64, r io.Reader, buf []byte) error {
	if name == DescriptionName {
		text, err := io.ReadAll(io.LimitReader(r, maxDescription))
		if err != nil {
			return err
		}
		return w.begin(text)
	}
	n, ok := blockNumber(name)
	switch {
	case w.stored == nil:
		return damaged("it begins with %q, not with %s", name, DescriptionName)
	case !ok || n >= blocksOf(w.size) || length != blockLength(n, w.size):
		return damaged("%q with %d bytes is no block of an image of %d", name, length, w.size)
	case w.stored.Has(n):
		return damaged("%q comes twice", name)
	}
	buf = buf[:length]
	if _, err := io.ReadFull(r, buf); err != nil {
		return fmt.Errorf("image in blocks: %w", err)
	}
	return w.block(n, buf)
}

// begin learns how large the image is.
func (w *Writer) begin(text []byte) error {
	d, err := readDescription(text)
	if err != nil {
		return fault.New(fault.Damaged, "image in blocks", err, "")
	}
	if w.stored != nil {
		return damaged("%s comes twice", DescriptionName)
	}
	w.size, w.want, w.stored = d.Size, d.Blocks, NewSet(d.Size)
	w.sums.size, w.sums.seen = d.Size, NewSet(d.Size)
	if !w.device {
		return w.out.Truncate(d.Size)
	}
	room, err := w.out.Seek(0, io.SeekEnd)
	if err == nil && room < d.Size {
		err = fault.New(fault.NoSpace, "restore to a device", fmt.Errorf("it has %d bytes, and the image %d", room, d.Size), "choose a device that is large enough")
	}
	return err
}

// block writes a block where it belongs. Zeros need no writing in a file that is new.
func (w *Writer) block(n int64, data []byte) error {
	if err := w.sums.note(n, data); err != nil {
		return err
	}
	w.stored.add(n)
	if w.device || !isZero(data) {
		if _, err := w.out.WriteAt(data, n*Block); err != nil {
			return writeError(n*Block, err)
		}
	}
	w.bytes += int64(len(data))
	w.done(w.bytes, w.want*Block)
	return nil
}

// finish makes what is not stored zeros, on a device that may have held other data:
// a file system takes it for granted in places that it uses.
func (w *Writer) finish() error {
	if w.device {
		for at := int64(0); at < blocksOf(w.size); {
			next := w.stored.Next(at)
			end := next
			if next < 0 {
				end = blocksOf(w.size)
			}
			if end > at {
				if err := w.zero(at*Block, min(end*Block, w.size)-at*Block); err != nil {
					return err
				}
			}
			at = end + 1
		}
	}
	return w.out.Sync()
}

func (w *Writer) zero(offset, length int64) error {
	if err := zeroOut(w.out, offset, length); err == nil {
		return nil
	}
	zeros := make([]byte, 1<<20)
	for length > 0 {
		n, err := w.out.WriteAt(zeros[:min(length, int64(len(zeros)))], offset)
		if err != nil {
			return writeError(offset, err)
		}
		offset, length = offset+int64(n), length-int64(n)
	}
	return nil
}

func writeError(offset int64, err error) error {
	kind, hint := fault.Failed, ""
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		kind, hint = fault.NoSpace, "choose a place with more room"
	}
	return fault.New(kind, fmt.Sprintf("write the image at offset %d", offset), err, hint)
}

// Digest is that of the image as it came.
func (w *Writer) Digest() (string, error) { return w.sums.Digest(w.stored) }

// Stored are the blocks that came.
func (w *Writer) Stored() *Set { return w.stored }

// Close removes the digests. It does not close what was written.
func (w *Writer) Close() error { return w.sums.Close() }

// isZero compares a block with itself, one byte on.
func isZero(p []byte) bool { return len(p) == 0 || p[0] == 0 && bytes.Equal(p[:len(p)-1], p[1:]) }
