package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"saoluu/internal/fault"
)

// What stands at the end of a serial line that waits for somebody to type: getty(8),
// login(1), and shells.
var (
	promptLogin    = regexp.MustCompile(`(?i)\blogin: *$`)
	promptPassword = regexp.MustCompile(`(?i)\bpassword[^\n]*: *$`)
	promptShell    = regexp.MustCompile(`[#$%>] *$`)
	refusedLogin   = regexp.MustCompile(`(?i)(login incorrect|login failure|permission denied|authentication failure)`)
)

const (
	// typeAgain is after how long a line is sent again that nobody answers: what is typed
	// before anybody reads is lost.
	typeAgain = 3 * time.Second
	// longestLine bounds a command line, in bytes: terminals take 4,095 (termios(3)).
	longestLine = 3000
)

// A prompt is what a serial line waits for.
type prompt int

const (
	atNothing prompt = iota
	atLogin
	atPassword
	atShell
	atRefusal
)

// promptOf reads it from what a line said last.
func promptOf(text string) prompt {
	last := text[strings.LastIndexByte(text, '\n')+1:]
	switch {
	case promptLogin.MatchString(last) && !strings.Contains(last, "Last login:"):
		return atLogin
	case promptPassword.MatchString(last):
		return atPassword
	case promptShell.MatchString(last):
		return atShell
	}
	return atNothing
}

// byConsole runs a program on the serial line, after logging in where that is asked for.
func (m *machine) byConsole(ctx context.Context, b Boot, wait time.Duration, noAgent error) (e ending, err error) {
	e.by = "the serial line"
	line, err := commandLine(b.Run)
	if err != nil {
		return e, err
	}
	blind := func(why, hint string) error {
		return fault.New(fault.Unknown, "run a program in the machine", fmt.Errorf("%w, and %s", noAgent, why), hint)
	}
	m.console.listen()
	switch at, err := m.waitFor(ctx, wait, "\r", atLogin, atShell); {
	case err != nil:
		return e, err
	case at == atLogin && b.Login == "":
		return e, blind("its serial line asks for a login", "install qemu-guest-agent in the machine, or set boot_login, and boot_password where one is asked for")
	case at == atLogin:
		if err := m.login(ctx, b, wait, blind); err != nil {
			return e, err
		}
	case at == atNothing:
		return e, blind("its serial line shows neither a login nor a shell", "install qemu-guest-agent in the machine, or let a getty serve ttyS0")
	}
	nonce := rand.Text()
	m.console.listen()
	if err := m.typeLine(fmt.Sprintf("printf '\\n%%s%%s\\n' begin- %s; (%s) </dev/null 2>&1; printf '\\n%%s%%s %%d\\n' end- %s $?\r", nonce, line, nonce)); err != nil {
		return e, err
	}
	return m.readEnding(ctx, e, nonce)
}

// login tells who comes.
func (m *machine) login(ctx context.Context, b Boot, wait time.Duration, blind func(why, hint string) error) error {
	const hint = "correct boot_login and boot_password"
	m.console.listen()
	if err := m.typeLine(b.Login + "\r"); err != nil {
		return err
	}
	at, err := m.waitFor(ctx, wait, "", atPassword, atShell, atRefusal)
	if err == nil && at == atPassword {
		if b.Password == nil {
			return blind("its login asks for a password", "set boot_password")
		}
		if m.secret, err = b.Password(); err != nil {
			return err
		}
		m.console.listen()
		if err := m.typeLine(m.secret + "\r"); err != nil {
			return err
		}
		at, err = m.waitFor(ctx, wait, "", atShell, atRefusal)
	}
	switch {
	case err != nil:
		return err
	case at == atRefusal:
		return blind(fmt.Sprintf("it does not let %q in", b.Login), hint)
	case at != atShell:
		return blind("no shell came after the login", hint)
	}
	return nil
}

// waitFor waits until the line waits for one of those, typing knock meanwhile now and
// then; atNothing when none came.
func (m *machine) waitFor(ctx context.Context, wait time.Duration, knock string, wanted ...prompt) (prompt, error) {
	timer, again := time.NewTimer(wait), time.NewTicker(typeAgain)
	defer timer.Stop()
	defer again.Stop()
	if err := m.typeLine(knock); err != nil {
		return atNothing, err
	}
	for {
		text := m.console.sofar()
		at := promptOf(text)
		if slices.Contains(wanted, atRefusal) && refusedLogin.MatchString(text) { // others say such things too
			at = atRefusal
		}
		for _, w := range wanted {
			if at == w {
				return at, nil
			}
		}
		select {
		case <-m.console.news:
		case <-again.C:
			if err := m.typeLine(knock); err != nil {
				return atNothing, err
			}
		case <-timer.C:
			return atNothing, nil
		case <-m.process.Done():
			return atNothing, m.died()
		case <-ctx.Done():
			return atNothing, context.Cause(ctx)
		}
	}
}

// readEnding waits for the end of the program that was typed.
func (m *machine) readEnding(ctx context.Context, e ending, nonce string) (ending, error) {
	end := regexp.MustCompile(`\nend-` + nonce + ` (\d+)\n`)
	for {
		text := m.console.sofar()
		_, text, begun := strings.Cut(text, "\nbegin-"+nonce+"\n")
		if at := end.FindStringSubmatchIndex(text); begun && at != nil {
			status, err := strconv.Atoi(text[at[2]:at[3]])
			e.status, e.output = status, text[:at[0]]
			return e, err
		}
		e.output = text
		select {
		case <-m.console.news:
		case <-m.process.Done():
			return e, m.died()
		case <-ctx.Done():
			if fault.KindOf(context.Cause(ctx)) != fault.TimedOut {
				return e, context.Cause(ctx)
			}
			if !begun {
				return e, fault.New(fault.Unknown, "run a program in the machine", errors.New("the shell on its serial line does not answer"), "see serial.log for what it says")
			}
			e.late = true
			return e, nil
		}
	}
}

// typeLine types on the serial line.
func (m *machine) typeLine(text string) error {
	if text == "" {
		return nil
	}
	_, err := m.keys.WriteString(text)
	return err
}

// commandLine is a program and its arguments as a shell reads them.
func commandLine(argv []string) (string, error) {
	words := make([]string, len(argv))
	for i, a := range argv {
		if strings.ContainsAny(a, "\n\r\x00\x03\x04\x15\x1b") {
			return "", fault.New(fault.Usage, "run a program in the machine", errors.New("an argument cannot be typed on a serial line"), "put it into a script on the disk, or install qemu-guest-agent in the machine")
		}
		words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	line := strings.Join(words, " ")
	if len(line) > longestLine {
		return "", fault.New(fault.Usage, "run a program in the machine", fmt.Errorf("%d bytes are too long a line", len(line)), "put it into a script on the disk")
	}
	return line, nil
}
