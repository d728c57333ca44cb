package sources

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"saoluu/internal/command"
)

// A feed is the output of a program that begins only when its reader is there, which
// is when the named pipe of its part is opened at the other end: who reads it is
// restic, which may be busy with another part for hours.
type feed struct {
	path string
	done chan struct{} // closed when nothing of it runs any more
	late atomic.Bool   // nobody will read it any more
}

// newFeed makes the pipe below scratch.
func newFeed(scratch, path string) (*feed, error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, scratchError(scratch, err)
	}
	return &feed{path: path, done: make(chan struct{})}, nil
}

// throughPipe shows what comes through a named pipe, and fails unless it came whole.
const throughPipe = `cat -- "$1" && [ -e "$1.whole" ] || { cat -- "$1.error" >&2; exit 1; }`

// dump is the program that reads the feed.
func (f *feed) dump(secret string) *command.Cmd {
	return &command.Cmd{
		Argv: []string{"/bin/sh", "-c", throughPipe, "feed", f.path}, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
		Why: f.path + ".error", Secrets: []string{secret},
	}
}

// serve waits for the reader and has write fill the pipe. What write returns is called
// in any case once the reader knows whether all came.
func (f *feed) serve(write func(w io.Writer) (after func(whole bool), err error)) {
	defer close(f.done)
	pipe, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	if f.late.Load() {
		_ = pipe.Close() // nobody is there to miss it
		return
	}
	after, err := write(pipe)
	if err == nil {
		err = os.WriteFile(f.path+".whole", nil, 0o600)
	}
	if err != nil {
		err = errors.Join(err, command.WriteWhy(f.path+".error", err))
	}
	after(errors.Join(err, pipe.Close()) == nil)
}

// nudge wakes a feed that still waits for a reader, by being one for a moment: it
// then ends without having written anything.
func (f *feed) nudge() {
	f.late.Store(true)
	if file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
		defer file.Close()
		select { // long enough for the other end to notice
		case <-f.done:
		case <-time.After(time.Second):
		}
	}
}

// remove removes the pipe and what lies beside it.
func (f *feed) remove() error { return removeAll(f.path, f.path+".whole", f.path+".error") }

func removeAll(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
