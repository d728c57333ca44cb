package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// maxVolume is the longest volume: FAT32 and ISO 9660 hold no file of 4 GiB
// (ECMA-119, 8.4.4: lengths of 32 bits), so a whole MiB less.
const maxVolume = 4<<30 - 1<<20

// leastVolume: what is left of a disc below this many bytes stays empty.
const leastVolume = 64 << 10

// Permissions of what is handed to others: it is encrypted, or meant to be read.
const (
	filePerm = 0o644
	dirPerm  = 0o755
)

// volumes is a writer that cuts what it is given into volumes and discs. Each
// volume is flushed to the medium when it is full.
type volumes struct {
	dir, name string
	room      int64 // for the volumes of a disc
	digits    int   // of a volume's number

	list  []Volume
	used  int64 // of the current disc
	disc  int
	file  *os.File
	left  int64 // of the current volume
	sum   hash.Hash
	wrote int64 // to the current volume
	err   error // the first
}

func discDir(dir string, disc int) string { return filepath.Join(dir, fmt.Sprintf("disc-%02d", disc)) }

// Write is the io.Writer's. After an error it writes nothing any more.
func (v *volumes) Write(p []byte) (n int, err error) {
	for len(p) > 0 && v.err == nil {
		if v.left == 0 {
			if v.err = v.next(); v.err != nil {
				break
			}
		}
		k, err := v.file.Write(p[:min(int64(len(p)), v.left)])
		v.sum.Write(p[:k])
		n, p, v.left, v.wrote = n+k, p[k:], v.left-int64(k), v.wrote+int64(k)
		v.err = mediumError(err)
	}
	return n, v.err
}

// next ends the current volume and begins another, on a new disc when this one is
// full.
func (v *volumes) next() error {
	if err := v.end(); err != nil {
		return err
	}
	if v.disc == 0 || v.room-v.used < leastVolume {
		v.disc, v.used = v.disc+1, 0
		if err := durable.MkdirAll(discDir(v.dir, v.disc), dirPerm); err != nil {
			return mediumError(err)
		}
	}
	name := fmt.Sprintf("%s.%0*d", v.name, v.digits, len(v.list)+1)
	file, err := os.OpenFile(filepath.Join(discDir(v.dir, v.disc), name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return mediumError(err)
	}
	v.list = append(v.list, Volume{Name: name, Disc: v.disc})
	v.file, v.sum, v.wrote, v.left = file, sha256.New(), 0, min(maxVolume, v.room-v.used)
	return nil
}

// end flushes the current volume.
func (v *volumes) end() error {
	if v.file == nil {
		return nil
	}
	err := errors.Join(v.file.Sync(), v.file.Close())
	v.file = nil
	last := &v.list[len(v.list)-1]
	last.Bytes, last.SHA256 = v.wrote, hex.EncodeToString(v.sum.Sum(nil))
	v.used += v.wrote
	v.left = 0
	return mediumError(err)
}

// finish ends the last volume.
func (v *volumes) finish() error {
	if v.err == nil {
		v.err = v.end()
	}
	return v.err
}

// abandon closes what is open.
func (v *volumes) abandon() {
	if v.file != nil {
		_ = v.file.Close() // what it holds is thrown away
		v.file = nil
	}
}

// mediumError gives an error of the medium its kind.
func mediumError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.NoSpace, "write the archive", err, "free space, or choose another folder with --to")
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.New(fault.Denied, "write the archive", err, "choose a folder that this user can write to")
	}
	return fault.New(fault.Failed, "write the archive", err, "check the medium")
}

// A volumeReader reads volumes one after the other as one stream.
type volumeReader struct {
	paths []string
	file  *os.File
}

func (v *volumeReader) Read(p []byte) (int, error) {
	for {
		if v.file == nil {
			if len(v.paths) == 0 {
				return 0, io.EOF
			}
			var err error
			if v.file, err = os.Open(v.paths[0]); err != nil {
				return 0, err
			}
			v.paths = v.paths[1:]
		}
		n, err := v.file.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := v.Close(); err != nil {
			return 0, err
		}
	}
}

// Close closes what is open.
func (v *volumeReader) Close() error {
	if v.file == nil {
		return nil
	}
	err := v.file.Close()
	v.file = nil
	return err
}

// digestOf reads a file from its medium, not from memory: its pages are dropped
// first, as far as the kernel does so (posix_fadvise(2)).
func digestOf(ctx context.Context, path string, show func(n int64)) (digest string, size int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED) // not every file system can: then memory vouches
	sum := sha256.New()
	size, err = io.Copy(sum, &shown{r: file, show: show, stopped: func() error { return context.Cause(ctx) }})
	return hex.EncodeToString(sum.Sum(nil)), size, err
}

// shown tells how much has been read, and stops when it is told to.
type shown struct {
	r       io.Reader
	show    func(n int64)
	stopped func() error // may be nil
}

func (s *shown) Read(p []byte) (int, error) {
	if s.stopped != nil {
		if err := s.stopped(); err != nil {
			return 0, err
		}
	}
	n, err := s.r.Read(p)
	if s.show != nil {
		s.show(int64(n))
	}
	return n, err
}

func hashAll(r io.Reader) (string, error) {
	sum := sha256.New()
	_, err := io.Copy(sum, r)
	return hex.EncodeToString(sum.Sum(nil)), err
}
