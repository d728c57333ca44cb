package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// TestMain lets the test binary play the programs that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "pump":
			os.Exit(PumpMain(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
		case "confine":
			os.Exit(ConfineMain(os.Args[2:], os.Stderr))
		case "parent": // starts a program, says its pid, and waits
			p, err := Start(context.Background(), Cmd{Argv: os.Args[2:], Env: os.Environ(), Stdout: os.Stdout})
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Println("pid", p.Pid())
			_, _ = p.Wait()
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func sh(script string, args ...string) Cmd {
	return Cmd{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Env: []string{"PATH=/usr/bin:/bin"}, Grace: 2 * time.Second}
}

func TestRun(t *testing.T) {
	long := strings.Repeat("x", 6000)
	for _, tc := range []struct {
		name   string
		cmd    Cmd
		stdout string
		code   int
		stderr string // the end of it
		err    string
		kind   fault.Kind
	}{
		{name: "good", cmd: sh("printf 'a\nb'"), stdout: "a\nb"},
		{name: "exit status", cmd: sh("echo why >&2; exit 7"), code: 7, stderr: "why\n", err: "sh: exit status 7: why", kind: fault.Failed},
		{name: "signal", cmd: sh("kill -9 $$"), code: -1, err: "sh: ended by signal 9 (killed)", kind: fault.Failed},
		{name: "no environment", cmd: Cmd{Argv: []string{"/usr/bin/env"}}, stdout: ""},
		{name: "folder", cmd: sh("pwd"), stdout: "/\n"},
		{name: "input", cmd: func() Cmd { c := sh("cat"); c.Stdin = strings.NewReader(long); return c }(), stdout: long},
		{name: "input not read", cmd: func() Cmd {
			c := sh("exit 3")
			c.Stdin = bytes.NewReader(make([]byte, 1<<20))
			return c
		}(), code: 3, err: "sh: exit status 3", kind: fault.Failed},
		{name: "end of stderr", cmd: sh("printf %s $1 >&2; echo end >&2; exit 1", long), code: 1, stderr: "xend\n", err: "exit status 1: xxx", kind: fault.Failed},
		{name: "no terminal", cmd: sh("(: </dev/tty) 2>/dev/null && echo terminal; exit 0"), stdout: ""},
		{name: "missing program", cmd: Cmd{Argv: []string{"/nonexistent/pg_dump"}}, code: -1, err: `program "pg_dump" not found`, kind: fault.MissingTool},
		{name: "missing on path", cmd: Cmd{Argv: []string{"pg_dump"}, Env: []string{"PATH=/nonexistent"}}, code: -1, err: `program "pg_dump" not found`, kind: fault.MissingTool},
		{name: "missing folder", cmd: Cmd{Argv: []string{"/bin/true"}, Dir: "/nonexistent"}, code: -1, err: `start "/bin/true"`, kind: fault.Failed},
		{name: "not executable", cmd: Cmd{Argv: []string{"/etc/passwd"}}, code: -1, err: "permission denied", kind: fault.Denied},
		{name: "no program", cmd: Cmd{}, code: -1, err: "run a command", kind: fault.Usage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			tc.cmd.Stdout = &out
			res, err := Run(t.Context(), tc.cmd)
			if got := errText(err); !strings.Contains(got, tc.err) || (tc.err == "") != (err == nil) {
				t.Errorf("error %q, want %q", got, tc.err)
			}
			if got := fault.KindOf(err); got != tc.kind {
				t.Errorf("kind %q, want %q", got, tc.kind)
			}
			if res.ExitCode != tc.code || !strings.HasSuffix(res.Stderr, tc.stderr) || len(res.Stderr) > tailBytes {
				t.Errorf("got %d, %d bytes of stderr ending %q", res.ExitCode, len(res.Stderr), lastLine(res.Stderr))
			}
			if out.String() != tc.stdout {
				t.Errorf("stdout %q, want %q", out.String(), tc.stdout)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Descriptors left closed would be taken by the first files a program opens, and
// what it prints would go into them.
func TestNoStreamIsLeftClosed(t *testing.T) {
	var fds string
	c := sh(`test -e /proc/$$/fd/0 && test -e /proc/$$/fd/1 && echo output && echo all open >&2`)
	c.StderrLine = func(line []byte) { fds = string(line) }
	if _, err := Run(t.Context(), c); err != nil || fds != "all open" {
		t.Errorf("stderr %q, error %v", fds, err)
	}
}

func TestSecretsAreBlanked(t *testing.T) {
	const secret = "corr3ct-h0rse"
	// The secret straddles the cut of the tail: half of it must not survive either.
	c := sh(`printf '%s' "$1" >&2; head -c 4090 /dev/zero | tr '\0' y >&2; exit 1`, secret)
	c.Secrets = []string{"", secret}
	res, err := Run(t.Context(), c)
	for _, shown := range []string{res.Stderr, errText(err), c.String()} {
		if strings.Contains(shown, secret) || strings.Contains(shown, "h0rse") {
			t.Errorf("secret shown in %.60q", shown)
		}
	}
	if !strings.Contains(c.String(), "***") {
		t.Errorf("argv shown as %q", c)
	}
}

func TestLines(t *testing.T) {
	collect := func(script string) (got []string, err error) {
		_, err = Lines(t.Context(), sh(script), func(l []byte) error { got = append(got, string(l)); return nil })
		return got, err
	}
	got, err := collect("printf 'a\n\nb c\r\nlast'")
	if err != nil || strings.Join(got, "|") != "a||b c\r|last" {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = collect("head -c 1000000 /dev/zero | tr '\\0' z; echo; echo end")
	if err != nil || len(got) != 2 || len(got[0]) != 1000000 || got[1] != "end" {
		t.Errorf("long line: %d lines, %v", len(got), err)
	}
	if _, err = collect("head -c 17000000 /dev/zero"); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("endless line: %v", err)
	}
	stop := errors.New("enough")
	if _, err := Lines(t.Context(), sh("yes"), func([]byte) error { return stop }); err != stop {
		t.Errorf("got %v, want the error unchanged", err)
	}
}

func TestServer(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := sh("trap 'exit 0' INT; echo up; while :; do sleep 0.05; done")
	c.Interrupt, c.Stdout = syscall.SIGINT, w
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(5 * time.Second); err != nil {
		t.Error(err)
	}
	if res, _ := p.Wait(); res.ExitCode != 0 {
		t.Errorf("exit %d: it did not get its own signal", res.ExitCode)
	}
	waitGone(t, p.Pid())

	died, err := Start(t.Context(), sh("exit 5"))
	if err != nil {
		t.Fatal(err)
	}
	<-died.Done()
	var ee *ExitError
	if err := died.Stop(time.Second); !errors.As(err, &ee) || ee.Code != 5 {
		t.Errorf("stopping a dead server: %v", err)
	}
}

func TestStderrLine(t *testing.T) {
	var got []string
	c := sh("echo one >&2; printf two >&2; exit 1")
	c.StderrLine = func(l []byte) { got = append(got, string(l)) }
	res, err := Run(t.Context(), c)
	if err == nil || strings.Join(got, "|") != "one|two" || res.Stderr != "one\ntwo" {
		t.Errorf("got %q, %q, %v", got, res.Stderr, err)
	}
}

func TestCredential(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	c := sh("id -u; id -g; id -G")
	c.Credential = &Credential{UID: 65534, GID: 65534}
	out, err := Output(t.Context(), c, 100)
	if err != nil || string(out) != "65534\n65534\n65534\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestExtraFiles(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := sh("echo third >&3")
	c.ExtraFiles = []*os.File{w}
	if _, err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got, _ := io.ReadAll(r); string(got) != "third\n" {
		t.Errorf("got %q", got)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, perm := range map[string]os.FileMode{"tool": 0o755, "data": 0o644} {
		if err := os.WriteFile(dir+"/"+name, nil, perm); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := LookPath("tool", dir); err != nil || got != dir+"/tool" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := LookPath("sh", dir); err != nil || got == "" {
		t.Errorf("got %q, %v", got, err)
	}
	for name, hint := range map[string]string{"data": "PATH", "absent": "PATH"} {
		_, err := LookPath(name, dir, "relative")
		if fault.KindOf(err) != fault.MissingTool || !strings.Contains(fault.HintOf(err), hint) {
			t.Errorf("%s: %v, hint %q", name, err, fault.HintOf(err))
		}
	}
	for name, pkg := range map[string]string{
		"initdb": "postgresql", "mariadb-dump": "mariadb-client", "sqlite3": "sqlite3", "chattr": "e2fsprogs", "nobody-knows": "",
	} {
		if got := debianPackage(name); got != pkg {
			t.Errorf("%s is in %q", name, got)
		}
	}
	t.Setenv("PATH", "")
	if _, err := lookIn("pg_dump", nil); fault.HintOf(err) != "install it: apt-get install postgresql-client" {
		t.Errorf("hint %q", fault.HintOf(err))
	}
	if _, err := LookPath("../tool", dir); fault.KindOf(err) != fault.Usage {
		t.Errorf("a path is not a name: %v", err)
	}
}

// waitGone waits until no process pid runs; a zombie does not run.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	if pid <= 0 {
		t.Fatalf("no process id: %d", pid)
	}
	for range 500 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d still runs", pid)
}

// Cancelling while a slow reader still takes the output of a program that ended
// well must not call the half that was taken whole.
func TestCancelWhileOutputIsTaken(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := sh("head -c 60000 /dev/zero; exec >&-; exit 0")
	c.Stdout = writerFunc(func(p []byte) (int, error) {
		time.Sleep(200 * time.Millisecond) // by now it has ended
		cancel()
		time.Sleep(50 * time.Millisecond)
		return len(p), nil
	})
	c.pipeBytes = 1 << 20
	n := 0
	taken := c.Stdout
	c.Stdout = writerFunc(func(p []byte) (int, error) { n += len(p); return taken.Write(p) })
	if _, err := Run(ctx, c); err == nil && n != 60000 {
		t.Errorf("%d bytes taken and no error", n)
	}
}

// Without file descriptors nothing starts, nothing crashes, nothing leaks.
func TestNoDescriptorsLeft(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	if _, err := Run(t.Context(), sh("true")); err != nil { // opens what the runtime keeps
		t.Fatal(err)
	}
	before := open()
	for spare := range uint64(14) {
		c := sh("cat")
		c.Stdin, c.Stdout = strings.NewReader("x"), io.Discard
		limit := old
		limit.Cur = uint64(before) - 1 + spare
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		_, err := Run(t.Context(), c)
		if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); rerr != nil {
			t.Fatal(rerr)
		}
		if err == nil {
			t.Logf("runs with %d spare descriptors", spare)
		} else if !errors.Is(err, syscall.EMFILE) {
			t.Errorf("%d spare descriptors: %v", spare, err)
		}
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

func FuzzTailBlanks(f *testing.F) {
	f.Add([]byte("password=abc123"), "abc123")
	f.Add(bytes.Repeat([]byte("abc123"), 2000), "abc123")
	f.Fuzz(func(t *testing.T, text []byte, secret string) {
		if len(secret) < 4 || strings.Contains(secret, "*") {
			t.Skip()
		}
		tl := newTail([]string{secret})
		_, _ = tl.Write(text)
		if strings.Contains(tl.text([]string{secret}), secret) {
			t.Errorf("secret %q shown", secret)
		}
	})
}
