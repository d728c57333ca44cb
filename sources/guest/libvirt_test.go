package guest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/guest"
	"saoluu/sources/sourcetest"
)

// virsh puts a command to a daemon.
func virsh(t *testing.T, uri string, args ...string) string {
	t.Helper()
	out, err := command.Output(t.Context(), command.Cmd{
		Argv: append([]string{"/usr/bin/virsh", "--quiet", "--connect", uri}, args...), Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
	}, 1<<20)
	must(t, err)
	return string(out)
}

// A machine that a real libvirt runs: one moment is read while the guest writes, and
// nothing is left behind, by a run that ended nor by one that was killed.
func TestLibvirt(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "lvd-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	disk := filepath.Join(dir, "disk")
	must(t, os.WriteFile(disk, bytes.Repeat([]byte{'A'}, size/2), 0o600))
	must(t, os.Truncate(disk, size))
	uri := sourcetest.StartLibvirt(t, disk)
	m := guest.Machine{Domain: "qlvb", Device: "vda", URI: uri}
	scratch := func() string {
		path := filepath.Join(dir, "scratch-"+t.Name()+string(rune('a'+len(glob(t, dir)))))
		must(t, os.Mkdir(path, 0o700))
		return path
	}
	must(t, os.Chmod(dir, 0o711))
	nodes := func() string {
		return virsh(t, uri, "qemu-monitor-command", "qlvb", "--hmp", "info block -n")
	}
	before := nodes()

	held, err := m.Hold(t.Context(), scratch())
	must(t, err)
	virsh(t, uri, "qemu-monitor-command", "qlvb", "--hmp", `qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "write -P 0x42 524288 7340032"`)
	got := make([]byte, size)
	if n, err := held.ReadAt(got, 0); n != size {
		t.Fatalf("%d bytes read: %v", n, err)
	}
	if want := append(bytes.Repeat([]byte{'A'}, size/2), make([]byte, size/2)...); !bytes.Equal(got, want) {
		t.Error("what was read is not the disk as it was")
	}
	if held.AtRest || !strings.Contains(held.Rest, "not brought to rest") {
		t.Errorf("at rest without an agent: %q", held.Rest)
	}
	if _, err := m.Hold(t.Context(), scratch()); fault.KindOf(err) != fault.Refused {
		t.Errorf("held twice: %v", err)
	}
	if _, err := held.ReadAt(got[:1], 0); err != nil {
		t.Errorf("disturbed by another: %v", err)
	}
	must(t, held.Release(t.Context()))
	if after := nodes(); after != before {
		t.Errorf("the machine is not as it was:\n%s\n%s", before, after)
	}
	now, err := os.ReadFile(disk)
	must(t, err)
	if now[mib] != 0x42 || now[0] != 'A' {
		t.Error("what the guest wrote is not on its disk")
	}

	killed := scratch()
	_, err = m.Hold(t.Context(), killed)
	must(t, err)
	must(t, guest.Drop(t.Context(), killed))
	must(t, guest.Drop(t.Context(), killed))
	if after := nodes(); after != before {
		t.Errorf("a killed run left:\n%s\n%s", before, after)
	}
	if files, err := m.Files(t.Context()); err != nil || len(files) != 1 || files[0] != disk {
		t.Errorf("it lies in %q, %v", files, err)
	}
	for machine, kind := range map[guest.Machine]fault.Kind{
		{Domain: "no-such", Device: "vda", URI: uri}: fault.Absent,
		{Domain: "qlvb", Device: "vdb", URI: uri}:    fault.Absent,
	} {
		if _, err := machine.Hold(t.Context(), scratch()); fault.KindOf(err) != kind {
			t.Errorf("%s: %v", machine, err)
		}
	}
}

func glob(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	return all
}
