package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// partOutput is the name of the part of a program's output.
const partOutput = "output"

// Command is a source that a program of the agency's own makes: what it writes to
// its standard output, or the files that it leaves in a folder. It is run as it is
// written, without a shell and with an environment of our own. An exit status other
// than 0 fails the run.
type Command struct {
	// Argv is the program and its arguments.
	Argv []string
	// Filename is the name of the output in the backup; empty means "output".
	Filename string
	// Folder is where the program leaves files, absolute; they are saved instead of
	// its output. A program that left nothing new there has failed.
	Folder string
	// Password is optional; the program finds it in a file whose path is in the
	// environment variable PasswordEnv.
	Password, PasswordEnv string
	// FactsMode is that of Files, for what lies in Folder.
	FactsMode string
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source  = (*Command)(nil)
	_ Locator = (*Command)(nil)
)

// plainPath is where the program finds others.
const plainPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Prepare makes the program ready to be read, or, with Folder, runs it and makes
// what it left ready. The error is fault.MissingTool when there is no such program.
func (c *Command) Prepare(ctx context.Context, scratch string) (Payload, error) {
	if err := ctx.Err(); err != nil {
		return Payload{}, context.Cause(ctx)
	}
	cmd, err := c.command()
	if err != nil {
		return Payload{}, err
	}
	if _, err := os.Stat(scratch); err != nil {
		return Payload{}, scratchError(scratch, err)
	}
	release := func() error { return nil }
	if c.PasswordEnv != "" {
		file := filepath.Join(scratch, "password")
		if err := os.WriteFile(file, []byte(c.Password+"\n"), 0o600); err != nil {
			return Payload{}, scratchError(scratch, err)
		}
		cmd.Env = append(cmd.Env, c.PasswordEnv+"="+file)
		release = sync.OnceValue(func() error { return os.Remove(file) })
	}
	if c.Folder == "" {
		part := Part{Name: partOutput, Dump: &cmd, Filename: cmp.Or(c.Filename, partOutput)}
		return Payload{At: c.Now(), Parts: []Part{part}, Release: release}, nil
	}
	p, err := c.left(ctx, cmd, scratch)
	return p, errors.Join(err, release())
}

// Locations returns Folder; where the data of a program lie nobody knows.
func (c *Command) Locations(context.Context) ([]string, error) {
	if c.Folder == "" {
		return nil, nil
	}
	return []string{c.Folder}, nil
}

func (c *Command) op() string { return fmt.Sprintf("program %q", c.Argv[0]) }

func (c *Command) command() (command.Cmd, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return command.Cmd{}, fault.New(fault.Usage, "command", errors.New("no program to run"), "set argv")
	}
	program, err := command.Program(c.Argv[0])
	if err != nil {
		return command.Cmd{}, err
	}
	return command.Cmd{
		Argv: append([]string{program}, c.Argv[1:]...), Secrets: []string{c.Password},
		Env: []string{"PATH=" + plainPath, "LC_ALL=C.UTF-8", "HOME=/nonexistent"},
	}, nil
}

// clockTick is longer than the steps in which file systems tell the time: one tick
// of the kernel's timer, 10 ms at the slowest setting (CONFIG_HZ).
const clockTick = 20 * time.Millisecond

// left runs the program and saves what it left.
func (c *Command) left(ctx context.Context, cmd command.Cmd, scratch string) (Payload, error) {
	began, err := fileClock(scratch)
	if err != nil {
		return Payload{}, err
	}
	if _, err := command.Run(ctx, cmd); err != nil {
		return Payload{}, fault.New(fault.KindOf(err), c.op(), err, cmp.Or(fault.HintOf(err), "run it by hand to see what it says"))
	}
	fresh, err := changedSince(ctx, c.Folder, began)
	if err != nil {
		return Payload{}, err
	}
	if !fresh {
		return Payload{}, fault.New(fault.Failed, c.op(), fmt.Errorf("it left nothing new in %q", c.Folder), "check that it writes there; what lies there is of an earlier time")
	}
	select { // what it wrote last must be older than the facts that are taken of it
	case <-time.After(clockTick):
	case <-ctx.Done():
		return Payload{}, context.Cause(ctx)
	}
	files := Files{Paths: []string{c.Folder}, FactsMode: c.FactsMode, Now: c.Now}
	return files.Prepare(ctx, scratch)
}

// changedSince reports whether a folder holds a file that was written since.
func changedSince(ctx context.Context, folder string, since time.Time) (bool, error) {
	found := false
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return cmp.Or(err, context.Cause(ctx))
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.Type().IsRegular() && !info.ModTime().Before(since) {
			found = true
			return filepath.SkipAll
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		kind := fault.Absent
		if errors.Is(err, fs.ErrPermission) {
			kind = fault.Denied
		}
		err = fault.New(kind, fmt.Sprintf("folder %q", folder), err, "check that the program makes it, and that it can be read")
	}
	return found, err
}
