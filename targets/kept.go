package targets

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/minio/minio-go/v7"

	"saoluu/internal/durable"
)

// A Keeper is a Target with room for small files beside its repository, which
// can be read without its key. Names have slashes and begin with a folder of
// their own.
type Keeper interface {
	// Keep writes a file, over one that is there.
	Keep(ctx context.Context, name string, content []byte) error
	// Kept returns the files of a folder by their names in it; none when there is
	// no such folder.
	Kept(ctx context.Context, dir string) (map[string][]byte, error)
	// Unkeep removes a file. One that is not there is no error.
	Unkeep(ctx context.Context, name string) error
}

var (
	_ Keeper = (*Local)(nil)
	_ Keeper = (*SFTP)(nil)
	_ Keeper = (*S3)(nil)
)

// Keep writes a file below the folder, which must be there.
func (l *Local) Keep(_ context.Context, name string, content []byte) error {
	f := folder{l.Name, l.Path}
	file := filepath.Join(l.Path, filepath.FromSlash(name))
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return f.classed(err)
	}
	return f.classed(durable.WriteFile(file, content, 0o600))
}

// Kept reads the files of a folder.
func (l *Local) Kept(_ context.Context, dir string) (map[string][]byte, error) {
	f := folder{l.Name, l.Path}
	entries, err := os.ReadDir(filepath.Join(l.Path, dir))
	if err != nil {
		return nil, f.classed(gone(err))
	}
	kept := map[string][]byte{}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(l.Path, dir, e.Name()))
		if err != nil {
			return nil, f.classed(err)
		}
		kept[e.Name()] = content
	}
	return kept, nil
}

// Unkeep removes a file.
func (l *Local) Unkeep(_ context.Context, name string) error {
	return folder{l.Name, l.Path}.classed(gone(os.Remove(filepath.Join(l.Path, filepath.FromSlash(name)))))
}

// Keep writes a file under another name first.
func (s *SFTP) Keep(ctx context.Context, name string, content []byte) error {
	return s.connected(ctx, func(d *distant) error {
		final := path.Join(s.Path, name)
		if err := d.client.MkdirAll(path.Dir(final)); err != nil {
			return d.classed(err)
		}
		draft := name + ".draft"
		if err := d.client.Remove(path.Join(s.Path, draft)); gone(err) != nil {
			return d.classed(err)
		}
		if err := d.create(ctx, draft, content); err != nil {
			return err
		}
		return d.classed(d.client.PosixRename(path.Join(s.Path, draft), final))
	})
}

// Kept reads the files of a folder.
func (s *SFTP) Kept(ctx context.Context, dir string) (kept map[string][]byte, err error) {
	kept = map[string][]byte{}
	err = s.connected(ctx, func(d *distant) error {
		entries, err := d.client.ReadDirContext(ctx, path.Join(s.Path, dir))
		if err != nil {
			return d.classed(gone(err))
		}
		for _, e := range entries {
			if !e.Mode().IsRegular() || strings.HasSuffix(e.Name(), ".draft") || strings.HasSuffix(e.Name(), ".new") {
				continue
			}
			if kept[e.Name()], err = d.read(ctx, path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
		return nil
	})
	return kept, err
}

// Unkeep removes a file.
func (s *SFTP) Unkeep(ctx context.Context, name string) error {
	return s.connected(ctx, func(d *distant) error { return d.classed(gone(d.client.Remove(path.Join(s.Path, name)))) })
}

// Keep writes an object. Where nothing can be written over, it becomes the newest
// version.
func (s *S3) Keep(ctx context.Context, name string, content []byte) error {
	return s.create(ctx, name, content)
}

// Kept reads the objects below a prefix.
func (s *S3) Kept(ctx context.Context, dir string) (map[string][]byte, error) {
	client, err := s.open()
	if err != nil {
		return nil, err
	}
	kept := map[string][]byte{}
	for object := range client.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: s.key(dir) + "/", Recursive: true}) {
		if object.Err != nil {
			return nil, s.classed(object.Err)
		}
		name := path.Base(object.Key)
		if kept[name], err = s.read(ctx, path.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// Unkeep removes an object; versions that are locked stay.
func (s *S3) Unkeep(ctx context.Context, name string) error {
	client, err := s.open()
	if err != nil {
		return err
	}
	return s.classed(client.RemoveObject(ctx, s.Bucket, s.key(name), minio.RemoveObjectOptions{}))
}
