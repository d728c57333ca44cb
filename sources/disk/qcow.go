package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// qcowMagic begins a qcow2 file (QEMU, docs/interop/qcow2.txt).
const qcowMagic = "QFI\xfb"

// A qcow reads the disk that a qcow2 file stands for, by the map that qemu-img makes
// of it: where in the file each run of its bytes lies. Clusters that are compressed
// or encrypted lie nowhere so; an image with one is refused.
type qcow struct {
	file *os.File
	size int64
	runs []run // of data, in order
}

// A run is bytes of the disk that lie together in the file.
type run struct{ at, length, host int64 }

// maxMap bounds the map of a qcow2 file, in bytes: some 10 million runs.
const maxMap = 1 << 30

func openQcow(ctx context.Context, file *os.File, length int64) (*qcow, error) {
	program, err := command.LookPath("qemu-img")
	if err != nil {
		return nil, fault.New(fault.MissingTool, "qcow2 image", err, "install the package qemu-utils")
	}
	// The open file and not its name: what is looked at is what will be read.
	const path = "/proc/self/fd/3"
	ask := func(v any, args ...string) error {
		out, err := command.Output(ctx, command.Cmd{
			Argv: slices.Concat([]string{program}, args, []string{"--output=json", "-f", "qcow2", "-U", path}),
			Env:  []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, ExtraFiles: []*os.File{file},
		}, maxMap)
		if err != nil {
			return fault.New(fault.Failed, "qcow2 image", err, `see what "qemu-img check" says of it`)
		}
		return json.Unmarshal(out, v)
	}
	var info struct {
		Size    int64  `json:"virtual-size"`
		Backing string `json:"backing-filename"`
		Dirty   bool   `json:"dirty-flag"`
		Format  struct {
			Data struct {
				Corrupt  bool   `json:"corrupt"`
				External string `json:"data-file"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := ask(&info, "info"); err != nil {
		return nil, err
	}
	refuse := func(why string) error {
		return fault.New(fault.Refused, "qcow2 image", errors.New(why), "save a plain image: qemu-img convert -O raw FILE NEW, or convert -O qcow2 without -c")
	}
	switch {
	case info.Backing != "":
		return nil, refuse("it holds only the difference from " + fmt.Sprintf("%q", info.Backing))
	case info.Format.Data.External != "":
		return nil, refuse("its data lie in another file")
	case info.Dirty || info.Format.Data.Corrupt:
		return nil, refuse("it was not closed properly or is marked as corrupt")
	}
	var all []struct {
		Start      int64  `json:"start"`
		Length     int64  `json:"length"`
		Data       bool   `json:"data"`
		Zero       bool   `json:"zero"`
		Compressed bool   `json:"compressed"`
		Offset     *int64 `json:"offset"`
	}
	if err := ask(&all, "map"); err != nil {
		return nil, err
	}
	q := &qcow{file: file, size: info.Size}
	for _, m := range all {
		switch {
		case !m.Data || m.Zero:
		case m.Offset == nil || m.Compressed:
			return nil, refuse(fmt.Sprintf("its bytes at offset %d are compressed or encrypted", m.Start))
		case *m.Offset+m.Length > length:
			return nil, fault.New(fault.Damaged, "qcow2 image", fmt.Errorf("its bytes at offset %d lie behind its end: it was truncated", m.Start), "")
		default:
			q.runs = append(q.runs, run{m.Start, m.Length, *m.Offset})
		}
	}
	return q, nil
}

func (q *qcow) data(yield func(offset, length int64)) {
	for _, r := range q.runs {
		yield(r.at, r.length)
	}
}

// ReadAt reads bytes of the disk.
func (q *qcow) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset+int64(len(p)) > q.size {
		p, err = p[:max(0, q.size-offset)], io.EOF
	}
	i, _ := slices.BinarySearchFunc(q.runs, offset, func(r run, at int64) int {
		if r.at+r.length <= at {
			return -1
		}
		return 1
	})
	for n < len(p) {
		at, rest := offset+int64(n), p[n:]
		if i == len(q.runs) || q.runs[i].at >= offset+int64(len(p)) {
			clear(rest)
			return len(p), err
		}
		r := q.runs[i]
		if at < r.at {
			clear(rest[:r.at-at])
			n += int(r.at - at)
			continue
		}
		piece := rest[:min(int64(len(rest)), r.at+r.length-at)]
		got, rerr := q.file.ReadAt(piece, r.host+at-r.at)
		if n += got; got < len(piece) {
			return n, rerr
		}
		i++
	}
	return n, err
}
