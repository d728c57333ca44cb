package sources_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// Over the network the server's certificate and name are checked.
func TestRedisOverTLS(t *testing.T) {
	cert, key := certificate(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	sourcetest.StartRedis(t, "--bind", "127.0.0.1", "--tls-port", fmt.Sprint(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert,
		"--tls-auth-clients", "no", "--requirepass", "x")
	other, _ := certificate(t)
	tests := []struct {
		name, host, mode, ca string
		want                 fault.Kind
	}{
		{"verified", "localhost", "verify-full", cert, ""},
		{"believed", "127.0.0.1", "require", "", ""},
		{"another authority", "localhost", "verify-full", other, fault.Denied},
		{"another name", "127.0.0.1", "verify-full", cert, fault.Denied},
		{"no authority", "localhost", "verify-full", filepath.Join(t.TempDir(), "none"), fault.Usage},
		{"in the clear", "localhost", "disable", "", fault.Absent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &sources.Redis{Host: tt.host, Port: port, User: "default", Password: "x", SSLMode: tt.mode, CA: tt.ca, Now: time.Now}
			p, err := r.Prepare(t.Context(), t.TempDir())
			if tt.want != "" {
				if fault.KindOf(err) != tt.want {
					t.Fatalf("error %v (%s), want %s", err, fault.KindOf(err), tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sourcetest.Read(t.Context(), p.Parts[0], io.Discard); err != nil {
				t.Error(err)
			}
			if facts, err := p.Facts(t.Context()); err != nil || number(facts, sources.FactSkipped) > 0 || len(facts) < 2 {
				t.Errorf("facts %v, %v", facts, err)
			}
			if err := p.Release(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A replica is as good as its master while it hears from it, and no longer.
func TestRedisReplica(t *testing.T) {
	master := sourcetest.StartRedis(t, "--bind", "127.0.0.1", "--port", freePort(t))
	port := fmt.Sprint(config(t, master.Connect(t), "port"))
	master.Do(t, []string{"SET", "a", "1"}, []string{"SET", "b", "2"})
	replica := sourcetest.StartRedis(t, "--replicaof", "127.0.0.1 "+port)
	source := &sources.Redis{Host: replica.Socket}
	linked(t, replica, "up")
	dump, facts := saveRedis(t, source)
	if rows := sourcetest.Kept(facts, sources.FactRows); rows["db0"] != "2" || number(facts, sources.FactSHA256) != 2 {
		t.Errorf("facts of a replica: %v", facts)
	}
	held(t, loadRedis(t, dump), facts)
	replica.Do(t, []string{"REPLICAOF", "127.0.0.1", "1"})
	linked(t, replica, "down")
	source.Now = time.Now
	if _, err := source.Prepare(t.Context(), t.TempDir()); fault.KindOf(err) != fault.Absent || !strings.Contains(err.Error(), "lost its master") {
		t.Errorf("a replica without its master: %v", err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return fmt.Sprint(free.Addr().(*net.TCPAddr).Port)
}

// config returns a setting of a server.
func config(t *testing.T, conn *sources.RedisConn, name string) any {
	t.Helper()
	answer, err := conn.Do("CONFIG", "GET", name)
	if err != nil {
		t.Fatal(err)
	}
	return answer.([]any)[1]
}

// linked waits for the state of a replica's link.
func linked(t *testing.T, s *sourcetest.RedisServer, state string) {
	t.Helper()
	conn := s.Connect(t)
	for range 1000 {
		answer, err := conn.Do("INFO", "replication")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprint(answer), "master_link_status:"+state) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("the link does not become %q", state)
}
