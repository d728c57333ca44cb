// Package sourcetest holds the suite every source passes, and what its tests
// need: a throwaway PostgreSQL server to be the source.
package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/command"
	"saoluu/sources"
)

// A Subject is one source under test.
type Subject struct {
	// New makes the source; each time of the same data.
	New func(t *testing.T) sources.Source
	// Broken makes sources whose Prepare must fail, by what is wrong with them.
	Broken map[string]func(t *testing.T) sources.Source
	// Secrets must never be seen.
	Secrets []string
}

// Run puts a source through the suite.
func Run(t *testing.T, s Subject) {
	t.Run("reads twice", s.readsTwice)
	t.Run("two at once", s.twoAtOnce)
	t.Run("cancelled before", s.cancelledBefore)
	t.Run("cancelled half-way", s.cancelledHalfWay)
	t.Run("fails half-way", s.failsHalfWay)
	t.Run("facts are reproducible", s.factsAgain)
	t.Run("no scratch folder", s.noScratch)
	for name, broken := range s.Broken {
		t.Run("broken: "+name, func(t *testing.T) { s.fails(t, broken(t), t.TempDir()) })
	}
}

func (s Subject) readsTwice(t *testing.T) {
	source := s.New(t)
	for range 2 {
		scratch := t.TempDir()
		p := s.prepare(t, source, scratch)
		for _, part := range p.Parts {
			if n, err := Read(t.Context(), part, io.Discard); err != nil || n == 0 {
				t.Errorf("part %q: read %d bytes, error %v", part.Name, n, err)
			}
		}
		s.release(t, p, scratch)
	}
}

func (s Subject) twoAtOnce(t *testing.T) {
	source := s.New(t)
	one, two := t.TempDir(), t.TempDir()
	p, q := s.prepare(t, source, one), s.prepare(t, source, two)
	s.release(t, p, one)
	for _, part := range q.Parts {
		if _, err := Read(t.Context(), part, io.Discard); err != nil {
			t.Errorf("part %q after the other was released: %v", part.Name, err)
		}
	}
	s.release(t, q, two)
}

func (s Subject) cancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	scratch := t.TempDir()
	p, err := s.New(t).Prepare(ctx, scratch)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want one that is context.Canceled", err)
	}
	s.nothing(t, p, scratch)
}

func (s Subject) cancelledHalfWay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	scratch := t.TempDir()
	p, err := s.New(t).Prepare(ctx, scratch)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for _, part := range p.Parts {
		if _, err := Read(ctx, part, io.Discard); err == nil && len(part.Paths) == 0 {
			t.Errorf("part %q was read to its end after the cancellation", part.Name)
		}
	}
	if p.Facts != nil {
		if facts, err := p.Facts(ctx); err == nil {
			t.Errorf("Facts after the cancellation returned %d facts and no error", len(facts))
		}
	}
	s.release(t, p, scratch)
}

func (s Subject) failsHalfWay(t *testing.T) {
	scratch := t.TempDir()
	p := s.prepare(t, s.New(t), scratch)
	full := errors.New("the target is full")
	for _, part := range p.Parts {
		if _, err := Read(t.Context(), part, failing{full}); !errors.Is(err, full) {
			t.Errorf("part %q: error %v, want the target's", part.Name, err)
		}
	}
	s.release(t, p, scratch)
}

func (s Subject) factsAgain(t *testing.T) {
	source := s.New(t)
	var all [2][]sources.Fact
	for i := range all {
		scratch := t.TempDir()
		p := s.prepare(t, source, scratch)
		if p.Facts == nil {
			return // a kind may have none
		}
		if p.FactsLast {
			for _, part := range p.Parts {
				if _, err := Read(t.Context(), part, io.Discard); err != nil {
					t.Errorf("part %q: %v", part.Name, err)
				}
			}
		}
		facts, err := p.Facts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all[i] = Sorted(facts)
		s.release(t, p, scratch)
	}
	if diff := cmp.Diff(all[0], all[1]); diff != "" {
		t.Errorf("facts of unchanged data (-first +second):\n%s", diff)
	}
	if len(all[0]) == 0 {
		t.Error("no facts")
	}
	for _, f := range all[0] {
		if !slices.ContainsFunc(s.parts(t, source), func(part string) bool { return part == f.Part }) {
			t.Errorf("fact %+v is of a part that does not exist", f)
		}
	}
}

func (s Subject) parts(t *testing.T, source sources.Source) (names []string) {
	scratch := t.TempDir()
	p := s.prepare(t, source, scratch)
	for _, part := range p.Parts {
		names = append(names, part.Name)
	}
	s.release(t, p, scratch)
	return names
}

func (s Subject) noScratch(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	p, err := s.New(t).Prepare(t.Context(), missing)
	if err == nil {
		_ = p.Release()
		t.Error("Prepare without a scratch folder succeeded")
	}
	s.silent(t, err)
}

func (s Subject) fails(t *testing.T, source sources.Source, scratch string) {
	p, err := source.Prepare(t.Context(), scratch)
	if err == nil {
		_ = p.Release()
		t.Fatal("Prepare succeeded")
	}
	t.Logf("error: %v", err)
	s.silent(t, err)
	s.nothing(t, p, scratch)
}

// prepare prepares and looks at the payload.
func (s Subject) prepare(t *testing.T, source sources.Source, scratch string) sources.Payload {
	t.Helper()
	p, err := source.Prepare(t.Context(), scratch)
	if err != nil {
		t.Fatal(err)
	}
	if p.At.IsZero() || len(p.Parts) == 0 || p.Release == nil {
		t.Fatalf("payload lacks its time, parts or release: %+v", p)
	}
	seen := map[string]bool{}
	for _, part := range p.Parts {
		if seen[part.Name] || part.Name == "" || strings.ContainsAny(part.Name, "/,\x00") {
			t.Errorf("part name %q is empty, comes twice, or does not fit a tag and a file name", part.Name)
		}
		seen[part.Name] = true
		set := 0
		for _, is := range []bool{len(part.Paths) > 0, part.File != "", part.Dump != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			t.Errorf("part %q: %d of Paths, File and Dump are set", part.Name, set)
		}
		if len(part.Paths) == 0 && (part.Filename == "" || strings.ContainsAny(part.Filename, "/\x00")) {
			t.Errorf("part %q: file name %q", part.Name, part.Filename)
		}
		if part.Dump != nil {
			s.quiet(t, strings.Join(part.Dump.Argv, " "), "argv")
			s.quiet(t, strings.Join(part.Dump.Env, " "), "environment")
		}
	}
	return p
}

// release releases twice and looks for leftovers.
func (s Subject) release(t *testing.T, p sources.Payload, scratch string) {
	t.Helper()
	for range 2 {
		if err := p.Release(); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	s.empty(t, scratch)
}

func (s Subject) nothing(t *testing.T, p sources.Payload, scratch string) {
	t.Helper()
	if len(p.Parts) > 0 || p.Facts != nil || p.Release != nil || !p.At.IsZero() {
		t.Errorf("the payload is not the zero value: %+v", p)
	}
	s.empty(t, scratch)
}

func (s Subject) empty(t *testing.T, scratch string) {
	t.Helper()
	left, err := os.ReadDir(scratch)
	if err != nil {
		t.Error(err)
	}
	for _, e := range left {
		t.Errorf("left in scratch: %s", e.Name())
	}
}

func (s Subject) silent(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		s.quiet(t, fmt.Sprintf("%v %+v %#v", err, err, err), "error")
	}
}

func (s Subject) quiet(t *testing.T, text, where string) {
	t.Helper()
	for _, secret := range s.Secrets {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is shown in the %s: %s", where, text)
		}
	}
}

// failing is a writer that takes nothing.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// Read reads a part to its end, as a backup would, and returns its bytes.
func Read(ctx context.Context, part sources.Part, w io.Writer) (int64, error) {
	counted := &counter{w: w}
	var err error
	switch {
	case part.Dump != nil:
		dump := *part.Dump
		dump.Stdout = counted
		_, err = command.Run(ctx, dump)
	case part.File != "":
		err = copyFile(ctx, part.File, counted)
	default:
		for _, root := range part.Paths {
			if part.Dir != "" {
				root = filepath.Join(part.Dir, root)
			}
			err = errors.Join(err, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				return copyFile(ctx, path, counted)
			}))
		}
	}
	return counted.n, err
}

func copyFile(ctx context.Context, path string, w io.Writer) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(struct{ io.Writer }{w}, file)
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Sorted returns facts in a fixed order.
func Sorted(facts []sources.Fact) []sources.Fact {
	facts = slices.Clone(facts)
	slices.SortFunc(facts, func(a, b sources.Fact) int {
		return strings.Compare(a.Part+"\x00"+a.Kind+"\x00"+a.Of, b.Part+"\x00"+b.Kind+"\x00"+b.Of)
	})
	return facts
}

// Kept returns the facts of one kind by what they are of.
func Kept(facts []sources.Fact, kind string) map[string]string {
	kept := map[string]string{}
	for _, f := range facts {
		if f.Kind == kind {
			kept[f.Of] = f.Value
		}
	}
	return kept
}
