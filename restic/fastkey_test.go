package restic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
)

// fastKey puts a fast key into a local repository and returns it opened by that.
func fastKey(t *testing.T, e *Engine, r Repo) Repo {
	t.Helper()
	key, err := e.NewFastKey(t.Context(), r, "host", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.URL, "keys", key.ID), key.File, 0o600); err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(t.TempDir(), "fast")
	if err := os.WriteFile(password, []byte(key.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Fast = &Shortcut{ID: key.ID, PasswordFile: password}
	return r
}

func TestFastKey(t *testing.T) {
	e := testEngine(t)
	slow := newRepo(t, e, "fast")
	fast := fastKey(t, e, slow)

	// Alone, without the repository's own key to fall back to.
	alone := fast
	alone.PasswordFile = "/nonexistent"
	keys, err := e.Keys(t.Context(), alone)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, k := range keys {
		found = found || k.Current && strings.HasPrefix(fast.Fast.ID, k.ID) && k.User == "saoluu-daemon"
	}
	if !found || len(keys) != 2 {
		t.Fatalf("keys %+v; want the fast one in use", keys)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	saved, err := e.Backup(t.Context(), alone, BackupRequest{Paths: []string{dir}, Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	report, err := e.Check(t.Context(), slow, CheckOptions{Subset: 1, Of: 1})
	if err != nil || !report.Sound() {
		t.Fatalf("the repository with a fast key: %+v, %v", report, err)
	}

	to := newRepo(t, e, "to")
	made, err := e.Copy(t.Context(), alone, fastKey(t, e, to), CopyRequest{IDs: []string{saved.SnapshotID}})
	if err != nil || made[saved.SnapshotID] == "" {
		t.Fatalf("copied %v, %v", made, err)
	}
}

func TestFastKeyThatIsGone(t *testing.T) {
	e := testEngine(t)
	from, to := newRepo(t, e, "from"), newRepo(t, e, "to")
	fast := fastKey(t, e, from)
	if err := os.Remove(filepath.Join(from.URL, "keys", fast.Fast.ID)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	saved, err := e.Backup(t.Context(), fast, BackupRequest{Paths: []string{dir}, Host: "h"})
	if err != nil {
		t.Fatalf("with the repository's own key to fall back to: %v", err)
	}
	made, err := e.Copy(t.Context(), fast, to, CopyRequest{IDs: []string{saved.SnapshotID}})
	if err != nil || made[saved.SnapshotID] == "" {
		t.Fatalf("copied %v, %v", made, err)
	}
	fast.PasswordFile = fast.Fast.PasswordFile
	if _, err := e.CatConfig(t.Context(), fast); fault.KindOf(err) != fault.WrongKey {
		t.Errorf("no key at all: %v", err)
	}
}
