package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// restoredMark stands in a program's arguments for what was restored.
const restoredMark = "{}"

// run has a program of the agency's own look at what was restored. It sees the
// system's programs, what was restored and a folder of its own to write to, and what
// the check gives it; no keys, nothing else of this machine (command.ConfineMain). Exit status
// 0 is good; 125 to 127, or a program that cannot be started, could not look; any other
// is a failed check.
func (f *files) run(ctx context.Context, c Check, a *Assertion) error {
	part, err := f.choose(c.Part)
	if err != nil {
		return err
	}
	restored := part.file
	if restored == "" {
		restored = part.dir
	}
	work := filepath.Join(f.sandbox.dir, "work")
	if err := os.MkdirAll(work, 0o700); err != nil {
		return boxError(work, err)
	}
	argv := slices.Clone(c.Run)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], restoredMark, restored)
	}
	if argv[0], err = command.Program(argv[0]); err != nil {
		return fault.New(fault.MissingTool, "run check", err, fault.HintOf(err))
	}
	if len(f.tester.Confine) > 0 {
		shim := append(slices.Clone(f.tester.Confine), "--read", filepath.Dir(argv[0]), "--read", part.dir, "--write", work)
		for _, path := range c.Read {
			shim = append(shim, "--read", path)
		}
		for _, path := range c.Write {
			shim = append(shim, "--write", path)
		}
		if c.Network {
			shim = append(shim, "--network")
		}
		argv = slices.Concat(shim, []string{"--"}, argv)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fault.New(fault.TimedOut, "run check", fmt.Errorf("over its limit of %s", checkLimit), ""))
	defer cancel()
	_, err = command.Run(ctx, command.Cmd{
		Argv: argv, Dir: work,
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + work, "TMPDIR=" + work, "SAOLUU_RESTORED=" + restored},
	})
	a.Expected = "exit status 0"
	var exit *command.ExitError
	switch {
	case err == nil:
		a.OK, a.Actual = true, "exit status 0"
	case errors.As(err, &exit) && exit.Signal == 0 && (exit.Code < confineFailed || exit.Code > notFound):
		a.Actual = fmt.Sprintf("exit status %d", exit.Code)
		f.detail("%s: %s", a.Name, exit.Stderr)
	default:
		return fault.New(fault.Unknown, "run check", err, "run the program by hand on a restored copy")
	}
	return nil
}

// confineFailed is what the shim returns when it could not start the program. Shells
// use the two that follow for a program that they could not start, and a program may
// use them all to say that it could not look.
const (
	confineFailed = 125
	notFound      = 127
)

// choose returns a part by name; of no name, the first one.
func (f *files) choose(part string) (restoredPart, error) {
	for _, p := range f.parts {
		if part == "" || p.Part == part {
			return p, nil
		}
	}
	return restoredPart{}, fault.New(fault.Usage, "run check", fmt.Errorf("the copy has no part %q", part), "")
}
