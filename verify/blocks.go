package verify

import (
	"context"
	"errors"
	"io"
	"os"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources/disk"
)

// An ImageRead is an image that was put together from its blocks.
type ImageRead struct {
	Digest string // of what came (sources.FactImage)
	Size   int64
	Bytes  int64 // in the blocks
	Stored *disk.Set
}

// ReadImage puts the image of a snapshot together in out, a new file, which becomes
// sparse, or a block device that nobody uses. sums is the path of a file to be made
// meanwhile; done, which may be nil, hears how far it is. The image is whole only when
// the error is nil. fault.Damaged means that the repository did not give back what was
// stored.
func ReadImage(ctx context.Context, engine *restic.Engine, from restic.Repo, snapshot string, out *os.File, sums string, o restic.DumpOptions, done func(bytes, total int64)) (read ImageRead, err error) {
	w, err := disk.NewWriter(out, sums, done)
	if err != nil {
		return ImageRead{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	dumped := make(chan error, 1)
	go func() {
		_, err := engine.DumpTree(ctx, from, snapshot, pw, o)
		_ = pw.CloseWithError(err) // nil is the end of the file
		dumped <- err
	}()
	written := w.ReadTar(ctx, pr)
	if written != nil {
		_ = pr.CloseWithError(written)
	}
	err = <-dumped
	// What restic says comes first: what it left out shows as a broken archive.
	switch {
	case err != nil && written != nil && errors.Is(err, written):
		err = written
	case err == nil:
		err = written
	}
	if err != nil {
		return ImageRead{}, err
	}
	digest, err := w.Digest()
	if err != nil {
		return ImageRead{}, fault.New(fault.Damaged, "image in blocks", err, "")
	}
	return ImageRead{Digest: digest, Size: w.Size(), Stored: w.Stored(), Bytes: w.Bytes()}, nil
}
