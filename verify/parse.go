package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// Parsers are the names by which a check asks whether a restored configuration can be
// read by the service it is for.
func Parsers() []string {
	return []string{"apache", "ini", "json", "named", "nft", "nginx", "sshd", "sudoers", "systemd", "toml"}
}

// A parser reads a configuration without doing what it says.
type parser struct {
	program string
	path    string                     // what is read when the check names nothing
	argv    func(path string) []string // program's arguments
	syntax  func(text []byte) error    // instead of a program
	// absent matches what a program says when it lacks something that is not part of the
	// configuration, such as a name server: then nothing was learnt about that.
	absent *regexp.Regexp
}

func parserOf(name string) (parser, bool) {
	switch name {
	case "apache":
		return parser{program: "apachectl", path: "/etc/apache2/apache2.conf", argv: func(string) []string { return []string{"-t"} },
			absent: regexp.MustCompile(`(?i)could not resolve|name or service not known|Cannot load modules?/`)}, true
	case "named":
		return parser{program: "named-checkconf", path: "/etc/bind/named.conf", argv: func(path string) []string { return []string{path} }}, true
	case "nft":
		return parser{program: "nft", path: "/etc/nftables.conf", argv: func(path string) []string { return []string{"-c", "-f", path} },
			absent: regexp.MustCompile(`(?i)operation not permitted|cache initialization failed|protocol not supported`)}, true
	case "nginx":
		return parser{program: "nginx", path: "/etc/nginx/nginx.conf", argv: func(path string) []string { return []string{"-t", "-q", "-c", path} },
			absent: regexp.MustCompile(`(?i)host not found in|cannot assign requested address|could not be resolved|dlopen\(\)`)}, true
	case "sshd":
		return parser{program: "sshd", path: "/etc/ssh/sshd_config", argv: func(path string) []string { return []string{"-t", "-f", path} },
			absent: regexp.MustCompile(`(?i)no hostkeys available|unable to load host key|privilege separation user`)}, true
	case "sudoers":
		return parser{program: "visudo", path: "/etc/sudoers", argv: func(path string) []string { return []string{"-c", "-f", path} }}, true
	case "systemd":
		return parser{program: "systemd-analyze", path: "", argv: func(path string) []string { return []string{"verify", "--man=no", "--recursive-errors=no", path} },
			absent: regexp.MustCompile(`(?i)is not executable|failed to (?:connect|create bus)`)}, true
	case "json":
		return parser{syntax: jsonSyntax}, true
	case "toml":
		return parser{syntax: func(text []byte) error { var any map[string]any; return toml.Unmarshal(text, &any) }}, true
	case "ini":
		return parser{syntax: iniSyntax}, true
	}
	return parser{}, false
}

// ParsePath is what a check reads that names no path; "" when it must name one.
func ParsePath(name string) string {
	p, _ := parserOf(name)
	return p.path
}

func jsonSyntax(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	var any any
	if err := d.Decode(&any); err != nil {
		return err
	}
	if err := d.Decode(&any); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

// iniSyntax accepts sections, keys with and without a value, comments and lines that
// continue the one before.
func iniSyntax(text []byte) error {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		bare := strings.TrimSpace(line)
		switch {
		case bare == "", bare[0] == ';', bare[0] == '#', bare[0] == '!':
		case bare[0] == '[' && !strings.Contains(bare, "]"):
			return fmt.Errorf("line %d: the section has no end", n)
		case bare[0] == '=':
			return fmt.Errorf("line %d: the value has no name", n)
		case strings.ContainsRune(bare, 0):
			return fmt.Errorf("line %d: not text", n)
		}
	}
	return nil
}

// parse has the parser of a service read a restored configuration.
func (f *files) parse(ctx context.Context, c Check, a *Assertion) error {
	op := fmt.Sprintf("parse check %q", c.Parse)
	p, known := parserOf(c.Parse)
	if !known {
		return fault.New(fault.Usage, op, errors.New("there is no such parser"), "use one of: "+strings.Join(Parsers(), ", "))
	}
	path := c.ParsePath
	if path == "" {
		path = p.path
	}
	a.Expected, a.Actual = "no error", "not there"
	file, err := f.find(path)
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	if p.syntax == nil {
		return f.parseBy(ctx, p, path, a)
	}
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		a.Actual = "not a regular file"
		return nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd())) // find opened only the name
	if err != nil {
		return err
	}
	if err := p.syntax(text); err != nil {
		a.Actual = "an error"
		f.detail("%s: %s: %v", a.Name, path, err)
		return nil
	}
	a.OK, a.Actual = true, "no error"
	return nil
}

// parseBy runs the service's own program on a stage of what was restored.
func (f *files) parseBy(ctx context.Context, p parser, path string, a *Assertion) error {
	const op = "parse check"
	program, err := command.LookPath(p.program)
	if err != nil {
		return fault.New(fault.MissingTool, op, err, fault.HintOf(err))
	}
	if len(f.tester.Confine) == 0 {
		return fault.New(fault.Unknown, op, errors.New("there is nothing to confine the program with"), "")
	}
	unshare, err := unshared(ctx)
	if err != nil {
		return err
	}
	root := filepath.Join(f.sandbox.dir, "stage")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return boxError(root, err)
	}
	argv := append(slices.Concat(unshare, f.tester.Confine), "--root", root)
	for _, part := range f.parts {
		argv = append(argv, "--tree", part.dir)
	}
	argv = append(append(argv, "--", program), p.argv(path)...)
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fault.New(fault.TimedOut, op, fmt.Errorf("over its limit of %s", checkLimit), ""))
	defer cancel()
	var said bytes.Buffer
	_, err = command.Run(ctx, command.Cmd{
		Argv: argv, Stdout: &said,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/tmp", "TMPDIR=/tmp"},
	})
	var exit *command.ExitError
	switch {
	case err == nil:
		a.OK, a.Actual = true, "no error"
		return nil
	case !errors.As(err, &exit) || exit.Signal != 0 || exit.Code == confineFailed:
		return fault.New(fault.Unknown, op, err, "run the program by hand on a restored copy")
	}
	text := exit.Stderr + said.String()
	if p.absent != nil && p.absent.MatchString(text) {
		return fault.New(fault.Unknown, op, fmt.Errorf("%s lacks something that is not part of what was restored: %s", p.program, lastLine(text)),
			"use a check with run, which can be given what it needs")
	}
	a.Actual = fmt.Sprintf("exit status %d", exit.Code)
	f.detail("%s: %s", a.Name, strings.TrimSpace(text))
	return nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// drift says how far the files of this machine are from those that were restored, as they
// are now: no fault of the backup, and worth a look. On another machine than theirs it
// says how much would change.
func (x *examination) drift(ctx context.Context, want []sources.Fact) error {
	var lived []sources.Fact
	for _, f := range want {
		if f.Part == sources.PartPaths && f.Kind == sources.FactSHA256 {
			lived = append(lived, f)
		}
	}
	if len(lived) == 0 {
		return nil
	}
	now, err := sources.TreeFacts(ctx, "/", lived)
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		x.detail("%s: the live files could not be compared: %v", nameDrift, err)
		return nil
	}
	for _, t := range sources.Compare(lived, now) {
		if t.Kind == sources.FactSHA256 {
			x.assert(Assertion{Name: nameDrift, Expected: count(t.Of, t.Of) + " files as on this machine", Actual: count(t.Held, t.Of), OK: true})
		}
	}
	return nil
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
		return nil, fault.New(fault.Unknown, "parse check", err, "let the user that runs saoluu make namespaces (sysctl kernel.unprivileged_userns_clone, or AppArmor's rule), or use a check with run")
	}
	return argv, nil
}
