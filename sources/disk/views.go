package disk

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"syscall"
)

// views shows partitions of an image as files, by their numbers, so that programs can
// look into them which know nothing of disks, nor of the image's format.
type views struct {
	image      io.ReaderAt
	partitions []Partition
}

// viewMark is added to the index of a partition to number its file.
const viewMark = rootNode + 1

func (v *views) partition(id uint64) *Partition {
	if id < viewMark || id-viewMark >= uint64(len(v.partitions)) {
		return nil
	}
	return &v.partitions[id-viewMark]
}

func (v *views) attr(id uint64) (folder bool, length int64) {
	if p := v.partition(id); p != nil {
		return false, p.Size
	}
	return true, 0
}

func (v *views) child(_ uint64, name string) uint64 {
	for i, p := range v.partitions {
		if name == strconv.Itoa(p.Number) {
			return viewMark + uint64(i)
		}
	}
	return 0
}

func (v *views) list(_ uint64, skip int, yield func(name string, id uint64) bool) {
	for i := skip; i < len(v.partitions); i++ {
		if !yield(strconv.Itoa(v.partitions[i].Number), viewMark+uint64(i)) {
			return
		}
	}
}

func (v *views) read(id uint64, offset int64, buf []byte) (int, syscall.Errno) {
	p := v.partition(id)
	if p == nil || offset >= p.Size {
		return 0, 0
	}
	buf = buf[:min(int64(len(buf)), p.Size-offset)]
	n, err := v.image.ReadAt(buf, p.Start+offset)
	if n < len(buf) && !errors.Is(err, io.EOF) {
		return 0, syscall.EIO
	}
	return n, 0
}

// Partitions are shown as files in a folder. Mount and Unmount are those of a Tree.
type Partitions struct{ *Mounted }

// ShowPartitions shows the partitions of an image below dir, an empty folder.
func ShowPartitions(ctx context.Context, dir string, image io.ReaderAt, t Table) (*Partitions, error) {
	m, err := mount(ctx, dir, &views{image, t.Partitions})
	if err != nil {
		return nil, err
	}
	return &Partitions{m}, nil
}

// File is the path of a partition.
func (p *Partitions) File(number int) string { return filepath.Join(p.Dir, strconv.Itoa(number)) }
