package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// drainLimit bounds the wait for the end of output after a program has ended
// and its group was killed: only a process that fled into another session can
// still hold the pipe.
const drainLimit = 5 * time.Second

// errStopped is the cause of an end asked for by Process.Stop.
var errStopped = errors.New("stopped")

// A Process is a running program, such as a throwaway server.
type Process struct {
	name      string
	cmd       *exec.Cmd
	secrets   []string
	interrupt syscall.Signal
	grace     atomic.Int64 // time.Duration
	group     bool         // it leads a group of its own
	onRead    func(int64)
	cancel    context.CancelCauseFunc
	watch     *Watch
	stderr    *tail
	done      chan struct{}
	result    Result // valid once done is closed
	err       error  // valid once done is closed
}

// Start starts c. It ends with ctx at the latest; wait for it in any case. The
// errors of starting are those of Run.
func Start(ctx context.Context, c Cmd) (*Process, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: not started: %w", c.name(), context.Cause(ctx))
	}
	path, err := c.path()
	if err != nil {
		return nil, err
	}
	s, err := plumb(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name(), err)
	}
	p := &Process{
		name: c.name(), secrets: c.Secrets, interrupt: c.Interrupt, group: !c.sameSession, onRead: c.OnRead,
		watch: &Watch{}, stderr: newTail(c.Secrets), done: make(chan struct{}),
		cmd: &exec.Cmd{
			Path: path, Args: c.Argv, Env: append([]string{}, c.Env...), Dir: c.Dir, ExtraFiles: c.ExtraFiles,
			Stderr: s.childErr, SysProcAttr: c.attributes(),
		},
	}
	// A nil *os.File in these would be no nil: the program would start with the
	// descriptor closed, and the first file it opened would become its output.
	if s.childIn != nil {
		p.cmd.Stdin = s.childIn
	}
	if s.childOut != nil {
		p.cmd.Stdout = s.childOut
	}
	if c.Dir == "" {
		p.cmd.Dir = "/"
	}
	if p.interrupt == 0 {
		p.interrupt = syscall.SIGTERM
	}
	p.grace.Store(int64(c.Grace))
	err = spawn(p.cmd)
	s.closeChildEnds()
	if err != nil {
		s.closeOurEnds()
		return nil, startError(c, path, err)
	}
	ctx, p.cancel = context.WithCancelCause(ctx)
	if c.Stall > 0 {
		p.watch.set(c.Stall, func() { p.cancel(stalled(c.Stall, "run "+p.name)) })
	}
	go p.supervise(ctx, s.flow(c, p))
	return p, nil
}

func (c Cmd) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: !c.sameSession, Pdeathsig: syscall.SIGKILL}
	if c.Credential != nil {
		a.Credential = &syscall.Credential{Uid: c.Credential.UID, Gid: c.Credential.GID, Groups: c.Credential.Groups}
	}
	return a
}

// startError classes an error of fork or exec.
func startError(c Cmd, path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	op := fmt.Sprintf("start %q", path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dirExists(c.Dir):
		return missing(c.name(), fmt.Errorf("%q: %w", path, err))
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, op, err, "make it executable for the user this runs as")
	default:
		return fault.New(fault.Failed, op, err, "")
	}
}

func dirExists(dir string) bool {
	if dir == "" {
		return true
	}
	st, err := os.Stat(dir)
	return err == nil && st.IsDir()
}

// Pid returns the process id, which is also the id of its group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program alone, such as SIGSTOP and SIGCONT. It is an
// error when it has ended.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Done is closed when the program has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end. Its errors are those of Run.
func (p *Process) Wait() (Result, error) {
	<-p.done
	return p.result, p.err
}

// Stop signals the program, kills it and its group after grace (0 means what
// its Cmd says) and waits for the end. The error is nil if it was running when
// asked, else that of Wait.
func (p *Process) Stop(grace time.Duration) error {
	if grace > 0 {
		p.grace.Store(int64(grace))
	}
	p.cancel(errStopped)
	_, err := p.Wait()
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// supervise sees the program to its end and sets the result.
func (p *Process) supervise(ctx context.Context, f *flow) {
	exited := make(chan struct{})
	go func() {
		awaitExit(p.Pid())
		close(exited)
	}()
	ended := false
	select {
	case <-exited:
	case <-ctx.Done():
		ended = p.end(exited)
	}
	// The program is a zombie now, so its id is still taken: what this kills can
	// only be what it left behind.
	p.signal(syscall.SIGKILL)
	if n, err := readBy(p.Pid()); err == nil && p.onRead != nil {
		p.onRead(n)
	}
	p.watch.set(drainLimit, f.abandon)
	giveUp := ctx.Done()
	if ended {
		giveUp = nil // nothing writes any more; take its last words
	}
	failed, partial := f.finish(ctx, giveUp)
	p.watch.Stop()
	waitErr := p.cmd.Wait()
	state := p.cmd.ProcessState
	p.result = Result{ExitCode: -1, Stderr: p.stderr.text(p.secrets)}
	if state != nil {
		p.result.ExitCode = state.ExitCode()
	}
	switch {
	case ended:
		p.err = fmt.Errorf("%s: %w", p.name, context.Cause(ctx))
	case failed != nil:
		p.err = fmt.Errorf("%s: %w", p.name, failed)
	case state == nil || !state.Success():
		p.err = p.exitError(state, waitErr)
	case partial != nil:
		p.err = fmt.Errorf("%s: %w", p.name, partial)
	}
	p.cancel(nil)
	close(p.done)
}

// end asks the program to end, then makes it. It reports whether the program
// was still running.
func (p *Process) end(exited <-chan struct{}) bool {
	select {
	case <-exited:
		return false
	default:
	}
	p.signal(p.interrupt)
	p.signal(syscall.SIGCONT) // a stopped process would sleep through the first signal
	grace := time.Duration(p.grace.Load())
	if grace <= 0 {
		grace = DefaultGrace
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
		p.signal(syscall.SIGKILL)
		<-exited
	}
	return true
}

// signal reaches the whole group. Its failure means nobody is left.
func (p *Process) signal(sig syscall.Signal) {
	id := p.Pid()
	if p.group {
		id = -id
	}
	_ = syscall.Kill(id, sig)
}

func (p *Process) exitError(state *os.ProcessState, waitErr error) error {
	if state == nil {
		return fmt.Errorf("%s: wait: %w", p.name, waitErr)
	}
	e := &ExitError{Name: p.name, Code: state.ExitCode(), Stderr: p.result.Stderr}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Signal = ws.Signal()
	}
	return e
}

// awaitExit waits until pid has ended and leaves it unreaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
