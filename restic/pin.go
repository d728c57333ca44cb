package restic

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// A repository on a disk that can be pulled out, or unmounted under our hands, is
// handed to restic as an open folder: restic makes folders that it misses, and
// would go on below the empty mount point, on the disk the machine runs from. The
// open folder also keeps the file system from being unmounted meanwhile.

// pins are the folders that are held open for one run of restic.
type pins struct {
	first int // descriptor that the first of them has in restic
	files []*os.File
	names *strings.Replacer // what restic calls them, as people know them; nil: nothing is pinned
}

// pin opens the folders of the repositories that a call uses, and returns the
// repository and the call as restic is told them.
func pin(r Repo, c call) (Repo, call, pins, error) {
	p := pins{first: 3 + len(c.files.files)} // exec.Cmd.ExtraFiles begin at 3
	var known []string
	hold := func(r *Repo) error {
		if r == nil || r.Mount == "" {
			return nil
		}
		folder, err := onMount(c.op, r.URL, r.Mount)
		if err != nil {
			return err
		}
		at := fmt.Sprintf("/proc/self/fd/%d", p.first+len(p.files))
		p.files, known = append(p.files, folder), append(known, at, r.URL)
		r.URL = at
		return nil
	}
	err := hold(&r)
	if err == nil && c.from != nil {
		from := *c.from
		err = hold(&from)
		c.from = &from
	}
	if err != nil {
		p.release()
		return r, c, pins{}, err
	}
	if known != nil {
		p.names = strings.NewReplacer(known...)
	}
	return r, c, p, nil
}

// release closes the folders.
func (p pins) release() {
	for _, f := range p.files {
		_ = f.Close() // nothing was written through it
	}
}

// named replaces restic's names of the folders.
func (p pins) named(s string) string {
	if p.names == nil {
		return s
	}
	return p.names.Replace(s)
}

// onMount opens a folder of a mounted file system; it fails with Absent when
// nothing is mounted at mount.
func onMount(op, folder, mount string) (*os.File, error) {
	gone := func(err error) (*os.File, error) {
		return nil, fault.New(fault.Absent, op, fmt.Errorf("%s is not mounted at %s: %w", folder, mount, err), "plug the medium in, or mount it")
	}
	f, err := os.Open(folder)
	if err != nil {
		return gone(err)
	}
	var in, below unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &in), unix.Stat(filepath.Dir(mount), &below)); err != nil {
		return gone(errors.Join(err, f.Close()))
	}
	if in.Dev == below.Dev {
		return gone(errors.Join(errors.New("it lies on the file system that holds the mount point"), f.Close()))
	}
	return f, nil
}
