package sources

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// redisPatience bounds the wait for the next bytes of an answer. A server that
	// prepares its dump sends a line feed every second.
	redisPatience = time.Minute
	// redisLongest bounds one string of an answer; the server's own limit is 512 MiB
	// unless it was raised (redis.conf, proto-max-bulk-len).
	redisLongest = 1 << 30
	// redisNested bounds how deep lists lie in lists; those we ask for, three deep.
	redisNested = 8
)

// A RedisConn is one connection to a Redis server. It is spoken by hand (RESP2, "Redis
// serialization protocol specification") because the replication stream that a dump
// comes by is neither requests nor answers: what libraries read ahead would be missing
// from it. It is for one goroutine at a time, and ends with the context it was opened in.
type RedisConn struct {
	conn     net.Conn
	in       *bufio.Reader
	out      *bufio.Writer
	consumed int64 // bytes of answers that were read
	late     atomic.Bool
	ended    func() error // why the context that it was opened in has ended; nil while it has not
	unhook   func() bool
}

// A RedisError is what a server answers instead of a result.
type RedisError string

// Error is the server's text.
func (e RedisError) Error() string { return string(e) }

// Code is the first word, such as WRONGTYPE.
func (e RedisError) Code() string {
	for i, r := range string(e) {
		if r == ' ' {
			return string(e)[:i]
		}
	}
	return string(e)
}

// errNoRedis is an answer that no Redis server gives.
var errNoRedis = errors.New("what answers is not a Redis server")

// errRedisLate is a server that says nothing any more.
var errRedisLate = fmt.Errorf("the server said nothing for %s", redisPatience)

func newRedisConn(ctx context.Context, conn net.Conn) *RedisConn {
	c := &RedisConn{conn: conn, ended: func() error { return context.Cause(ctx) }}
	c.in, c.out = bufio.NewReaderSize(patient{c}, 64<<10), bufio.NewWriter(patient{c})
	c.unhook = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return c
}

// Close ends the connection; twice does no harm.
func (c *RedisConn) Close() error {
	c.unhook()
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// patient reads and writes with a limit on how long nothing moves.
type patient struct{ c *RedisConn }

func (p patient) Read(b []byte) (int, error) {
	return p.c.move(func() (int, error) { return p.c.conn.Read(b) })
}
func (p patient) Write(b []byte) (int, error) {
	return p.c.move(func() (int, error) { return p.c.conn.Write(b) })
}

func (c *RedisConn) move(do func() (int, error)) (int, error) {
	limit := time.AfterFunc(redisPatience, func() {
		c.late.Store(true)
		_ = c.conn.Close()
	})
	defer limit.Stop()
	n, err := do()
	if err != nil && c.late.Load() {
		err = errRedisLate
	}
	if why := c.ended(); err != nil && why != nil {
		err = why
	}
	return n, err
}

// Do puts one command and returns its answer: nil, an int64, a string, or a []any of
// those. The error is a RedisError when the server refused.
func (c *RedisConn) Do(args ...string) (any, error) {
	all, err := c.Pipe([][]string{args})
	if err != nil {
		return nil, err
	}
	if refused, ok := all[0].(RedisError); ok {
		return nil, refused
	}
	return all[0], nil
}

// Pipe puts several commands at once and returns their answers, in which a RedisError
// stands for each that was refused.
func (c *RedisConn) Pipe(commands [][]string) ([]any, error) {
	for _, args := range commands {
		if err := c.send(args); err != nil {
			return nil, err
		}
	}
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	answers := make([]any, len(commands))
	for i := range commands {
		var err error
		if answers[i], err = c.answer(0); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// send writes a command without waiting for anything.
func (c *RedisConn) send(args []string) error {
	fmt.Fprintf(c.out, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(c.out, "$%d\r\n%s\r\n", len(a), a)
	}
	return c.out.Flush()
}

// line reads up to the next line feed, which is not returned.
func (c *RedisConn) line() (string, error) {
	text, err := c.in.ReadSlice('\n')
	c.consumed += int64(len(text))
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errNoRedis
	case errors.Is(err, io.EOF):
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	text = text[:len(text)-1]
	if n := len(text); n > 0 && text[n-1] == '\r' {
		text = text[:n-1]
	}
	return string(text), nil
}

// answer reads one answer.
func (c *RedisConn) answer(depth int) (any, error) {
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	if line == "" || depth > redisNested {
		return nil, errNoRedis
	}
	switch kind, text := line[0], line[1:]; kind {
	case '+':
		return text, nil
	case '-':
		return RedisError(text), nil
	case ':':
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errNoRedis
		}
		return n, nil
	case '$':
		return c.bulk(text)
	case '*':
		return c.list(text, depth)
	}
	return nil, errNoRedis
}

func (c *RedisConn) bulk(length string) (any, error) {
	n, err := strconv.Atoi(length)
	switch {
	case err != nil || n < -1 || n > redisLongest:
		return nil, errNoRedis
	case n == -1:
		return nil, nil
	}
	// A length that is not true must not cost memory.
	text := make([]byte, 0, min(n, 64<<10))
	for len(text) < n {
		piece := min(n-len(text), max(len(text), 64<<10))
		text = append(text, make([]byte, piece)...)
		if _, err := io.ReadFull(c.in, text[len(text)-piece:]); err != nil {
			return nil, cutOff(err)
		}
	}
	end := make([]byte, 2)
	if _, err := io.ReadFull(c.in, end); err != nil {
		return nil, cutOff(err)
	}
	c.consumed += int64(n) + 2
	if string(end) != "\r\n" {
		return nil, errNoRedis
	}
	return string(text), nil
}

// cutOff makes an end that came too early an error of its own.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *RedisConn) list(length string, depth int) (any, error) {
	n, err := strconv.Atoi(length)
	switch {
	case err != nil || n < -1:
		return nil, errNoRedis
	case n == -1:
		return nil, nil
	}
	all := make([]any, 0, min(n, 1024))
	for range n {
		one, err := c.answer(depth + 1)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// redisStrings returns the texts in a list; others are left out.
func redisStrings(answer any) []string {
	list, _ := answer.([]any)
	all := make([]string, 0, len(list))
	for _, one := range list {
		if text, ok := one.(string); ok {
			all = append(all, text)
		}
	}
	return all
}
