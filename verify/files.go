package verify

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// files are restored trees, and streams that nothing can be asked about but
// their bytes.
type files struct {
	*examination
	parts []restoredPart
}

func (f *files) facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error) {
	var got []sources.Fact
	for _, p := range f.parts {
		var mine []sources.Fact
		for _, w := range want {
			if w.Part == p.Part {
				mine = append(mine, w)
			}
		}
		found, err := f.partFacts(ctx, p, mine)
		if err != nil {
			return nil, fmt.Errorf("part %q: %w", p.Part, err)
		}
		got = append(got, found...)
	}
	return got, nil
}

func (f *files) partFacts(ctx context.Context, p restoredPart, want []sources.Fact) ([]sources.Fact, error) {
	if p.file == "" {
		if err := os.MkdirAll(p.dir, 0o700); err != nil { // restic makes none for an empty snapshot
			return nil, err
		}
		if f.request.Source == "config" {
			return sources.ConfigFacts(ctx, p.dir, want)
		}
		if f.request.isSystem() {
			return sources.SystemTreeFacts(ctx, p.Part, p.dir, want)
		}
		return sources.TreeFacts(ctx, p.dir, want)
	}
	sum, err := fileSum(ctx, p.file)
	if err != nil {
		return nil, err
	}
	st, err := os.Lstat(p.file)
	if err != nil {
		return nil, err
	}
	return []sources.Fact{
		{Part: p.Part, Kind: sources.FactSHA256, Value: sum},
		{Part: p.Part, Kind: sources.FactSize, Value: fmt.Sprint(st.Size())},
	}, nil
}

func (f *files) query(context.Context, Check) (answer, error) {
	return answer{}, fault.New(fault.Usage, "SQL check", errors.New("the source is no database"), "")
}

func (f *files) close() error { return nil }

// damage turns one byte of one file around that has a digest among the facts or
// the checks. Without facts it takes all files away.
func (f *files) damage(ctx context.Context, seed string, want []sources.Fact) (string, error) {
	if len(want) == 0 {
		return f.removeAll()
	}
	var candidates []string
	for _, p := range f.parts {
		if p.file != "" {
			candidates = append(candidates, p.file)
			continue
		}
		for _, w := range want {
			path, ok := sources.FactPath(w)
			if w.Part != p.Part || w.Kind != sources.FactSHA256 || !ok {
				continue
			}
			if st, err := os.Lstat(filepath.Join(p.dir, path)); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
				candidates = append(candidates, filepath.Join(p.dir, path))
			}
		}
		for _, c := range f.request.Checks {
			if path := filepath.Join(p.dir, filepath.Clean("/"+c.SHA256Path)); c.SHA256Path != "" {
				if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
					candidates = append(candidates, path)
				}
			}
		}
	}
	if ctx.Err() != nil || len(candidates) == 0 {
		return "", context.Cause(ctx)
	}
	h := fnv.New64a()
	h.Write([]byte(seed))
	return "one byte of one file changed", flip(candidates[h.Sum64()%uint64(len(candidates))], h.Sum64())
}

func (f *files) removeAll() (string, error) {
	for _, p := range f.parts {
		if err := removeTree(p.dir); err != nil {
			return "", err
		}
		if err := os.Mkdir(p.dir, 0o700); err != nil {
			return "", err
		}
	}
	return "all files removed", nil
}

// flip turns one byte of a file around and nothing else: its mode, which is a
// fact too, is the same afterwards.
func flip(path string, seed uint64) (err error) {
	st, err := os.Lstat(path)
	if err != nil || st.Size() == 0 {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil { // restored files may be read-only
		return err
	}
	defer func() { err = errors.Join(err, os.Chmod(path, st.Mode())) }()
	return flipAt(path, int64(seed%uint64(st.Size())))
}

// flipAt turns the byte at an offset around.
func flipAt(path string, at int64) error {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0xff
	_, err = file.WriteAt(b, at)
	return err
}

// look judges a check on restored files.
func (x *examination) look(ctx context.Context, c Check, a *Assertion) error {
	if i, ok := x.subject.(*image); ok {
		return i.look(ctx, c, a)
	}
	f, ok := x.subject.(*files)
	if !ok {
		return fault.New(fault.Usage, "check on files", errors.New("the source is a database"), "")
	}
	switch {
	case c.Boot != nil:
		return x.notRebuilt()
	case c.Exists != "":
		a.Expected, a.Actual = "there", "not there"
		path, err := f.find(c.Exists)
		if err != nil {
			return err
		}
		if path != nil {
			a.OK, a.Actual = true, "there"
			return path.Close()
		}
	case c.SHA256Path != "":
		return f.lookAtDigest(ctx, c, a)
	case c.Parse != "":
		return f.parse(ctx, c, a)
	case len(c.Run) > 0:
		err := f.run(ctx, c, a)
		x.engine = x.engine || err == nil
		return err
	case c.MinFiles != nil:
		n, err := f.number(ctx)
		if err != nil {
			return err
		}
		a.Expected, a.Actual, a.OK = fmt.Sprintf("at least %d files", *c.MinFiles), fmt.Sprintf("%d files", n), n >= *c.MinFiles
	default:
		return fault.New(fault.Usage, "check", errors.New("it asks for nothing"), "")
	}
	return nil
}

func (f *files) lookAtDigest(ctx context.Context, c Check, a *Assertion) error {
	a.Expected, a.Actual = "the given digest", "not there"
	file, err := f.find(c.SHA256Path)
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		a.Actual = "not a regular file"
		return nil
	}
	// find opened only the name; its content is opened through it.
	content, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return err
	}
	defer content.Close()
	sum, err := readerSum(ctx, content)
	if err != nil {
		return err
	}
	a.OK = strings.EqualFold(sum, strings.TrimSpace(c.SHA256Hex))
	a.Actual = map[bool]string{true: "the given digest", false: "another digest"}[a.OK]
	return nil
}

func (f *files) number(ctx context.Context) (int, error) {
	n := 0
	for _, p := range f.parts {
		err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && path == p.dir {
				return nil
			}
			if err != nil {
				return err
			}
			if d.Type().IsRegular() {
				n++
			}
			return context.Cause(ctx)
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// find opens what lies at a path of the source, in whichever tree. Links are
// followed as they would be on the source, that is inside the tree, whatever they
// point at. nil means that it is in none of them. The result is open as a name
// only (O_PATH), so that a pipe or a device does nothing.
func (f *files) find(path string) (*os.File, error) {
	for _, p := range f.parts {
		root, err := os.Open(p.dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		fd, err := unix.Openat2(int(root.Fd()), strings.TrimPrefix(filepath.Clean("/"+path), "/"), &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		_ = root.Close()
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		default:
			return nil, fault.New(fault.Unknown, "look for a restored file", err, "")
		}
	}
	return nil, nil
}
