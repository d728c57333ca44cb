package sources

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
)

// answered is what the reader makes of bytes.
func answered(t testing.TB, text string) (*RedisConn, any, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	go func() {
		_, _ = io.WriteString(theirs, text)
		_ = theirs.Close()
	}()
	c := newRedisConn(ctx, ours)
	defer c.Close()
	got, err := c.answer(0)
	return c, got, err
}

func TestRedisAnswer(t *testing.T) {
	tests := []struct {
		text string
		want any
		err  error
	}{
		{"+OK\r\n", "OK", nil},
		{"-ERR no\r\n", RedisError("ERR no"), nil},
		{":-7\r\n", int64(-7), nil},
		{"$-1\r\n", nil, nil},
		{"$0\r\n\r\n", "", nil},
		{"$3\r\na\r\n\r\n", "a\r\n", nil},
		{"*-1\r\n", nil, nil},
		{"", nil, io.ErrUnexpectedEOF},
		{"$3\r\nab", nil, io.ErrUnexpectedEOF},
		{"*2\r\n+a\r\n", nil, io.ErrUnexpectedEOF},
		{"$3\r\nabcd\r\n", nil, errNoRedis},
		{"$99999999999\r\n", nil, errNoRedis},
		{"HTTP/1.1 400\r\n", nil, errNoRedis},
		{strings.Repeat("*1\r\n", 20) + ":1\r\n", nil, errNoRedis},
		{"+" + strings.Repeat("x", 100_000), nil, errNoRedis},
	}
	for _, tt := range tests {
		c, got, err := answered(t, tt.text)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%.20q: %v, %v; want %v, %v", tt.text, got, err, tt.want, tt.err)
		}
		if err == nil && c.consumed != int64(len(tt.text)) {
			t.Errorf("%q: %d bytes counted, want %d", tt.text, c.consumed, len(tt.text))
		}
	}
}

// Every byte of the account of changes counts: that is how far it was read.
func FuzzRedisAnswer(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "*1\r\n*-1\r\n", "$-1\r\n", "-x\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := answered(t, text)
		if err == nil && (c.consumed == 0 || c.consumed > int64(len(text))) {
			t.Errorf("%q: %d bytes counted", text, c.consumed)
		}
	})
}

// The account names every key that a command may touch, and says so when it cannot.
func TestRedisChangesTake(t *testing.T) {
	tests := []struct {
		command  []string
		touched  []string
		doubtful bool
	}{
		{[]string{"PING"}, nil, false},
		{[]string{"SELECT", "3"}, nil, false},
		{[]string{"set", "a", "1"}, []string{"a"}, false},
		{[]string{"MSET", "a", "1", "b", "2"}, []string{"a", "b"}, false},
		{[]string{"RENAME", "a", "b"}, []string{"a", "b"}, false},
		{[]string{"flushall"}, nil, true},
		{[]string{"SWAPDB", "0", "1"}, nil, true},
		{[]string{"EVALSHA", "x", "0"}, nil, true},
		{[]string{"JSON.SET", "a"}, nil, true},
		{nil, nil, true},
	}
	for _, tt := range tests {
		c := &redisChanges{keys: map[uint64]struct{}{}}
		c.take(tt.command)
		if _, doubtful := c.touched(); (doubtful != "") != tt.doubtful {
			t.Errorf("%q: doubtful %q, want %v", tt.command, doubtful, tt.doubtful)
		}
		for _, key := range []string{"a", "b"} {
			if want := slices.Contains(tt.touched, key); c.has(key) != want {
				t.Errorf("%q: %q touched %v, want %v", tt.command, key, !want, want)
			}
		}
	}
}

// An account that lags behind is waited for, and one that has ended is not.
func TestRedisChangesReach(t *testing.T) {
	ours, theirs := net.Pipe()
	conn := newRedisConn(t.Context(), ours)
	defer conn.Close()
	c := &redisChanges{conn: conn, from: 100, seen: 100, keys: map[uint64]struct{}{}, news: make(chan struct{})}
	go c.follow()
	const change = "*2\r\n$3\r\nDEL\r\n$1\r\na\r\n"
	go func() {
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(theirs, change)
		_ = theirs.Close()
	}()
	if err := c.reach(t.Context(), 100+int64(len(change))); err != nil || !c.has("a") {
		t.Errorf("%v; the change is known: %v", err, c.has("a"))
	}
	if err := c.reach(t.Context(), 1000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an account that has ended: %v", err)
	}
}

// Servers whose data would not be all of them, or not of now, are refused by what they
// tell of themselves.
func TestRedisSane(t *testing.T) {
	tests := []struct {
		name string
		info redisInfo
		want fault.Kind
	}{
		{"alone", redisInfo{"redis_mode": "standalone", "role": "master"}, ""},
		{"replica", redisInfo{"role": "slave", "master_link_status": "up"}, ""},
		{"lost replica", redisInfo{"role": "slave", "master_link_status": "down"}, fault.Absent},
		{"sentinel", redisInfo{"redis_mode": "sentinel", "role": "master"}, fault.Usage},
		{"cluster", redisInfo{"redis_mode": "cluster", "cluster_enabled": "1", "role": "master"}, fault.Usage},
		{"loading", redisInfo{"loading": "1", "role": "master"}, fault.Absent},
		{"something else", redisInfo{"redis_version": ""}, fault.Failed},
	}
	for _, tt := range tests {
		if _, told := tt.info["redis_version"]; !told {
			tt.info["redis_version"] = "7.0.15"
		}
		if err := (&Redis{}).sane(tt.info); fault.KindOf(err) != tt.want {
			t.Errorf("%s: %v (%s), want %q", tt.name, err, fault.KindOf(err), tt.want)
		}
	}
	busy := redisInfo{"rdb_bgsave_in_progress": "1", "rdb_current_bgsave_time_sec": "90"}
	if got := busy.dumping(); got != 91*time.Second {
		t.Errorf("a dump of 90 s counts as %s old", got)
	}
	valkey := redisInfo{"redis_version": "7.2.4", "valkey_version": "8.0.1"}
	if got := valkey.product(); got != "valkey 8.0" {
		t.Errorf("product %q", got)
	}
}
