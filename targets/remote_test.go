package targets_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
	"saoluu/targets/targettest"
)

const repositoryKey = "a-key-for-tests"

// repo makes a repository's address usable: a key, a gate.
func repo(t *testing.T, address string, env, options []string) restic.Repo {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(key, []byte(repositoryKey+"\n"), 0o600))
	return restic.Repo{Name: "far", URL: address, Env: env, Options: options, PasswordFile: key, Gate: restic.NewGate(t.TempDir(), "far", 2)}
}

// suite runs the suite over targets made by fresh, each with its number.
func suite[T targets.Target](t *testing.T, server *targettest.Server, secret string, fresh func(t *testing.T, n int) T, enrolled func(T, string) targets.Target) {
	e, n := engine(t), 0
	targettest.Run(t, func(t *testing.T) targettest.Fixture {
		n++
		target := fresh(t, n)
		return targettest.Fixture{
			Target: target, Enrolled: func(id string) targets.Target { return enrolled(target, id) },
			Engine: e, Secret: secret, Away: func(t *testing.T) { server.Stop(t) }, Back: func(t *testing.T) { server.Start(t) },
		}
	})
}

func s3(t *testing.T, m targettest.MinIO, bucket, prefix string, lock time.Duration, id string) *targets.S3 {
	t.Helper()
	s := &targets.S3{
		Name: "far", Endpoint: &url.URL{Scheme: "https", Host: m.Address}, Bucket: bucket, Prefix: prefix, CA: m.CA,
		AccessKey: m.AccessKey, SecretKey: m.SecretKey, Lock: lock, Site: "STP", ID: id, Now: time.Now,
	}
	address, env, options := s.S3Repo()
	s.Repository = repo(t, address, env, options)
	return s
}

func TestS3(t *testing.T) {
	t.Parallel()
	m := targettest.StartMinIO(t)
	for name, lock := range map[string]time.Duration{"plain": 0, "locked": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			var bucket string
			suite(t, m.Server, m.SecretKey, func(t *testing.T, n int) *targets.S3 {
				bucket = fmt.Sprintf("%s-%d", name, n)
				return s3(t, m, bucket, "saoluu/main", lock, "")
			}, func(s *targets.S3, id string) targets.Target { return s3(t, m, s.Bucket, s.Prefix, lock, id) })
		})
	}
}

func TestSFTP(t *testing.T) {
	t.Parallel()
	server := targettest.StartSSH(t)
	fresh := func(t *testing.T, path, id string) *targets.SFTP {
		s := &targets.SFTP{
			Name: "far", Host: "127.0.0.1", Port: server.Port, User: server.User, Path: path,
			Key: server.Key, KnownHosts: server.KnownHosts, Site: "STP", ID: id,
		}
		address, options := s.SFTPRepo()
		s.Repository = repo(t, address, nil, options)
		return s
	}
	suite(t, server.Server, "", func(t *testing.T, n int) *targets.SFTP {
		return fresh(t, filepath.Join(server.Dir, fmt.Sprintf("t%d", n)), "")
	}, func(s *targets.SFTP, id string) targets.Target { return fresh(t, s.Path, id) })

	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, s *targets.SFTP)
		kind  fault.Kind
		says  string
	}{
		{"another server's key", func(t *testing.T, s *targets.SFTP) {
			s.KnownHosts = filepath.Join(t.TempDir(), "known")
			other := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEMKb0Vw4M2Gy2WwC9Cz7PxPbiDwOZ8ZIs0PLuxyUAwe"
			must(t, os.WriteFile(s.KnownHosts, fmt.Appendf(nil, "[127.0.0.1]:%d %s\n", server.Port, other), 0o600))
		}, fault.WrongTarget, "another than"},
		{"a server nobody knows", func(t *testing.T, s *targets.SFTP) {
			s.KnownHosts = filepath.Join(t.TempDir(), "known")
			must(t, os.WriteFile(s.KnownHosts, nil, 0o600))
		}, fault.WrongTarget, "is not in"},
		{"no known hosts", func(t *testing.T, s *targets.SFTP) { s.KnownHosts = "/nowhere" }, fault.Usage, "known hosts"},
		{"a key that is not let in", func(t *testing.T, s *targets.SFTP) { s.Key = filepath.Join(filepath.Dir(server.Key), "host") }, fault.Denied, "does not let"},
		{"no parent", func(t *testing.T, s *targets.SFTP) { s.Path = filepath.Join(server.Dir, "no/parent") }, fault.Absent, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fresh(t, filepath.Join(server.Dir, "fresh"), "")
			tt.spoil(t, s)
			_, err := s.Enroll(t.Context())
			if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) || fault.HintOf(err) == "" {
				t.Errorf("got %v (kind %q, hint %q), want kind %q", err, fault.KindOf(err), fault.HintOf(err), tt.kind)
			}
		})
	}
}

func restTarget(t *testing.T, server targettest.REST, path, id string) *targets.REST {
	t.Helper()
	r := &targets.REST{
		Name: "far", URL: &url.URL{Scheme: "https", Host: server.Address, Path: path},
		User: server.User, Password: server.Password, CA: server.CA, ID: id,
	}
	address, env := r.RESTRepo()
	r.Repository = repo(t, address, env, nil)
	return r
}

func TestREST(t *testing.T) {
	t.Parallel()
	for name, appendOnly := range map[string]bool{"plain": false, "append-only": true} {
		t.Run(name, func(t *testing.T) {
			server := targettest.StartREST(t, appendOnly)
			fresh := func(t *testing.T, path, id string) *targets.REST { return restTarget(t, server, path, id) }
			suite(t, server.Server, server.Password, func(t *testing.T, n int) *targets.REST {
				return fresh(t, fmt.Sprintf("/stp/r%d", n), "")
			}, func(r *targets.REST, id string) targets.Target { return fresh(t, r.URL.Path, id) })

			t.Run("somebody else's repository", func(t *testing.T) {
				_, err := fresh(t, "/other/r", "").Enroll(t.Context())
				if fault.KindOf(err) != fault.Denied || fault.HintOf(err) == "" {
					t.Errorf("got %v", err)
				}
			})
			t.Run("wrong password", func(t *testing.T) {
				r := fresh(t, "/stp/r", "")
				r.Password = "not-the-password"
				if _, err := r.Enroll(t.Context()); fault.KindOf(err) != fault.Denied || strings.Contains(err.Error(), r.Password) {
					t.Errorf("got %v", err)
				}
			})
			t.Run("a certificate nobody vouches for", func(t *testing.T) {
				r := fresh(t, "/stp/r", "")
				r.CA = ""
				if _, err := r.Enroll(t.Context()); fault.KindOf(err) != fault.WrongTarget || fault.HintOf(err) == "" {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestS3Refusals(t *testing.T) {
	t.Parallel()
	m := targettest.StartMinIO(t)
	plain := s3(t, m, "no-lock", "", 0, "")
	_, err := plain.Enroll(t.Context())
	must(t, err)
	for _, tt := range []struct {
		name  string
		spoil func(s *targets.S3)
		kind  fault.Kind
		says  string
	}{
		{"a bucket without versions", func(s *targets.S3) { s.Bucket, s.Lock = "no-lock", 24*time.Hour }, fault.Refused, "keeps no versions"},
		{"a wrong secret key", func(s *targets.S3) { s.SecretKey = "not-the-secret-key" }, fault.Denied, "SignatureDoesNotMatch"},
		{"an unknown access key", func(s *targets.S3) { s.AccessKey = "nobody" }, fault.Denied, "InvalidAccessKeyId"},
		{"a certificate nobody vouches for", func(s *targets.S3) { s.CA = "" }, fault.WrongTarget, "certificate"},
		{"a wrong name", func(s *targets.S3) { s.Endpoint.Host = strings.Replace(s.Endpoint.Host, "127.0.0.1", "localhost", 1) }, fault.WrongTarget, "certificate"},
		{"nobody there", func(s *targets.S3) { s.Endpoint.Host = fmt.Sprintf("127.0.0.1:%d", targettest.FreePort(t)) }, fault.Absent, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s3(t, m, "fresh", "", 0, "")
			tt.spoil(s)
			_, err := s.Enroll(t.Context())
			if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) || fault.HintOf(err) == "" {
				t.Errorf("got %v (kind %q, hint %q), want kind %q", err, fault.KindOf(err), fault.HintOf(err), tt.kind)
			}
			if err != nil && strings.Contains(err.Error(), m.SecretKey) {
				t.Error("the error shows the secret key")
			}
		})
	}
	t.Run("a bucket that is not there", func(t *testing.T) {
		if err := s3(t, m, "nowhere", "", 0, "x").Ready(t.Context()); fault.KindOf(err) != fault.WrongTarget {
			t.Errorf("got %v", err)
		}
	})
	t.Run("somebody else's objects", func(t *testing.T) {
		if _, err := s3(t, m, "no-lock", "", 0, "").Enroll(t.Context()); err != nil {
			t.Fatalf("our own, again: %v", err)
		}
		other := s3(t, m, "no-lock", "", 0, "")
		other.Site = "SNV"
		if _, err := other.Enroll(t.Context()); fault.KindOf(err) != fault.Refused {
			t.Errorf("got %v", err)
		}
	})
}
