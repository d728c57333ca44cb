// Package targettest is the suite every target passes, whatever it is made of.
package targettest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// A Fixture is one target under test and what the suite needs to know of it.
type Fixture struct {
	Target targets.Target // fresh: never enrolled
	// Enrolled returns the same target as it would be made after enrolling.
	Enrolled func(identity string) targets.Target
	Engine   *restic.Engine
	// Away takes the target away and Back brings it back; nil when that cannot be
	// done here.
	Away, Back func(t *testing.T)
	Secret     string // must not appear in any error
}

// Run runs the suite. newFixture makes a new, empty target each time.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) {
	t.Run("unknown until enrolled", func(t *testing.T) {
		f := newFixture(t)
		if err := f.Target.Ready(t.Context()); err == nil {
			t.Fatal("a target that was never enrolled says it is ready")
		}
	})
	t.Run("enrolled twice is the same", func(t *testing.T) {
		f := newFixture(t)
		first, second := prepared(t, f), enroll(t, f.Target)
		if first == "" || first != second {
			t.Fatalf("identities %q and %q", first, second)
		}
	})
	t.Run("no repository is not ready", func(t *testing.T) {
		f := newFixture(t)
		identity := enroll(t, f.Target)
		if identity == "" {
			identity = "there was one" // a kind that is told by its repository
		}
		wantKind(t, f.Enrolled(identity).Ready(t.Context()), fault.NoRepository)
	})
	t.Run("saves and finds", func(t *testing.T) { savesAndFinds(t, newFixture(t)) })
	t.Run("takes a key", func(t *testing.T) { takesKey(t, newFixture(t)) })
	t.Run("another identity is refused", func(t *testing.T) {
		f := newFixture(t)
		prepared(t, f)
		wantKind(t, f.Enrolled("somebody-else").Ready(t.Context()), fault.WrongTarget)
	})
	t.Run("away and back", func(t *testing.T) { awayAndBack(t, newFixture(t)) })
	t.Run("cancelled", func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Target.Ready(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("Ready after cancel: %v", err)
		}
	})
}

func savesAndFinds(t *testing.T, f Fixture) {
	target := f.Enrolled(prepared(t, f))
	if err := target.Ready(t.Context()); err != nil {
		t.Fatalf("ready with a repository: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	saved, err := f.Engine.Backup(t.Context(), target.Repo(), restic.BackupRequest{Paths: []string{dir}, Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if finder, ok := target.(targets.Finder); ok {
		if held, err := finder.HasSnapshot(t.Context(), saved.SnapshotID); err != nil || !held {
			t.Fatalf("snapshot just made: held %v, %v", held, err)
		}
		if held, err := finder.HasSnapshot(t.Context(), strings.Repeat("0", 64)); err != nil || held {
			t.Fatalf("snapshot never made: held %v, %v", held, err)
		}
	}
}

// takesKey puts a second key into the repository and opens it by that alone.
func takesKey(t *testing.T, f Fixture) {
	target := f.Enrolled(prepared(t, f))
	keeper, ok := target.(targets.KeyKeeper)
	if !ok {
		t.Skip("this target takes no keys")
	}
	key, err := f.Engine.NewFastKey(t.Context(), target.Repo(), "test", time.Date(2026, 5, 31, 1, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.PutKey(t.Context(), key.ID, key.File); err != nil {
		t.Fatal(err)
	}
	repo := target.Repo()
	repo.PasswordFile = filepath.Join(t.TempDir(), "fast")
	if err := os.WriteFile(repo.PasswordFile, []byte(key.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	repo.Fast = &restic.Shortcut{ID: key.ID, PasswordFile: repo.PasswordFile}
	if _, err := f.Engine.CatConfig(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
}

func awayAndBack(t *testing.T, f Fixture) {
	if f.Away == nil {
		t.Skip("this target cannot be taken away here")
	}
	target := f.Enrolled(prepared(t, f))
	f.Away(t)
	err := target.Ready(t.Context())
	wantKind(t, err, fault.Absent)
	if fault.HintOf(err) == "" {
		t.Error("no hint")
	}
	if f.Secret != "" && strings.Contains(err.Error(), f.Secret) {
		t.Error("the error shows a secret")
	}
	if enroller, ok := target.(targets.Enroller); ok {
		if _, err := enroller.Enroll(t.Context()); err == nil {
			t.Error("an enrolled target that is away was enrolled anew")
		}
	}
	f.Back(t)
	if err := target.Ready(t.Context()); err != nil {
		t.Fatalf("back again: %v", err)
	}
}

// prepared enrolls a fresh target, makes its repository and returns its identity.
func prepared(t *testing.T, f Fixture) string {
	t.Helper()
	hasRepository(t, f.Target, false)
	enroll(t, f.Target)
	made, err := f.Engine.Init(t.Context(), f.Target.Repo(), restic.InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := f.Engine.CatConfig(t.Context(), f.Target.Repo())
	if err != nil || opened.ID != made {
		t.Fatalf("repository %q reads back as %q: %v", made, opened.ID, err)
	}
	hasRepository(t, f.Target, true)
	return enroll(t, f.Target)
}

func hasRepository(t *testing.T, target targets.Target, want bool) {
	t.Helper()
	if finder, ok := target.(targets.Finder); ok {
		if there, err := finder.HasRepository(t.Context()); err != nil || there != want {
			t.Fatalf("has a repository: %v, %v; want %v", there, err, want)
		}
	}
}

func enroll(t *testing.T, target targets.Target) string {
	t.Helper()
	enroller, ok := target.(targets.Enroller)
	if !ok {
		t.Skip("this kind is not enrolled")
	}
	identity, err := enroller.Enroll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind {
		t.Fatalf("got %v (kind %q), want kind %q", err, fault.KindOf(err), kind)
	}
}
