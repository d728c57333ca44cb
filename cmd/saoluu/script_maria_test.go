package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// mariaServer is the folder of a throwaway server and its process.
type mariaServer struct {
	dir string
	cmd *exec.Cmd
}

type mariaKey struct{}

// maria start [OPTION...] makes and starts a throwaway MariaDB server and puts its
// socket into $SOCKET and into the options of its client programs; maria again starts it
// once more on the same data; maria stop stops it, maria kill kills it. It runs as
// "nobody" when the test runs as root.
func mariaCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: maria start [OPTION...] | again | stop | kill")
	}
	m, _ := ts.Value(mariaKey{}).(*mariaServer)
	switch args[0] {
	case "start":
		// A socket's path is short, so it lies right below /tmp.
		dir, err := os.MkdirTemp("/tmp", "smy")
		ts.Check(err)
		ts.Check(os.Chmod(dir, 0o777))
		m.dir = dir
		ts.Setenv("SOCKET", filepath.Join(dir, "s"))
		ts.Setenv("HOME", dir) // whose options win over the system's
		options := "[client]\nuser = root\nsocket = " + filepath.Join(dir, "s") + "\ndefault-character-set = utf8mb4\n"
		ts.Check(os.WriteFile(filepath.Join(dir, ".my.cnf"), []byte(options), 0o644))
		ts.Defer(func() { m.stop(ts, syscall.SIGKILL); os.RemoveAll(dir) })
		// A folder of its own for temporary files too: a server that starts removes what
		// it takes for another's leftovers.
		install := asMySQL("mariadb-install-db", "--no-defaults", "--datadir="+filepath.Join(dir, "data"), "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--tmpdir="+dir)
		if out, err := install.CombinedOutput(); err != nil {
			ts.Fatalf("mariadb-install-db: %v\n%s", err, out)
		}
		m.start(ts, args[1:])
	case "again":
		m.start(ts, args[1:])
	case "stop":
		m.stop(ts, syscall.SIGTERM)
	case "kill":
		m.stop(ts, syscall.SIGKILL)
	default:
		ts.Fatalf("usage: maria start [OPTION...] | again | stop | kill")
	}
}

// asMySQL is a program run by the user of the server.
func asMySQL(argv ...string) *exec.Cmd {
	if os.Getuid() == 0 {
		argv = append([]string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	return cmd
}

func (m *mariaServer) start(ts *testscript.TestScript, options []string) {
	socket := filepath.Join(m.dir, "s")
	args := []string{
		"mariadbd", "--no-defaults", "--datadir=" + filepath.Join(m.dir, "data"), "--socket=" + socket, "--skip-name-resolve", "--tmpdir=" + m.dir,
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--performance-schema=OFF", "--log-error=" + filepath.Join(m.dir, "log"),
	}
	if len(options) == 0 {
		options = []string{"--skip-networking"}
	}
	m.cmd = asMySQL(append(args, options...)...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ts.Check(m.cmd.Start())
	for range 600 {
		if exec.Command("mariadb-admin", "--no-defaults", "--socket="+socket, "--user=root", "ping").Run() == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(m.dir, "log"))
	ts.Fatalf("the server does not start:\n%s", log)
}

func (m *mariaServer) stop(ts *testscript.TestScript, how syscall.Signal) {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(how)
	_ = m.cmd.Wait()
	m.cmd = nil
}

// mariaMissing says why there is no MariaDB server to test with; nil when there is.
func mariaMissing() error {
	for _, name := range []string{"mariadb-install-db", "mariadb", "mariadb-dump"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("no MariaDB: %w", err)
		}
	}
	return nil
}
