package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"saoluu/internal/command"
)

func collect(t *testing.T, dir string) int {
	t.Helper()
	n, err := (&Tester{Scratch: dir, Now: testTime}).Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// box makes a sandbox that belongs to somebody else.
func box(t *testing.T, scratch, name string, o *owner) string {
	t.Helper()
	dir := filepath.Join(scratch, name)
	if err := os.MkdirAll(filepath.Join(dir, "data", "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "data", "closed"), 0); err != nil {
		t.Fatal(err)
	}
	if o != nil {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ownerFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCollect(t *testing.T) {
	t.Parallel()
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(o *owner)) *owner {
		o := me
		f(&o)
		return &o
	}
	mine := fmt.Sprintf("test-%d-%s-x", me.PID, me.Start)
	tests := []struct {
		name  string
		box   string
		owner *owner
		kept  bool
	}{
		{"mine", mine, &me, true},
		{"mine, not written yet", mine, nil, true},
		{"the id was given to another process", "test-x", change(func(o *owner) { o.Start = "1" }), false},
		{"dead", "test-x", change(func(o *owner) { o.PID = 1 << 30 }), false},
		{"dead, not written", fmt.Sprintf("test-%d-%s-x", 1<<30, me.Start), nil, false},
		{"before the boot", "test-x", change(func(o *owner) { o.Boot = "other" }), false},
		{"another machine's", "test-x", change(func(o *owner) { o.Host = "other"; o.Expires = testTime().Add(time.Hour) }), true},
		{"another machine's, forgotten", "test-x", change(func(o *owner) { o.Host = "other"; o.Expires = testTime().Add(-time.Hour) }), false},
		{"somebody's folder", "test-results", nil, true},
		{"something else", "run-1", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			scratch := t.TempDir()
			dir := box(t, scratch, tt.box, tt.owner)
			n := collect(t, scratch)
			_, err := os.Stat(dir)
			if kept := err == nil; kept != tt.kept || (n == 0) != tt.kept {
				t.Errorf("kept %v, removed %d; want kept %v", kept, n, tt.kept)
			}
			_ = os.Chmod(filepath.Join(dir, "data", "closed"), 0o700)
		})
	}
}

// A socket folder is removed only when it is one of ours by its name.
func TestCollectSockets(t *testing.T) {
	t.Parallel()
	scratch, precious := t.TempDir(), t.TempDir()
	ours := filepath.Join(precious, "saoluu-1")
	if err := os.Mkdir(ours, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, sockets := range []string{precious, ours} {
		box(t, scratch, fmt.Sprintf("test-%d", i), &owner{PID: 1 << 30, Start: "1", Sockets: sockets})
	}
	if n := collect(t, scratch); n != 2 {
		t.Errorf("removed %d", n)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error("a folder that is not ours was removed")
	}
	if _, err := os.Stat(ours); err == nil {
		t.Error("the socket folder is left")
	}
}

// A server that outlived its tester is killed, even one that ignores requests.
func TestCollectKills(t *testing.T) {
	t.Parallel()
	scratch := t.TempDir()
	dir := box(t, scratch, "test-x", &owner{PID: 1 << 30, Start: "1"})
	inside, err := command.Start(context.WithoutCancel(t.Context()), command.Cmd{
		Argv: []string{"/bin/sh", "-c", "trap '' TERM INT QUIT; while :; do sleep 1; done"}, Dir: filepath.Join(dir, "data"), Env: []string{"PATH=/bin:/usr/bin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	outside, err := command.Start(context.WithoutCancel(t.Context()), command.Cmd{Argv: []string{"/bin/sleep", "100"}, Dir: scratch})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Stop(time.Second)
	if n := collect(t, scratch); n != 1 {
		t.Errorf("removed %d", n)
	}
	if _, err := inside.Wait(); err == nil {
		t.Error("the leaked process ended well")
	}
	select {
	case <-outside.Done():
		t.Error("a process outside of the sandbox was killed")
	default:
	}
}
