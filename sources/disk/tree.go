package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"syscall"
)

// A Tree is the stored blocks of an image as a tree of files (see the package
// comment). Its fields are set before it is mounted.
type Tree struct {
	Image  io.ReaderAt
	Size   int64
	Stored *Set
	Sums   *Sums // takes the digests of what is read

	mu    sync.Mutex
	err   error            // the first
	parts map[int64][]byte // blocks that were asked for in pieces, the last few
	order []int64
}

// piecesKept is how many blocks are kept that the kernel asks for in pieces.
const piecesKept = 16

// Mount shows the tree at dir, an empty folder.
func (t *Tree) Mount(ctx context.Context, dir string) (*Mounted, error) { return mount(ctx, dir, t) }

// Err is the first error that reading met: it names the offset.
func (t *Tree) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *Tree) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

// Numbers of nodes: that of a block, and of the folders above it, behind a mark.
const (
	descriptionNode = 2
	topMark         = uint64(1) << 48
	midMark         = uint64(2) << 48
	leafMark        = uint64(3) << 48
	markMask        = uint64(7) << 48
)

func (t *Tree) attr(id uint64) (folder bool, length int64) {
	switch {
	case id == descriptionNode:
		return false, int64(len(t.description()))
	case id&markMask == leafMark:
		return false, blockLength(int64(id&^markMask), t.Size)
	}
	return true, 0
}

func (t *Tree) description() []byte { return describe(t.Size, t.Stored.Count()) }

func (t *Tree) child(folder uint64, name string) uint64 {
	if folder == rootNode && name == DescriptionName {
		return descriptionNode
	}
	n, err := strconv.ParseInt(name, 16, 48)
	if err != nil || n < 0 {
		return 0
	}
	mark, shift, width := t.below(folder)
	number := t.first(folder)>>shift + n
	if mark == 0 || fmt.Sprintf("%0*x", width, n) != name || folder != rootNode && n >= 1<<leafBits {
		return 0
	}
	if at := t.Stored.Next(number << shift); at < 0 || at>>shift != number {
		return 0
	}
	return mark | uint64(number)
}

// below says what stands in a folder: the mark of its nodes, how many bits of a
// block's number they leave open, and how long their names are.
func (t *Tree) below(folder uint64) (mark uint64, shift, width int) {
	switch {
	case folder == rootNode:
		return topMark, leafBits + midBits, 5
	case folder&markMask == topMark:
		return midMark, leafBits, 2
	case folder&markMask == midMark:
		return leafMark, 0, 2
	}
	return 0, 0, 0
}

// first is the first block that may stand below a folder.
func (t *Tree) first(folder uint64) int64 {
	switch folder & markMask {
	case topMark:
		return int64(folder&^markMask) << (leafBits + midBits)
	case midMark:
		return int64(folder&^markMask) << leafBits
	}
	return 0
}

// after is the block behind the last one that may stand below a folder.
func (t *Tree) after(folder uint64) int64 {
	switch folder & markMask {
	case topMark:
		return t.first(folder) + 1<<(leafBits+midBits)
	case midMark:
		return t.first(folder) + 1<<leafBits
	}
	return blocksOf(t.Size)
}

func (t *Tree) list(folder uint64, skip int, yield func(name string, id uint64) bool) {
	if folder == rootNode {
		if skip == 0 && !yield(DescriptionName, descriptionNode) {
			return
		}
		skip = max(0, skip-1)
	}
	mark, shift, width := t.below(folder)
	if mark == 0 {
		return
	}
	first, end := t.first(folder), t.after(folder)
	for at := t.Stored.Next(first); at >= 0 && at < end; {
		number := at >> shift
		if skip--; skip < 0 && !yield(fmt.Sprintf("%0*x", width, number-first>>shift), mark|uint64(number)) {
			return
		}
		at = t.Stored.Next((number + 1) << shift)
	}
}

func (t *Tree) read(id uint64, offset int64, buf []byte) (int, syscall.Errno) {
	if id == descriptionNode {
		text := t.description()
		return copy(buf, text[min(offset, int64(len(text))):]), 0
	}
	n := int64(id &^ markMask)
	length := blockLength(n, t.Size)
	if id&markMask != leafMark || length <= 0 || offset >= length {
		return 0, 0
	}
	if offset == 0 && int64(len(buf)) >= length {
		if err := t.block(n, buf[:length]); err != nil {
			return 0, syscall.EIO
		}
		return int(length), 0
	}
	data, err := t.whole(n, length)
	if err != nil {
		return 0, syscall.EIO
	}
	return copy(buf, data[offset:]), 0
}

// block reads a whole block and takes its digest.
func (t *Tree) block(n int64, buf []byte) error {
	read, err := t.Image.ReadAt(buf, n*Block)
	switch {
	case read == len(buf):
		err = nil
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: it ends at offset %d, and was %d bytes long", ErrChanged, n*Block+int64(read), t.Size)
	default:
		err = fmt.Errorf("read at offset %d: %w", n*Block+int64(read), err)
	}
	if err == nil {
		if err = t.Sums.note(n, buf); err != nil {
			err = fmt.Errorf("the block at offset %d: %w", n*Block, err)
		}
	}
	if err != nil {
		t.fail(err)
	}
	return err
}

// whole returns a block that is asked for in pieces: all pieces come from one reading.
func (t *Tree) whole(n, length int64) ([]byte, error) {
	t.mu.Lock()
	data, kept := t.parts[n]
	t.mu.Unlock()
	if kept {
		return data, nil
	}
	data = make([]byte, length)
	if err := t.block(n, data); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parts == nil {
		t.parts = map[int64][]byte{}
	}
	if len(t.order) == piecesKept {
		delete(t.parts, t.order[0])
		t.order = t.order[1:]
	}
	t.parts[n], t.order = data, append(t.order, n)
	return data, nil
}
