// Package command runs other programs. It is the only importer of os/exec.
//
// A program run here is fully spelled out: no shell, nothing inherited from our
// environment, no terminal. It gets a session of its own, so that it and what it
// starts can be ended together; it is killed by the kernel when we die (see
// spawn.go); it is always reaped, and what it left running in its group is
// killed when it ends.
//
// How a run ends is reported by cause, not by symptom: a context that ended, a
// stall, or a failing consumer of the output comes before the exit status they
// produced, and the exit status before a broken pipe.
package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"saoluu/internal/fault"
)

// DefaultGrace is the time between SIGTERM and SIGKILL when Cmd.Grace is 0.
const DefaultGrace = 10 * time.Second

// A Cmd is one program run, fully spelled out. The zero value of every optional
// field is safe.
type Cmd struct {
	// Argv is the program and its arguments, never a shell line. A program
	// without a slash is searched along PATH of Env, else as LookPath does.
	Argv []string
	// Env is the whole environment, as KEY=value; nothing is inherited.
	Env []string
	// Dir is the working directory. Empty means "/".
	Dir string
	// Stdin is the input; nil means none. A read error other than io.EOF ends
	// the program rather than showing it a truncated input. When the program
	// ends first, a Stdin that is an io.Closer is closed so that whoever feeds
	// it notices; an *os.File is handed to the program and never closed.
	Stdin io.Reader
	// Stdout takes the output when run by Run or Start; nil discards it. A write
	// error ends the program and is what is reported.
	Stdout io.Writer
	// StderrLine is called for each line of stderr, not blanked, while Stdout may
	// be written to by another goroutine; nil means only the end is kept.
	StderrLine func(line []byte)
	// Secrets are blanked out wherever Argv or stderr is shown.
	Secrets []string
	// Grace is the time between the first signal and SIGKILL; 0 means DefaultGrace.
	Grace time.Duration
	// Interrupt is the first signal; 0 means SIGTERM. PostgreSQL wants SIGINT
	// for a stop that does not wait for its clients.
	Interrupt syscall.Signal
	// Stall ends the program with fault.TimedOut when neither output nor input
	// has moved for so long; 0 means never. Waiting for Stdout to take what the
	// program wrote does not count.
	Stall time.Duration
	// OnRead is told, when the program has ended, how many bytes it had read from
	// files, pipes and connections; it is not called where the kernel does not count.
	OnRead func(bytes int64)
	// Credential is the user to run as; nil means ours.
	Credential *Credential
	// Why is a file in which whoever feeds the program says why it fails (WriteWhy):
	// that is reported then, and not the program's own exit status. Only a pump looks
	// at it; empty means none.
	Why string
	// ExtraFiles become descriptors 3, 4, … of the program.
	ExtraFiles []*os.File

	pipeBytes   int  // size asked of the stdout pipe; 0 leaves the kernel's
	sameSession bool // stay in our session and group (Pump only)
}

// A Credential is the user a program runs as.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups; empty drops all
}

// A Result is how a program ended.
type Result struct {
	ExitCode int    // -1 when a signal ended it
	Stderr   string // the last 4,096 bytes, secrets blanked
}

// An ExitError is a program that ended by itself, but not with status 0.
type ExitError struct {
	Name   string         // base name of the program
	Code   int            // exit status; -1 when a signal ended it
	Signal syscall.Signal // the signal that ended it; 0 when it exited
	Stderr string         // the last 4,096 bytes, secrets blanked
}

// Error names the program, its status, and the line of its stderr that says most: the
// last one, or the error that the last one is a detail of.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("ended by signal %d (%s)", int(e.Signal), e.Signal)
	}
	if last := tellingLine(e.Stderr); last != "" {
		return e.Name + ": " + how + ": " + last
	}
	return e.Name + ": " + how
}

// String shows the command with its secrets blanked out.
func (c Cmd) String() string {
	return Blank(strings.Join(c.Argv, " "), c.Secrets)
}

// Run runs c until it ends. The error is nil only when c exited with status 0
// and Stdout took all its output. Otherwise it wraps, by precedence:
// context.Cause of ctx, a stall (fault.TimedOut), the error of Stdin or Stdout;
// or it is an *ExitError; or c could not be started (fault.MissingTool when
// there is no such program).
func Run(ctx context.Context, c Cmd) (Result, error) {
	p, err := Start(ctx, c)
	if err != nil {
		return Result{ExitCode: -1}, err
	}
	return p.Wait()
}

// Lines runs c and hands each line of its standard output to fn, in order and
// without the line feed; fn must not keep the slice. An error of fn ends c and
// is returned unchanged. A line over 16 MiB is an error.
func Lines(ctx context.Context, c Cmd, fn func(line []byte) error) (Result, error) {
	w := &lineWriter{fn: fn}
	c.Stdout = w
	res, err := Run(ctx, c)
	if w.err == nil {
		w.flush()
	}
	if w.err != nil {
		return res, w.err
	}
	return res, err
}

// Output runs c and returns its standard output. More than limit bytes is an
// error.
func Output(ctx context.Context, c Cmd, limit int64) ([]byte, error) {
	w := &limitedBuffer{limit: limit}
	c.Stdout = w
	_, err := Run(ctx, c)
	return w.buf, err
}

// name is the program as errors show it.
func (c Cmd) name() string {
	if len(c.Argv) == 0 {
		return "command"
	}
	return filepath.Base(c.Argv[0])
}

// path finds the program.
func (c Cmd) path() (string, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return "", fault.New(fault.Usage, "run a command", nil, "name a program")
	}
	if strings.Contains(c.Argv[0], "/") {
		return c.Argv[0], nil
	}
	for _, kv := range c.Env {
		if dirs, ok := strings.CutPrefix(kv, "PATH="); ok {
			return lookIn(c.Argv[0], filepath.SplitList(dirs))
		}
	}
	return LookPath(c.Argv[0])
}
