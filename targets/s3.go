package targets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"saoluu/internal/fault"
	"saoluu/restic"
)

// S3 is a bucket, or a part of one, of an S3-compatible service. restic carries
// the data; this looks, marks and locks.
type S3 struct {
	Name       string
	Endpoint   *url.URL // scheme, host and port
	Bucket     string
	Prefix     string // without slashes at its ends; may be empty
	Region     string
	CA         string // file with the authorities to believe; empty: the system's
	AccessKey  string
	SecretKey  string
	Lock       time.Duration // how long nothing may be deleted; 0: no object lock
	Site       string        // code of the site that owns it
	ID         string        // identity enrolled before; empty: never enrolled
	Declared   Declared
	Now        func() time.Time
	Repository restic.Repo // its URL, Env and Options come from S3Repo

	once   sync.Once
	client *minio.Client
	broken error
}

var (
	_ Target    = (*S3)(nil)
	_ Enroller  = (*S3)(nil)
	_ Measurer  = (*S3)(nil)
	_ Finder    = (*S3)(nil)
	_ Guarded   = (*S3)(nil)
	_ Locker    = (*S3)(nil)
	_ Adviser   = (*S3)(nil)
	_ Cleaner   = (*S3)(nil)
	_ KeyKeeper = (*S3)(nil)
)

// S3Repo returns the address and environment by which restic reaches the target
// (restic manual, "Amazon S3" and "S3-compatible Storage").
func (s *S3) S3Repo() (address string, env, options []string) {
	address = "s3:" + s.Endpoint.String() + "/" + path.Join(s.Bucket, s.Prefix)
	env = []string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey}
	if s.CA != "" {
		env = append(env, "RESTIC_CACERT="+s.CA)
	}
	if s.Region != "" {
		options = append(options, "s3.region="+s.Region)
	}
	return address, env, options
}

// Repo returns the repository in the bucket.
func (s *S3) Repo() restic.Repo { return s.Repository }

func (s *S3) owner() owner { return owner{name: s.Name, site: s.Site, id: s.ID, at: s.place()} }

func (s *S3) place() string { return "bucket " + path.Join(s.Bucket, s.Prefix) }

// Ready checks that the bucket carries the identity that was enrolled and holds a
// repository, and that what the configuration says of its object lock is so.
func (s *S3) Ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	op := fmt.Sprintf("target %q", s.Name)
	hint := "see what happened to the bucket; if this target is new, run \"saoluu init\""
	if s.Lock > 0 && s.ID != "" {
		hint = fmt.Sprintf("somebody deleted it: run \"saoluu target recover %s\"", s.Name)
	}
	away := fault.New(fault.NoRepository, op, fmt.Errorf("%s does not carry %s", s.place(), MarkerName), hint)
	if err := s.owner().ready(ctx, s, away); err != nil {
		return err
	}
	if s.Lock > 0 {
		return s.locked(ctx)
	}
	return nil
}

// Enroll makes the bucket when it is not there, checks or sets up its object
// lock, and marks it.
func (s *S3) Enroll(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	client, err := s.open()
	if err != nil {
		return "", err
	}
	there, err := client.BucketExists(ctx, s.Bucket)
	if err != nil {
		return "", s.classed(err)
	}
	if !there && s.ID != "" {
		return "", fault.New(fault.Absent, fmt.Sprintf("enroll target %q", s.Name), fmt.Errorf("it was enrolled before, and bucket %q is gone", s.Bucket), "find out who deleted it")
	}
	if !there {
		err = client.MakeBucket(ctx, s.Bucket, minio.MakeBucketOptions{Region: s.Region, ObjectLocking: s.Lock > 0})
		if err != nil {
			return "", s.classed(err)
		}
		if s.Lock > 0 {
			if err := s.expireOld(ctx); err != nil {
				return "", err
			}
		}
	}
	if s.Lock > 0 {
		if err := s.lockBucket(ctx); err != nil {
			return "", err
		}
	}
	return s.owner().enroll(ctx, s)
}

// Claim reads the marker.
func (s *S3) Claim(ctx context.Context) error { return s.owner().claimed(ctx, s) }

// HasRepository looks for the repository's configuration. A bucket that is not
// there has none.
func (s *S3) HasRepository(ctx context.Context) (bool, error) {
	client, err := s.open()
	if err != nil {
		return false, err
	}
	there, err := client.BucketExists(ctx, s.Bucket)
	if err != nil || !there {
		return false, s.classed(err)
	}
	return repositoryIn(ctx, s)
}

// HasSnapshot looks for the snapshot's object and compares its content with its name.
func (s *S3) HasSnapshot(ctx context.Context, id string) (bool, error) { return holds(ctx, s, id) }

// PutKey writes a key file into the repository.
func (s *S3) PutKey(ctx context.Context, id string, content []byte) error {
	return s.create(ctx, "keys/"+id, content)
}

// Separation compares the service with the machines and disks the data lie on.
func (s *S3) Separation(ctx context.Context, locations []string) (Separation, error) {
	return separation(ctx, machine(), HostLocation(s.Endpoint.Hostname()), s.Declared, locations)
}

// tries is how often a request is made that a busy service does not answer, with
// pauses of up to a second: a storm of a few seconds must not cost a night's run.
const tries = 6

// open makes the client once. It does no input or output.
func (s *S3) open() (*minio.Client, error) {
	s.once.Do(func() {
		t, err := transport(s.Name, s.CA)
		if err != nil {
			s.broken = err
			return
		}
		s.client, s.broken = minio.New(s.Endpoint.Host, &minio.Options{
			Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Secure: s.Endpoint.Scheme == "https",
			Transport: t, Region: s.Region, MaxRetries: tries,
		})
	})
	return s.client, s.broken
}

// key is the name of an object below the repository's root.
func (s *S3) key(name string) string { return path.Join(s.Prefix, name) }

func (s *S3) read(ctx context.Context, name string) ([]byte, error) {
	client, err := s.open()
	if err != nil {
		return nil, err
	}
	object, err := client.GetObject(ctx, s.Bucket, s.key(name), minio.GetObjectOptions{})
	if err != nil {
		return nil, s.classed(err)
	}
	defer object.Close()
	content, err := io.ReadAll(io.LimitReader(object, maxSmall))
	return content, s.classed(err)
}

func (s *S3) create(ctx context.Context, name string, content []byte) error {
	client, err := s.open()
	if err != nil {
		return err
	}
	_, err = client.PutObject(ctx, s.Bucket, s.key(name), bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{
		ContentType: "application/json", SendContentMd5: true, // a bucket with object lock asks for a checksum
	})
	return s.classed(err)
}

// strange reports whether there is any object below the prefix.
func (s *S3) strange(ctx context.Context) (bool, error) {
	client, err := s.open()
	if err != nil {
		return false, err
	}
	for object := range client.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: s.below(), Recursive: true, MaxKeys: 1}) {
		return object.Err == nil, s.classed(object.Err)
	}
	return false, nil
}

// below is the prefix of every object of the repository.
func (s *S3) below() string {
	if s.Prefix == "" {
		return ""
	}
	return s.Prefix + "/"
}

// classed gives an answer of the service its kind (Amazon S3 API reference,
// "Error responses").
func (s *S3) classed(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	op := fmt.Sprintf("target %q", s.Name)
	answer := minio.ToErrorResponse(err)
	switch answer.Code {
	case "NoSuchKey", "NoSuchVersion":
		return fault.New(fault.Absent, op, fmt.Errorf("%s: %w", answer.Key, fs.ErrNotExist), "")
	case "NoSuchBucket":
		return fault.New(fault.WrongTarget, op, fmt.Errorf("there is no bucket %q", s.Bucket), "correct bucket in the configuration, or run \"saoluu init\" if this target is new")
	case "RequestTimeTooSkewed":
		return fault.New(fault.ClockSuspect, op, errors.New("the service's clock and ours are too far apart"), "set this machine's clock, then try again")
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return fault.New(fault.Denied, op, errors.New("the access key has expired"), "put the new access key in its place")
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "AccountProblem":
		return fault.New(fault.Denied, op, fmt.Errorf("the service refuses: %s", answer.Code), "check access_key, secret_key and what they may do in the bucket")
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "InternalError", "RequestTimeout", "XMinioServerNotInitialized":
		return fault.New(fault.Absent, op, fmt.Errorf("the service is busy: %s", answer.Code), "it is tried again later; ask who runs the service if it stays so")
	case "":
		return netFault(s.Name, err)
	}
	if answer.StatusCode >= http.StatusInternalServerError {
		return fault.New(fault.Absent, op, fmt.Errorf("the service answers %d %s", answer.StatusCode, answer.Code), "it is tried again later; ask who runs the service if it stays so")
	}
	if answer.StatusCode == 0 {
		return netFault(s.Name, err)
	}
	return fault.New(fault.Failed, op, fmt.Errorf("the service answers %s: %s", answer.Code, strings.TrimSuffix(answer.Message, ".")), "")
}
