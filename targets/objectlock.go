package targets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"saoluu/internal/fault"
)

// ErrLetsGo says of a target that it is the enrolled one, and that its storage does
// not lock what it should: it can be read, and nothing is to be written there.
var ErrLetsGo = errors.New("what is written there can be deleted")

// day is the unit in which a bucket's default retention is set.
const day = 24 * time.Hour

// lockBucket makes sure that whatever is written to the bucket cannot be deleted
// by anybody for as long as the configuration says: object lock, in compliance
// mode, because in governance mode an administrator's key is enough to delete
// (Amazon S3 user guide, "Locking objects with Object Lock").
func (s *S3) lockBucket(ctx context.Context) error {
	client, err := s.open()
	if err != nil {
		return err
	}
	have, err := s.lockOf(ctx)
	if err != nil {
		return err
	}
	if have.mode == minio.Compliance && have.period >= s.Lock {
		return nil
	}
	if have.mode == minio.Governance {
		return s.governance()
	}
	mode, days, unit := minio.Compliance, uint((s.Lock+day-1)/day), minio.Days
	return s.classed(client.SetObjectLockConfig(ctx, s.Bucket, &mode, &days, &unit))
}

// locked checks that the bucket still locks what is written to it.
func (s *S3) locked(ctx context.Context) error {
	have, err := s.lockOf(ctx)
	op := fmt.Sprintf("target %q", s.Name)
	switch {
	case err != nil:
		return err
	case have.mode == minio.Governance:
		return s.governance()
	case have.mode != minio.Compliance:
		return fault.New(fault.Refused, op, fmt.Errorf("bucket %q has no default retention: %w", s.Bucket, ErrLetsGo),
			"find out who changed it, and set it again with \"saoluu init\"")
	case have.period < s.Lock:
		return fault.New(fault.Refused, op, fmt.Errorf("bucket %q locks for %s, the configuration says %s: afterwards %w", s.Bucket, have.period, s.Lock, ErrLetsGo),
			"lengthen the bucket's default retention, or shorten object_lock")
	}
	return nil
}

func (s *S3) governance() error {
	return fault.New(fault.Refused, fmt.Sprintf("target %q", s.Name),
		fmt.Errorf("bucket %q is locked in governance mode, which an administrator's key can lift: %w", s.Bucket, ErrLetsGo),
		"set the bucket's default retention to compliance mode, or leave object_lock out")
}

// A lock is what a bucket does to new objects.
type lock struct {
	mode   minio.RetentionMode // empty: no default retention
	period time.Duration
}

// lockOf reads a bucket's versioning and object lock. A bucket without either
// cannot get it here: most services allow it only when a bucket is made.
func (s *S3) lockOf(ctx context.Context) (lock, error) {
	client, err := s.open()
	if err != nil {
		return lock{}, err
	}
	op := fmt.Sprintf("target %q", s.Name)
	versioning, err := client.GetBucketVersioning(ctx, s.Bucket)
	if err != nil {
		return lock{}, s.classed(err)
	}
	if !versioning.Enabled() {
		return lock{}, fault.New(fault.Refused, op, fmt.Errorf("bucket %q keeps no versions, so nothing in it can be locked: %w", s.Bucket, ErrLetsGo),
			"use a bucket made with object lock, or a new name and let \"saoluu init\" make it")
	}
	enabled, mode, validity, unit, err := client.GetObjectLockConfig(ctx, s.Bucket)
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.Code == "ObjectLockConfigurationNotFoundError" || err == nil && enabled != "Enabled" {
		return lock{}, fault.New(fault.Refused, op, fmt.Errorf("bucket %q was made without object lock: %w", s.Bucket, ErrLetsGo),
			"use a bucket made with object lock, or a new name and let \"saoluu init\" make it")
	}
	if err != nil {
		return lock{}, s.classed(err)
	}
	if mode == nil || validity == nil || unit == nil {
		return lock{}, nil
	}
	period := time.Duration(*validity) * day
	if *unit == minio.Years {
		period *= 365
	}
	return lock{mode: *mode, period: period}, nil
}

// LockedUntil returns until when the storage refuses to delete these snapshots;
// those that can be deleted, or are not there, are left out. It asks once about the
// bucket, and about each of them only when the bucket can lock.
func (s *S3) LockedUntil(ctx context.Context, snapshots []string) (map[string]time.Time, error) {
	locked := map[string]time.Time{}
	if len(snapshots) == 0 {
		return locked, nil
	}
	client, err := s.open()
	if err != nil {
		return nil, err
	}
	_, _, _, _, err = client.GetObjectLockConfig(ctx, s.Bucket)
	switch code := minio.ToErrorResponse(err).Code; {
	case code == "ObjectLockConfigurationNotFoundError" || code == "NotImplemented":
		return locked, nil
	case err != nil:
		return nil, s.classed(err)
	}
	var mu sync.Mutex
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, id := range snapshots {
		group.Go(func() error {
			until, gone, err := s.lockedUntil(inner, s.key("snapshots/"+id), "")
			if err == nil && !gone && until.After(s.Now()) {
				mu.Lock()
				defer mu.Unlock()
				locked[id] = until
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("ask until when snapshots in bucket %q are locked: %w", s.Bucket, err)
	}
	return locked, nil
}
