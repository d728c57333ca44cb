package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// An Image is an opened image file or block device.
type Image struct {
	Path   string
	Size   int64  // bytes of the disk that it stands for
	Sector int64  // bytes of a sector, as a partition table counts
	Device bool   // a block device, not a file
	Format string // "raw", "qcow2", or what Over was told

	file   *os.File
	other  Reader // instead of a file
	qcow   *qcow  // nil for raw
	before stamp  // of a file, when it was opened
}

// A Reader gives the bytes of a disk that is no file of ours.
type Reader interface {
	io.ReaderAt
	// Data calls yield for every run of bytes that is not known to be zeros only, in
	// order.
	Data(yield func(offset, length int64)) error
}

// Over makes an image of what a reader gives, which goes on to belong to the caller.
// Messages call it name.
func Over(name, format string, size int64, r Reader) *Image {
	return &Image{Path: name, Format: format, Size: size, Sector: 512, other: r}
}

// ErrChanged is wrapped by the error of a file that was written to, or made shorter, while
// it was read.
var ErrChanged = errors.New("it was written to while it was read")

// errNoMedium is that of a device that has no bytes.
var errNoMedium = errors.New("the device is there and nothing is in it")

// A stamp tells whether a file was written to.
type stamp struct {
	size         int64
	mtime, ctime time.Time
}

// Busy is the error of an image that somebody writes to while we would read it.
var errBusy = errors.New("somebody may write to it: it is mounted, or open for writing")

// Open opens an image to be read from beginning to end. Unless busy is allowed, a
// block device is claimed, so that nobody can mount it meanwhile, and one that is in
// use, or a file that somebody has open for writing, is fault.Refused.
func Open(ctx context.Context, path string, busy bool) (*Image, error) {
	op := fmt.Sprintf("image %q", path)
	st, err := os.Stat(path)
	if err != nil {
		return nil, openError(op, err)
	}
	i := &Image{Path: path, Format: "raw", Sector: 512, Device: st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0}
	if !i.Device && !st.Mode().IsRegular() {
		return nil, fault.New(fault.Usage, op, errors.New("neither a file nor a block device"), "give the image file, the disk, the partition or the volume")
	}
	flags := os.O_RDONLY
	if i.Device && !busy {
		flags |= os.O_EXCL // open(2): on a block device, fails when it is in use
	}
	if i.file, err = os.OpenFile(path, flags, 0); err != nil {
		return nil, openError(op, err)
	}
	if err := i.measure(ctx, busy); err != nil {
		return nil, errors.Join(openError(op, err), i.Close())
	}
	return i, nil
}

// measure finds out how large the image is, and whether it may be read.
func (i *Image) measure(ctx context.Context, busy bool) (err error) {
	if i.Device {
		if i.Size, err = i.file.Seek(0, io.SeekEnd); err != nil {
			return err
		}
		sector, err := unix.IoctlGetInt(int(i.file.Fd()), unix.BLKSSZGET)
		i.Sector = int64(sector)
		return errors.Join(err, i.notEmpty())
	}
	if !busy && writers(i.file) {
		return errBusy
	}
	if i.before, err = i.stamp(); err != nil {
		return err
	}
	i.Size = i.before.size
	var magic [4]byte
	if _, err := i.file.ReadAt(magic[:], 0); err == nil && string(magic[:]) == qcowMagic {
		i.Format = "qcow2"
		if i.qcow, err = openQcow(ctx, i.file, i.before.size); err != nil {
			return err
		}
		i.Size = i.qcow.size
	}
	return i.notEmpty()
}

func (i *Image) notEmpty() error {
	switch {
	case i.Size > 0:
		return nil
	case i.Device:
		return errNoMedium
	}
	return errors.New("it is empty")
}

func (i *Image) stamp() (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(i.file.Fd()), &st); err != nil {
		return stamp{}, err
	}
	return stamp{st.Size, time.Unix(st.Mtim.Unix()), time.Unix(st.Ctim.Unix())}, nil
}

// writers reports whether somebody has a file open for writing, such as a running
// virtual machine or a loop device: the kernel then grants no lease for reading
// (fcntl(2), "Leases"). Where it grants none at all, Unchanged still tells.
func writers(file *os.File) bool {
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return errors.Is(err, unix.EAGAIN)
	}
	_, _ = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // closing it does so too
	return false
}

// Unchanged fails when a file was written to since it was opened. Of a block device
// that is claimed nobody else could mount anything; a Reader holds still.
func (i *Image) Unchanged() error {
	if i.Device || i.other != nil {
		return nil
	}
	now, err := i.stamp()
	switch {
	case err != nil:
		return err
	case now.size != i.before.size:
		return fmt.Errorf("%w: it was %d bytes long when the backup began, and is %d now", ErrChanged, i.before.size, now.size)
	case now != i.before:
		return ErrChanged
	}
	return nil
}

// Gone reports whether a device that was opened is not there any more, as one that was
// pulled out.
func (i *Image) Gone() bool {
	if !i.Device {
		return false
	}
	again, err := os.Open(i.Path)
	if err != nil {
		return true
	}
	defer again.Close()
	size, err := again.Seek(0, io.SeekEnd)
	return err != nil || size < i.Size
}

// ReadAt reads bytes of the disk that the image stands for.
func (i *Image) ReadAt(p []byte, offset int64) (int, error) {
	if i.other != nil {
		return i.other.ReadAt(p, offset)
	}
	if i.qcow != nil {
		return i.qcow.ReadAt(p, offset)
	}
	return i.file.ReadAt(p, offset)
}

// Data calls yield for every run of bytes that is not known to be zeros only.
func (i *Image) Data(yield func(offset, length int64)) error {
	if i.other != nil {
		return i.other.Data(yield)
	}
	if i.qcow != nil {
		i.qcow.data(yield)
		return nil
	}
	if i.Device {
		yield(0, i.Size)
		return nil
	}
	for at := int64(0); at < i.Size; {
		from, err := i.file.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) {
			return nil // nothing but a hole up to the end
		}
		if err != nil {
			return fmt.Errorf("look for holes: %w", err)
		}
		to, err := i.file.Seek(from, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("look for holes: %w", err)
		}
		yield(from, to-from)
		at = to
	}
	return nil
}

// Close lets go of the image.
func (i *Image) Close() error {
	if i == nil || i.file == nil {
		return nil
	}
	err := i.file.Close()
	i.file = nil
	return err
}

func openError(op string, err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, errBusy), errors.Is(err, syscall.EBUSY):
		return fault.New(fault.Refused, op, errBusy,
			`unmount it or shut the machine down first, name the running machine by guest, read it from an LVM snapshot, or set consistency = "crash" to take it as after a power cut`)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENOMEDIUM), errors.Is(err, errNoMedium):
		return fault.New(fault.Absent, op, err, "plug the disk in, or correct the path in the job")
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, op, errors.New("permission denied"), "let the user that runs saoluu read it, such as by the group disk, and the service too: see \"What it needs\" in docs/how-to/images.md")
	}
	return fault.New(fault.Failed, op, err, "look whether it is the right one and whole, and what the kernel's log says of its disk")
}

// zeroOut makes a range of a block device zeros (ioctl BLKZEROOUT, linux/fs.h).
func zeroOut(file *os.File, offset, length int64) error {
	var span [16]byte
	binary.NativeEndian.PutUint64(span[:8], uint64(offset))
	binary.NativeEndian.PutUint64(span[8:], uint64(length))
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span[0]))); errno != 0 {
		return errno
	}
	return nil
}
