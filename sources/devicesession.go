package sources

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"

	"saoluu/internal/fault"
)

// show has the configuration shown, by one command or in a session with a prompt.
func (d Device) show(ctx context.Context, client *ssh.Client, preset devicePreset) ([]byte, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, fault.New(fault.Failed, d.op(), fmt.Errorf("open a session: %w", err), "see how many sessions it allows")
	}
	defer session.Close()
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c := &conversation{device: d, heard: make(chan []byte), gone: make(chan struct{})}
	defer close(c.gone)
	if !preset.shell {
		if err := session.Start(preset.command); err != nil {
			return nil, d.fault(fault.Failed, "see whether the account may run commands", "run %q: %w", preset.command, err)
		}
		go c.listen(out)
		return c.command(ctx, session)
	}
	in, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	// A wide and long screen: some devices break lines and stop at its edges.
	if err := session.RequestPty("vt100", 1000, 500, ssh.TerminalModes{ssh.ECHO: 0}); err != nil {
		return nil, d.fault(fault.Failed, "see whether the account may log in", "ask for a terminal: %w", err)
	}
	if err := session.Shell(); err != nil {
		return nil, d.fault(fault.Failed, "see whether the account may log in", "open a shell: %w", err)
	}
	go c.listen(out)
	c.in = in
	return c.shell(ctx, preset)
}

// A conversation is a session under way.
type conversation struct {
	device Device
	in     io.Writer
	heard  chan []byte   // what it says; closed when it has ended
	gone   chan struct{} // closed when nobody waits for it any more
	said   []byte        // since the last answer
	prompt []byte        // what it ends each answer with; nil: not known yet
	total  int
}

// listen passes on what the device says.
func (c *conversation) listen(out io.Reader) {
	defer close(c.heard)
	for {
		buf := make([]byte, 32<<10)
		n, err := out.Read(buf)
		if n > 0 {
			select {
			case c.heard <- buf[:n]:
			case <-c.gone:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hear waits for more of what the device says; io.EOF when it has ended. A device that
// asks what only a person can answer, or says nothing for too long, is an error.
func (c *conversation) hear(ctx context.Context) error {
	silence := cmp.Or(c.device.Silence, deviceSilence)
	asked := asks.Match(tailOf(c.said))
	if asked {
		silence = questionPause
	}
	timer := time.NewTimer(silence)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		if asked {
			return c.device.asked()
		}
		return c.device.fault(fault.TimedOut, "log in by hand and see what it waits for", "it said nothing for %s, after %d bytes", silence, c.total)
	case text, more := <-c.heard:
		if !more {
			return io.EOF
		}
		c.said, c.total = append(c.said, text...), c.total+len(text)
	}
	if c.total > deviceBytes {
		return c.device.fault(fault.Failed, "set command to one that shows less", "it says more than %d bytes", deviceBytes)
	}
	return nil
}

// questionPause tells a question from a line of the configuration that has not come
// whole yet.
const questionPause = 2 * time.Second

// tailOf is the end of a text, where a prompt or a question stands.
func tailOf(text []byte) []byte { return text[max(0, len(text)-256):] }

// command hears one command to its end. Without its exit status nobody knows whether
// all was said.
func (c *conversation) command(ctx context.Context, session *ssh.Session) ([]byte, error) {
	for {
		err := c.hear(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	err := session.Wait()
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return c.said, nil
	case errors.As(err, &exit):
		return nil, c.device.fault(fault.Failed, "run the command by hand to see what it says", "its command ended with status %d: %s", exit.ExitStatus(), firstLine(plainLines(c.said)))
	default:
		return nil, c.device.fault(fault.Failed, "try again; if it stays so, log in by hand and see where it stops", "the session was cut off after %d bytes", c.total)
	}
}

// shell holds a session with a prompt: paging off, show, leave.
func (c *conversation) shell(ctx context.Context, preset devicePreset) ([]byte, error) {
	if _, err := c.until(ctx); err != nil {
		return nil, err
	}
	for _, line := range preset.before {
		if _, err := c.tell(ctx, line); err != nil {
			return nil, err
		}
	}
	text, err := c.tell(ctx, preset.command)
	if err != nil {
		return nil, err
	}
	_, _ = io.WriteString(c.in, preset.leave+"\n") // the connection is closed all the same
	// The prompt is the last line, the echo of the command the first, where there is one.
	text = text[:max(0, bytes.LastIndexAny(text, "\r\n"))]
	if first, rest, ok := bytes.Cut(bytes.TrimLeft(text, "\r\n"), []byte{'\n'}); ok && bytes.Contains(first, []byte(preset.command)) {
		text = rest
	}
	return text, nil
}

// tell says one line and hears the answer up to the next prompt.
func (c *conversation) tell(ctx context.Context, line string) ([]byte, error) {
	c.said = nil
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		return nil, c.cutOff()
	}
	return c.until(ctx)
}

// until hears up to a prompt, and asks for more where the device waits for a key.
func (c *conversation) until(ctx context.Context) ([]byte, error) {
	for {
		err := c.hear(ctx)
		if errors.Is(err, io.EOF) {
			return nil, c.cutOff()
		}
		if err != nil {
			return nil, err
		}
		if at := more.FindIndex(tailOf(c.said)); at != nil {
			c.said = append(c.said[:len(c.said)-len(tailOf(c.said))+at[0]], '\n')
			if _, err := io.WriteString(c.in, " "); err != nil {
				return nil, c.cutOff()
			}
			continue
		}
		if c.prompted() {
			return c.said, nil
		}
	}
}

// prompted reports whether the answer has come to its end: it ends with the prompt, the
// same as the first time.
func (c *conversation) prompted() bool {
	tail := bytes.TrimRight(tailOf(c.said), " ")
	if c.prompt != nil {
		return bytes.HasSuffix(tail, c.prompt)
	}
	if !prompt.Match(tail) {
		return false
	}
	c.prompt = bytes.Clone(tail[bytes.LastIndexAny(tail, "\r\n")+1:])
	return true
}

// asked is the error for a question that only a person could answer.
func (d Device) asked() error {
	return d.fault(fault.Denied, "give the account the right to show its configuration without a further password", "it asks for a password in the session, and nobody is there to answer")
}

func (c *conversation) cutOff() error {
	return c.device.fault(fault.Failed, "try again; if it stays so, log in by hand and see where it stops", "the session was cut off after %d bytes", c.total)
}
