package verify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

const opParse = "parse check"

// stageEmpties is how many folders a stage is given that services write to and that are
// not part of what was restored; one of a service for each of its sites is a lot.
const stageEmpties = 32

// parseBy runs the service's own program on a stage of what was restored.
func (f *files) parseBy(ctx context.Context, p parser, path string, a *Assertion) error {
	if !f.staged(path) {
		return fault.New(fault.Unknown, opParse, fmt.Errorf("%s lies among the programs of the system, where nothing restored is shown", path),
			"use a check with run, or save the folder it lies in by its own name in paths, below /usr/local or /usr/share")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fault.New(fault.TimedOut, opParse, fmt.Errorf("over its limit of %s", checkLimit), ""))
	defer cancel()
	var empties []string
	for {
		text, code, err := f.onStage(ctx, p, path, empties)
		if err != nil {
			return err
		}
		if code == 0 {
			a.OK, a.Actual = true, "no error"
			return nil
		}
		if dir := f.wanted(text); dir != "" && !slices.Contains(empties, dir) && len(empties) < stageEmpties {
			empties = append(empties, dir)
			continue
		}
		if lack := f.lack(p, text); lack != "" {
			return fault.New(fault.Unknown, opParse, fmt.Errorf("%s lacks something that is not part of what was restored: %s", p.program, lack),
				"save it too, or use a check with run, which can be given what it needs")
		}
		a.Actual = fmt.Sprintf("exit status %d", code)
		f.detail("%s: %s", a.Name, strings.TrimSpace(text))
		return nil
	}
}

// onStage runs the program once, and returns what it said and its exit status.
func (f *files) onStage(ctx context.Context, p parser, path string, empties []string) (string, int, error) {
	program, err := p.look()
	if err != nil {
		return "", 0, fault.New(fault.MissingTool, opParse, err, fault.HintOf(err))
	}
	if len(f.tester.Confine) == 0 {
		return "", 0, fault.New(fault.Unknown, opParse, errors.New("there is nothing to confine the program with"), "")
	}
	unshare, err := unshared(ctx)
	if err != nil {
		return "", 0, err
	}
	root := filepath.Join(f.sandbox.dir, "stage")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return "", 0, boxError(root, err)
	}
	argv := append(unshare, f.tester.Confine...)
	argv = append(argv, "--root", root)
	for _, part := range f.parts {
		argv = append(argv, "--tree", part.dir)
	}
	for _, own := range f.request.Saved {
		argv = append(argv, "--own", own)
	}
	for _, dir := range empties {
		argv = append(argv, "--empty", dir)
	}
	argv = append(append(argv, "--", program), p.argv(path)...)
	var said bytes.Buffer
	_, err = command.Run(ctx, command.Cmd{
		Argv: argv, Stdout: &said,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/tmp", "TMPDIR=/tmp"},
	})
	var exit *command.ExitError
	switch {
	case err == nil:
		return "", 0, nil
	case !errors.As(err, &exit) || exit.Signal != 0 || exit.Code >= confineFailed && exit.Code <= notFound:
		return "", 0, fault.New(fault.Unknown, opParse, err, "run the program by hand on a restored copy")
	}
	return exit.Stderr + said.String(), exit.Code, nil
}

// ParserReady tells, before the night comes, whether a parser of that name can look at what
// a job saves: its program and namespaces are there, and so is the file, whose path is
// empty where it is the service's own.
func ParserReady(ctx context.Context, name, path string, saved, excluded []string) error {
	p, known := parserOf(name, path)
	if !known {
		return fault.New(fault.Usage, opParse, fmt.Errorf("there is no parser %q", name), "")
	}
	path = cmp.Or(path, p.path)
	f := &files{examination: &examination{request: Request{Saved: saved, Excluded: excluded}}}
	if !f.saved(path) && !strings.HasPrefix(path, "/"+sources.PartCommands+"/") && !strings.HasPrefix(path, "/"+sources.PartDevices+"/") {
		return fault.New(fault.Failed, opParse, fmt.Errorf("%s is not among what the job saves", path), "correct the check's path, or add the file to the job's paths")
	}
	if p.syntax != nil {
		return nil
	}
	if _, err := p.look(); err != nil {
		return fault.New(fault.Unknown, opParse, err, fault.HintOf(err))
	}
	_, err := unshared(ctx)
	return err
}

// look finds the program.
func (p parser) look() (string, error) {
	dirs, err := filepath.Glob(p.folder)
	if err != nil || p.folder == "" {
		return command.LookPath(p.program)
	}
	slices.Sort(dirs)
	if len(dirs) > 0 {
		return command.LookPath(p.program, dirs[len(dirs)-1])
	}
	return "", fault.New(fault.MissingTool, fmt.Sprintf("program %q not found in %s", p.program, p.folder), nil, "install the version that the path of the configuration names")
}

// staged reports whether a program on the stage sees a restored file at its place.
func (f *files) staged(path string) bool {
	return command.OnStage(filepath.Clean("/"+path), f.request.Saved)
}

var (
	// missed matches a line that says that something is not there.
	missed = regexp.MustCompile(`(?i)no such file|cannot access directory|file not found|does not exist|not a directory|directory not found`)
	// folder matches one in which that is a folder to be written to.
	folder = regexp.MustCompile(`(?i)directory (?:to )?'`)
	// quoted is a path as most programs write it, and bare as others do.
	quoted = regexp.MustCompile(`["'](/[^"']*)["']`)
	bare   = regexp.MustCompile(`(?:^|[\s:(])(/[^\s:,;()"']+)`)
	// people matches what a program says of a user or group that is not there.
	people = regexp.MustCompile(`(?i)getpwnam|getgrnam|bad (?:user|group) name|unknown (?:user|group)\b|(?:user|group) does not exist`)
	// powerless matches what it says where a restored file cannot be written to, and when it is
	// too old for what it is asked.
	powerless = regexp.MustCompile(`(?i)read-only file system|unrecognized option|invalid option --`)
)

// namedIn returns the path that a line complains about; empty: none. The file that the
// complaint is in may follow it.
func namedIn(line string) string {
	if at := quoted.FindStringSubmatch(line); at != nil {
		return at[1]
	}
	all := bare.FindAllStringSubmatch(line, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1][1]
}

// wanted returns the folder, of those that services write to and nobody saves, that a
// program misses.
func (f *files) wanted(text string) string {
	for line := range strings.Lines(text) {
		path := namedIn(line)
		if path == "" || !missed.MatchString(line) {
			continue
		}
		dir := filepath.Dir(path)
		if strings.HasSuffix(path, "/") || folder.MatchString(line) {
			dir = filepath.Clean(path)
		}
		if !f.saved(dir) && (strings.HasPrefix(dir, "/var/") || strings.HasPrefix(dir, "/run/")) {
			return dir
		}
	}
	return ""
}

// lack returns what a program says that it lacks and that is not part of what was
// restored; empty: it found an error.
func (f *files) lack(p parser, text string) string {
	if p.found != nil && p.found.MatchString(text) {
		return ""
	}
	if p.absent != nil && p.absent.MatchString(text) || powerless.MatchString(text) {
		return lastLine(text)
	}
	for line := range strings.Lines(text) {
		path := namedIn(line)
		switch {
		case missed.MatchString(line) && path != "" && (!f.saved(path) || f.restored(path)):
			return strings.TrimSpace(line)
		case people.MatchString(line) && !f.saved("/etc/passwd"):
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// saved reports whether the job saves what lies at a path.
func (f *files) saved(path string) bool {
	if sources.Excluded(f.request.Excluded, path) {
		return false
	}
	return slices.ContainsFunc(f.request.Saved, func(root string) bool {
		root = strings.TrimSuffix(root, "/")
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// outside returns what a configuration includes that the job does not save and the program
// does not miss, such as a folder of pieces: of that nothing was read. Of what lies in
// /usr the program reads the machine's own. Empty: nothing.
func (f *files) outside(p parser, path string, text []byte) string {
	if p.includes == nil {
		return ""
	}
	for _, at := range p.includes.FindAllSubmatch(text, -1) {
		for _, name := range strings.Fields(string(bytes.Join(at[1:], nil))) {
			name = strings.Trim(name, `"'`)
			if strings.ContainsAny(name, "$%~") {
				continue // what it stands for is known to the program alone
			}
			if strings.HasPrefix(name, "#") {
				break
			}
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(path), name)
			}
			if !f.savedAny(filepath.Clean(name)) && !strings.HasPrefix(name, "/usr/") {
				return name
			}
		}
	}
	return ""
}

// savedAny reports whether the job saves what a pattern of paths matches.
func (f *files) savedAny(pattern string) bool {
	fixed := pattern
	if at := strings.IndexAny(fixed, "*?["); at >= 0 {
		fixed = filepath.Dir(fixed[:at] + "x")
	}
	if f.saved(fixed) {
		return true
	}
	parts := strings.Split(pattern, "/")
	return slices.ContainsFunc(f.request.Saved, func(root string) bool {
		root = filepath.Clean(root)
		depth := strings.Count(root, "/") + 1
		match, err := filepath.Match(strings.Join(parts[:min(depth, len(parts))], "/"), root)
		return err == nil && match && len(root) > len(fixed)
	})
}

// restored reports whether something lies at a path among what was restored: a program
// that misses it nevertheless misses what it leads to.
func (f *files) restored(path string) bool {
	for _, p := range f.parts {
		dir, err := os.OpenRoot(p.dir)
		if err != nil {
			continue
		}
		_, err = dir.Lstat(strings.TrimPrefix(filepath.Clean(path), "/"))
		_ = dir.Close()
		if err == nil {
			return true
		}
	}
	return false
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// unshared is what starts a program in namespaces of its own: no network, no processes
// and no mounts of this machine. It is tried first: where the system forbids it, nobody
// could tell that from a program that found a fault.
func unshared(ctx context.Context) ([]string, error) {
	unshare, err := command.LookPath("unshare")
	if err != nil {
		return nil, err
	}
	argv := []string{unshare, "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child"}
	if os.Geteuid() != 0 {
		argv = append(argv, "--user", "--map-root-user")
	}
	argv = append(argv, "--")
	if _, err := command.Run(ctx, command.Cmd{Argv: append(slices.Clone(argv), "/bin/true"), Env: plainEnv}); err != nil {
		return nil, fault.New(fault.Unknown, opParse, err, "let the user and the service that run saoluu make namespaces (docs/how-to/configurations.md), or use a check with run")
	}
	return argv, nil
}
