package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// An Agent is a connection to the agent of a guest (QEMU manual, "QEMU Guest Agent
// Protocol Reference"): what it answers comes from inside of the machine, and is to be
// trusted as little as that is.
type Agent struct {
	conn *net.UnixConn
	in   *bufio.Reader
}

// flushed begins an answer to guest-sync-delimited: what came before it was meant for
// somebody else. It is no byte of UTF-8.
const flushed = 0xff

// maxAnswer bounds one answer of an agent, in bytes. It sends up to 16 MiB of what a
// program wrote, in base64 (qga, GUEST_EXEC_MAX_OUTPUT).
const maxAnswer = 48 << 20

// ErrNoAgent is a machine whose agent does not answer: there is none in it, or it was
// not started yet.
var ErrNoAgent = errors.New("no guest agent answers")

// DialAgent connects to the socket of an agent's channel and finds out, within limit,
// whether anybody is at its other end. The error wraps ErrNoAgent when nobody is.
func DialAgent(ctx context.Context, socket string, limit time.Duration) (*Agent, error) {
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	a := &Agent{conn, bufio.NewReader(conn)}
	if err := a.sync(ctx, limit); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return a, nil
}

// sync drops what was said to others.
func (a *Agent) sync(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrNoAgent)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = a.conn.Close() })()
	id := rand.Int32()
	line, err := request("guest-sync-delimited", map[string]int32{"id": id})
	if err != nil {
		return err
	}
	if _, err := a.conn.Write(append([]byte{flushed}, line...)); err != nil {
		return problem(ctx, "guest-sync", err)
	}
	for skipped := 0; ; skipped++ {
		b, err := a.in.ReadByte()
		if err != nil || skipped > maxAnswer {
			return problem(ctx, "guest-sync", errors.Join(ErrNoAgent, err))
		}
		if b != flushed {
			continue
		}
		var got int32
		if err := a.read(ctx, "guest-sync", &got); err == nil && got == id {
			return nil
		}
	}
}

// read reads one answer.
func (a *Agent) read(ctx context.Context, command string, into any) error {
	return answer(ctx, json.NewDecoder(&line{in: a.in, left: maxAnswer}), command, into)
}

// A line reads up to the end of a line, so that nothing behind it is taken.
type line struct {
	in    *bufio.Reader
	left  int
	ended bool
}

// Read implements io.Reader.
func (l *line) Read(p []byte) (n int, err error) {
	if l.ended || l.left <= 0 {
		return 0, io.EOF
	}
	for n < min(len(p), l.left) {
		b, err := l.in.ReadByte()
		if err != nil {
			return n, err
		}
		p[n] = b
		n++
		if l.ended = b == '\n'; l.ended {
			break
		}
	}
	l.left -= n
	return n, nil
}

// Ask puts a command and reads its result, within Limit. An Agent whose time was up
// cannot be used again.
func (a *Agent) Ask(ctx context.Context, command string, arguments, into any) error {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = a.conn.Close() })()
	text, err := request(command, arguments)
	if err != nil {
		return err
	}
	if _, err := a.conn.Write(text); err != nil {
		return problem(ctx, command, err)
	}
	return a.read(ctx, command, into)
}

// Close ends the connection; of nil it does nothing.
func (a *Agent) Close() error {
	if a == nil {
		return nil
	}
	return a.conn.Close()
}
