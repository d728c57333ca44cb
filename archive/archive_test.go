package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"saoluu/internal/fault"
)

// An entry is a file of a part that a test makes up; content nil stands for a folder.
type entry struct {
	name    string
	content []byte
}

func tarOf(entries []entry) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		t := tar.NewWriter(w)
		for _, e := range entries {
			h := &tar.Header{Name: e.name, Mode: 0o640, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
			if e.content == nil {
				h.Typeflag = tar.TypeDir
			}
			if err := t.WriteHeader(h); err != nil {
				return err
			}
			if _, err := t.Write(e.content); err != nil {
				return err
			}
		}
		return t.Close()
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// aRun is a run with a stream and a tree; change spoils it before it is used.
func aRun(t *testing.T, id string) Run {
	t.Helper()
	noise := rand.New(rand.NewPCG(1, uint64(len(id)))) //nolint:gosec // test data
	dump := make([]byte, 3<<20)
	for i := range dump {
		dump[i] = byte(noise.Uint32())
	}
	tree := []entry{{"srv/", nil}, {"srv/a", []byte("a")}, {"srv/b\\\nc", []byte("odd")}, {"srv/" + strings.Repeat("l", 200), nil}, {"srv/empty", []byte{}}}
	facts, err := json.Marshal([]map[string]string{
		{"part": "tree", "kind": "sha256", "of": "/srv/a", "value": digest([]byte("a"))},
		{"part": "tree", "kind": "files", "of": "", "value": "3"},
		{"part": "db", "kind": "rows", "of": "t", "value": "3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Run{
		RunInfo: RunInfo{Run: id, Class: "ngan", ConsistentAt: time.Unix(1e9, 0).UTC(), Bytes: int64(len(dump)) + 4}, Job: "qlvb", Facts: facts,
		Parts: []Part{
			{PartInfo{Name: "db", File: "x.dump", SHA256: digest(dump), Items: 1, Bytes: int64(len(dump))}, tarOf([]entry{{"x.dump", dump}})},
			{PartInfo{Name: "tree", Items: 5, Bytes: 4}, tarOf(tree)},
		},
	}
}

func options(t *testing.T, runs ...Run) (Options, *age.X25519Identity) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Dir: filepath.Join(t.TempDir(), "set [1]"), Size: 1 << 20, Set: "s1", Site: "STP", SiteName: "Sở Tư pháp", Made: time.Unix(1.6e9, 0), Spool: t.TempDir(),
		Custodians: []Custodian{{"chief", "Trưởng phòng", "SHA256:x"}}, Recipients: []age.Recipient{key.Recipient()}, Runs: runs,
		Identities: []age.Identity{key},
	}, key
}

func TestRoundTrip(t *testing.T) {
	o, key := options(t, aRun(t, "r1"), aRun(t, "r2"))
	w, err := Write(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if w.Index.Discs < 4 || len(w.Index.Volumes) != w.Index.Discs {
		t.Errorf("%d discs, %d volumes", w.Index.Discs, len(w.Index.Volumes))
	}
	for disc := 1; disc <= w.Index.Discs; disc++ {
		files, err := filepath.Glob(filepath.Join(escapeGlob(discDir(o.Dir, disc)), "*"))
		if err != nil || len(files) != 5 {
			t.Fatalf("disc %d: %q, %v", disc, files, err)
		}
		total := int64(0)
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			total += info.Size()
		}
		if total > o.Size {
			t.Errorf("disc %d has %d bytes, more than %d", disc, total, o.Size)
		}
	}
	v, err := Verify(t.Context(), VerifyOptions{Dirs: []string{o.Dir}, Identities: []age.Identity{key}})
	if err != nil || !v.Content || v.SHA256 != w.SHA256 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := Write(t.Context(), o); fault.KindOf(err) != fault.Refused {
		t.Errorf("a second set into the folder: %v", err)
	}
}

// What a part does not hold as it should be is found while it is written, and
// nothing is left of the set.
func TestWriteRefusesWhatDiffers(t *testing.T) {
	broken := errors.New("the repository is away")
	for name, spoil := range map[string]func(r *Run){
		"digest of a stream": func(r *Run) { r.Parts[0].SHA256 = digest(nil) },
		"fact":               func(r *Run) { r.Facts = []byte(`[{"part":"tree","kind":"sha256","of":"/srv/a","value":"00"}]`) },
		"fact of what is not there": func(r *Run) {
			r.Facts = []byte(`[{"part":"tree","kind":"sha256","of":"/srv/gone","value":"00"}]`)
		},
		"an entry less": func(r *Run) { r.Parts[1].Items++ },
		"a byte less":   func(r *Run) { r.Parts[1].Bytes++ },
		"facts":         func(r *Run) { r.Facts = []byte("{") },
		"cut tar": func(r *Run) {
			whole := r.Parts[0].Tar
			r.Parts[0].Tar = func(ctx context.Context, w io.Writer) error {
				return ignoreShort(whole(ctx, &short{w, 1 << 20}))
			}
		},
		"late error": func(r *Run) {
			whole := r.Parts[1].Tar
			r.Parts[1].Tar = func(ctx context.Context, w io.Writer) error { return errors.Join(whole(ctx, w), broken) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := aRun(t, "r1")
			spoil(&r)
			o, _ := options(t, r)
			_, err := Write(t.Context(), o)
			if err == nil {
				t.Fatal("no error")
			}
			if name == "late error" && !errors.Is(err, broken) {
				t.Errorf("%v", err)
			}
			left, readErr := os.ReadDir(o.Dir)
			if readErr != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, readErr)
			}
		})
	}
}

var errShort = errors.New("short")

type short struct {
	w    io.Writer
	left int
}

func (s *short) Write(p []byte) (int, error) {
	if len(p) > s.left {
		n, err := s.w.Write(p[:s.left])
		s.left -= n
		return n, errors.Join(err, errShort)
	}
	s.left -= len(p)
	return s.w.Write(p)
}

func ignoreShort(err error) error {
	if errors.Is(err, errShort) {
		return nil
	}
	return err
}

// Every byte of a set counts: a flipped one anywhere is found.
func TestDamage(t *testing.T) {
	o, _ := options(t, aRun(t, "r1"))
	if _, err := Write(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(escapeGlob(o.Dir), "disc-*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	noise := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // test data
	for _, f := range files {
		whole, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		at := noise.IntN(len(whole))
		spoiled := append([]byte{}, whole...)
		spoiled[at] ^= 1 << noise.IntN(8)
		for what, content := range map[string][]byte{fmt.Sprintf("byte %d", at): spoiled, "cut": whole[:at], "longer": append(append([]byte{}, whole...), 'x')} {
			if err := os.WriteFile(f, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(t.Context(), VerifyOptions{Dirs: []string{o.Dir}}); fault.KindOf(err) != fault.Damaged {
				t.Errorf("%s of %s: %v", what, filepath.Base(f), err)
			}
		}
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(t.Context(), VerifyOptions{Dirs: []string{o.Dir}}); fault.KindOf(err) != fault.Damaged {
			t.Errorf("without %s: %v", filepath.Base(f), err)
		}
		if err := os.WriteFile(f, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Verify(t.Context(), VerifyOptions{Dirs: []string{o.Dir}}); err != nil {
		t.Error(err)
	}
}
