package targets_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/tls"
	"crypto/x509"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
	"saoluu/targets/targettest"
)

// thief returns a client with the target's own keys.
func thief(t *testing.T, m targettest.MinIO) *minio.Client {
	t.Helper()
	pem, err := os.ReadFile(m.CA)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client, err := minio.New(m.Address, &minio.Options{
		Creds: credentials.NewStaticV4(m.AccessKey, m.SecretKey, ""), Secure: true,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
	})
	must(t, err)
	return client
}

// lockedTarget returns a locked target with one backup in it.
func lockedTarget(t *testing.T, m targettest.MinIO, bucket string) (*targets.S3, *restic.Engine, string) {
	t.Helper()
	e := engine(t)
	fresh := s3(t, m, bucket, "main", 24*time.Hour, "")
	id, err := fresh.Enroll(t.Context())
	must(t, err)
	target := s3(t, m, bucket, "main", 24*time.Hour, id)
	_, err = e.Init(t.Context(), target.Repo(), restic.InitOptions{})
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Repeat("content ", 1000)), 0o600))
	saved, err := e.Backup(t.Context(), target.Repo(), restic.BackupRequest{Paths: []string{dir}, Host: "test"})
	must(t, err)
	return target, e, saved.SnapshotID
}

func TestLockedBucketIsRecovered(t *testing.T) {
	t.Parallel()
	m := targettest.StartMinIO(t)
	target, e, snapshot := lockedTarget(t, m, "attacked")
	before := time.Now()

	// Everything deleted, every version tried, and a pack written over.
	client := thief(t, m)
	var versions, gone int
	for o := range client.ListObjectsIter(t.Context(), target.Bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		must(t, o.Err)
		versions++
		if client.RemoveObject(t.Context(), target.Bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true}) == nil {
			gone++
		}
		if strings.HasPrefix(o.Key, "main/data/") {
			_, err := client.PutObject(t.Context(), target.Bucket, o.Key, strings.NewReader("garbage"), 7, minio.PutObjectOptions{SendContentMd5: true})
			must(t, err)
		} else {
			must(t, client.RemoveObject(t.Context(), target.Bucket, o.Key, minio.RemoveObjectOptions{}))
		}
	}
	if versions < 5 {
		t.Fatalf("only %d versions in the bucket", versions)
	}
	err := target.Ready(t.Context())
	if fault.KindOf(err) != fault.NoRepository || !strings.Contains(fault.HintOf(err), "target recover") {
		t.Fatalf("after everything was deleted: %v (hint %q)", err, fault.HintOf(err))
	}

	did, err := target.Recover(t.Context(), before.Add(-time.Minute), before.Add(time.Minute))
	must(t, err)
	if did.Undeleted == 0 || did.Restored == 0 {
		t.Fatalf("recovered %+v", did)
	}
	must(t, target.Ready(t.Context()))
	if held, err := target.HasSnapshot(t.Context(), snapshot); err != nil || !held {
		t.Fatalf("the snapshot: %v, %v", held, err)
	}
	report, err := e.Check(t.Context(), target.Repo(), restic.CheckOptions{Subset: 1, Of: 1})
	if err != nil || !report.Sound() {
		t.Fatalf("the repository: %+v, %v", report, err)
	}
	again, err := target.Recover(t.Context(), time.Now(), time.Now())
	if err != nil || again.Undeleted != 0 || again.Restored != 0 {
		t.Errorf("nothing was left to do, and it did %+v, %v", again, err)
	}
}

func TestLocksAreRenewed(t *testing.T) {
	t.Parallel()
	m := targettest.StartMinIO(t)
	target, _, snapshot := lockedTarget(t, m, "renewed")
	client := thief(t, m)
	until := func(name string) time.Time {
		t.Helper()
		_, kept, err := client.GetObjectRetention(t.Context(), target.Bucket, "main/"+name, "")
		must(t, err)
		return *kept
	}
	first := until("snapshots/" + snapshot)

	last := targets.Renewal{Through: time.Now(), Until: time.Now().Add(target.Lock)}
	if did, err := target.Renew(t.Context(), last, nil); err != nil || did != nil {
		t.Fatalf("renewed at once: %+v, %v", did, err)
	}
	target.Now = func() time.Time { return time.Now().Add(13 * time.Hour) }
	did, err := target.Renew(t.Context(), last, nil)
	must(t, err)
	if did == nil || did.Objects < 4 {
		t.Fatalf("renewed %+v", did)
	}
	if now := until("snapshots/" + snapshot); now.Sub(first) < 12*time.Hour {
		t.Errorf("locked until %s, before until %s", now, first)
	}
	if now := until("config"); now.Sub(first) < 12*time.Hour {
		t.Errorf("config is locked until %s", now)
	}
	if again, err := target.Renew(t.Context(), *did, nil); err != nil || again != nil {
		t.Errorf("renewed twice: %+v, %v", again, err)
	}
}

// Snapshots that are leaving keep the lock they have, and a bucket that locks for
// longer than was asked is not asked to shorten it.
func TestLeavingIsNotRenewed(t *testing.T) {
	t.Parallel()
	m := targettest.StartMinIO(t)
	target, e, first := lockedTarget(t, m, "leaving")
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("other"), 0o600))
	second, err := e.Backup(t.Context(), target.Repo(), restic.BackupRequest{Paths: []string{dir}, Host: "test"})
	must(t, err)
	before, err := target.LockedUntil(t.Context(), []string{first, second.SnapshotID, strings.Repeat("0", 64)})
	must(t, err)
	if len(before) != 2 || time.Until(before[first]) < 23*time.Hour {
		t.Fatalf("locked: %v", before)
	}
	target.Now = func() time.Time { return time.Now().Add(13 * time.Hour) }
	_, err = target.Renew(t.Context(), targets.Renewal{}, []string{first})
	must(t, err)
	after, err := target.LockedUntil(t.Context(), []string{first, second.SnapshotID})
	must(t, err)
	if !after[first].Equal(before[first]) || !after[second.SnapshotID].After(before[second.SnapshotID]) {
		t.Errorf("locked until %v, before until %v", after, before)
	}
	target.Lock /= 2
	if _, err := target.Renew(t.Context(), targets.Renewal{}, nil); err != nil {
		t.Errorf("locked for longer than asked: %v", err)
	}
	target.Now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	if late, err := target.LockedUntil(t.Context(), []string{first, second.SnapshotID}); err != nil || len(late) != 0 {
		t.Errorf("two days later %v, %v", late, err)
	}
}

// What a bucket keeps of a deleted object takes room, and is taken away for good
// only where it lets go.
func TestErase(t *testing.T) {
	t.Parallel()
	m := targettest.StartMinIO(t)
	client := thief(t, m)
	put := func(target *targets.S3, name string) {
		t.Helper()
		_, err := client.PutObject(t.Context(), target.Bucket, "main/keys/"+name, strings.NewReader(strings.Repeat("k", 1000)), 1000, minio.PutObjectOptions{SendContentMd5: true})
		must(t, err)
	}
	for _, tt := range []struct {
		name   string
		target *targets.S3
		kept   int
	}{
		{"no versions", s3(t, m, "plain", "main", 0, ""), 0},
		{"versions", s3(t, m, "versions", "main", 0, ""), 0},
		{"locked", s3(t, m, "locked", "main", 24*time.Hour, ""), 2},
	} {
		_, err := tt.target.Enroll(t.Context())
		must(t, err)
		if tt.name == "versions" {
			must(t, client.EnableVersioning(t.Context(), tt.target.Bucket))
		}
		for _, name := range []string{"present", "deleted", "other"} {
			put(tt.target, name)
			if name != "present" {
				must(t, client.RemoveObject(t.Context(), tt.target.Bucket, "main/keys/"+name, minio.RemoveObjectOptions{}))
			}
		}
		full, err := tt.target.StoredBytes(t.Context())
		must(t, err)
		if want := map[string]int64{"no versions": 1000}[tt.name]; want > 0 && full >= 2000 || want == 0 && full < 3000 {
			t.Errorf("%s: %d bytes are stored", tt.name, full)
		}
		if kept, err := tt.target.Erase(t.Context(), "keys", []string{"other"}); err != nil || len(kept) != min(tt.kept, 1) {
			t.Errorf("%s: one of them: kept %v, %v", tt.name, kept, err)
		}
		kept, err := tt.target.Erase(t.Context(), "keys", nil)
		must(t, err)
		if len(kept) != tt.kept {
			t.Errorf("%s: kept %v", tt.name, kept)
		}
		for _, k := range kept {
			if time.Until(k.Until) < 23*time.Hour || k.Name == "present" {
				t.Errorf("%s: kept %+v", tt.name, k)
			}
		}
		if _, err := client.StatObject(t.Context(), tt.target.Bucket, "main/keys/present", minio.StatObjectOptions{}); err != nil {
			t.Errorf("%s: what is present is gone: %v", tt.name, err)
		}
		less, err := tt.target.StoredBytes(t.Context())
		must(t, err)
		if tt.name == "versions" && full-less != 2000 || tt.name == "locked" && full != less {
			t.Errorf("%s: %d bytes were stored, then %d", tt.name, full, less)
		}
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	m := targettest.StartMinIO(t)
	locked, _, _ := lockedTarget(t, m, "challenged")
	for range 2 {
		got, err := locked.Challenge(t.Context())
		if err != nil || !got.Refused {
			t.Fatalf("a locked bucket: %+v, %v", got, err)
		}
	}
	n := 0
	for o := range thief(t, m).ListObjectsIter(t.Context(), locked.Bucket, minio.ListObjectsOptions{Prefix: "main/saoluu-canary", WithVersions: true}) {
		must(t, o.Err)
		n++
	}
	if n != 1 {
		t.Errorf("%d versions of the canary after two challenges", n)
	}
	if advice, err := locked.Advice(t.Context()); err != nil || len(advice) != 0 {
		t.Errorf("advice on a bucket of our own: %q, %v", advice, err)
	}
	m.Stop(t)
	if got, err := locked.Challenge(t.Context()); err == nil || got.Refused {
		t.Errorf("nobody there: %+v, %v", got, err)
	}
}

func TestGovernanceIsRefused(t *testing.T) {
	t.Parallel()
	m := targettest.StartMinIO(t)
	client := thief(t, m)
	must(t, client.MakeBucket(t.Context(), "governed", minio.MakeBucketOptions{ObjectLocking: true}))
	mode, days, unit := minio.Governance, uint(30), minio.Days
	must(t, client.SetObjectLockConfig(t.Context(), "governed", &mode, &days, &unit))
	_, err := s3(t, m, "governed", "", 24*time.Hour, "").Enroll(t.Context())
	if fault.KindOf(err) != fault.Refused || !strings.Contains(err.Error(), "governance") {
		t.Fatalf("got %v", err)
	}
	// With the mode set right, it takes the lock it asks for, and sees when that is
	// taken away again.
	must(t, client.SetObjectLockConfig(t.Context(), "governed", nil, nil, nil))
	target := s3(t, m, "governed", "", 24*time.Hour, "")
	id, err := target.Enroll(t.Context())
	must(t, err)
	advice, err := target.Advice(t.Context())
	if err != nil || len(advice) != 1 || !strings.Contains(advice[0], "never lets old versions expire") {
		t.Errorf("advice on a bucket without rules: %q, %v", advice, err)
	}
	_, err = engine(t).Init(t.Context(), target.Repo(), restic.InitOptions{})
	must(t, err)
	enrolled := s3(t, m, "governed", "", 24*time.Hour, id)
	must(t, enrolled.Ready(t.Context()))
	must(t, client.SetObjectLockConfig(t.Context(), "governed", nil, nil, nil))
	if err := enrolled.Ready(t.Context()); fault.KindOf(err) != fault.Refused {
		t.Errorf("the default retention was taken away: %v", err)
	}
}

func TestAppendOnlyChallenge(t *testing.T) {
	t.Parallel()
	for _, appendOnly := range []bool{true, false} {
		server := targettest.StartREST(t, appendOnly)
		target := restTarget(t, server, "/stp/challenged", "")
		_, err := engine(t).Init(t.Context(), target.Repo(), restic.InitOptions{})
		must(t, err)
		got, err := target.Challenge(t.Context())
		if err != nil || got.Refused != appendOnly || got.How == "" {
			t.Errorf("append-only %v: %+v, %v", appendOnly, got, err)
		}
	}
}
