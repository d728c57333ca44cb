package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// Sums collects the digests of blocks as they pass, in any order, in a file: 32 bytes
// for each block of the image, most of them a hole.
type Sums struct {
	mu   sync.Mutex
	file *os.File
	size int64
	seen *Set
}

// NewSums makes the file at path, for an image of size bytes. Call Close.
func NewSums(path string, size int64) (*Sums, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &Sums{file: file, size: size, seen: NewSet(size)}, nil
}

// errChanged is the error of a block that is read a second time and differs.
var errChanged = errors.New("it changed while it was read")

// note takes the digest of a block. A block that passes again must be the same.
func (s *Sums) note(n int64, data []byte) error {
	sum := sha256.Sum256(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := n * sha256.Size
	if s.seen.Has(n) {
		var before [sha256.Size]byte
		if _, err := s.file.ReadAt(before[:], at); err != nil {
			return fmt.Errorf("digests of blocks: %w", err)
		}
		if !bytes.Equal(before[:], sum[:]) {
			return errChanged
		}
		return nil
	}
	if _, err := s.file.WriteAt(sum[:], at); err != nil {
		return fmt.Errorf("digests of blocks: %w", err)
	}
	s.seen.add(n)
	return nil
}

// Digest is that of the image that has these blocks. A block that has not passed is
// an error.
func (s *Sums) Digest(stored *Set) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := newDigest(s.size)
	var sum [sha256.Size]byte
	missing, first := int64(0), int64(-1)
	for n := stored.Next(0); n >= 0; n = stored.Next(n + 1) {
		if !s.seen.Has(n) {
			if missing++; first < 0 {
				first = n
			}
			continue
		}
		if _, err := s.file.ReadAt(sum[:], n*sha256.Size); err != nil {
			return "", fmt.Errorf("digests of blocks: %w", err)
		}
		addBlock(all, n, sum[:])
	}
	if missing > 0 {
		return "", fmt.Errorf("%d of %d blocks were not read, the first at offset %d", missing, stored.Count(), first*Block)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// DigestOf reads an image again and returns its digest.
func DigestOf(ctx context.Context, r io.ReaderAt, size int64, stored *Set) (string, error) {
	all := newDigest(size)
	buf := make([]byte, Block)
	for n := stored.Next(0); n >= 0; n = stored.Next(n + 1) {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		block := buf[:blockLength(n, size)]
		if _, err := r.ReadAt(block, n*Block); err != nil {
			return "", fmt.Errorf("read at offset %d: %w", n*Block, err)
		}
		sum := sha256.Sum256(block)
		addBlock(all, n, sum[:])
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

func newDigest(size int64) hash.Hash {
	all := sha256.New()
	fmt.Fprintf(all, "saoluu image 1 %d\n", size)
	return all
}

func addBlock(all hash.Hash, n int64, sum []byte) {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(n))
	all.Write(number[:])
	all.Write(sum)
}

// Close removes the file.
func (s *Sums) Close() error {
	err := s.file.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(err, os.Remove(s.file.Name()))
}
