package verify

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"saoluu/internal/fault"
)

// meetKernel looks whether an operating system's kernel runs, until it does. What a
// machine says counts from then on: a boot menu, or a loader that repeats the name of
// what it is about to start, can say the same as a machine that is up. It can not make
// the processor run where only a kernel does.
func (m *machine) meetKernel(ctx context.Context) error {
	if m.kernel {
		return nil
	}
	var registers string
	err := m.monitor.Ask(ctx, "human-monitor-command", map[string]string{"command-line": "info registers"}, &registers)
	if err != nil {
		return nil // how the machine is was asked just before; the next look tells
	}
	m.kernel, err = inKernel(registers)
	if m.kernel {
		m.stale = strings.Split(m.textScreen(ctx), "\n")
		m.console.look()
	}
	return err
}

// What is read of the registers that QEMU shows (QEMU, target/i386/cpu-dump.c).
var (
	register64 = regexp.MustCompile(`\bRIP=([0-9a-f]{16})\b`)
	register32 = regexp.MustCompile(`\bEIP=([0-9a-f]{8})\b`)
	register0  = regexp.MustCompile(`\bCR0=([0-9a-f]{8})\b`)
)

// paging is the bit of CR0 by which addresses are translated (Intel SDM, volume 3,
// "Control Registers").
const paging = 1 << 31

// inKernel reports whether a processor runs the kernel of an operating system. Those for
// x86 lie in the upper half of the address space (Linux, Documentation/arch/x86/x86_64/mm.rst;
// Windows and the BSDs alike). Firmware and boot loaders run without paging, or at the
// addresses of the memory itself, which is not that large (UEFI specification, "Handoff
// State": identity mapped).
func inKernel(registers string) (bool, error) {
	at, bits := register64.FindStringSubmatch(registers), 64
	if at == nil {
		at, bits = register32.FindStringSubmatch(registers), 32
	}
	mode := register0.FindStringSubmatch(registers)
	if at == nil || mode == nil {
		return false, fault.New(fault.Unknown, "boot", errors.New("QEMU does not show the processor's registers as expected"), "see whether this version of QEMU is a common one")
	}
	address, err := strconv.ParseUint(at[1], 16, 64)
	if err != nil {
		return false, err
	}
	control, err := strconv.ParseUint(mode[1], 16, 64)
	return control&paging != 0 && address>>(bits-1) == 1, err
}
