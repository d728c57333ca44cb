package targets_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
	"saoluu/targets/targettest"
)

// A repository that is lent is read in full by a restic that has no keys of the
// storage, and nothing can be written or deleted through it but locks.
func TestLend(t *testing.T) {
	t.Parallel()
	m, ssh := targettest.StartMinIO(t), targettest.StartSSH(t)
	bucket := s3(t, m, "lent", "main", 0, "")
	folder := &targets.SFTP{
		Name: "far", Host: "127.0.0.1", Port: ssh.Port, User: ssh.User, Path: filepath.Join(ssh.Dir, "lent"), Key: ssh.Key, KnownHosts: ssh.KnownHosts, Site: "STP",
	}
	address, options := folder.SFTPRepo()
	folder.Repository = repo(t, address, nil, options)
	for name, target := range map[string]interface {
		targets.Target
		targets.Enroller
		targets.Lender
	}{"s3": bucket, "sftp": folder} {
		t.Run(name, func(t *testing.T) { lent(t, target, target.Repo()) })
	}
}

func lent(t *testing.T, target interface {
	targets.Enroller
	targets.Lender
}, own restic.Repo) {
	e, dir := engine(t), t.TempDir()
	_, err := target.Enroll(t.Context())
	must(t, err)
	if _, _, err := target.Lend(t.Context(), dir); fault.KindOf(err) != fault.Absent {
		t.Fatalf("a place without a repository was lent: %v", err)
	}
	_, err = e.Init(t.Context(), own, restic.InitOptions{})
	must(t, err)
	tree := t.TempDir()
	must(t, os.WriteFile(filepath.Join(tree, "file"), []byte(strings.Repeat("some content ", 100000)), 0o600))
	saved, err := e.Backup(t.Context(), own, restic.BackupRequest{Paths: []string{tree}, Host: "test"})
	must(t, err)

	borrowed, takeBack, err := target.Lend(t.Context(), dir)
	must(t, err)
	if len(borrowed.Env)+len(borrowed.Options) > 0 {
		t.Errorf("it needs %v %v", borrowed.Env, borrowed.Options)
	}
	report, err := e.Check(t.Context(), borrowed, restic.CheckOptions{Subset: 1, Of: 1})
	if err != nil || !report.Sound() {
		t.Errorf("read in full: %+v, %v", report, err)
	}
	if err := e.Forget(t.Context(), borrowed, []string{saved.SnapshotID}); err == nil {
		t.Error("a snapshot could be deleted")
	}
	if _, err := e.Backup(t.Context(), borrowed, restic.BackupRequest{Paths: []string{t.TempDir()}, Host: "test"}); err == nil {
		t.Error("a snapshot could be written")
	}
	refusals(t, dir, saved.SnapshotID)
	must(t, takeBack())
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	list, err := e.Snapshots(t.Context(), own, restic.Filter{})
	if err != nil || len(list) != 1 {
		t.Errorf("afterwards %v, %v", list, err)
	}
}

// refusals asks for what must not be answered.
func refusals(t *testing.T, dir, snapshot string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "s"))
	}}}
	for _, tt := range []struct {
		method, path, asked string
		want                int
	}{
		{http.MethodGet, "/config", "", http.StatusOK},
		{http.MethodGet, "/snapshots/" + snapshot, "bytes=0-9", http.StatusPartialContent},
		{http.MethodGet, "/snapshots/" + snapshot, "bytes=x", http.StatusRequestedRangeNotSatisfiable},
		{http.MethodGet, "/snapshots/" + strings.Repeat("0", 64), "", http.StatusNotFound},
		{http.MethodHead, "/snapshots/" + strings.Repeat("0", 64), "", http.StatusNotFound},
		{http.MethodGet, "/" + targets.MarkerName, "", http.StatusNotFound},
		{http.MethodGet, "/data/../config", "", http.StatusNotFound},
		{http.MethodPost, "/?create=true", "", http.StatusNotFound},
		{http.MethodPost, "/config", "", http.StatusForbidden},
		{http.MethodPost, "/keys/" + snapshot, "", http.StatusForbidden},
		{http.MethodDelete, "/config", "", http.StatusForbidden},
		{http.MethodDelete, "/snapshots/" + snapshot, "", http.StatusForbidden},
	} {
		request, err := http.NewRequestWithContext(t.Context(), tt.method, "http://lent", strings.NewReader(""))
		must(t, err)
		request.URL.Path, request.URL.RawQuery, _ = strings.Cut(tt.path, "?")
		if tt.asked != "" {
			request.Header.Set("Range", tt.asked)
		}
		answer, err := client.Do(request)
		must(t, err)
		content, err := io.ReadAll(answer.Body)
		must(t, err)
		answer.Body.Close()
		if answer.StatusCode != tt.want || tt.want == http.StatusPartialContent && len(content) != 10 {
			t.Errorf("%s %s: %s, %d bytes", tt.method, tt.path, answer.Status, len(content))
		}
	}
}
