package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// Arguments of this program that make it another one: what a service forbids is forbidden
// to it, and it goes on as the program named; or it runs a machine.
const (
	forbidArgument = "forbid"
	probeArgument  = "run-probe"
)

// Rules of a service, each as a filter for the system calls of x86-64 (seccomp(2)): what
// is done and not allowed ends with EPERM.
func forbidden(what string) []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	end := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	const number, third = 0, 16 + 2*8 // in struct seccomp_data
	allow, deny := end(unix.SECCOMP_RET_ALLOW), end(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))
	switch what {
	case "seccomp":
		return []unix.SockFilter{load(number), equal(unix.SYS_SECCOMP, 1, 0), allow, deny}
	case "write-code": // systemd 252, seccomp_memory_deny_write_execute
		return []unix.SockFilter{
			load(number),
			equal(unix.SYS_MMAP, 0, 3), load(third), {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: unix.PROT_WRITE | unix.PROT_EXEC}, equal(unix.PROT_WRITE|unix.PROT_EXEC, 5, 4),
			equal(unix.SYS_MPROTECT, 1, 0), equal(unix.SYS_PKEY_MPROTECT, 0, 2),
			load(third), {Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 1, Jf: 0, K: unix.PROT_EXEC},
			allow, deny,
		}
	}
	return nil
}

// forbid takes a right away from this process, for good, and goes on as another program.
func forbid(what string, argv []string) error {
	if what == "gain-code" { // systemd since 253
		const setMDWE, refuseExecGain = 65, 1 // PR_SET_MDWE, linux/prctl.h
		if err := unix.Prctl(setMDWE, refuseExecGain, 0, 0, 0); err != nil {
			return err
		}
		return syscall.Exec(argv[0], argv, os.Environ())
	}
	filter := forbidden(what)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return err
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}

// runProbe boots the disk of the probe by emulation and says how it went.
func runProbe(ctx context.Context, dir string) string {
	return bootProbe(ctx, dir, signs{text: regexp.MustCompile(probeWord), bare: true}, time.Minute)
}

func bootProbe(ctx context.Context, dir string, want signs, limit time.Duration) string {
	t := &tenant{dir: dir, sockets: dir}
	path, err := t.probeDisk()
	if err != nil {
		return err.Error()
	}
	m, err := t.start(ctx, machineSpec{disk: path, firmware: firmwareBIOS, bus: "virtio", memory: probeMemory}, want)
	if err != nil {
		return fmt.Sprintf("%s: %v: %s", fault.KindOf(err), err, fault.HintOf(err))
	}
	up, why, err := m.await(ctx, limit)
	return fmt.Sprintf("up: %v %s %v %q", up, why, errors.Join(err, m.stop()), m.console.text())
}

// The probe by which it is found out whether KVM works is called up where the processor is
// emulated: where it is not called up KVM is to blame, not the probe.
func TestProbe(t *testing.T) {
	if _, err := command.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if out := runProbe(t.Context(), t.TempDir()); !strings.HasPrefix(out, "up: true") {
		t.Error(out)
	}
}

// What is said before a kernel runs is no sign, be it what was waited for: a boot menu may
// have such an entry.
func TestWordsWithoutAKernel(t *testing.T) {
	if _, err := command.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	out := bootProbe(t.Context(), t.TempDir(), signs{text: regexp.MustCompile(probeWord)}, 5*time.Second)
	if !strings.HasPrefix(out, "up: false not up after 5s, and no kernel was seen running") || !strings.Contains(out, probeWord) {
		t.Error(out)
	}
}

// What QEMU 7.2 showed of machines in these states.
func TestInKernel(t *testing.T) {
	for _, tc := range []struct {
		name, registers string
		in              bool
	}{
		{"Linux", "RIP=ffffffff81c0abcd RFL=00000246\nCR0=80050033 CR2=0", true},
		{"a program of Linux", "RIP=00007f3a12345678 RFL=00000246\nCR0=80050033 CR2=0", false},
		{"32-bit Linux", "EIP=c1a2b3c4 EFL=00000246\nCR0=80050033 CR2=0", true},
		{"GRUB on a BIOS", "EIP=00009abc EFL=00000002\nCR0=00000011 CR2=0", false},
		{"a BIOS in its ROM", "EIP=fffffff0 EFL=00000002\nCR0=60000010 CR2=0", false},
		{"UEFI", "RIP=000000003e1f0000 RFL=00000246\nCR0=80010033 CR2=0", false},
	} {
		if in, err := inKernel(tc.registers); in != tc.in || err != nil {
			t.Errorf("%s: %v, %v", tc.name, in, err)
		}
	}
	if _, err := inKernel("PC=0"); fault.KindOf(err) != fault.Unknown {
		t.Errorf("another processor: %v", err)
	}
}

// What a service forbids to programs hinders no boot, or makes it unknown with what to do
// about it: it says nothing of the disk.
func TestMachineInAService(t *testing.T) {
	if _, err := command.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("SAOLUU_MUST_RUN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ forbidden, says string }{
		{"write-code", "up: true"},
		{"gain-code", "up: true"},
		{"seccomp", "SystemCallFilter=seccomp"},
	} {
		t.Run(tc.forbidden, func(t *testing.T) {
			out, err := command.Output(t.Context(), command.Cmd{Argv: []string{self, forbidArgument, tc.forbidden, self, probeArgument, t.TempDir()}, Env: plainEnv}, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(out), tc.says) || strings.Contains(string(out), string(fault.Failed)) {
				t.Errorf("%s", out)
			}
		})
	}
	// What such a process is told without the second place is known for what it is.
	var said bytes.Buffer
	qemu, _ := command.LookPath("qemu-system-x86_64")
	_, err = command.Run(t.Context(), command.Cmd{Argv: []string{self, forbidArgument, "write-code", qemu, "-nodefaults", "-display", "none", "-accel", "tcg"}, Env: plainEnv, Stdout: &said})
	if kind, hint, known := environment(errorText(err)); !known || kind != fault.Unknown || !strings.Contains(hint, "MemoryDenyWriteExecute") {
		t.Errorf("%v: %q, %q", err, kind, hint)
	}
}
