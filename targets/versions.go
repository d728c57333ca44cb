package targets

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"saoluu/internal/fault"
)

// canaryName is the object whose deletion is tried. restic ignores it.
const canaryName = "saoluu-canary"

// parallel is how many requests about single objects are under way at once.
const parallel = 16

// Challenge tries to delete a locked version of the canary, and to shorten its
// lock, with all rights the access key has. Both must be refused.
func (s *S3) Challenge(ctx context.Context) (Challenge, error) {
	client, err := s.open()
	if err != nil {
		return Challenge{}, err
	}
	version, until, err := s.canary(ctx)
	if err != nil {
		return Challenge{}, err
	}
	key := s.key(canaryName)
	removed := client.RemoveObject(ctx, s.Bucket, key, minio.RemoveObjectOptions{VersionID: version, GovernanceBypass: true})
	if err := s.unreached(removed); err != nil {
		return Challenge{}, err
	}
	mode, sooner := minio.Compliance, until.Add(-time.Hour)
	shortened := client.PutObjectRetention(ctx, s.Bucket, key, minio.PutObjectRetentionOptions{
		GovernanceBypass: true, Mode: &mode, RetainUntilDate: &sooner, VersionID: version,
	})
	if err := s.unreached(shortened); err != nil {
		return Challenge{}, err
	}
	_, err = client.StatObject(ctx, s.Bucket, key, minio.StatObjectOptions{VersionID: version})
	if err := s.unreached(err); err != nil {
		return Challenge{}, err
	}
	return Challenge{
		Refused: removed != nil && shortened != nil && err == nil,
		How: fmt.Sprintf("version %s of %s, locked until %s: deletion %s; a shorter lock %s; afterwards it is %s", version, canaryName,
			until.UTC().Format(time.RFC3339), answered(removed), answered(shortened), map[bool]string{true: "there", false: "gone"}[err == nil]),
	}, nil
}

// answered says what the service did with a request that it should refuse.
func answered(err error) string {
	if err == nil {
		return "was done"
	}
	return "was refused: " + minio.ToErrorResponse(err).Code
}

// unreached returns an error that says nothing about the lock: the service was
// not reached, was busy, or did not let us in at all.
func (s *S3) unreached(err error) error {
	if err == nil {
		return nil
	}
	classed := s.classed(err)
	switch fault.KindOf(classed) {
	case fault.Absent, fault.WrongTarget, fault.ClockSuspect, fault.Cancelled:
		if minio.ToErrorResponse(err).Code == "NoSuchVersion" || minio.ToErrorResponse(err).Code == "NoSuchKey" {
			return nil
		}
		return classed
	}
	return nil
}

// canary returns a version that is locked for long enough to be challenged, and
// until when. It writes one when there is none.
func (s *S3) canary(ctx context.Context) (version string, until time.Time, err error) {
	client, err := s.open()
	if err != nil {
		return "", time.Time{}, err
	}
	for o := range client.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: s.key(canaryName), WithVersions: true}) {
		if o.Err != nil {
			return "", time.Time{}, s.classed(o.Err)
		}
		if o.IsDeleteMarker {
			continue
		}
		mode, kept, err := client.GetObjectRetention(ctx, s.Bucket, o.Key, o.VersionID)
		if err == nil && inCompliance(mode) && kept != nil && kept.After(s.Now().Add(2*time.Hour)) {
			return o.VersionID, *kept, nil
		}
	}
	if err := s.create(ctx, canaryName, []byte("saoluu tries to delete this, and must not be able to\n")); err != nil {
		return "", time.Time{}, err
	}
	made, err := client.StatObject(ctx, s.Bucket, s.key(canaryName), minio.StatObjectOptions{})
	if err != nil {
		return "", time.Time{}, s.classed(err)
	}
	mode, kept, err := client.GetObjectRetention(ctx, s.Bucket, made.Key, made.VersionID)
	if err := s.unreached(err); err != nil {
		return "", time.Time{}, err
	}
	if err != nil || kept == nil || !inCompliance(mode) {
		return "", time.Time{}, fault.New(fault.Refused, fmt.Sprintf("target %q", s.Name),
			fmt.Errorf("what is written to bucket %q is not locked", s.Bucket), "set the bucket's default retention again with \"saoluu init\"")
	}
	return made.VersionID, *kept, nil
}

// inCompliance reports whether a lock is one that no key can lift.
func inCompliance(mode *minio.RetentionMode) bool { return mode != nil && *mode == minio.Compliance }

// Renew prolongs the locks of all present objects by the target's period when the
// first of them would have less than half a period left. Objects that restic has
// deleted are not present, so their locks run out; so do those of leaving.
func (s *S3) Renew(ctx context.Context, last Renewal, leaving []string) (*Renewal, error) {
	now := s.Now().UTC().Truncate(time.Second)
	if s.Lock == 0 || now.Before(last.Through.Add(s.Lock/2)) && now.Before(last.Until.Add(-s.Lock/2)) {
		return nil, nil
	}
	client, err := s.open()
	if err != nil {
		return nil, err
	}
	renewed := &Renewal{Through: now, Until: now.Add(s.Lock)}
	left := map[string]bool{}
	for _, id := range leaving {
		left[s.key("snapshots/"+id)] = true
	}
	var done atomic.Int64
	mode := minio.Compliance
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for o := range client.ListObjectsIter(inner, s.Bucket, minio.ListObjectsOptions{Prefix: s.below(), Recursive: true}) {
		if o.Err != nil {
			group.Go(func() error { return s.classed(o.Err) })
			break
		}
		if s.passing(o.Key) || left[o.Key] {
			continue
		}
		group.Go(func() error {
			err := client.PutObjectRetention(inner, s.Bucket, o.Key, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &renewed.Until})
			if err == nil {
				done.Add(1)
				return nil
			}
			// Deleted by restic meanwhile, or locked for longer by the bucket's own rule.
			until, gone, unseen := s.lockedUntil(inner, o.Key, "")
			if unseen == nil && (gone || !until.Before(renewed.Until)) {
				return nil
			}
			return s.classed(err)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("renew the locks in bucket %q: %w", s.Bucket, err)
	}
	renewed.Objects = int(done.Load())
	return renewed, ctx.Err()
}

// passing reports whether an object is one of restic's locks, which come and go.
func (s *S3) passing(key string) bool { return strings.HasPrefix(key, s.below()+"locks/") }

// Recover goes through all versions. A delete marker on top is taken away; a
// version written over the wanted one is covered by a copy of it, because it may
// be locked itself.
func (s *S3) Recover(ctx context.Context, from, to time.Time) (Recovered, error) {
	var all Recovered
	client, err := s.open()
	if err != nil {
		return all, err
	}
	var versions []minio.ObjectInfo // of one key, newest first
	flush := func() error {
		did, err := s.recoverOne(ctx, versions, wanted(versions, from, to))
		all.Kept, all.Undeleted, all.Restored = all.Kept+did.Kept, all.Undeleted+did.Undeleted, all.Restored+did.Restored
		versions = versions[:0]
		return err
	}
	for o := range client.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: s.below(), Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			return all, s.classed(o.Err)
		}
		if len(versions) > 0 && versions[0].Key != o.Key {
			if err := flush(); err != nil {
				return all, err
			}
		}
		versions = append(versions, o)
	}
	if err := flush(); err != nil {
		return all, err
	}
	return all, ctx.Err()
}

// wanted returns the place of the version that was present at some instant between
// two: the oldest one, because restic never writes over an object. It is -1 when
// there was none. Versions are of one key, newest first.
func wanted(versions []minio.ObjectInfo, from, to time.Time) int {
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		replaced := i > 0 && versions[i-1].LastModified.Before(from)
		if !v.IsDeleteMarker && !v.LastModified.After(to) && !replaced {
			return i
		}
	}
	return -1
}

// recoverOne brings back one object.
func (s *S3) recoverOne(ctx context.Context, versions []minio.ObjectInfo, wanted int) (did Recovered, err error) {
	if wanted < 0 || s.passing(versions[wanted].Key) {
		return did, nil // not there then
	}
	if wanted == 0 {
		did.Kept = 1
		return did, nil
	}
	client, err := s.open()
	if err != nil {
		return did, err
	}
	key := versions[wanted].Key
	for _, v := range versions[:wanted] {
		if !v.IsDeleteMarker {
			_, err := client.CopyObject(ctx, minio.CopyDestOptions{Bucket: s.Bucket, Object: key},
				minio.CopySrcOptions{Bucket: s.Bucket, Object: key, VersionID: versions[wanted].VersionID})
			did.Restored = 1
			return did, s.classed(err)
		}
	}
	for _, v := range versions[:wanted] {
		if err := client.RemoveObject(ctx, s.Bucket, key, minio.RemoveObjectOptions{VersionID: v.VersionID}); err != nil {
			return did, s.classed(err)
		}
	}
	did.Undeleted = 1
	return did, nil
}

// RemoveAll deletes every version of every object. Locked ones stay, and the error
// says how many.
func (s *S3) RemoveAll(ctx context.Context) error {
	client, err := s.open()
	if err != nil {
		return err
	}
	kept := 0
	for o := range client.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: s.below(), Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			return s.classed(o.Err)
		}
		if client.RemoveObject(ctx, s.Bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}) == nil {
			continue
		}
		kept++
		if o.IsLatest && !o.IsDeleteMarker { // gone from sight, so that its lock is not renewed
			if err := client.RemoveObject(ctx, s.Bucket, o.Key, minio.RemoveObjectOptions{}); err != nil {
				return s.classed(err)
			}
		}
	}
	if kept > 0 {
		return fault.New(fault.Refused, fmt.Sprintf("target %q", s.Name), fmt.Errorf("%d objects are locked until their time is over", kept), "")
	}
	return ctx.Err()
}
