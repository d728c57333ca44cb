package sourcetest

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// A RedisServer is a throwaway Redis server to be a source. Its default user has no
// password.
type RedisServer struct {
	Socket string
	Dir    string // where it works
}

// StartRedis starts a server that ends with the test, with options beside its own.
// Without the program the test is skipped, unless SAOLUU_MUST_RUN is set.
func StartRedis(t *testing.T, options ...string) *RedisServer {
	t.Helper()
	checker, err := command.LookPath("redis-check-rdb")
	if err != nil {
		Missing(t, err)
	}
	base, err := os.MkdirTemp("", "rd-") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	server := filepath.Join(base, "redis-server") // the same program under its other name
	if err := os.Symlink(checker, server); err != nil {
		t.Fatal(err)
	}
	s := &RedisServer{Socket: filepath.Join(base, "s"), Dir: base}
	ctx := context.WithoutCancel(t.Context()) // the server outlives the test's context until cleanup
	p, err := command.Start(ctx, command.Cmd{Argv: append([]string{
		server, "--port", "0", "--unixsocket", s.Socket, "--dir", base, "--save", "", "--repl-diskless-sync-delay", "0",
	}, options...), Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, Dir: base, Interrupt: syscall.SIGKILL, Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(0) })
	for range 600 {
		conn, err := (&sources.Redis{Host: s.Socket}).Connect(t.Context())
		if err == nil {
			_ = conn.Close()
		}
		if err == nil || fault.KindOf(err) == fault.Denied { // one that asks for a password answers too
			return s
		}
		select {
		case <-p.Done():
			_, err := p.Wait()
			t.Fatal("the server does not start: ", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatal("the server does not start")
	return nil
}

// Connect opens a connection of the default user that ends with the test.
func (s *RedisServer) Connect(t *testing.T) *sources.RedisConn {
	t.Helper()
	conn, err := (&sources.Redis{Host: s.Socket}).Connect(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Do puts commands as the default user; each must succeed.
func (s *RedisServer) Do(t *testing.T, commands ...[]string) {
	t.Helper()
	answers, err := s.Connect(t).Pipe(commands)
	if err != nil {
		t.Fatal(err)
	}
	for i, answer := range answers {
		if refused, is := answer.(sources.RedisError); is {
			t.Fatalf("%q: %v", commands[i], refused)
		}
	}
}
