package targets

import (
	"context"
	"fmt"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/lifecycle"
)

// expireOld lets a bucket of our own forget versions that are neither present nor
// locked any more; without it the space of removed backups is never free. The
// lock comes first: a locked version does not expire.
func (s *S3) expireOld(ctx context.Context) error {
	client, err := s.open()
	if err != nil {
		return err
	}
	rules := lifecycle.NewConfiguration()
	rules.Rules = []lifecycle.Rule{{
		ID: "saoluu-expire-old-versions", Status: "Enabled",
		Expiration:                  lifecycle.Expiration{DeleteMarker: true},
		NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: lifecycle.ExpirationDays((s.Lock + day - 1) / day)},
	}}
	return s.classed(client.SetBucketLifecycle(ctx, s.Bucket, rules))
}

// Advice says what of the bucket's life cycle rules does not fit: that versions
// never expire, or that something present would.
func (s *S3) Advice(ctx context.Context) ([]string, error) {
	if s.Lock == 0 {
		return nil, nil
	}
	client, err := s.open()
	if err != nil {
		return nil, err
	}
	rules, err := client.GetBucketLifecycle(ctx, s.Bucket)
	if err != nil && minio.ToErrorResponse(err).Code != "NoSuchLifecycleConfiguration" {
		return nil, s.classed(err)
	}
	var advice []string
	expires := false
	if rules != nil {
		for _, r := range rules.Rules {
			if r.Status != "Enabled" {
				continue
			}
			expires = expires || !r.NoncurrentVersionExpiration.IsDaysNull()
			if !r.Expiration.IsDaysNull() || !r.Expiration.IsDateNull() {
				advice = append(advice, fmt.Sprintf("rule %q of bucket %q lets present objects expire: remove it, backups would vanish", r.ID, s.Bucket))
			}
		}
	}
	if !expires {
		advice = append(advice, fmt.Sprintf("bucket %q never lets old versions expire: add a rule that does, after %d days", s.Bucket, int((s.Lock+day-1)/day)))
	}
	return advice, nil
}
