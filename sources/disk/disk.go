// Package disk reads and writes images of disks, partitions and volumes in fixed
// blocks, and finds out which of them hold something.
//
// An image is shown to the backup program as a tree of small files (tree.go), one for
// each block of 64 KiB that is stored:
//
//	00-image.json    {"format":1,"size":68157440,"block":65536,"blocks":402}
//	00000/00/00      block 0: the bytes 0 to 65535
//	00000/00/01      block 1
//	0002f/3c/1a      block 0x2f × 4096 + 0x3c × 64 + 0x1a
//
// The last block may be shorter. A block that has no file is zeros, or was free space
// when the image was taken. Every time and owner in the tree is constant, so that two
// images differ exactly where their blocks do. Fixed blocks make a day on which few
// blocks changed cost little more than these; the boundaries that a backup program
// finds in a stream by itself lie a megabyte apart.
//
// The digest of an image is the SHA-256 of the line "saoluu image 1 SIZE\n" and, for each stored
// block in order, its number as 8 bytes, the most significant first, and the SHA-256
// of its bytes (sums.go).
package disk

import (
	"encoding/json"
	"fmt"
)

// Block is the size of a block in bytes. Smaller ones follow changes more closely and
// cost more files; 64 KiB is what decision 16 measured.
const Block = 64 << 10

// Where in its folders the file of a block stands: 64 files a folder, 64 folders in a
// folder. A changed block changes the listing of its folder and of those above it, so
// they are kept short.
const (
	leafBits = 6
	midBits  = 6
)

// DescriptionName is the file that says how large the image is. It is listed before
// all folders.
const DescriptionName = "00-image.json"

// FolderBytes is how many bytes of a disk stand in each folder at the top of its tree.
const FolderBytes = Block << (leafBits + midBits)

// maxDescription bounds what is read of it, in bytes.
const maxDescription = 4096

// A description is the content of 00-image.json.
type description struct {
	Format int   `json:"format"`
	Size   int64 `json:"size"`
	Block  int64 `json:"block"`
	Blocks int64 `json:"blocks"` // how many are stored
}

func describe(size, stored int64) []byte {
	text, err := json.Marshal(description{Format: 1, Size: size, Block: Block, Blocks: stored})
	if err != nil {
		panic("image description: " + err.Error()) // numbers only
	}
	return append(text, '\n')
}

func readDescription(text []byte) (d description, err error) {
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("%s: %w", DescriptionName, err)
	}
	if d.Format != 1 || d.Block != Block || d.Size <= 0 || d.Blocks < 0 || d.Blocks > blocksOf(d.Size) {
		return d, fmt.Errorf("%s: format %d with blocks of %d bytes is not known here", DescriptionName, d.Format, d.Block)
	}
	return d, nil
}

// blockPath is the name of the file of a block.
func blockPath(n int64) string {
	return fmt.Sprintf("%05x/%02x/%02x", n>>(leafBits+midBits), n>>leafBits&(1<<midBits-1), n&(1<<leafBits-1))
}

// blockNumber is the block that a file's name stands for.
func blockNumber(path string) (int64, bool) {
	var top, mid, leaf int64
	if n, err := fmt.Sscanf(path, "%x/%x/%x", &top, &mid, &leaf); n != 3 || err != nil {
		return 0, false
	}
	n := top<<(leafBits+midBits) | mid<<leafBits | leaf
	return n, n >= 0 && blockPath(n) == path
}

// blocksOf is how many blocks an image has.
func blocksOf(size int64) int64 { return (size + Block - 1) / Block }

// blockLength is the length of a block of an image.
func blockLength(n, size int64) int64 { return min(Block, size-n*Block) }
