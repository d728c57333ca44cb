package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/internal/qmp"
)

// A getty plays the other end of a serial line; its shell is a real one.
type getty struct {
	name, password string // of who may come in; no name: a shell is there already
	deaf           int    // how many lines are lost before anybody reads
	silent         bool   // nobody ever says anything
	chatter        string // comes in between
}

// serve reads what is typed, echoes it, and answers.
func (g getty) serve(c *console, keys *os.File) {
	say := func(text string) { _, _ = c.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n"))) }
	in := bufio.NewReader(keys)
	read := func(echo bool) (string, bool) {
		line, err := in.ReadString('\r')
		if echo && !g.silent {
			say(strings.TrimSuffix(line, "\r") + "\n")
		}
		return strings.TrimSuffix(line, "\r"), err == nil
	}
	for ; g.deaf > 0; g.deaf-- {
		if _, ok := read(false); !ok {
			return
		}
	}
	for g.name != "" {
		say("\nmay-thu login: ")
		name, ok := read(true)
		if !ok {
			return
		}
		if name == "" {
			continue
		}
		password := ""
		if g.password != "" {
			say("Password: ")
			if password, ok = read(false); !ok {
				return
			}
		}
		if name == g.name && password == g.password {
			say("\nLast login: Mon Nov  2 on ttyS0\n")
			break
		}
		say("\nLogin incorrect\n")
	}
	for {
		if !g.silent {
			say("\x1b[1m~ \x1b[0m# \x1b[6n")
		}
		line, ok := read(true)
		if !ok {
			return
		}
		if g.silent || line == "" {
			continue
		}
		say(g.chatter)
		shell := exec.Command("sh", "-c", line)
		shell.Stdout = sayer(say)
		_ = shell.Run() // how it ended stands in what it says
	}
}

// A sayer writes by saying.
type sayer func(string)

func (s sayer) Write(p []byte) (int, error) {
	s(string(p))
	return len(p), nil
}

// atSerialLine makes a machine of which there is a serial line only.
func atSerialLine(t *testing.T, g getty) *machine {
	t.Helper()
	in, keys, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	process, err := command.Start(context.WithoutCancel(t.Context()), command.Cmd{Argv: []string{"/bin/sleep", "300"}})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{console: newConsole(regexp.MustCompile("never")), keys: keys, process: process}
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.serve(m.console, in)
	}()
	t.Cleanup(func() {
		_ = process.Stop(time.Second)
		_ = keys.Close()
		<-done
		_ = in.Close()
	})
	return m
}

const typingSecret = "mat-khau-rieng"

func TestProgramOnTheSerialLine(t *testing.T) {
	t.Parallel()
	password := func() (string, error) { return typingSecret, nil }
	for _, tc := range []struct {
		name   string
		getty  getty
		boot   Boot
		status int
		output string
		blind  string // what the error says
	}{
		{"a shell is there", getty{}, Boot{Run: []string{"echo", "it's", "$HOME", "`x`"}}, 0, "it's $HOME `x`\n", ""},
		{"status", getty{}, Boot{Run: []string{"sh", "-c", "echo no >&2; exit 7"}}, 7, "no\n", ""},
		{"no such program", getty{}, Boot{Run: []string{"no-such-program"}}, 127, "", ""},
		{"login", getty{name: "root"}, Boot{Run: []string{"echo", "in"}, Login: "root"}, 0, "in\n", ""},
		{"password", getty{name: "root", password: typingSecret}, Boot{Run: []string{"echo", "in"}, Login: "root", Password: password}, 0, "in\n", ""},
		{"the first line is lost", getty{name: "root", deaf: 1}, Boot{Run: []string{"echo", "in"}, Login: "root"}, 0, "in\n", ""},
		{"the kernel speaks in between", getty{chatter: "[ 12.5] usb 1-1: new device\n"}, Boot{Run: []string{"echo", "in"}}, 0, "in\n", ""},
		{"much output", getty{}, Boot{Run: []string{"sh", "-c", "yes a-long-line-of-text | head -c 900000; echo; exit 3"}}, 3, "", ""},
		{"nobody may come", getty{name: "root"}, Boot{Run: []string{"true"}}, 0, "", "asks for a login"},
		{"a password is missing", getty{name: "root", password: typingSecret}, Boot{Run: []string{"true"}, Login: "root"}, 0, "", "asks for a password"},
		{"a wrong password", getty{name: "root", password: "another"}, Boot{Run: []string{"true"}, Login: "root", Password: password}, 0, "", `does not let "root" in`},
		{"nobody is there", getty{silent: true}, Boot{Run: []string{"true"}}, 0, "", "neither a login nor a shell"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := atSerialLine(t, tc.getty)
			wait := 20 * time.Second
			if tc.getty.silent {
				wait = 100 * time.Millisecond
			}
			end, err := m.byConsole(t.Context(), tc.boot, wait, qmp.ErrNoAgent)
			if tc.blind != "" {
				if fault.KindOf(err) != fault.Unknown || !strings.Contains(err.Error(), tc.blind) || fault.HintOf(err) == "" {
					t.Errorf("%v; want it to say %q", err, tc.blind)
				}
			} else if err != nil || end.status != tc.status || tc.output != "" && end.output != tc.output {
				t.Errorf("status %d, output %q, %v; want %d and %q", end.status, end.output, err, tc.status, tc.output)
			}
			if log := string(m.mask(m.console.text())); strings.Contains(log, typingSecret) {
				t.Errorf("the password stands in %q", log)
			}
		})
	}
}

// A program that does not end is no success, and no reason to wait for ever.
func TestProgramThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	m := atSerialLine(t, getty{})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, fault.New(fault.TimedOut, "x", nil, ""))
	defer cancel()
	end, err := m.byConsole(ctx, Boot{Run: []string{"sleep", "4"}}, time.Second, qmp.ErrNoAgent)
	if err != nil || !end.late {
		t.Errorf("late %v, %v", end.late, err)
	}
	if r := end.judge(Boot{Run: []string{"sleep", "4"}}, regexp.MustCompile(""), m.mask, time.Minute); r.ok {
		t.Error("it was called good")
	}
}

func TestEndingIsJudged(t *testing.T) {
	t.Parallel()
	none := func(text []byte) []byte { return text }
	for _, tc := range []struct {
		end    ending
		expect string
		ok     bool
	}{
		{ending{output: "active\n"}, "^active$", true},
		{ending{output: "inactive\n"}, "^active$", false},
		{ending{status: 3, output: "active\n"}, "^active$", false},
		{ending{}, "", true},
		{ending{status: 1}, "", false},
		{ending{signal: 9}, "", false},
		{ending{late: true}, "", false},
		{ending{never: "no such file"}, "", false},
	} {
		b := Boot{Run: []string{"x"}, Expect: tc.expect}
		if r := tc.end.judge(b, regexp.MustCompile("(?m)"+tc.expect), none, time.Minute); r.ok != tc.ok {
			t.Errorf("%+v with %q: %v (%s)", tc.end, tc.expect, r.ok, r.actual)
		}
	}
	long := ending{output: strings.Repeat("x", 1<<20)}
	if r := long.judge(Boot{Run: []string{"x"}}, regexp.MustCompile(""), none, time.Minute); len(r.output) > keptOutput+100 {
		t.Errorf("%d bytes are kept", len(r.output))
	}
	if _, err := commandLine([]string{"echo", "a\nb"}); err == nil {
		t.Error("a line feed can be typed")
	}
	if _, err := commandLine([]string{strings.Repeat("x", 5000)}); err == nil || errors.Is(err, context.Canceled) {
		t.Error(fmt.Sprint("a line without end can be typed: ", err))
	}
}
