package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/rogpeppe/go-internal/testscript"

	"saoluu/targets/targettest"
)

type serversKey struct{}

// servers are the storage servers of one script by kind.
type servers map[string]*targettest.Server

// serverCommand starts a real storage server on the loop-back interface, stops it,
// or starts it again:
//
//	server start s3 | rest | append-only | sftp | other-s3
//	server stop  s3 | rest | append-only | sftp
//	server again s3 | rest | append-only | sftp
//	server rekey s3        again, with another secret, which goes into far/new-secret
//
// A server that starts fills in $S3, $REST, $SSHPORT and $SSHDIR, the other
// S3 service $OTHERS3 and $OTHERS3CA, in the script's TOML files and puts secrets and certificates into the folder "far".
func serverCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: server start|stop|again s3|rest|append-only|sftp")
	}
	known, t := ts.Value(serversKey{}).(servers), scriptT{ts}
	if args[0] != "start" {
		s := known[args[1]]
		if s == nil {
			ts.Fatalf("server %s was not started", args[1])
		}
		switch args[0] {
		case "stop":
			s.Stop(t)
		case "rekey":
			const secret = "another-secret-only-for-tests"
			s.Stop(t)
			s.Setenv("MINIO_ROOT_PASSWORD", secret)
			s.Start(t)
			ts.Check(os.WriteFile(ts.MkAbs("far/new-secret"), []byte(secret), 0o600))
		default:
			s.Start(t)
		}
		return
	}
	far := ts.MkAbs("far")
	ts.Check(os.MkdirAll(far, 0o755))
	keep := func(name, text string) { ts.Check(os.WriteFile(filepath.Join(far, name), []byte(text), 0o600)) }
	fill := []string{"$FAR", far}
	switch kind := args[1]; kind {
	case "s3":
		m := targettest.StartMinIO(t)
		known[kind] = m.Server
		keep("access", m.AccessKey)
		keep("secret", m.SecretKey)
		fill = append(fill, "$S3CA", m.CA, "$S3", "https://"+m.Address)
		ts.Setenv("S3", "https://"+m.Address)
		ts.Setenv("S3CA", m.CA)
	case "other-s3":
		m := targettest.StartMinIOFor(t, "other-user", "another-secret-for-tests")
		known[kind] = m.Server
		keep("other-access", m.AccessKey)
		keep("other-secret", m.SecretKey)
		fill = append(fill, "$OTHERS3CA", m.CA, "$OTHERS3", "https://"+m.Address)
	case "rest", "append-only":
		r := targettest.StartREST(t, kind == "append-only")
		known[kind] = r.Server
		keep("rest", r.Password)
		ts.Setenv("RESTDIR", filepath.Join(r.Dir, r.User))
		ts.Setenv("REST", "https://"+r.Address)
		ts.Setenv("RESTCA", r.CA)
		fill = append(fill, "$RESTCA", r.CA, "$REST", fmt.Sprintf("https://%s/%s", r.Address, r.User))
	case "sftp":
		s := targettest.StartSSH(t)
		known[kind] = s.Server
		key, err := os.ReadFile(s.Key)
		ts.Check(err)
		keep("ssh", string(key))
		fill = append(fill, "$KNOWNHOSTS", s.KnownHosts, "$SSHPORT", fmt.Sprint(s.Port), "$SSHDIR", s.Dir)
		ts.Setenv("SSHDIR", s.Dir)
	default:
		ts.Fatalf("unknown server %q", kind)
	}
	replace(ts, strings.NewReplacer(fill...))
}

// bucketCommand does to a bucket of the script's MinIO what whoever has its keys
// can do:
//
//	bucket make NAME plain|versions|locked|governance   a bucket that saoluu did not make
//	bucket empty NAME             tries to delete every version, then deletes every object
//	bucket undelete NAME PREFIX   takes the delete markers away
//	bucket unlock NAME            takes the default retention away
//	bucket govern NAME            makes it a lock that an administrator can lift
//	bucket comply NAME            and one that nobody can
func bucketCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: bucket make|empty|undelete|unlock|govern|comply NAME [...]")
	}
	client, ctx, name := s3Client(ts), context.Background(), args[1]
	all := client.ListObjectsIter(ctx, name, minio.ListObjectsOptions{Recursive: true, WithVersions: true})
	switch args[0] {
	case "make":
		lock := map[string]minio.RetentionMode{"locked": minio.Compliance, "governance": minio.Governance}[args[2]]
		ts.Check(client.MakeBucket(ctx, name, minio.MakeBucketOptions{ObjectLocking: lock != ""}))
		if args[2] == "versions" {
			ts.Check(client.EnableVersioning(ctx, name))
		}
		if lock != "" {
			lockFor30Days(ts, client, name, lock)
		}
	case "unlock":
		ts.Check(client.SetObjectLockConfig(ctx, name, nil, nil, nil))
	case "govern":
		lockFor30Days(ts, client, name, minio.Governance)
	case "comply":
		lockFor30Days(ts, client, name, minio.Compliance)
	case "undelete":
		for o := range all {
			ts.Check(o.Err)
			if o.IsDeleteMarker && strings.HasPrefix(o.Key, args[2]) {
				ts.Check(client.RemoveObject(ctx, name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}))
			}
		}
	case "empty":
		for o := range all {
			ts.Check(o.Err)
			_ = client.RemoveObject(ctx, name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true})
			ts.Check(client.RemoveObject(ctx, name, o.Key, minio.RemoveObjectOptions{}))
		}
	default:
		ts.Fatalf("unknown deed %q", args[0])
	}
}

// lockFor30Days sets a bucket's default retention.
func lockFor30Days(ts *testscript.TestScript, client *minio.Client, bucket string, mode minio.RetentionMode) {
	days, unit := uint(30), minio.Days
	ts.Check(client.SetObjectLockConfig(context.Background(), bucket, &mode, &days, &unit))
}

// s3Client speaks to the script's MinIO with the key of whoever runs it.
func s3Client(ts *testscript.TestScript) *minio.Client {
	client, err := minio.New(strings.TrimPrefix(ts.Getenv("S3"), "https://"), &minio.Options{
		Creds:  credentials.NewStaticV4(ts.ReadFile("far/access"), ts.ReadFile("far/secret"), ""),
		Secure: true, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool(ts)}},
	})
	ts.Check(err)
	return client
}

func pool(ts *testscript.TestScript) *x509.CertPool {
	text, err := os.ReadFile(ts.Getenv("S3CA"))
	ts.Check(err)
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(text)
	return p
}

// replace fills in the script's TOML files.
func replace(ts *testscript.TestScript, words *strings.Replacer) {
	files, err := filepath.Glob(ts.MkAbs("*.toml"))
	ts.Check(err)
	more, err := filepath.Glob(ts.MkAbs("conf.d/*.toml"))
	ts.Check(err)
	for _, path := range append(files, more...) {
		text, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(words.Replace(string(text))), 0o644))
	}
}

// scriptT lets a script stand in for a test.
type scriptT struct{ ts *testscript.TestScript }

func (t scriptT) Helper()                           {}
func (t scriptT) Fatal(args ...any)                 { t.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (t scriptT) Fatalf(format string, args ...any) { t.ts.Fatalf(format, args...) }
func (t scriptT) Skipf(format string, args ...any)  { t.ts.Fatalf(format, args...) }
func (t scriptT) Cleanup(f func())                  { t.ts.Defer(f) }
func (t scriptT) TempDir() string {
	dir, err := os.MkdirTemp(t.ts.MkAbs("."), "server-")
	t.ts.Check(err)
	return dir
}
