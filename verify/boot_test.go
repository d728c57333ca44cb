package verify

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"saoluu/sources/disk"
)

func TestConsoleFindsTheMarker(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pieces []string
		found  bool
	}{
		{"prompt", []string{"\r\nDebian GNU/Linux 12 may ttyS0\r\n\r\nmay login: "}, true},
		{"prompt in pieces", []string{"may lo", "gi", "n:", " "}, true},
		{"systemd in colours", []string{"[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User System.\r\n"}, true},
		{"the marker is cut by colours", []string{"Reached target \x1b[1mMulti", "-User\x1b[0m System"}, true},
		{"still starting", []string{"Reached target basic.target - Basic System.\r\n"}, false},
		{"it stopped for an emergency", []string{"sulogin: ", "root account is locked, starting shell\r\nsulogin:\r\n"}, false},
		{"somebody was here", []string{"Last login: Mon Nov  2\r\n"}, false},
		{"the kernel repeats what it was told", []string{"[    0.000000] Command line: root=LABEL=may login:\r\n"}, false},
		{"nothing", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newConsole(regexp.MustCompile(bootMarker))
			_, _ = c.Write([]byte("1. may login:\r\n2. Reached target Multi-User")) // a boot menu
			c.look()
			for _, p := range tc.pieces {
				if _, err := c.Write([]byte(p)); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-c.found:
				if !tc.found {
					t.Error("a marker was found that is none")
				}
			default:
				if tc.found {
					t.Error("the marker was not found")
				}
			}
		})
	}
}

// A guest that writes without end takes no memory without end, and what it wrote first
// and last is kept.
func TestConsoleIsBounded(t *testing.T) {
	c := newConsole(regexp.MustCompile("never"))
	c.look()
	_, _ = c.Write([]byte("the beginning\n"))
	flood := bytes.Repeat([]byte("x"), 1<<20)
	for range 8 {
		_, _ = c.Write(flood)
	}
	_, _ = c.Write([]byte("the end\n"))
	text := c.text()
	if len(text) > consoleHead+consoleTail+64 || !bytes.HasPrefix(text, []byte("the beginning\n")) || !bytes.HasSuffix(text, []byte("the end\n")) || !bytes.Contains(text, []byte("[…]")) {
		t.Errorf("%d bytes kept, from %.20q to %.20q", len(text), text, text[len(text)-20:])
	}
	if len(c.window) > consoleWindow {
		t.Errorf("%d bytes are searched", len(c.window))
	}
}

func TestFirmwareFor(t *testing.T) {
	esp := disk.Partition{Type: typeESP}
	for _, tc := range []struct {
		name       string
		partitions []disk.Partition
		want       string
	}{
		{"no partitions", nil, firmwareBIOS},
		{"DOS", []disk.Partition{{Type: "83", Boot: true}}, firmwareBIOS},
		{"GPT with a system partition", []disk.Partition{esp, {Type: "0fc63daf-8483-4772-8e79-3d69d8477de4"}}, firmwareUEFI},
		{"both, as in images of clouds", []disk.Partition{{Type: typeBIOSGPT}, esp}, firmwareBIOS},
		{"DOS with a system partition", []disk.Partition{{Type: typeESPDOS, Boot: true}, {Type: "83"}}, firmwareUEFI},
		{"both on DOS", []disk.Partition{{Type: typeESPDOS}, {Type: "83", Boot: true}}, firmwareBIOS},
	} {
		if got := firmwareFor(disk.Table{Partitions: tc.partitions}); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// The machine has no way out and changes nothing, whatever is asked of it.
func TestMachineIsShutIn(t *testing.T) {
	for _, s := range []machineSpec{
		{disk: "/a,b/disk.img", firmware: firmwareBIOS, bus: "virtio", memory: 1 << 30},
		{disk: "/a,b/disk.img", firmware: firmwareUEFI, bus: "sata", memory: 1 << 30, kvm: true, zero: []int64{0}},
	} {
		line := strings.Join(s.arguments("/run/qmp", "/run/vars"), " ")
		for _, want := range []string{"-nic none", "-nodefaults", "-sandbox on,", "file=/a,,b/disk.img,format=raw,if=none,id=disk,snapshot=on", "-m 1024M"} {
			if !strings.Contains(line, want) {
				t.Errorf("%q is not in %s", want, line)
			}
		}
	}
}
