package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

const (
	boxPrefix = "test-"
	// dataFolder is the folder of a sandbox with what was restored.
	dataFolder = "data"
	ownerFile  = "owner.json"
	// boxLife is after how long a sandbox that another machine made in the same
	// folder counts as forgotten.
	boxLife = 7 * 24 * time.Hour
	// instanceBytes is what a throwaway MariaDB server takes for itself: its tables, and
	// two logs while it makes the second longer (instanceSettings).
	instanceBytes = 380 << 20
	// spareBytes is what must stay free beside the restored data.
	spareBytes = 64 << 20
)

// A sandbox is a folder below Scratch for one test. Its name starts with the
// process that owns it, so that one whose owner is dead can be told even if
// nothing else was written yet.
type sandbox struct {
	dir     string // others may pass through, not look
	data    string // restored data; only ours
	sockets string // folder of sockets elsewhere; "" until one is made
	owner   owner
}

// An owner is who made a sandbox, as kept in it.
type owner struct {
	Test    string    `json:"test"`
	Host    string    `json:"host"`
	Boot    string    `json:"boot"` // id of the boot the process belongs to
	PID     int       `json:"pid"`
	Start   string    `json:"start"` // of the process, in clock ticks since the boot
	Expires time.Time `json:"expires"`
	Sockets string    `json:"sockets,omitempty"`
}

// open makes the sandbox of a test after looking for the space it will need.
func (t *Tester) open(ctx context.Context, r Request) (*sandbox, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := os.MkdirAll(t.Scratch, 0o711); err != nil {
		return nil, boxError(t.Scratch, err)
	}
	if err := t.space(r); err != nil {
		return nil, err
	}
	me, err := self()
	if err != nil {
		return nil, err
	}
	me.Test, me.Expires = r.Test, t.Now().Add(boxLife).UTC()
	dir, err := os.MkdirTemp(t.Scratch, fmt.Sprintf("%s%d-%s-", boxPrefix, me.PID, me.Start))
	if err != nil {
		return nil, boxError(t.Scratch, err)
	}
	box := &sandbox{dir: dir, data: filepath.Join(dir, dataFolder), owner: me}
	err = errors.Join(os.Chmod(dir, 0o711), box.write(), os.Mkdir(box.data, 0o700))
	if err != nil {
		return nil, errors.Join(boxError(dir, err), box.close())
	}
	return box, nil
}

// write keeps who owns the sandbox.
func (b *sandbox) write() error {
	text, err := json.Marshal(b.owner)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dir, ownerFile), append(text, '\n'), 0o600)
}

// socketFolder makes a folder whose path is short enough for a socket.
func (b *sandbox) socketFolder(parent string) (string, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	// sockaddr_un holds 107 bytes and a zero (unix(7)).
	const longest = 107 - len("/saoluu-0123456789/.s.PGSQL.5432")
	if len(parent) > longest {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "saoluu-")
	if err != nil {
		return "", boxError(parent, err)
	}
	b.sockets, b.owner.Sockets = dir, dir
	return dir, b.write()
}

// close removes everything.
func (b *sandbox) close() error {
	var err error
	if b.sockets != "" {
		err = os.RemoveAll(b.sockets)
	}
	return errors.Join(err, removeTree(b.dir))
}

// removeTree removes a folder even where the restored data forbid it.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // what stays forbidden shows below
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// space fails when the file system of Scratch cannot hold what will be restored.
func (t *Tester) space(r Request) error {
	var need int64
	for _, p := range r.Parts {
		need += p.Bytes
	}
	switch {
	case r.isCluster():
		need = need * 5 / 2 // the copy, its files, and what recovery writes
	case r.Source == "postgres", r.Source == "mariadb", r.Source == "mongodb":
		need *= 4 // the dump, the tables and indexes made of it, and their log
	case r.Source == "image":
		need *= 2 // a partition may be copied to be checked, and a machine that boots writes
		if isFar(r.Repo) {
			need += disk.FolderBytes
		}
	case r.sampled():
		need /= 50 // a sample is about 1 % (sources.Files.SampleBytes)
	}
	if r.Source == "mariadb" {
		need += instanceBytes
	}
	need += max(spareBytes, t.Reserve)
	var st unix.Statfs_t
	if err := unix.Statfs(t.Scratch, &st); err != nil {
		return boxError(t.Scratch, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fault.New(fault.NoSpace, fmt.Sprintf("scratch folder %q", t.Scratch),
			fmt.Errorf("%d MiB free, %d MiB needed for the restore test, %d MiB of which stay free", free>>20, need>>20, max(spareBytes, t.Reserve)>>20),
			"free some space, move paths.scratch, test a sample, or lower limits.test_reserve")
	}
	return nil
}

func boxError(path string, err error) error {
	op := fmt.Sprintf("make a sandbox in %q", path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, op, err, "let the user that runs saoluu write to paths.scratch")
	case errors.Is(err, syscall.ENOSPC):
		return fault.New(fault.NoSpace, op, err, "free some space, or move paths.scratch")
	default:
		return fault.New(fault.Unknown, op, err, "")
	}
}

// self is this process as an owner.
func self() (owner, error) {
	pid := os.Getpid()
	start, err := processStart(pid)
	if err != nil {
		return owner{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		return owner{}, err
	}
	return owner{PID: pid, Start: start, Host: host, Boot: bootID()}, nil
}

// bootID tells one boot of a machine from another.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it all boots look the same
	return strings.TrimSpace(string(id))
}

// processStart returns when a process started; with its id it names it for ever
// within a boot. The error is fs.ErrNotExist when there is none.
func processStart(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, syscall.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return "", err
	}
	// The second field is the program's name, which may hold anything; starttime
	// is the 22nd (proc(5)).
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const start = 22 - 3
	if len(fields) <= start {
		return "", fmt.Errorf("process %d: cannot read its state", pid)
	}
	return fields[start], nil
}

// ownerOf reads who owns a sandbox: from its file or, when that was not written
// yet, from its name.
func ownerOf(dir string) (owner, bool) {
	var o owner
	text, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if err == nil && json.Unmarshal(text, &o) == nil && o.PID > 0 {
		return o, true
	}
	pid, rest, ok1 := strings.Cut(strings.TrimPrefix(filepath.Base(dir), boxPrefix), "-")
	start, _, ok2 := strings.Cut(rest, "-")
	o.PID, err = strconv.Atoi(pid)
	o.Start = start
	return o, ok1 && ok2 && err == nil
}
