package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A monitor is a connection to QEMU's control socket (QEMU manual, "QMP Reference").
type monitor struct {
	conn net.Conn
	in   *json.Decoder
}

// monitorLimit bounds one answer. QEMU gives them at once, unless the machine it runs
// on is overloaded.
const monitorLimit = 30 * time.Second

// maxMonitor bounds what is read of one connection, in bytes.
const maxMonitor = 16 << 20

// dialMonitor connects to a socket and leaves the negotiation behind.
func dialMonitor(ctx context.Context, socket string) (*monitor, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	m := &monitor{conn, json.NewDecoder(io.LimitReader(conn, maxMonitor))}
	if err := m.ask(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// ask puts a command and waits for its answer; events in between are passed over.
func (m *monitor) ask(ctx context.Context, command string, arguments, into any) error {
	ctx, cancel := context.WithTimeout(ctx, monitorLimit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = m.conn.Close() })
	defer stop()
	request := struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return m.problem(ctx, command, err)
	}
	for {
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		err := m.in.Decode(&reply)
		switch {
		case err != nil:
			return m.problem(ctx, command, err)
		case reply.Error != nil:
			return m.problem(ctx, command, errors.New(reply.Error.Desc))
		case reply.Return != nil && into != nil:
			return json.Unmarshal(reply.Return, into)
		case reply.Return != nil:
			return nil
		}
	}
}

func (m *monitor) problem(ctx context.Context, command string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("qemu: %s: %w", command, err)
}

func (m *monitor) close() error {
	if m == nil {
		return nil
	}
	return m.conn.Close()
}
