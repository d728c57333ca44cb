// Package qmp speaks with a virtual machine: over QEMU's control socket (QEMU manual,
// "QMP Reference"), and with the agent inside of it (agent.go). Both write a line of
// JSON for a line of JSON.
package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Limit bounds one answer. QEMU gives them at once, unless the machine it runs on is
// overloaded, or the disks of its guest are.
const Limit = 30 * time.Second

// greetingLimit bounds the wait for the first word of a socket.
const greetingLimit = 5 * time.Second

// maxRead bounds what is read of one connection, in bytes.
const maxRead = 16 << 20

// ErrHeld is a control socket at which somebody else is served: QEMU serves one at a time.
var ErrHeld = errors.New("somebody else is connected to it")

// A Conn is a connection to QEMU's control socket, for one goroutine at a time.
type Conn struct {
	conn *net.UnixConn
	in   *json.Decoder
}

// An Error is what QEMU, or an agent, answers instead of a result.
type Error struct {
	Command string
	Class   string // of the few that QEMU tells apart, such as CommandNotFound
	Text    string
}

// Error is its text.
func (e *Error) Error() string { return fmt.Sprintf("qemu: %s: %s", e.Command, e.Text) }

// Dial connects to a socket and leaves the negotiation behind. The error wraps ErrHeld
// when nobody greets.
func Dial(ctx context.Context, socket string) (*Conn, error) {
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn, json.NewDecoder(io.LimitReader(conn, maxRead))}
	if err := c.greeting(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := c.Ask(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

func dial(ctx context.Context, socket string) (*net.UnixConn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// greeting reads the first word.
func (c *Conn) greeting(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, greetingLimit, ErrHeld)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })()
	var word struct {
		QMP *json.RawMessage `json:"QMP"`
	}
	if err := c.in.Decode(&word); err != nil {
		return problem(ctx, "greeting", err)
	}
	if word.QMP == nil {
		return errors.New("what answers is no control socket of QEMU")
	}
	return nil
}

// Ask puts a command and reads its result into a value, unless that is nil.
func (c *Conn) Ask(ctx context.Context, command string, arguments, into any) error {
	return c.AskWith(ctx, nil, command, arguments, into)
}

// AskWith is Ask with an open file that goes over to QEMU.
func (c *Conn) AskWith(ctx context.Context, file *os.File, command string, arguments, into any) error {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })()
	line, err := request(command, arguments)
	if err != nil {
		return err
	}
	var beside []byte
	if file != nil {
		beside = unix.UnixRights(int(file.Fd()))
	}
	if _, _, err := c.conn.WriteMsgUnix(line, beside, nil); err != nil {
		return problem(ctx, command, err)
	}
	return answer(ctx, c.in, command, into)
}

// request is the line of a command.
func request(command string, arguments any) ([]byte, error) {
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	return append(line, '\n'), err
}

// answer reads what comes back; events in between are passed over.
func answer(ctx context.Context, in *json.Decoder, command string, into any) error {
	for {
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Class string `json:"class"`
				Desc  string `json:"desc"`
			} `json:"error"`
		}
		err := in.Decode(&reply)
		switch {
		case err != nil:
			return problem(ctx, command, err)
		case reply.Error != nil:
			return &Error{command, reply.Error.Class, reply.Error.Desc}
		case reply.Return != nil && into != nil:
			return json.Unmarshal(reply.Return, into)
		case reply.Return != nil:
			return nil
		}
	}
}

func problem(ctx context.Context, command string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("qemu: %s: %w", command, err)
}

// Close ends the connection; of nil it does nothing.
func (c *Conn) Close() error {
	if c == nil {
		return nil
	}
	return c.conn.Close()
}
