package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// patience is how long a script waits for what must come: far longer than it
// takes on a busy machine.
const patience = time.Minute

// moreCommands are the scripts' commands about running programs and file systems.
func moreCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits": exitsCommand, "fails": failsCommand, "until": untilCommand,
		"start": startCommand, "signal": signalCommand, "end": endCommand, "orphans": orphansCommand,
		"mount": mountCommand, "locked": lockedCommand, "finding": findingCommand,
	}
}

// exits CODE PROGRAM [ARG...] runs a program and wants that exit status.
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitStatus(ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// exitStatus returns the status of a program that ended, -1 for any other end.
func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		return -1
	}
}

// fails CODE PROGRAM [ARG...] is exits, and wants what every failure owes an
// operator: one error and one hint.
func failsCommand(ts *testscript.TestScript, neg bool, args []string) {
	exitsCommand(ts, neg, args)
	said := "\n" + ts.ReadFile("stderr")
	if n := strings.Count(said, "\nsaoluu: error: "); n != 1 {
		ts.Fatalf("%d lines of error, want 1", n)
	}
	if n := strings.Count(said, "\nsaoluu: hint: "); n != 1 {
		ts.Fatalf("%d hints, want 1", n)
	}
}

// until PATTERN PROGRAM [ARG...] runs a program again and again until its
// standard output matches, whatever its exit status.
func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN PROGRAM [ARG...]")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	path, err := lookPath(args[1], ts.Getenv("PATH"))
	ts.Check(err)
	var said []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		cmd := exec.Cmd{Path: path, Args: args[1:], Dir: ts.MkAbs("."), Env: environment(ts)}
		said, err = cmd.Output() // what it says decides
		if pattern.Match(said) {
			return
		}
	}
	ts.Fatalf("%s: no %q within %s; the last time: %v\n%s", strings.Join(args[1:], " "), args[0], patience, err, said)
}

// processes are the programs a script has started, by name.
type processes map[string]*exec.Cmd

type processesKey struct{}

func started(ts *testscript.TestScript) processes { return ts.Value(processesKey{}).(processes) }

// passedOn are the variables that programs get which a script starts.
var passedOn = []string{
	"PATH", "HOME", "TMPDIR", "WORK", "NO_COLOR", "SAOLUU_RESTIC", "SAOLUU_CONFIG", "SAOLUU_TEST_CLOCK",
	"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "PGHOST", "PGUSER", "SOCKET", "RESTIC_REPOSITORY", "RESTIC_PASSWORD_FILE",
}

func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, key := range passedOn {
		if value := ts.Getenv(key); value != "" {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// start NAME PROGRAM [ARG...] starts a program whose output goes to NAME.out and
// NAME.err. What a script leaves running is killed.
func startCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM [ARG...]")
	}
	name := args[0]
	if started(ts)[name] != nil {
		ts.Fatalf("start: %q is running", name)
	}
	path, err := lookPath(args[1], ts.Getenv("PATH"))
	ts.Check(err)
	cmd := &exec.Cmd{Path: path, Args: args[1:], Dir: ts.MkAbs("."), Env: environment(ts)}
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	said, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer said.Close()
	cmd.Stdout, cmd.Stderr = out, said
	ts.Check(cmd.Start())
	started(ts)[name] = cmd
	ts.Defer(func() {
		if started(ts)[name] == cmd {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

// lookPath finds a program along the script's PATH, not ours.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range strings.Split(path, ":") {
		if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return dir + "/" + name, nil
		}
	}
	return "", errors.New(name + ": not on PATH")
}

func running(ts *testscript.TestScript, name string) *exec.Cmd {
	cmd := started(ts)[name]
	if cmd == nil {
		ts.Fatalf("%q was not started", name)
	}
	return cmd
}

// signal NAME SIGNAL sends a signal, for example "signal daemon HUP".
func signalCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME SIGNAL")
	}
	number := unix.SignalNum("SIG" + args[1])
	if number == 0 {
		ts.Fatalf("no signal %q", args[1])
	}
	ts.Check(running(ts, args[0]).Process.Signal(number))
}

// end NAME CODE waits for the end of a started program and wants that exit
// status, -1 when a signal ended it.
func endCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: end NAME CODE")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	cmd := running(ts, args[0])
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	got := exitStatus(cmd.Wait())
	delete(started(ts), args[0])
	if !timer.Stop() {
		ts.Fatalf("%s did not end within %s", args[0], patience)
	}
	if got != want {
		ts.Fatalf("%s: exit status %d, want %d\n%s", args[0], got, want, ts.ReadFile(args[0]+".err"))
	}
}

// orphans [NAME...] wants no process of this script alive but the named ones it
// started. A process belongs to the script when its arguments or environment
// name the script's folder.
func orphansCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: orphans [NAME...]")
	}
	known := map[int]bool{}
	for _, name := range args {
		known[running(ts, name).Process.Pid] = true
	}
	folder := ts.Getenv("WORK")
	for deadline := time.Now().Add(patience / 6); ; time.Sleep(50 * time.Millisecond) {
		left := belonging(folder, known)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("left running:\n%s", strings.Join(left, "\n"))
		}
	}
}

func belonging(folder string, known map[int]bool) []string {
	whole := regexp.MustCompile(regexp.QuoteMeta(folder) + `($|[^0-9A-Za-z-])`)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []string{err.Error()}
	}
	var left []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || known[pid] {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if whole.Match(line) || whole.Match(env) {
			left = append(left, e.Name()+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}

// mount tmpfs DIR SIZE puts a small file system on a folder; mount ro DIR makes
// a folder read-only; mount off DIR undoes the newest mount there.
func mountCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mount tmpfs DIR SIZE | mount ro DIR | mount off DIR")
	}
	dir := ts.MkAbs(args[1])
	switch {
	case args[0] == "tmpfs" && len(args) == 3:
		ts.Check(os.MkdirAll(dir, 0o755))
		ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+args[2]))
	case args[0] == "ro" && len(args) == 2:
		ts.Check(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
		ts.Check(unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	case args[0] == "off" && len(args) == 2:
		ts.Check(unix.Unmount(dir, 0))
		return
	default:
		ts.Fatalf("mount: cannot do %q", args)
	}
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // taken off already when the script passed
}

// finding RULE SUBJECT RESULT [FLAG...] makes a report and wants that result of
// a rule for a job or the site; with ! any other one. finding -in FILE RULE …
// takes a report that is there.
func findingCommand(ts *testscript.TestScript, neg bool, args []string) {
	file := "finding.json"
	if len(args) > 1 && args[0] == "-in" {
		file, args = args[1], args[2:]
	} else if len(args) >= 3 {
		ts.Check(ts.Exec("saoluu", append([]string{"report", "--format", "json", "-o", file}, args[3:]...)...))
	}
	if len(args) < 3 {
		ts.Fatalf("usage: finding [-in FILE] RULE SUBJECT RESULT [FLAG...]")
	}
	var report struct {
		Findings []struct{ Rule, Subject, Result, Why string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(file)), &report))
	for _, f := range report.Findings {
		if f.Rule != args[0] || f.Subject != args[1] {
			continue
		}
		ts.Logf("%s of %s: %s: %s", f.Rule, f.Subject, f.Result, f.Why)
		if (f.Result == args[2]) == neg {
			ts.Fatalf("the result is %q", f.Result)
		}
		return
	}
	ts.Fatalf("no finding of %s for %s", args[0], args[1])
}

// locked TARGET waits until restic holds a lock in the repository in that folder;
// with ! until it holds none. What a killed restic had not yet given its name is
// no lock.
func lockedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: locked TARGET")
	}
	whole := filepath.Join(args[0], "locks", strings.Repeat("[0-9a-f]", 64))
	waitforCommand(ts, neg, []string{whole})
}
