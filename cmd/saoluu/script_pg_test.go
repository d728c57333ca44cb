package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// pgBin finds the server programs of Debian's PostgreSQL.
func pgBin() (string, error) {
	matches, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(matches) == 0 {
		return "", fmt.Errorf("no PostgreSQL server programs: %v", err)
	}
	return filepath.Dir(matches[len(matches)-1]), nil
}

// pg start makes and starts a throwaway server and puts its socket folder into
// $PGHOST; pg stop stops it, pg restart too, at once, and starts it again. It runs as "postgres" when the test runs as root.
func pgCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pg start|stop|restart")
	}
	bin, err := pgBin()
	ts.Check(err)
	switch args[0] {
	case "start":
		// A socket's path is short, so it lies right below /tmp.
		dir, err := os.MkdirTemp("/tmp", "spg")
		ts.Check(err)
		ts.Check(os.Chmod(dir, 0o777))
		ts.Setenv("PGHOST", dir)
		ts.Setenv("PGUSER", "postgres")
		ts.Defer(func() { pgStop(ts, bin); os.RemoveAll(dir) })
		data := filepath.Join(dir, "data")
		pgRun(ts, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
		pgRun(ts, filepath.Join(bin, "pg_ctl"), "-D", data, "-w", "-l", filepath.Join(dir, "log"), "start",
			"-o", fmt.Sprintf("-c fsync=off -c listen_addresses='' -c unix_socket_directories=%s", dir))
	case "stop":
		pgStop(ts, bin)
	case "restart":
		data := filepath.Join(ts.Getenv("PGHOST"), "data")
		pgRun(ts, filepath.Join(bin, "pg_ctl"), "-D", data, "-w", "-m", "immediate", "-l", filepath.Join(ts.Getenv("PGHOST"), "log"), "restart")
	default:
		ts.Fatalf("usage: pg start|stop|restart")
	}
}

func pgStop(ts *testscript.TestScript, bin string) {
	data := filepath.Join(ts.Getenv("PGHOST"), "data")
	if _, err := os.Stat(filepath.Join(data, "postmaster.pid")); err == nil {
		pgRun(ts, filepath.Join(bin, "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
	}
}

func pgRun(ts *testscript.TestScript, argv ...string) {
	if os.Getuid() == 0 {
		argv = append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}
