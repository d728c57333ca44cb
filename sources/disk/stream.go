package disk

import (
	"io"
	"os"
)

// Full returns the set of all blocks of an image of size bytes: those of one that was
// saved as a stream.
func Full(size int64) *Set {
	s := NewSet(size)
	s.Add(0, size)
	return s
}

// Stream writes the whole image, with zeros where a block is not stored. Its digest is
// that of all its blocks.
func (t *Tree) Stream(w io.Writer) error {
	zeros, buf := make([]byte, Block), make([]byte, Block)
	for n := range blocksOf(t.Size) {
		block := zeros[:blockLength(n, t.Size)]
		var err error
		if t.Stored.Has(n) {
			block = buf[:len(block)]
			err = t.block(n, block)
		} else {
			err = t.Sums.note(n, block)
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	return nil
}

// A Sparse writes a stream into a new file and leaves holes where it is zeros. Call
// Finish at the end.
type Sparse struct {
	File *os.File
	at   int64
}

func (s *Sparse) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		piece := p[done:min(done+Block, len(p))]
		if !isZero(piece) {
			if _, err := s.File.WriteAt(piece, s.at); err != nil {
				return done, err
			}
		}
		done, s.at = done+len(piece), s.at+int64(len(piece))
	}
	return len(p), nil
}

// Finish gives the file its length.
func (s *Sparse) Finish() error { return s.File.Truncate(s.at) }
