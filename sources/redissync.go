package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"saoluu/internal/fault"
)

// A redisSync is a connection on which the server sends a dump of one instant.
type redisSync struct {
	conn   *RedisConn
	source *Redis
	// id and offset name the instant in the server's stream of changes.
	id     string
	offset int64
}

// sync asks for a dump and waits until the server begins it.
func (r *Redis) sync(ctx context.Context) (_ *redisSync, err error) {
	const what = "ask for a dump"
	conn, err := r.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close() // it failed already
		}
	}()
	// A server before 7.0 does not know rdb-only and refuses it; it then collects
	// changes for us that we do not read.
	for _, capability := range [][]string{{"REPLCONF", "rdb-only", "1"}, {"REPLCONF", "capa", "eof", "capa", "psync2"}} {
		var refused RedisError
		if _, err := conn.Do(capability...); err != nil && (!errors.As(err, &refused) || refused.Code() == "NOPERM") {
			return nil, r.fault(what, err)
		}
	}
	if err := conn.send([]string{"PSYNC", "?", "-1"}); err != nil {
		return nil, r.fault(what, err)
	}
	answer, err := conn.waiting()
	if err != nil {
		return nil, r.fault(what, err)
	}
	s := &redisSync{conn: conn, source: r}
	if n, err := fmt.Sscanf(answer, "+FULLRESYNC %s %d", &s.id, &s.offset); err != nil || n != 2 {
		if refused, is := strings.CutPrefix(answer, "-"); is {
			return nil, r.fault(what, RedisError(refused))
		}
		return nil, fault.New(fault.Failed, r.op(what), errNoRedis, "")
	}
	return s, nil
}

// waiting returns the next line that says something: a server that is not ready yet
// sends empty ones.
func (c *RedisConn) waiting() (string, error) {
	for {
		line, err := c.line()
		if line != "" || err != nil {
			return line, err
		}
	}
}

// copy passes the dump on, and fails unless it came whole.
func (s *redisSync) copy(w io.Writer) error {
	const what = "read the dump"
	length, err := s.conn.waiting()
	if err != nil {
		return s.source.fault(what, err)
	}
	dump := NewRedisDump()
	to := io.MultiWriter(w, dump)
	if mark, is := strings.CutPrefix(length, "$EOF:"); is {
		err = copyUntil(to, s.conn.in, []byte(mark))
	} else {
		var n int64
		if n, err = strconv.ParseInt(strings.TrimPrefix(length, "$"), 10, 64); err != nil || n < 0 || length[0] != '$' {
			return s.source.fault(what, RedisError(strings.TrimPrefix(length, "-")))
		}
		_, err = io.CopyN(to, s.conn.in, n)
		err = cutOff(err)
	}
	if err != nil {
		return s.source.fault(what, err)
	}
	if err := dump.Check(); err != nil {
		return fault.New(fault.Failed, s.source.op(what), err, "see the server's log")
	}
	return nil
}

// copyUntil passes on what comes before a mark that ends it.
func copyUntil(w io.Writer, r io.Reader, mark []byte) error {
	if len(mark) != 40 { // src/replication.c, CONFIG_RUN_ID_SIZE
		return errNoRedis
	}
	buffer := make([]byte, 0, 1<<20)
	for {
		n, err := r.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if bytes.HasSuffix(buffer, mark) {
			_, err := w.Write(buffer[:len(buffer)-len(mark)])
			return err
		}
		// What may be the beginning of the mark is kept.
		if whole := len(buffer) - len(mark); whole > 0 {
			if _, werr := w.Write(buffer[:whole]); werr != nil {
				return werr
			}
			buffer = append(buffer[:0], buffer[whole:]...)
		}
		if err != nil {
			return cutOff(err)
		}
	}
}
