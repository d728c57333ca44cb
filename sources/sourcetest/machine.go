package sourcetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/qmp"
)

// A Machine is a virtual machine without an operating system whose disk "drive0" can be
// written to as a guest would. It has two control sockets, so that a test can look while
// another reads.
type Machine struct {
	QMP     string // the socket for others
	own     *qmp.Conn
	process *command.Process
}

// StartMachine starts one with a raw or qcow2 disk and options beside its own. Its sockets
// lie in dir.
func StartMachine(ctx context.Context, dir, disk, format string, options ...string) (*Machine, error) {
	program, err := command.LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	m := &Machine{QMP: filepath.Join(dir, "qmp")}
	own := filepath.Join(dir, "own")
	if !slices.ContainsFunc(options, func(o string) bool { return strings.Contains(o, "drive=drive0") }) {
		options = append(options, "-device", "virtio-blk-pci,drive=drive0")
	}
	m.process, err = command.Start(ctx, command.Cmd{
		Argv: append([]string{
			program, "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg,tb-size=16", "-m", "16M", "-nic", "none",
			"-drive", "file=" + disk + ",format=" + format + ",if=none,id=drive0",
			"-qmp", "unix:" + m.QMP + ",server=on,wait=off", "-qmp", "unix:" + own + ",server=on,wait=off",
		}, options...),
		Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
	})
	if err != nil {
		return nil, err
	}
	for range 300 {
		if m.own, err = qmp.Dial(ctx, own); err == nil {
			return m, nil
		}
		select {
		case <-m.process.Done():
			_, err := m.process.Wait()
			return nil, fmt.Errorf("the machine ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, err
}

// Write has the guest write a byte over a range of its disk.
func (m *Machine) Write(ctx context.Context, pattern byte, offset, length int64) error {
	return m.io(ctx, fmt.Sprintf("write -P %#x %d %d", pattern, offset, length))
}

// Read fails unless the guest reads nothing but that byte in a range of its disk.
func (m *Machine) Read(ctx context.Context, pattern byte, offset, length int64) error {
	return m.io(ctx, fmt.Sprintf("read -P %#x %d %d", pattern, offset, length))
}

// io runs a command of qemu-io. What it says goes to QEMU's standard output, but for an
// error, which is the answer.
func (m *Machine) io(ctx context.Context, line string) error {
	var said string
	err := m.own.Ask(ctx, "human-monitor-command", map[string]string{"command-line": fmt.Sprintf("qemu-io drive0 %q", line)}, &said)
	if err == nil && said != "" {
		err = fmt.Errorf("qemu-io %s: %s", line, said)
	}
	return err
}

// State is all that a backup could leave behind: which nodes there are, what each disk
// reads, what is exported, which files were
// lent, and whether the machine runs.
func (m *Machine) State(ctx context.Context) (string, error) {
	var nodes []struct {
		Name string `json:"node-name"`
	}
	var disks []struct {
		Device   string `json:"device"`
		IO       string `json:"io-status"`
		Inserted struct {
			Node string `json:"node-name"`
		} `json:"inserted"`
	}
	var exports, sets []any
	var run struct {
		Status string `json:"status"`
	}
	for command, into := range map[string]any{"query-named-block-nodes": &nodes, "query-block": &disks, "query-block-exports": &exports, "query-fdsets": &sets, "query-status": &run} {
		if err := m.own.Ask(ctx, command, nil, into); err != nil {
			return "", err
		}
	}
	if run.Status != "running" {
		sets = nil // one that stands still closes files when it goes on
	}
	return fmt.Sprint(nodes, disks, exports, sets, run), nil
}

// Ask puts a command of QMP.
func (m *Machine) Ask(ctx context.Context, command string, arguments, into any) error {
	return m.own.Ask(ctx, command, arguments, into)
}

// Stop switches the machine off at once.
func (m *Machine) Stop() {
	_ = m.own.Close()
	_ = m.process.Stop(time.Second)
	_ = os.Remove(m.QMP)
}
