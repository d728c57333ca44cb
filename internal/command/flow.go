package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// copyBytes is the size of one read of a program's output.
const copyBytes = 64 << 10

// streams are the files between us and a program: its ends and ours.
type streams struct {
	childIn, childOut, childErr *os.File
	in, out, err                *os.File // ours; nil where there is no pipe
	mine                        []*os.File
	bufferBytes                 int // of one read of the output
}

// plumb opens what c needs. A file is handed over as it is, except where a
// stall is to be seen on it.
func plumb(c Cmd) (s *streams, err error) {
	s = &streams{bufferBytes: max(copyBytes, c.pipeBytes)}
	defer func() {
		if err != nil {
			s.closeChildEnds()
			s.closeOurEnds()
		}
	}()
	if f, ok := c.Stdin.(*os.File); ok {
		s.childIn = f
	} else if c.Stdin != nil {
		if s.childIn, s.in, err = os.Pipe(); err != nil {
			return s, err
		}
		s.mine = append(s.mine, s.childIn)
	}
	if f, ok := c.Stdout.(*os.File); ok && c.Stall == 0 {
		s.childOut = f
	} else if c.Stdout != nil || c.Stall > 0 {
		if s.out, s.childOut, err = os.Pipe(); err != nil {
			return s, err
		}
		s.mine = append(s.mine, s.childOut)
		if c.pipeBytes > 0 {
			// A larger pipe saves switches; a refusal costs only speed.
			_, _ = unix.FcntlInt(s.childOut.Fd(), unix.F_SETPIPE_SZ, c.pipeBytes)
		}
	}
	if s.err, s.childErr, err = os.Pipe(); err != nil {
		return s, err
	}
	s.mine = append(s.mine, s.childErr)
	return s, nil
}

func (s *streams) closeChildEnds() {
	for _, f := range s.mine {
		_ = f.Close()
	}
}

func (s *streams) closeOurEnds() {
	for _, f := range []*os.File{s.in, s.out, s.err} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// A flow moves the bytes of one program.
type flow struct {
	s       *streams
	stdin   io.Reader
	outputs sync.WaitGroup
	inDone  chan struct{} // nil when there is no input to copy
	mu      sync.Mutex
	err     error // the first error of Stdout, or output that had to be abandoned
	eof     bool  // the output was read to its end
}

// flow starts the copying for p.
func (s *streams) flow(c Cmd, p *Process) *flow {
	f := &flow{s: s, stdin: c.Stdin, eof: s.out == nil}
	if s.in != nil {
		f.inDone = make(chan struct{})
		go f.feed(p)
	}
	if s.out != nil {
		w := c.Stdout
		if w == nil {
			w = io.Discard
		}
		f.outputs.Go(func() { f.read(p, w) })
	}
	f.outputs.Go(func() { f.readErrors(p, c.StderrLine) })
	return f
}

// readErrors keeps the end of the program's stderr and hands its lines to fn,
// which may be nil.
func (f *flow) readErrors(p *Process, fn func([]byte)) {
	defer f.s.err.Close()
	var lines *lineWriter
	if fn != nil {
		lines = &lineWriter{fn: func(line []byte) error { fn(line); return nil }}
		defer lines.flush()
	}
	buf := make([]byte, 4096)
	for {
		n, err := f.s.err.Read(buf)
		if n > 0 {
			p.watch.Kick()
			_, _ = p.stderr.Write(buf[:n])
			if lines != nil {
				_, _ = lines.Write(buf[:n]) // fails for an endless line: the tail still has its end
			}
		}
		if err != nil {
			return
		}
	}
}

// read copies the program's output to w.
func (f *flow) read(p *Process, w io.Writer) {
	defer f.s.out.Close()
	buf := make([]byte, f.s.bufferBytes)
	for {
		n, err := f.s.out.Read(buf)
		if n > 0 {
			p.watch.Hold()
			_, werr := w.Write(buf[:n])
			p.watch.Release()
			if werr != nil {
				f.fail(werr)
				p.cancel(werr)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			f.mu.Lock()
			f.eof = true
			f.mu.Unlock()
			return
		}
		if err != nil {
			return
		}
	}
}

// feed copies the input to the program. A program that closes its input or dies
// is not an error here: its status says what that meant. A source that fails
// ends the program before it can take the silence for the end of its input.
func (f *flow) feed(p *Process) {
	defer close(f.inDone)
	buf := make([]byte, copyBytes)
	for {
		n, err := f.stdin.Read(buf)
		if n > 0 {
			p.watch.Kick()
			if _, werr := f.s.in.Write(buf[:n]); werr != nil {
				if !errors.Is(werr, syscall.EPIPE) && !errors.Is(werr, os.ErrClosed) {
					p.cancel(fmt.Errorf("write its input: %w", werr))
				}
				return
			}
		}
		if errors.Is(err, io.EOF) {
			_ = f.s.in.Close()
			return
		}
		if err != nil {
			f.fail(fmt.Errorf("read its input: %w", err))
			p.cancel(fmt.Errorf("read its input: %w", err))
			return
		}
	}
}

func (f *flow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// abandon gives up on output that a process out of our reach holds open.
func (f *flow) abandon() {
	if f.s.out != nil {
		_ = f.s.out.Close()
	}
	_ = f.s.err.Close()
}

// finish is called when the program has ended: it lets the outputs run dry
// (until giveUp), stops the input, and returns the error of Stdin or Stdout, and
// why the output is not whole, if so.
func (f *flow) finish(ctx context.Context, giveUp <-chan struct{}) (failed, partial error) {
	dry := make(chan struct{})
	go func() {
		f.outputs.Wait()
		close(dry)
	}()
	select {
	case <-dry:
	case <-giveUp:
		f.abandon()
		<-dry
	}
	f.mu.Lock()
	failed = f.err
	whole := f.eof
	f.mu.Unlock()
	f.stopFeeding() // makes its reader fail, which is no failure of anybody's
	switch {
	case whole:
		return failed, nil
	case ctx.Err() != nil:
		return failed, context.Cause(ctx)
	default:
		return failed, errors.New("ended, but a process it left behind holds its output open")
	}
}

// stopFeeding ends the copying of input. A source that cannot be closed and
// does not return is left to its owner.
func (f *flow) stopFeeding() {
	if f.inDone == nil {
		return
	}
	_ = f.s.in.Close()
	if c, ok := f.stdin.(io.Closer); ok {
		_ = c.Close()
	}
	timer := time.NewTimer(drainLimit)
	defer timer.Stop()
	select {
	case <-f.inDone:
	case <-timer.C:
	}
}
