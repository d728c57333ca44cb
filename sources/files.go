package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// partTree is the name of the part of a tree.
const partTree = "tree"

// Files is a source of trees and single files, read as they lie. They are not
// frozen: a file that changes while it is read is saved as it was found, and no
// fact is recorded of it.
type Files struct {
	// Paths are absolute. Each must exist. A path that leads through a symbolic
	// link is saved under the name it leads to.
	Paths []string
	// Exclude are restic exclude patterns.
	Exclude []string
	// OneFileSystem leaves out what is mounted below the paths.
	OneFileSystem bool
	// FactsMode is ModeSampled (the default) or ModeFull.
	FactsMode string
	// SampleFiles is how many files are sampled; 0 means 200.
	SampleFiles int
	// SampleBytes bounds what is read for a sample; 0 means 32 MiB or, where that
	// is more, 1 % of the tree.
	SampleBytes int64
	// Seed chooses the sample; empty means one made from the time of the backup.
	// It is recorded as a fact.
	Seed string
	// Now is the wall clock.
	Now func() time.Time
	// Fstab lists the mounts that should be there; empty means /etc/fstab.
	Fstab string
}

var (
	_ Source  = (*Files)(nil)
	_ Locator = (*Files)(nil)
)

// Prepare checks that every path is there and can be read: restic itself passes
// over a missing one in silence. The errors are fault.Absent for a missing path
// or an unmounted file system, and fault.Denied for an unreadable one.
func (f *Files) Prepare(ctx context.Context, scratch string) (Payload, error) {
	if err := f.check(); err != nil {
		return Payload{}, err
	}
	roots, exclude, err := f.roots(ctx)
	if err != nil {
		return Payload{}, err
	}
	clock, err := fileClock(scratch)
	if err != nil {
		return Payload{}, err
	}
	at := f.Now()
	survey := survey{files: *f, roots: roots, exclude: parsePatterns(exclude), before: clock}
	if survey.files.Seed == "" {
		survey.files.Seed = at.UTC().Format(time.RFC3339Nano)
	}
	return Payload{
		At: at,
		Parts: []Part{{
			Name: partTree, Paths: roots, Exclude: exclude, OneFileSystem: f.OneFileSystem,
		}},
		Facts:     survey.facts,
		FactsLast: true,
		Release:   func() error { return nil },
	}, nil
}

// Locations returns the paths themselves.
func (f *Files) Locations(ctx context.Context) ([]string, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	roots, _, err := f.roots(ctx)
	return roots, err
}

func (f *Files) check() error {
	switch {
	case len(f.Paths) == 0:
		return fault.New(fault.Usage, "files", errors.New("no path to save"), "set paths")
	case f.FactsMode != "" && f.FactsMode != ModeSampled && f.FactsMode != ModeFull:
		return fault.New(fault.Usage, "files", fmt.Errorf("unknown way %q to take facts", f.FactsMode), "use sampled or full")
	}
	for _, p := range f.Paths {
		if !filepath.IsAbs(p) {
			return fault.New(fault.Usage, fmt.Sprintf("path %q", p), errors.New("not absolute"), "start it with a slash")
		}
	}
	return nil
}

// roots returns the paths where they really lie, without repetition, and the
// exclude patterns that are meant for them.
func (f *Files) roots(ctx context.Context) (roots, exclude []string, err error) {
	exclude = slices.Clone(f.Exclude)
	for _, path := range f.Paths {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		path = filepath.Clean(path)
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			err = readable(real)
		}
		if err != nil {
			return nil, nil, pathError(path, err)
		}
		if real != path {
			for _, pattern := range f.Exclude {
				if rest, below := strings.CutPrefix(pattern, path+"/"); below {
					exclude = append(exclude, real+"/"+rest)
				}
			}
		}
		if !slices.Contains(roots, real) {
			roots = append(roots, real)
		}
	}
	return roots, exclude, f.mounted(roots)
}

// readable tries to read one entry or byte.
func readable(path string) error {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil || !st.IsDir() {
		return err
	}
	if _, err = file.Readdirnames(1); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func pathError(path string, err error) error {
	op := fmt.Sprintf("path %q", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fault.New(fault.Absent, op, errors.New("does not exist"), "mount or restore it, or take it out of the job's paths")
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.EHOSTDOWN):
		return fault.New(fault.Absent, op, err, "bring the file system back")
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, op, errors.New("permission denied"), "let the user that runs saoluu read it")
	default:
		return fault.New(fault.Failed, op, err, "")
	}
}

// mounted fails when a path lies on a file system that fstab wants mounted at
// boot and that is not: what is there is then an empty folder, and its backup
// would be called good.
func (f *Files) mounted(roots []string) error {
	wanted, err := fstabMounts(f.Fstab)
	if err != nil || len(wanted) == 0 {
		return nil // without a table there is nothing to hold against
	}
	for _, root := range roots {
		for _, point := range wanted {
			if root != point && !strings.HasPrefix(root, strings.TrimSuffix(point, "/")+"/") {
				continue
			}
			is, err := mountinfo.Mounted(point)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !is {
				return fault.New(fault.Absent, fmt.Sprintf("path %q", root), fmt.Errorf("%q is in fstab and not mounted", point), fmt.Sprintf("mount %q", point))
			}
		}
	}
	return nil
}

// fstabMounts returns the mount points that fstab(5) wants at boot, except "/".
func fstabMounts(path string) ([]string, error) {
	if path == "" {
		path = "/etc/fstab"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`)
	var points []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		point := filepath.Clean(unescape.Replace(fields[1]))
		if point == "/" || !filepath.IsAbs(point) || slices.Contains(strings.Split(fields[3], ","), "noauto") {
			continue
		}
		points = append(points, point)
	}
	return points, nil
}

// fileClock returns the time by the clock that file systems stamp with, which
// runs a few milliseconds behind the wall clock and knows nothing of a test's.
func fileClock(scratch string) (time.Time, error) {
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, scratch, nil, 0); err != nil { // nil: to the present
		return time.Time{}, scratchError(scratch, err)
	}
	st, err := os.Stat(scratch)
	if err != nil {
		return time.Time{}, scratchError(scratch, err)
	}
	return st.ModTime(), nil
}

// scratchError classes an error of writing below scratch.
func scratchError(scratch string, err error) error {
	op := fmt.Sprintf("write to scratch folder %q", scratch)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.NoSpace, op, err, "free some space, or move paths.scratch")
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, op, err, "let the user that runs saoluu write to it")
	default:
		return fault.New(fault.Failed, op, err, "")
	}
}
