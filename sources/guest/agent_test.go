package guest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// An agent plays the one of a guest: it says what it is told to, and notes what it heard.
type agent struct {
	socket   string
	onFreeze func()

	mu    sync.Mutex
	words []string
}

// startAgent starts one that answers a request to freeze so; "" answers nothing at all.
func startAgent(t *testing.T, freeze string) *agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "qga-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &agent{socket: filepath.Join(dir, "s")}
	listener, err := net.Listen("unix", a.socket)
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			a.serve(conn, freeze) // one at a time, as a channel does
		}
	}()
	return a
}

func (a *agent) serve(conn net.Conn, freeze string) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		line := lines.Bytes()
		for len(line) > 0 && line[0] == 0xff {
			line = line[1:]
		}
		var request struct {
			Execute   string         `json:"execute"`
			Arguments map[string]int `json:"arguments"`
		}
		if err := json.Unmarshal(line, &request); err != nil || freeze == "" {
			continue
		}
		switch request.Execute {
		case "guest-sync-delimited":
			fmt.Fprintf(conn, "{\"return\": 7}\n\xff{\"return\": %d}\n", request.Arguments["id"])
		case "guest-fsfreeze-freeze":
			a.note("freeze")
			if a.onFreeze != nil {
				a.onFreeze()
			}
			fmt.Fprintln(conn, freeze)
		case "guest-fsfreeze-thaw":
			a.note("thaw")
			fmt.Fprintln(conn, `{"return": 2}`)
		}
	}
}

func (a *agent) note(word string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.words = append(a.words, word)
}

func (a *agent) heard() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.words
}
