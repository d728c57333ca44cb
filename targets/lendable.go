package targets

import (
	"context"
	"io"
	"path"

	"github.com/minio/minio-go/v7"

	"saoluu/restic"
)

// Lend serves the repository in the bucket.
func (s *S3) Lend(ctx context.Context, dir string) (lent restic.Repo, takeBack func() error, err error) {
	return lend(ctx, s.Repository, s, dir)
}

func (s *S3) size(ctx context.Context, name string) (int64, error) {
	client, err := s.open()
	if err != nil {
		return 0, err
	}
	found, err := client.StatObject(ctx, s.Bucket, s.key(name), minio.StatObjectOptions{})
	return found.Size, s.classed(err)
}

func (s *S3) section(ctx context.Context, name string, offset, length int64) (io.ReadCloser, int64, error) {
	client, err := s.open()
	if err != nil {
		return nil, 0, err
	}
	var options minio.GetObjectOptions
	switch {
	case length > 0:
		err = options.SetRange(offset, offset+length-1)
	case offset > 0:
		err = options.SetRange(offset, 0) // to the end
	}
	if err != nil {
		return nil, 0, err
	}
	// One request, where GetObject asks for the object's properties before.
	content, about, _, err := (&minio.Core{Client: client}).GetObject(ctx, s.Bucket, s.key(name), options)
	return content, about.Size, s.classed(err)
}

func (s *S3) remove(ctx context.Context, name string) error { return s.Unkeep(ctx, name) }

func (s *S3) list(ctx context.Context, dir string) (files []listed, err error) {
	client, err := s.open()
	if err != nil {
		return nil, err
	}
	for o := range client.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: s.key(dir) + "/", Recursive: true}) {
		if o.Err != nil {
			return nil, s.classed(o.Err)
		}
		files = append(files, listed{path.Base(o.Key), o.Size})
	}
	return files, ctx.Err()
}

// Lend serves the folder on the server, over one connection.
func (s *SFTP) Lend(ctx context.Context, dir string) (lent restic.Repo, takeBack func() error, err error) {
	d, hangUp, err := s.dial(ctx)
	if err != nil {
		return s.Repository, nil, err
	}
	lent, end, err := lend(ctx, s.Repository, d, dir)
	if err != nil {
		hangUp()
		return lent, nil, err
	}
	return lent, func() error { hangUp(); return end() }, nil
}

func (d *distant) size(_ context.Context, name string) (int64, error) {
	found, err := d.client.Stat(path.Join(d.target.Path, name))
	if err != nil {
		return 0, d.classed(err)
	}
	return found.Size(), nil
}

func (d *distant) section(_ context.Context, name string, offset, length int64) (io.ReadCloser, int64, error) {
	f, err := d.client.Open(path.Join(d.target.Path, name))
	if err != nil {
		return nil, 0, d.classed(err)
	}
	found, err := f.Stat()
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, 0, d.classed(err)
	}
	rest := max(found.Size()-offset, 0)
	if length == 0 || length > rest {
		length = rest
	}
	return part{io.LimitReader(f, length), f}, length, nil
}

// part is a part of a file.
type part struct {
	io.Reader
	io.Closer
}

// list returns the files of a folder, or, of that of the packs, of the folders in it.
func (d *distant) list(ctx context.Context, dir string) (files []listed, err error) {
	entries, err := d.client.ReadDirContext(ctx, path.Join(d.target.Path, dir))
	if err != nil {
		return nil, d.classed(gone(err))
	}
	for _, e := range entries {
		switch {
		case e.Mode().IsRegular():
			files = append(files, listed{e.Name(), e.Size()})
		case e.IsDir() && dir == "data":
			more, err := d.list(ctx, path.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			files = append(files, more...)
		}
	}
	return files, nil
}

func (d *distant) remove(_ context.Context, name string) error {
	return d.classed(gone(d.client.Remove(path.Join(d.target.Path, name))))
}
