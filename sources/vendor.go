package sources

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// What the engines have in common that are read by their makers' own programs, and
// by nothing of ours: MongoDB, SQL Server, Oracle.

// An Examiner is a Source that can look beforehand whether it could be read. It
// changes nothing.
type Examiner interface {
	Examine(ctx context.Context) error
}

// A trouble is what some words of a program mean. The hint says what the operator
// can do.
type trouble struct {
	text *regexp.Regexp
	kind fault.Kind
	hint string
}

// heardBytes is how much of the end of what a program says is kept: far more than
// any of them says about one backup.
const heardBytes = 4 << 20

// An ear keeps what a program says on both of its outputs, in the order it came.
type ear struct {
	mu   sync.Mutex
	text []byte
}

func (e *ear) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.text = append(e.text, p...)
	if len(e.text) > 2*heardBytes {
		e.text = append(e.text[:0], e.text[len(e.text)-heardBytes:]...)
	}
	return len(p), nil
}

// hear runs a program and returns what it said, secrets blanked.
func hear(ctx context.Context, c command.Cmd) (string, error) {
	var e ear
	c.Stdout = &e
	c.StderrLine = func(line []byte) { _, _ = e.Write(append(line[:len(line):len(line)], '\n')) }
	_, err := command.Run(ctx, c)
	return command.Blank(string(e.text), c.Secrets), err
}

// diagnose makes an error of a program that failed, or of what it said though it
// did not: of the first line that one of troubles knows, else of the end of it.
func diagnose(op, said string, err error, troubles []trouble) error {
	var exit *command.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fault.New(fault.KindOf(err), op, err, fault.HintOf(err)) // it was not the program that failed
	}
	for _, t := range troubles {
		for line := range strings.Lines(said) {
			if t.text.MatchString(line) {
				return fault.New(t.kind, op, errors.New(clipped(line)), t.hint)
			}
		}
	}
	text := strings.Join(strings.Fields(said), " ")
	text = cmp.Or(clipped(text[max(0, len(text)-500):]), "it said nothing")
	if exit != nil {
		text = fmt.Sprintf("%s: exit status %d: %s", exit.Name, exit.Code, text)
	}
	return fault.New(fault.Failed, op, errors.New(text), "run it by hand to see what it says")
}

// clipped is a line as an error shows it, without the time before a tab.
func clipped(line string) string {
	line = strings.ToValidUTF8(strings.TrimSpace(line), "?")
	line = line[strings.LastIndexByte(line, '\t')+1:]
	if len(line) > 500 {
		line = strings.ToValidUTF8(line[:500], "") + "…"
	}
	return line
}

// vendorProgram finds a program of an engine's maker. bin is the only folder looked
// in, unless it is empty; hint says where the program comes from.
func vendorProgram(bin, name, hint string) (string, error) {
	var path string
	var err error
	if bin == "" {
		path, err = command.LookPath(name)
	} else {
		path, err = command.Program(filepath.Join(bin, name))
	}
	if err != nil {
		return "", fault.New(fault.MissingTool, "", err, hint)
	}
	return path, nil
}

// secretFile keeps a secret for a program where only its user may read it.
func secretFile(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return scratchError(filepath.Dir(path), err)
	}
	return nil
}

// plainFile is a name that any file system takes, and that no other name shares.
func plainFile(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, name)
	if plain == name && strings.ToLower(name) == name && len(name) <= 64 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return plain[:min(len(plain), 64)] + "-" + hex.EncodeToString(sum[:4])
}

// A mark is what a file looked like at one moment. It is compared with the file
// itself alone: the clock of a server that writes into a shared folder is not ours.
type mark struct {
	size    int64
	written time.Time
}

// marks looks at the regular files of a folder.
func marks(folder string) (map[string]mark, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		kind := fault.Absent
		if errors.Is(err, fs.ErrPermission) {
			kind = fault.Denied
		}
		return nil, fault.New(kind, fmt.Sprintf("folder %q", folder), errors.New("cannot be read"), "mount or make the folder, and let the user that runs saoluu read it")
	}
	seen := map[string]mark{}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return nil, err
		}
		seen[filepath.Join(folder, entry.Name())] = mark{info.Size(), info.ModTime()}
	}
	return seen, nil
}

// A leaving is what a server is to leave in a folder that we see too.
type leaving struct {
	op, folder, facts string
	before            map[string]mark
	began             time.Time // by our clock
	now               func() time.Time
}

// expect looks at the folder before the server writes.
func expect(op, folder, facts string, now func() time.Time) (leaving, error) {
	before, err := marks(folder)
	return leaving{op, folder, facts, before, now(), now}, err
}

// fresh returns the files that the server has written since.
func (l leaving) fresh() ([]string, error) {
	after, err := marks(l.folder)
	if err != nil {
		return nil, err
	}
	var paths []string
	for path, m := range after {
		if was, there := l.before[path]; !there || was != m {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// payload saves these files, every one of which the server has written.
func (l leaving) payload(ctx context.Context, scratch string, paths []string) (Payload, error) {
	after, err := marks(l.folder)
	if err != nil {
		return Payload{}, err
	}
	for _, path := range paths {
		m, there := after[path]
		was, older := l.before[path]
		missing := ""
		switch {
		case !there:
			missing = "is not there"
		case older && m == was:
			missing = "is of an earlier time"
		case m.size == 0:
			missing = "is empty"
		}
		if missing != "" {
			return Payload{}, fault.New(fault.Failed, l.op, fmt.Errorf("the server says that it wrote %q, which %s", filepath.Base(path), missing),
				fmt.Sprintf("see whether %q is the folder that the server writes to", l.folder))
		}
	}
	select { // what was written last must be older than the facts that are taken of it
	case <-time.After(clockTick):
	case <-ctx.Done():
		return Payload{}, context.Cause(ctx)
	}
	files := Files{Paths: paths, FactsMode: l.facts, Now: l.now}
	p, err := files.Prepare(ctx, scratch)
	if err == nil {
		p.At = l.began
	}
	return p, err
}
