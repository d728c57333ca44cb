package sources

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// redisTouched bounds how many names of changed keys are kept, 8 bytes each.
	redisTouched = 2 << 20
	// redisAlive is how often the server hears from us, so that it does not take us for
	// dead (redis.conf, repl-timeout: 60 s).
	redisAlive = 15 * time.Second
	// redisCatchUp is how long the account of changes may lag behind.
	redisCatchUp = 10 * time.Second
)

// redisChanges is the server's account of the changes since an instant, as it gives it
// to replicas. Every argument of a command counts as the name of a key that it touched,
// in every database: that is more than was, never less.
type redisChanges struct {
	conn *RedisConn
	base int64 // what the connection had read when the account began
	from int64 // where that was

	mu       sync.Mutex
	news     chan struct{} // closed, and made anew, when something below has changed
	seen     int64         // up to where the account was read
	keys     map[uint64]struct{}
	doubtful string // why anything may have been touched; "" when that is not so
	err      error  // why the account ended
}

// redisQuiet are commands in the account that touch no key.
var redisQuiet = []string{"PING", "SELECT", "MULTI", "EXEC", "REPLCONF", "PUBLISH", "SPUBLISH", "SCRIPT"}

// redisWide are commands that touch keys they do not name; FUNCTION is asked for by
// itself.
var redisWide = []string{"FLUSHALL", "FLUSHDB", "SWAPDB", "EVAL", "EVALSHA", "FCALL", "FUNCTION", "DEBUG"}

// changes begins the account at the instant of a dump. It ends with ctx.
func (r *Redis) changes(ctx context.Context, dump *redisSync) (*redisChanges, error) {
	conn, err := r.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := conn.resume(dump.id, dump.offset+1); err != nil {
		return nil, errors.Join(r.fault("follow the changes", err), conn.Close())
	}
	c := &redisChanges{
		conn: conn, base: conn.consumed, from: dump.offset, seen: dump.offset,
		keys: map[uint64]struct{}{}, news: make(chan struct{}),
	}
	go c.follow()
	go c.live(ctx)
	return c, nil
}

// resume asks for the account from an offset on.
func (c *RedisConn) resume(id string, offset int64) error {
	if _, err := c.Do("REPLCONF", "capa", "psync2"); err != nil {
		return err
	}
	if err := c.send([]string{"PSYNC", id, fmt.Sprint(offset)}); err != nil {
		return err
	}
	// A server that has forgotten the instant would make a whole new dump for us.
	limit := time.AfterFunc(redisCatchUp, func() { _ = c.conn.Close() })
	defer limit.Stop()
	line, err := c.waiting()
	if err == nil && !strings.HasPrefix(line, "+CONTINUE") {
		err = errors.New("the server does not tell what changed since the dump began")
	}
	return err
}

// live keeps the connection. What is acknowledged is nothing, so that nobody who waits
// for replicas takes us for one that holds the data (WAIT).
func (c *redisChanges) live(ctx context.Context) {
	tick := time.NewTicker(redisAlive)
	defer tick.Stop()
	for {
		if c.conn.send([]string{"REPLCONF", "ACK", "0"}) != nil {
			return // follow learns why
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// follow reads the account until it ends.
func (c *redisChanges) follow() {
	for {
		answer, err := c.conn.answer(0)
		c.mu.Lock()
		if err != nil {
			c.err = err
		} else {
			c.take(redisStrings(answer))
			c.seen = c.from + c.conn.consumed - c.base
		}
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take notes what a command may have touched.
func (c *redisChanges) take(args []string) {
	if len(args) == 0 {
		c.doubtful = "the account of changes cannot be understood"
		return
	}
	name := strings.ToUpper(args[0])
	switch {
	case slices.Contains(redisQuiet, name):
		return
	case slices.Contains(redisWide, name), strings.Contains(name, "."): // of a module
		c.doubtful = "a " + name + " during the backup may have changed anything"
		return
	case len(c.keys)+len(args) > redisTouched:
		c.doubtful = "too many keys changed during the backup"
		return
	}
	for _, arg := range args[1:] {
		c.keys[redisHash(arg)] = struct{}{}
	}
}

// reach waits until the account was read up to an offset.
func (c *redisChanges) reach(ctx context.Context, offset int64) error {
	limit := time.NewTimer(redisCatchUp)
	defer limit.Stop()
	for {
		c.mu.Lock()
		seen, news, err := c.seen, c.news, c.err
		c.mu.Unlock()
		switch {
		case seen >= offset:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-news:
		case <-limit.C:
			return fmt.Errorf("the account of changes lags behind by more than %s", redisCatchUp)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// touched returns how many keys were touched so far, at most, and why that may not be
// all.
func (c *redisChanges) touched() (n int, doubtful string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.keys), c.doubtful
}

// has reports whether a key may have been touched.
func (c *redisChanges) has(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, touched := c.keys[redisHash(key)]
	return touched
}

// buckets returns those of all touched keys.
func (c *redisChanges) buckets() []uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]uint16, 0, len(c.keys))
	for hash := range c.keys {
		all = append(all, redisBucket(hash))
	}
	return all
}

// redisHash stands for a key, the same on every machine.
func redisHash(key string) uint64 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:])
}

// redisBucket is the one of 65,536 that a key belongs to.
func redisBucket(hash uint64) uint16 { return uint16(hash >> 48) }
