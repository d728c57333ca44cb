package targets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/minio/minio-go/v7"
)

// StoredBytes returns the size of all files of the repository. Files that vanish
// while it looks are not counted.
func (l *Local) StoredBytes(ctx context.Context) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(l.Path, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil || !d.Type().IsRegular() {
			return gone(err)
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return gone(err)
	})
	if err != nil {
		return 0, fmt.Errorf("measure target %q: %w", l.Name, err)
	}
	return total, nil
}

// StoredBytes returns the size of all versions of all objects of the repository:
// what a bucket keeps of deleted objects takes room until it lets go of it. It asks
// once for every thousand of them.
func (s *S3) StoredBytes(ctx context.Context) (int64, error) {
	client, err := s.open()
	if err != nil {
		return 0, err
	}
	for _, versions := range []bool{true, false} {
		total, options := int64(0), minio.ListObjectsOptions{Prefix: s.below(), Recursive: true, WithVersions: versions}
		for o := range client.ListObjectsIter(ctx, s.Bucket, options) {
			if err = o.Err; err != nil {
				break
			}
			total += o.Size
		}
		if err == nil {
			return total, ctx.Err()
		}
		if minio.ToErrorResponse(err).Code != "NotImplemented" {
			break // a service that knows no versions has objects alone
		}
	}
	return 0, s.classed(err)
}

// gone is err, unless it says that a file is not there any more.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
