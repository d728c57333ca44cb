package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"saoluu/internal/qmp"
	"saoluu/sources/sourcetest"
)

// guestKey is the key of the virtual machine of a script.
type guestKey struct{}

// guestCommand keeps a virtual machine of real QEMU, without an operating system, whose
// disk is written to as a guest would:
//
//	guest start FILE FORMAT [OPTION…]   with QEMU's options beside; $GUEST is its control socket
//	guest write BYTE OFFSET LENGTH      over a range of its disk, in bytes
//	guest read BYTE OFFSET LENGTH       fails unless the range holds nothing else
//	guest agent SOCKET SCRIPT           has its agent start a shell with that script
//	guest state FILE                    writes what a backup could leave behind in it
//	guest stop                          switches it off at once
func guestCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: guest start|write|read|state|stop")
	}
	ctx := context.Background() // the machine outlives the command
	if args[0] == "start" && len(args) >= 3 {
		dir, err := os.MkdirTemp("", "saoluu-guest-") // short, for sockets
		ts.Check(err)
		ts.Defer(func() { os.RemoveAll(dir) })
		vm, err := sourcetest.StartMachine(ctx, dir, ts.MkAbs(args[1]), args[2], args[3:]...)
		ts.Check(err)
		ts.Defer(vm.Stop)
		ts.Setenv("GUEST", vm.QMP)
		replace(ts, strings.NewReplacer("$GUEST", vm.QMP))
		ts.Value(guestKey{}).(*guestMachine).Machine = vm
		return
	}
	vm := ts.Value(guestKey{}).(*guestMachine).Machine
	if vm == nil {
		ts.Fatalf("guest %s: it was not started", args[0])
	}
	number := func(n int) int64 {
		if n >= len(args) {
			ts.Fatalf("usage: guest %s BYTE OFFSET LENGTH", args[0])
		}
		value, err := strconv.ParseInt(args[n], 0, 64)
		ts.Check(err)
		return value
	}
	switch args[0] {
	case "write":
		ts.Check(vm.Write(ctx, byte(number(1)), number(2), number(3)))
	case "read":
		ts.Check(vm.Read(ctx, byte(number(1)), number(2), number(3)))
	case "agent":
		var agent *qmp.Agent
		err := errors.New("not tried")
		for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); {
			agent, err = qmp.DialAgent(ctx, args[1], time.Second)
		}
		ts.Check(err)
		defer agent.Close()
		ts.Check(agent.Ask(ctx, "guest-exec", map[string]any{"path": "/bin/sh", "arg": []string{"-c", args[2]}}, nil))
	case "state":
		text, err := vm.State(ctx)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
	case "stop":
		vm.Stop()
	default:
		ts.Fatalf("unknown: guest %s", args[0])
	}
}

// A guestMachine is the machine of one script, once it was started.
type guestMachine struct{ *sourcetest.Machine }
