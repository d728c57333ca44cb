package restic

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A forever says what the process to be killed works on.
type forever struct {
	Engine                        Engine
	URL, PasswordFile, Gate, Pids string
}

// backupForever is a process that backs up a dump without end.
func backupForever(args []string) int {
	var f forever
	if err := json.Unmarshal([]byte(args[0]), &f); err != nil {
		return 1
	}
	r := Repo{Name: "nas", URL: f.URL, PasswordFile: f.PasswordFile, Gate: NewGate(f.Gate, "nas", 2)}
	dump := sh(`head -c 3000000 /dev/urandom; echo "$$ $PPID" >"$1.new"; mv "$1.new" "$1"; exec sleep 600`, f.Pids)
	_, err := f.Engine.Backup(context.Background(), r, BackupRequest{Stdin: dump, Filename: "dump", Host: "h"})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// startForever starts one and returns it with the processes below it: restic, the
// pump and the dump.
func startForever(t *testing.T, e *Engine, r Repo, gate string) (p *command.Process, below []int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := forever{Engine: *e, URL: r.URL, PasswordFile: r.PasswordFile, Gate: gate, Pids: filepath.Join(t.TempDir(), "pids")}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	p, err = command.Start(t.Context(), command.Cmd{Argv: []string{self, "backup-forever", string(text)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(time.Millisecond) })
	for range 3000 {
		time.Sleep(10 * time.Millisecond)
		var dump, pump int
		text, _ := os.ReadFile(f.Pids)
		if n, _ := fmt.Sscan(string(text), &dump, &pump); n == 2 {
			return p, []int{parentOf(t, pump), pump, dump}
		}
	}
	t.Fatal("the dump did not start")
	return nil, nil
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	stat := string(read(t, fmt.Sprintf("/proc/%d/stat", pid)))
	ppid, err := strconv.Atoi(strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])[1])
	if err != nil {
		t.Fatal(err)
	}
	return ppid
}

// waitGone waits until no process pid runs; a zombie does not run.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d still runs", pid)
}

// waitReaped waits until init has taken the zombie.
func waitReaped(t *testing.T, pid int) {
	t.Helper()
	for range 3000 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Skip("nobody reaps orphans here, so a lock of a killed process never looks stale")
}

// Kill -9 of our process in the middle of a backup: restic, the pump and the
// dump die with it, no snapshot appears, the gate opens, and the lock left in
// the repository is removed as stale; then the next run works.
func TestKilledParent(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := newRepo(t, e, "nas")
	p, below := startForever(t, e, r, r.Gate.dir)
	if shutOut := shut(t, r.Gate, exclusive); !shutOut {
		t.Error("the gate is open during the backup")
	}
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, pid := range below {
		waitGone(t, pid)
	}
	waitReaped(t, below[0]) // restic asks the kernel whether the owner of a lock is there
	_, err := e.Prune(ctx, r, PruneOptions{})
	wantKind(t, err, fault.Locked, "locked by PID")
	if n, left, err := e.Unlock(ctx, r); err != nil || n != 1 || left != 0 {
		t.Errorf("unlock: %d, %d left, %v", n, left, err)
	}
	if list, err := e.Snapshots(ctx, r, Filter{}); err != nil || len(list) != 0 {
		t.Errorf("snapshots %v, %v", list, err)
	}
	if _, err := e.Prune(ctx, r, PruneOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := e.Backup(ctx, r, BackupRequest{Stdin: sh("echo next"), Filename: "dump", Host: "h"}); err != nil {
		t.Error(err)
	}
}

// A lock of somebody else, who uses another gate as another host does, is waited
// for and then reported; unlock leaves it alone.
func TestForeignLock(t *testing.T) {
	e, ctx := testEngine(t), t.Context()
	r := newRepo(t, e, "nas")
	startForever(t, e, r, t.TempDir())
	_, err := e.Prune(ctx, r, PruneOptions{})
	wantKind(t, err, fault.Locked, "prune repository \"nas\": restic: unable to create lock")
	if report, err := e.Check(ctx, r, CheckOptions{}); fault.KindOf(err) != fault.Locked {
		t.Errorf("a check that could not look: %+v, %v", report, err)
	}
	if n, left, err := e.Unlock(ctx, r); err != nil || n != 0 || left != 1 {
		t.Errorf("unlock removed %d, left %d, %v", n, left, err)
	}
	if _, err := e.Backup(ctx, r, BackupRequest{Stdin: sh("echo beside"), Filename: "dump", Host: "h"}); err != nil {
		t.Errorf("backups may overlap: %v", err)
	}
}
