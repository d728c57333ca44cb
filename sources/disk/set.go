package disk

import "math/bits"

// A Set is a set of blocks of an image. It takes 2 MiB for each TiB.
type Set struct {
	words []uint64
	size  int64 // of the image, in bytes
	count int64
}

// NewSet returns an empty set for an image of size bytes.
func NewSet(size int64) *Set {
	return &Set{words: make([]uint64, (blocksOf(size)+63)/64), size: size}
}

// Add adds every block that has a byte in the length bytes at offset. What lies
// outside of the image is passed over.
func (s *Set) Add(offset, length int64) {
	end := min(offset+length, s.size)
	offset = max(offset, 0)
	if offset >= end {
		return
	}
	for n := offset / Block; n <= (end-1)/Block; n++ {
		s.add(n)
	}
}

func (s *Set) add(n int64) {
	if word, bit := n/64, uint64(1)<<(n%64); s.words[word]&bit == 0 {
		s.words[word] |= bit
		s.count++
	}
}

// Has reports whether a block is in the set.
func (s *Set) Has(n int64) bool {
	return n >= 0 && n/64 < int64(len(s.words)) && s.words[n/64]&(1<<(n%64)) != 0
}

// Count is how many blocks are in the set.
func (s *Set) Count() int64 { return s.count }

// Bytes is how many bytes the blocks of the set have.
func (s *Set) Bytes() int64 {
	last := blocksOf(s.size) - 1
	if s.Has(last) {
		return (s.count-1)*Block + blockLength(last, s.size)
	}
	return s.count * Block
}

// Next is the first block of the set that is not before n; -1 when there is none.
func (s *Set) Next(n int64) int64 {
	for n < int64(len(s.words))*64 {
		if word := s.words[n/64] >> (n % 64); word != 0 {
			return n + int64(bits.TrailingZeros64(word))
		}
		n = (n/64 + 1) * 64
	}
	return -1
}
