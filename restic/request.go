package restic

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A BackupRequest is one snapshot to be made. Exactly one of Paths, Root and Stdin
// is set.
type BackupRequest struct {
	Paths         []string // absolute, or below Dir; each must exist
	Dir           string   // absolute folder that Paths are below: its own path is no part of the snapshot's tree; empty: they are absolute
	Exclude       []string // patterns (restic manual, "Excluding files")
	OneFileSystem bool     // do not cross into other file systems

	// Root is the absolute path of a folder whose content, without the way to it, is
	// the whole snapshot. Every file in it is read.
	Root string

	// Stdin is the command whose standard output is saved as Filename. Of its
	// fields only Argv, Env and Stall count. A command that fails or writes
	// nothing leaves no snapshot.
	Stdin    *command.Cmd
	Filename string // name inside the snapshot, without folders
	Expect   int64  // length of the stream the last time, for the progress; 0 when not known

	Host string    // name of the host in the snapshot; required
	Tags []string  // "key=value"; no commas
	Time time.Time // of the snapshot; zero means now
	// Parent is the whole id of the snapshot whose unchanged files are not read
	// again. Empty means every file is read: restic then does not search for a
	// parent either, which would cost a look at every snapshot.
	Parent string

	OnProgress func(Progress) // about once a second, from another goroutine; may be nil
}

// check refuses what restic would misunderstand.
func (q BackupRequest) check(op string) error {
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Usage, op, fmt.Errorf(format, args...), "")
	}
	switch {
	case q.given() != 1:
		return refuse("give either paths or a command to read from, or a folder")
	case q.Root != "" && (!filepath.IsAbs(q.Root) || q.Parent != ""):
		return refuse("folder %q is not absolute, or has a parent", q.Root)
	case q.Stdin != nil && (len(q.Stdin.Argv) == 0 || q.Filename == "" || strings.ContainsAny(q.Filename, "/\x00")):
		return refuse("a command to read from needs a program and a bare file name, not %q", q.Filename)
	case q.Host == "":
		return refuse("give the host name of the snapshot")
	}
	for _, p := range q.Paths {
		if filepath.IsAbs(p) == (q.Dir != "") || q.Dir != "" && (!filepath.IsAbs(q.Dir) || !filepath.IsLocal(p)) {
			return refuse("path %q is not absolute, or not below %q", p, q.Dir)
		}
	}
	for _, t := range q.Tags {
		if t == "" || strings.Contains(t, ",") {
			return refuse("tag %q is empty or has a comma", t)
		}
	}
	if q.Parent != "" {
		return fullID(op, q.Parent)
	}
	return nil
}

// given is how many kinds of what is to be saved are set.
func (q BackupRequest) given() (n int) {
	for _, set := range []bool{len(q.Paths) > 0, q.Root != "", q.Stdin != nil} {
		if set {
			n++
		}
	}
	return n
}

// paths are what restic is told to read.
func (q BackupRequest) paths() []string {
	if q.Root != "" {
		return []string{"."}
	}
	return q.Paths
}

// present checks that every path is there: 0.18 only warns about one that is
// not, and a backup of nothing must not be called good.
func (q BackupRequest) present(op string) error {
	paths := q.Paths
	if q.Root != "" {
		paths = []string{q.Root}
	}
	for _, p := range paths {
		if q.Dir != "" {
			p = filepath.Join(q.Dir, p)
		}
		st, err := os.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fault.New(fault.Absent, op, fmt.Errorf("source %w", err), "check that its file system is mounted, or correct the path in the job")
		case errors.Is(err, fs.ErrPermission):
			return fault.New(fault.Denied, op, fmt.Errorf("source %w", err), "give the user this runs as the right to read it")
		case err != nil:
			return fmt.Errorf("%s: source %w", op, err)
		case st.Mode()&fs.ModeSymlink != 0:
			return fault.New(fault.Usage, op, fmt.Errorf("source %q is a symbolic link, and restic would save the link alone", p),
				"give the path it leads to")
		}
	}
	return nil
}

func (q BackupRequest) args() []string {
	args := []string{"backup", "--host", q.Host}
	for _, t := range q.Tags {
		args = append(args, "--tag", t)
	}
	for _, x := range q.Exclude {
		args = append(args, "--exclude", x)
	}
	if q.OneFileSystem {
		args = append(args, "--one-file-system")
	}
	if !q.Time.IsZero() {
		args = append(args, "--time", q.Time.UTC().Format(time.DateTime)) // restic runs with TZ=UTC
	}
	if q.Parent != "" {
		args = append(args, "--parent", q.Parent)
	} else {
		args = append(args, "--force")
	}
	if q.Stdin != nil {
		args = append(args, "--stdin-from-command", "--stdin-filename", q.Filename)
	}
	return args
}
