package restic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"saoluu/internal/fault"
)

// script writes an executable stand-in for restic.
func script(t *testing.T, body string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "restic")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFind(t *testing.T) {
	good := script(t, "echo 'restic 0.18.1-dev compiled with go1.24'")
	old := script(t, "echo 'restic 0.14.0 compiled with go1.19'")
	for _, tc := range []struct {
		name string
		o    FindOptions
		want string // version
		err  string
	}{
		{name: "explicit", o: FindOptions{Path: good, Candidates: []string{old}}, want: "0.18.1"},
		{name: "candidate after an old one", o: FindOptions{Candidates: []string{"/nonexistent/restic", old, good}}, want: "0.18.1"},
		{name: "explicit but missing", o: FindOptions{Path: "/nonexistent/restic", Candidates: []string{good}}, err: "/nonexistent/restic"},
		{name: "explicit but old", o: FindOptions{Path: old, Candidates: []string{good}}, err: "is restic 0.14.0, older than 0.18.0"},
		{name: "only an old one", o: FindOptions{Candidates: []string{old}}, err: "older than 0.18.0"},
		{name: "none", o: FindOptions{Candidates: []string{"/nonexistent/restic"}}, err: "there is none in"},
		{name: "garbage", o: FindOptions{Path: script(t, "echo 'rustic 1.0'")}, err: `is no restic: asked for its version it says "rustic 1.0`},
		{name: "silence", o: FindOptions{Path: script(t, "exit 0")}, err: "it says nothing"},
		{name: "broken", o: FindOptions{Path: script(t, "echo 'cannot load library' >&2; exit 127")}, err: "cannot load library"},
		{name: "strange version", o: FindOptions{Path: script(t, "echo 'restic 0.99999999999999999999.1 compiled'")}, err: "older than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := Find(t.Context(), tc.o)
			if tc.err == "" {
				if err != nil || e.Version != tc.want || len(e.SHA256) != 64 || !filepath.IsAbs(e.Path) {
					t.Fatalf("%+v, %v", e, err)
				}
				return
			}
			wantKind(t, err, fault.MissingTool, tc.err)
			if !strings.Contains(fault.HintOf(err), "0.18.0 or newer") {
				t.Errorf("hint %q", fault.HintOf(err))
			}
		})
	}
}

func TestFindRemembers(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	file := script(t, "echo x >>"+count+"; echo 'restic 0.19.1 compiled with go1.26'")
	cache := filepath.Join(t.TempDir(), "engine.json")
	o := FindOptions{Path: file, ProbeCache: cache}
	asked := func() int { return strings.Count(string(read(t, count)), "x") }
	var first *Engine
	for range 3 {
		e, err := Find(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && (e.Version != first.Version || e.SHA256 != first.SHA256) {
			t.Errorf("%s, then %s", first.Version, e.Version)
		}
		first = e
	}
	if asked() != 1 {
		t.Errorf("asked %d times", asked())
	}
	// Another program in the same place, of the same length and dated back.
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(read(t, file)), "0.19.1", "0.19.2", 1)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if e, err := Find(t.Context(), o); err != nil || e.Version != "0.19.2" || e.SHA256 == first.SHA256 {
		t.Errorf("%+v, %v", e, err)
	}
	write(t, cache, []byte("{torn"))
	if _, err := Find(t.Context(), o); err != nil || asked() != 3 {
		t.Errorf("asked %d times, %v", asked(), err)
	}
	if got := Candidates("/opt/x/saoluu"); got[0] != "/opt/x/restic" || got[1] != "/usr/lib/saoluu/restic" {
		t.Errorf("candidates %q", got)
	}
}
