package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// redisServer is the folder of a throwaway server and its process.
type redisServer struct {
	dir string
	cmd *exec.Cmd
}

type redisKey struct{}

// redis start [OPTION...] starts an empty throwaway Redis server and puts its socket
// into $SOCKET; redis again starts it once more on its data; redis stop stops it, which
// saves them; redis kill kills it.
func redisCommand(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: redis start [OPTION...] | again [OPTION...] | stop | kill"
	if neg || len(args) == 0 {
		ts.Fatalf(usage)
	}
	r, _ := ts.Value(redisKey{}).(*redisServer)
	switch args[0] {
	case "start":
		// A socket's path is short, so it lies right below /tmp.
		dir, err := os.MkdirTemp("/tmp", "srd")
		ts.Check(err)
		ts.Check(os.Chmod(dir, 0o755))
		r.dir = dir
		checker, err := exec.LookPath("redis-check-rdb")
		ts.Check(err)
		ts.Check(os.Symlink(checker, filepath.Join(dir, "redis-server"))) // the same program under its other name
		ts.Setenv("SOCKET", filepath.Join(dir, "s"))
		ts.Defer(func() { r.stop(syscall.SIGKILL); os.RemoveAll(dir) })
		r.start(ts, args[1:])
	case "again":
		r.start(ts, args[1:])
	case "stop":
		r.stop(syscall.SIGTERM)
	case "kill":
		r.stop(syscall.SIGKILL)
	default:
		ts.Fatalf(usage)
	}
}

func (r *redisServer) start(ts *testscript.TestScript, options []string) {
	socket, log := filepath.Join(r.dir, "s"), filepath.Join(r.dir, "log")
	r.cmd = exec.Command(filepath.Join(r.dir, "redis-server"), append([]string{
		"--port", "0", "--unixsocket", socket, "--unixsocketperm", "777", "--dir", r.dir, "--logfile", log,
		"--save", "900 1", "--repl-diskless-sync-delay", "0",
	}, options...)...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ts.Check(r.cmd.Start())
	for range 600 {
		// One that asks for a password answers too.
		if exec.Command("redis-cli", "-s", socket, "PING").Run() == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	text, _ := os.ReadFile(log)
	ts.Fatalf("the server does not start:\n%s", text)
}

func (r *redisServer) stop(how syscall.Signal) {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Signal(how)
	_ = r.cmd.Wait()
	r.cmd = nil
}
