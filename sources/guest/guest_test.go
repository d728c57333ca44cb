package guest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/internal/qmp"
	"saoluu/sources/guest"
	"saoluu/sources/sourcetest"
)

const (
	size = 8 << 20
	mib  = 1 << 20
)

// start starts a machine whose disk holds the byte A in its first half.
func start(t *testing.T, options ...string) (*sourcetest.Machine, guest.Machine) {
	t.Helper()
	if _, err := command.LookPath("qemu-system-x86_64"); err != nil {
		sourcetest.Missing(t, err)
	}
	dir, err := os.MkdirTemp("", "vm-") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	disk := filepath.Join(dir, "disk")
	if err := errors.Join(os.WriteFile(disk, bytes.Repeat([]byte{'A'}, size/2), 0o600), os.Truncate(disk, size)); err != nil {
		t.Fatal(err)
	}
	vm, err := sourcetest.StartMachine(context.WithoutCancel(t.Context()), dir, disk, "raw", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Stop)
	return vm, guest.Machine{QMP: vm.QMP, Device: "drive0"}
}

// must fails a test.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func stateOf(t *testing.T, vm *sourcetest.Machine) string {
	t.Helper()
	state, err := vm.State(t.Context())
	must(t, err)
	return state
}

// What is read is the disk of one moment, whatever the guest writes after it, on every
// bus; and afterwards the machine is as it was.
func TestHeldDiskIsOfOneMoment(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{
		"virtio":          {"-device", "virtio-blk-pci,drive=drive0"},
		"sata":            {"-device", "ahci", "-device", "ide-hd,drive=drive0"},
		"scsi":            {"-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=drive0"},
		"not started yet": {"-S"},
	} {
		t.Run(name, func(t *testing.T) {
			vm, m := start(t, options...)
			before := stateOf(t, vm)
			held, err := m.Hold(t.Context(), t.TempDir())
			must(t, err)
			var data int64
			must(t, held.Data(func(offset, length int64) {
				if offset+length > size/2 {
					t.Errorf("%d bytes at %d are called data", length, offset)
				}
				data += length
			}))
			if data != size/2 || held.Size != size {
				t.Errorf("%d bytes of %d are data", data, held.Size)
			}
			must(t, vm.Write(t.Context(), 'B', mib/2, size-mib)) // its second half lies where nothing was
			got := make([]byte, size)
			if n, err := held.ReadAt(got, 0); n != size || err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("%d bytes read: %v", n, err)
			}
			if want := append(bytes.Repeat([]byte{'A'}, size/2), make([]byte, size/2)...); !bytes.Equal(got, want) {
				t.Error("what was read is not the disk as it was")
			}
			if n, err := held.ReadAt(got[:100], size-10); n != 10 || !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %d bytes, %v", n, err)
			}
			must(t, held.Release(t.Context()))
			if after := stateOf(t, vm); after != before {
				t.Errorf("the machine is not as it was:\n%s\n%s", before, after)
			}
			must(t, vm.Read(t.Context(), 'B', mib/2, size-mib))
			must(t, vm.Read(t.Context(), 'A', 0, mib/2))
		})
	}
}

// A run that was killed leaves no trace in the machine once the next one starts. One
// that holds the disk is not disturbed.
func TestDropAfterAKill(t *testing.T) {
	t.Parallel()
	vm, m := start(t)
	before := stateOf(t, vm)
	scratch := t.TempDir()
	held, err := m.Hold(t.Context(), scratch) // and is never released
	must(t, err)
	if _, err := m.Hold(t.Context(), t.TempDir()); fault.KindOf(err) != fault.Refused {
		t.Errorf("held twice: %v", err)
	}
	must(t, guest.Drop(t.Context(), t.TempDir())) // another run's
	var b [1]byte
	if _, err := held.ReadAt(b[:], 0); err != nil || b[0] != 'A' {
		t.Errorf("read %q: %v", b, err)
	}
	must(t, guest.Drop(t.Context(), scratch))
	if after := stateOf(t, vm); after != before {
		t.Errorf("the machine is not as it was:\n%s\n%s", before, after)
	}
	if _, err := held.ReadAt(b[:], 0); err == nil {
		t.Error("it can still be read")
	}
	must(t, guest.Drop(t.Context(), scratch)) // there is nothing more
	again, err := m.Hold(t.Context(), t.TempDir())
	must(t, err)
	must(t, again.Release(t.Context()))
}

// When there is no room for what the guest overwrites, the backup fails and the guest
// does not.
func TestFullScratchHarmsTheBackupOnly(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		sourcetest.Missing(t, errors.New("only root mounts a small file system"))
	}
	vm, m := start(t)
	before := stateOf(t, vm)
	scratch := t.TempDir()
	must(t, unix.Mount("tmpfs", scratch, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { _ = unix.Unmount(scratch, unix.MNT_DETACH) })
	held, err := m.Hold(t.Context(), scratch)
	must(t, err)
	must(t, vm.Write(t.Context(), 'B', 0, size/2))
	must(t, vm.Read(t.Context(), 'B', 0, size/2))
	if _, err := held.ReadAt(make([]byte, size), 0); err == nil {
		t.Error("a lost moment was read")
	}
	must(t, held.Release(t.Context()))
	if after := stateOf(t, vm); after != before {
		t.Errorf("the machine is not as it was:\n%s\n%s", before, after)
	}
}

// A machine that goes away is an error of the reading, and leaves nothing to undo.
func TestMachineGoesAway(t *testing.T) {
	t.Parallel()
	vm, m := start(t)
	held, err := m.Hold(t.Context(), t.TempDir())
	must(t, err)
	vm.Stop()
	if _, err := held.ReadAt(make([]byte, size), 0); err == nil {
		t.Error("a machine that is off was read")
	}
	must(t, held.Release(t.Context()))
}

func TestWhatCannotBeHeld(t *testing.T) {
	t.Parallel()
	vm, m := start(t)
	occupied, err := qmp.Dial(t.Context(), vm.QMP)
	must(t, err)
	refusals := []struct {
		name    string
		machine guest.Machine
		before  func()
		kind    fault.Kind
		says    string
	}{
		{"the socket serves somebody else", m, nil, fault.Refused, "somebody else"},
		{"no such disk", guest.Machine{QMP: vm.QMP, Device: "drive1"}, func() { must(t, occupied.Close()) }, fault.Absent, "drive0"},
		{"no such socket", guest.Machine{QMP: vm.QMP + "x", Device: "drive0"}, nil, fault.Absent, "-qmp"},
		{"its server of disks is taken", m, func() {
			path := filepath.Join(t.TempDir(), "s")
			must(t, vm.Ask(t.Context(), "nbd-server-start", map[string]any{"addr": map[string]any{"type": "unix", "data": map[string]string{"path": path}}}, nil))
		}, fault.Refused, "one at a time"},
	}
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			if tc.before != nil {
				tc.before()
			}
			before := stateOf(t, vm)
			_, err := tc.machine.Hold(t.Context(), t.TempDir())
			if err == nil || fault.KindOf(err) != tc.kind || !strings.Contains(err.Error()+fault.HintOf(err), tc.says) {
				t.Errorf("%v, hint %q; want kind %s and %q", err, fault.HintOf(err), tc.kind, tc.says)
			}
			if after := stateOf(t, vm); after != before {
				t.Errorf("the machine is not as it was:\n%s\n%s", before, after)
			}
		})
	}
	// the server of somebody else still serves
	if err := vm.Ask(t.Context(), "nbd-server-stop", nil, nil); err != nil {
		t.Error(err)
	}
}

// The file systems of the guest are at rest at the moment, and let go whatever happens.
func TestFileSystemsAreBroughtToRest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, said, rest string
		words            []string
		fail             bool
	}{
		{"an agent", `{"return": 2}`, "2 brought to rest", []string{"freeze", "thaw"}, false},
		{"one that cannot", `{"error": {"class": "GenericError", "desc": "failed to freeze /"}}`, "failed to freeze /", []string{"freeze", "thaw"}, false},
		{"one that finds none", `{"return": 0}`, "found none", []string{"freeze", "thaw"}, false},
		{"nobody is there", "", "no guest agent answers", nil, false},
		{"the disk cannot be held", `{"return": 2}`, "", []string{"freeze", "thaw"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			vm, m := start(t)
			a := startAgent(t, tc.said)
			m.Agent = a.socket
			if tc.fail {
				a.onFreeze = vm.Stop
			}
			held, err := m.Hold(t.Context(), t.TempDir())
			if tc.fail {
				if err == nil {
					t.Error("a machine that is off was held")
				}
			} else {
				must(t, err)
				if !strings.Contains(held.Rest, tc.rest) || held.AtRest != (tc.said == `{"return": 2}`) {
					t.Errorf("at rest %v: %q", held.AtRest, held.Rest)
				}
				must(t, held.Release(t.Context()))
			}
			if got := strings.Join(a.heard(), " "); got != strings.Join(tc.words, " ") {
				t.Errorf("the agent was told %q, want %q", got, tc.words)
			}
		})
	}
}

// A QEMU that would end when we are killed is left alone.
func TestThreadsOfOlderQEMU(t *testing.T) {
	t.Parallel()
	vm, m := start(t, "-object", "iothread,id=io", "-device", "virtio-blk-pci,drive=drive0,iothread=io")
	before := stateOf(t, vm)
	held, err := m.Hold(t.Context(), t.TempDir())
	if err == nil { // a newer one
		must(t, held.Release(t.Context()))
	} else if fault.KindOf(err) != fault.Refused || !strings.Contains(err.Error(), "iothread") {
		t.Error(err)
	}
	if after := stateOf(t, vm); after != before {
		t.Errorf("the machine is not as it was:\n%s\n%s", before, after)
	}
}

// An unreadable server is an error, not a disk of nonsense.
func TestNonsenseFromTheServer(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"", "NBDMAGIC", "HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat(" ", 64), "NBDMAGICIHAVEOPT\x00\x03" + strings.Repeat("\xff", 64)} {
		ours, theirs := net.Pipe()
		go func() {
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			_, _ = io.WriteString(theirs, said)
			_ = theirs.Close()
		}()
		if _, err := guest.OpenExport(ours, "x"); err == nil {
			t.Errorf("%q was understood", said)
		}
	}
}
