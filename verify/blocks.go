package verify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"

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
	if isFar(from) {
		err = readPieces(ctx, engine, from, snapshot, w, filepath.Join(filepath.Dir(sums), "pieces"), o)
	} else {
		err = readStream(ctx, engine, from, snapshot, w, o)
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

// isFar tells repositories that are reached over a network from folders.
func isFar(from restic.Repo) bool { return !filepath.IsAbs(from.URL) }

// readPieces restores one folder of the tree after the other, each of 256 MiB of the disk
// at most, and puts its blocks in their places. In a stream restic fetches a block only
// when the one before it has come: over a network that takes as long as it is far, for
// each 64 KiB.
func readPieces(ctx context.Context, engine *restic.Engine, from restic.Repo, snapshot string, w *disk.Writer, dir string, o restic.DumpOptions) (err error) {
	var description bytes.Buffer
	if _, err := engine.Dump(ctx, from, snapshot, "/"+disk.DescriptionName, &description, o); err != nil {
		return err
	}
	if err := w.Begin(description.Bytes()); err != nil {
		return err
	}
	var folders []string
	err = engine.ListFolder(ctx, from, snapshot, "/", func(n restic.Node) error {
		if n.Type == "dir" {
			folders = append(folders, path.Base(n.Path))
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeTree(dir)) }()
	for _, name := range folders {
		if _, err := engine.Restore(ctx, from, snapshot, dir, restic.RestoreOptions{Folder: "/" + name, NoCache: o.NoCache, Sparse: true}); err != nil {
			return err
		}
		if err := errors.Join(w.ReadFolder(ctx, name, dir), removeTree(dir)); err != nil {
			return err
		}
	}
	return w.End()
}

// readStream reads the tree as one archive.
func readStream(ctx context.Context, engine *restic.Engine, from restic.Repo, snapshot string, w *disk.Writer, o restic.DumpOptions) (err error) {
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
	return err
}
