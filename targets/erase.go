package targets

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"saoluu/internal/fault"
)

// An Eraser is a Target whose storage may keep what is deleted from it.
type Eraser interface {
	// Erase takes away for good what the storage kept of deleted files of a folder:
	// of those in names, of all when names is nil. Files that are present are left
	// alone. It returns those that the storage does not let go, whose content
	// whoever may read its versions can bring back. An error means that nobody could
	// look.
	Erase(ctx context.Context, dir string, names []string) ([]Kept, error)
}

// Kept is a deleted file that the storage kept.
type Kept struct {
	Name  string    // in its folder
	Until time.Time // until when it is locked, as far as the storage says; zero: it does not say
}

var _ Eraser = (*S3)(nil)

// Erase lists the versions below the folder once, and asks about single objects
// only where a deleted one has any.
func (s *S3) Erase(ctx context.Context, dir string, names []string) ([]Kept, error) {
	client, err := s.open()
	if err != nil {
		return nil, err
	}
	deleted, versions := map[string]bool{}, []minio.ObjectInfo{}
	for o := range client.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: s.key(dir) + "/", Recursive: true, WithVersions: true}) {
		switch {
		case o.Err != nil && minio.ToErrorResponse(o.Err).Code == "NotImplemented":
			return nil, nil // a service that knows no versions keeps none
		case o.Err != nil:
			return nil, s.unlisted(o.Err)
		case names != nil && !slices.Contains(names, path.Base(o.Key)):
		case o.IsDeleteMarker && o.IsLatest:
			deleted[o.Key] = true
		case !o.IsDeleteMarker:
			versions = append(versions, o)
		}
	}
	var kept []Kept
	for _, v := range versions {
		if !deleted[v.Key] {
			continue
		}
		until, gone, err := s.eraseVersion(ctx, v)
		if err != nil {
			return nil, err
		}
		if !gone {
			kept = append(kept, Kept{Name: strings.TrimPrefix(v.Key, s.key(dir)+"/"), Until: until})
		}
	}
	return kept, ctx.Err()
}

// unlisted says why the versions could not be listed.
func (s *S3) unlisted(err error) error {
	err = s.classed(err)
	if fault.KindOf(err) == fault.Denied {
		err = fault.New(fault.Denied, "list versions", err, "let the access key list versions (s3:ListBucketVersions), then do it again")
	}
	return err
}

// eraseVersion deletes one version, and says until when it is locked when the
// storage refuses.
func (s *S3) eraseVersion(ctx context.Context, v minio.ObjectInfo) (until time.Time, gone bool, err error) {
	client, err := s.open()
	if err != nil {
		return until, false, err
	}
	refused := client.RemoveObject(ctx, s.Bucket, v.Key, minio.RemoveObjectOptions{VersionID: v.VersionID})
	if refused == nil {
		return until, true, nil
	}
	if err := s.unreached(refused); err != nil {
		return until, false, err
	}
	return s.lockedUntil(ctx, v.Key, v.VersionID)
}

// lockedUntil asks until when a version is locked; gone says that there is no such
// version. The zero instant is of one without a lock that can be read.
func (s *S3) lockedUntil(ctx context.Context, key, version string) (until time.Time, gone bool, err error) {
	client, err := s.open()
	if err != nil {
		return until, false, err
	}
	_, end, err := client.GetObjectRetention(ctx, s.Bucket, key, version)
	switch code := minio.ToErrorResponse(err).Code; {
	case err == nil && end != nil:
		return *end, false, nil
	case code == "NoSuchKey" || code == "NoSuchVersion":
		return until, true, nil
	}
	return until, false, s.unreached(err)
}
