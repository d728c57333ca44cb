package command

import (
	"os/exec"
	"runtime"
	"sync"
)

// A birth is one program to be started by the spawning thread.
type birth struct {
	cmd  *exec.Cmd
	done chan error
}

// births leads to the one thread that starts every program.
//
// The kernel sends a child its parent-death signal when the *thread* that
// forked it ends (prctl(2), PR_SET_PDEATHSIG), and the Go runtime ends a thread
// whose goroutine was locked to it and returned. A child started from wherever
// the caller happens to run could so be killed at random. This goroutine is
// locked to its thread and never returns: the thread ends with the process, and
// only then do the children get their signal. It is per process by nature, as
// the threads are.
var births = sync.OnceValue(func() chan<- birth {
	ch := make(chan birth)
	go func() {
		runtime.LockOSThread()
		for b := range ch {
			b.done <- b.cmd.Start()
		}
	}()
	return ch
})

// spawn starts cmd from the spawning thread.
func spawn(cmd *exec.Cmd) error {
	b := birth{cmd: cmd, done: make(chan error, 1)}
	births() <- b
	return <-b.done
}
