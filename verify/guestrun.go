package verify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"saoluu/internal/fault"
	"saoluu/internal/qmp"
)

// A ran is what a program did in a booted machine.
type ran struct {
	ok               bool
	expected, actual string
	output           []byte // beside its command line, as evidence
}

// An ending is how a program ended.
type ending struct {
	by     string // how it was run
	status int
	signal int // that ended it; 0: none
	late   bool
	never  string // why it could not be started; empty: it was
	output string
}

const (
	// keptOutput bounds what is kept of what it wrote, in bytes.
	keptOutput = 16 << 10
	// agentFirst is how long an agent may take to come up after the machine has, to which
	// a fifth of the time comes that the machine took: where that was long so is this.
	agentFirst = 10 * time.Second
	// agentTry bounds one try to reach it, in which it is asked for a word.
	agentTry = 3 * time.Second
	// agentPoll is the pause between two looks at its program.
	agentPoll = 200 * time.Millisecond
)

// runProgram runs the program of a check in a machine that is up. That it could not be
// tried, as for want of an agent and of a login, is an error.
func (m *machine) runProgram(ctx context.Context, b Boot, took, limit time.Duration) (*ran, error) {
	expect, err := regexp.Compile("(?m)" + b.Expect)
	if err != nil {
		return nil, fault.New(fault.Usage, "boot", err, "correct the expression")
	}
	late := fault.New(fault.TimedOut, "run a program in the machine", fmt.Errorf("not over after %s", span(limit)), "raise the limit of the check")
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	wait := agentFirst + took/5
	if b.Login != "" {
		wait = agentTry // there is another way
	}
	end, err := m.byAgent(ctx, b.Run, wait)
	if errors.Is(err, qmp.ErrNoAgent) {
		end, err = m.byConsole(ctx, b, agentFirst+took, err)
	}
	if err != nil {
		return nil, err
	}
	if end.late && m.starved() {
		return nil, fault.New(fault.TimedOut, late.Op, errors.New("the machine waited for a processor longer than it had one"), "test when the machine does less")
	}
	return end.judge(b, expect, m.mask, limit), nil
}

// judge says whether it ended as it should.
func (e ending) judge(b Boot, expect *regexp.Regexp, mask func([]byte) []byte, limit time.Duration) *ran {
	r := &ran{expected: "its program ends with status 0"}
	fits := expect.MatchString(strings.TrimSpace(e.output))
	if b.Expect != "" {
		r.expected += " and says what it should"
	}
	switch {
	case e.never != "":
		r.actual = "it could not be started"
	case e.late:
		r.actual = "not over after " + span(limit)
	case e.signal != 0:
		r.actual = fmt.Sprintf("ended by signal %d", e.signal)
	default:
		r.actual = fmt.Sprintf("status %d", e.status)
		r.ok = e.status == 0 && fits
		if b.Expect != "" {
			r.actual += map[bool]string{true: ", said it", false: ", said something else"}[fits]
		}
	}
	r.actual += ", by " + e.by
	shown := e.output
	if len(shown) > keptOutput {
		shown = shown[:keptOutput] + "\n[…]"
	}
	text := fmt.Sprintf("%s\n%s\n[%s]\n", strings.Join(b.Run, " "), cmp.Or(strings.TrimRight(shown, "\n"), e.never), r.actual)
	r.output = mask([]byte(text))
	return r
}

// mask takes the secret out that was typed.
func (m *machine) mask(text []byte) []byte {
	if m.secret == "" {
		return text
	}
	return bytes.ReplaceAll(text, []byte(m.secret), []byte("********"))
}

// byAgent has the guest agent run a program (QEMU Guest Agent Protocol, guest-exec). The
// error is qmp.ErrNoAgent when there is none, or it may not do that.
func (m *machine) byAgent(ctx context.Context, argv []string, wait time.Duration) (e ending, err error) {
	e.by = "the guest agent"
	agent, err := m.agent(ctx, wait)
	if err != nil {
		return e, err
	}
	defer agent.Close()
	var started struct {
		PID int `json:"pid"`
	}
	err = agent.Ask(ctx, "guest-exec", map[string]any{"path": argv[0], "arg": argv[1:], "capture-output": true}, &started)
	var refused *qmp.Error
	switch {
	case errors.As(err, &refused) && refused.Class == "CommandNotFound":
		return e, fmt.Errorf("%w: it may not run programs (%s)", qmp.ErrNoAgent, refused.Text)
	case errors.As(err, &refused):
		e.never = refused.Text
		return e, nil
	case err != nil:
		return e, fault.New(fault.Unknown, "run a program by the guest agent", err, "see serial.log for what became of the machine")
	}
	return m.finish(ctx, agent, e, started.PID)
}

// agent waits for the guest agent.
func (m *machine) agent(ctx context.Context, wait time.Duration) (*qmp.Agent, error) {
	patience := time.NewTimer(wait)
	defer patience.Stop()
	for {
		var agent *qmp.Agent
		open, err := m.agentThere(ctx)
		if open && err == nil {
			agent, err = qmp.DialAgent(ctx, agentSocket(m.socket()), agentTry)
		}
		if agent != nil {
			return agent, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-m.process.Done():
			return nil, m.died()
		case <-patience.C:
			return nil, qmp.ErrNoAgent
		case <-time.After(machinePoll):
		}
	}
}

// agentThere reports whether somebody in the machine has opened the agent's channel.
func (m *machine) agentThere(ctx context.Context) (bool, error) {
	var all []struct {
		Label string `json:"label"`
		Open  bool   `json:"frontend-open"`
	}
	err := m.monitor.Ask(ctx, "query-chardev", nil, &all)
	for _, c := range all {
		if c.Label == "agent" {
			return c.Open, err
		}
	}
	return false, err
}

// finish waits until a program of the agent's has ended.
func (m *machine) finish(ctx context.Context, agent *qmp.Agent, e ending, pid int) (ending, error) {
	for {
		var status struct {
			Exited bool   `json:"exited"`
			Code   int    `json:"exitcode"`
			Signal int    `json:"signal"`
			Out    string `json:"out-data"`
			Err    string `json:"err-data"`
		}
		err := agent.Ask(ctx, "guest-exec-status", map[string]int{"pid": pid}, &status)
		if fault.KindOf(context.Cause(ctx)) == fault.TimedOut {
			e.late = true
			return e, nil
		}
		if err != nil {
			return e, fault.New(fault.Unknown, "run a program by the guest agent", err, "see serial.log for what became of the machine")
		}
		if status.Exited {
			out, err1 := base64.StdEncoding.DecodeString(status.Out)
			more, err2 := base64.StdEncoding.DecodeString(status.Err)
			e.status, e.signal, e.output = status.Code, status.Signal, string(append(out, more...))
			return e, errors.Join(err1, err2)
		}
		select {
		case <-ctx.Done():
			if fault.KindOf(context.Cause(ctx)) != fault.TimedOut {
				return e, context.Cause(ctx)
			}
			e.late = true
			return e, nil
		case <-time.After(agentPoll):
		}
	}
}
