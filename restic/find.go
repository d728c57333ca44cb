package restic

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// MinVersion is the oldest restic that works here: the first with all of
// --stdin-from-command, the exit statuses 10 to 12 and the JSON messages of
// check (restic changelog, 0.17 and 0.18). Debian 13 has it.
const MinVersion = "0.18.0"

// versionStall is how long a program may think about its version: 25 ms is
// usual, a cold disk is slower.
const versionStall = 20 * time.Second

// installHint tells where to get one.
const installHint = "install restic " + MinVersion + " or newer at /usr/lib/saoluu/restic, or name it in SAOLUU_RESTIC"

// FindOptions says where to look for restic.
type FindOptions struct {
	// Path is the one program to use; then no other is tried.
	Path string
	// Candidates are tried in order when Path is empty; those that do not exist
	// are passed over, and so are those that are too old.
	Candidates []string
	// SHA256 is the only digest the program may have; empty lets it have any. It is
	// computed each time then.
	SHA256 string
	// ProbeCache is a file in which the answer is kept, since asking costs about 40 ms:
	// 25 for "restic version", 15 for its digest. Empty asks each time.
	ProbeCache string
}

// Candidates are the usual places: beside our own program, the package's folder,
// then PATH.
func Candidates(self string) []string {
	list := []string{filepath.Join(filepath.Dir(self), "restic"), "/usr/lib/saoluu/restic"}
	if p, err := command.LookPath("restic"); err == nil {
		list = append(list, p)
	}
	return list
}

// Find returns an engine with Path, Version and SHA256 set. No usable restic is
// fault.MissingTool.
func Find(ctx context.Context, o FindOptions) (*Engine, error) {
	const op = "find restic"
	list := o.Candidates
	if o.Path != "" {
		list = []string{o.Path}
	}
	var seen []error
	for _, path := range list {
		cache := o.ProbeCache
		if o.SHA256 != "" {
			cache = ""
		}
		e, err := probe(ctx, path, cache)
		if err == nil && o.SHA256 != "" && e.SHA256 != o.SHA256 {
			return nil, fault.New(fault.Refused, op, fmt.Errorf("%q has the SHA-256 %s, and engine.sha256 wants %s", path, e.SHA256, o.SHA256),
				"find out who replaced it; after an update on purpose, write the new digest into engine.sha256")
		}
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", op, context.Cause(ctx))
		}
		if o.Path != "" || !errors.Is(err, os.ErrNotExist) {
			seen = append(seen, err)
		}
	}
	if len(seen) == 0 {
		seen = append(seen, errors.New("there is none in "+strings.Join(list, ", ")))
	}
	return nil, fault.New(fault.MissingTool, op, errors.Join(seen...), installHint)
}

// A probed is what is kept about one program, valid while its file is the same.
type probed struct {
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	ModTime int64  `json:"mtime"` // nanoseconds
	Change  int64  `json:"ctime"` // nanoseconds; cannot be set back by a user
	Inode   uint64 `json:"inode"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

// probe asks the program at path what it is, or remembers.
func probe(ctx context.Context, path, cache string) (*Engine, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	now := probed{Path: path, Size: st.Size(), ModTime: st.ModTime().UnixNano()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		now.Inode, now.Change = sys.Ino, sys.Ctim.Nano()
	}
	if old, ok := remembered(cache); ok {
		now.Version, now.SHA256 = old.Version, old.SHA256
		if old == now && atLeast(old.Version, MinVersion) && len(old.SHA256) == 64 {
			return &Engine{Path: path, Version: old.Version, SHA256: old.SHA256}, nil
		}
	}
	if now.Version, err = askVersion(ctx, path); err != nil {
		return nil, err
	}
	if now.SHA256, err = fileSHA256(path); err != nil {
		return nil, err
	}
	if cache != "" {
		if text, err := json.Marshal(now); err == nil {
			_ = durable.WriteFile(cache, append(text, '\n'), 0o600) // without it the next start is slower, that is all
		}
	}
	return &Engine{Path: path, Version: now.Version, SHA256: now.SHA256}, nil
}

func remembered(cache string) (p probed, ok bool) {
	if cache == "" {
		return p, false
	}
	text, err := os.ReadFile(cache)
	return p, err == nil && json.Unmarshal(text, &p) == nil
}

var versionLine = regexp.MustCompile(`^restic (\d+\.\d+\.\d+)[-+ ]`)

// askVersion runs "restic version".
func askVersion(ctx context.Context, path string) (string, error) {
	cmd := command.Cmd{Argv: []string{path, "version"}, Env: []string{minimalPath, "HOME=/"}, Stall: versionStall, Grace: time.Second}
	out, err := command.Output(ctx, cmd, 64<<10)
	if err != nil {
		return "", fmt.Errorf("%q: %w", path, err)
	}
	m := versionLine.FindSubmatch(out)
	switch {
	case m == nil:
		return "", fmt.Errorf("%q is no restic: asked for its version it says %s", path, quoteStart(out))
	case !atLeast(string(m[1]), MinVersion):
		return "", fmt.Errorf("%q is restic %s, older than %s", path, m[1], MinVersion)
	}
	return string(m[1]), nil
}

// atLeast compares versions of three numbers.
func atLeast(version, least string) bool {
	a, b := strings.Split(version, "."), strings.Split(least, ".")
	if len(a) != 3 {
		return false
	}
	for i := range b {
		x, err := strconv.Atoi(a[i])
		y, _ := strconv.Atoi(b[i])
		if err != nil || x < y {
			return false
		}
		if x > y {
			return true
		}
	}
	return true
}

func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest of %q: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
