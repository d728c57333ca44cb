package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// A Boot asks that a restored disk boots. The zero value of each field is its default.
type Boot struct {
	// Marker is a regular expression (RE2) that the machine must write on its serial
	// line, or on its screen while that shows text; empty: a login prompt, or that
	// systemd reached its multi-user target.
	Marker string
	// Picture is a PNG file: a machine is up as well when its screen looks like that.
	Picture  string
	Firmware string        // "bios" or "uefi"; empty: as the partition table says
	Bus      string        // of the disk: "virtio", the default, or "sata"
	Memory   int64         // of the machine, in bytes; 0: 1 GiB
	Limit    time.Duration // until the marker must have come; 0: 10 minutes

	// Run is a program of the machine and its arguments, run once it is up: by the guest
	// agent where one answers, else on the serial line. It must end with status 0.
	Run []string
	// Expect is a regular expression that its output must meet; empty: any does.
	Expect string
	// Login is who is logged in on the serial line; empty: nobody, so that only a shell
	// that is there already serves.
	Login string
	// Password is asked for when the machine asks for one; nil: there is none.
	Password func() (string, error)
}

// What a boot is given when the job does not say.
const (
	bootMemory = 1 << 30
	bootLimit  = 10 * time.Minute
	// bootMarker is what a Linux says when it is there: getty(8), and systemd(1).
	bootMarker = `(?m)\blogin:\s*$|Reached target .*([Mm]ulti-[Uu]ser|[Gg]raphical)`
)

// Names of what a boot leaves as evidence.
const (
	ArtifactSerial = "serial.log" // what the machine wrote on its serial line
	ArtifactScreen = "boot.png"   // its screen when the test ended
	ArtifactRun    = "run.txt"    // what its program wrote
)

// nothingToBoot is what UEFI firmware says when it gave up (edk2, BdsDxe).
var nothingToBoot = regexp.MustCompile(`No bootable option or device was found`)

// An outcome is how a boot went.
type outcome struct {
	booted bool
	sign   string // by which it was told
	why    string // when it did not
	took   time.Duration
	serial []byte
	screen []byte // nil: it could not be photographed

	ran   *ran  // what its program did; nil: none was run
	blind error // why that could not be tried
}

// boot judges whether the disk boots. That it could not be tried is an error.
func (i *image) boot(ctx context.Context, c Check, a *Assertion) error {
	b := *c.Boot
	limit := cmp.Or(b.Limit, bootLimit)
	a.Expected = "the machine is up within " + span(limit)
	want, err := b.signs()
	if err != nil {
		return err
	}
	spec, how, err := i.specify(ctx, b)
	if err != nil {
		return err
	}
	out, err := i.tryBoot(ctx, spec, want, limit, func(m *machine, took time.Duration) (*ran, error) {
		return m.runProgram(ctx, b, took, limit)
	})
	i.keep(out)
	if err != nil {
		return err
	}
	a.OK = out.booted
	if !out.booted {
		a.Actual = out.why + " (" + how + ")"
		return nil
	}
	a.Actual = "up after " + span(out.took) + " (" + how + ")" + out.sign
	i.result.BootTime = out.took
	i.reach(LevelBooted)
	if i.request.Control {
		err = i.bootControl(ctx, spec, want, out.took)
	}
	if out.ran != nil {
		a.Expected += "; " + out.ran.expected
		a.Actual += "; " + out.ran.actual
		a.OK = out.ran.ok
	}
	return errors.Join(err, out.blind)
}

// specify decides which machine the disk is put into, and says so in words.
func (i *image) specify(ctx context.Context, b Boot) (machineSpec, string, error) {
	s := machineSpec{
		disk: i.disk.file, firmware: b.Firmware, bus: cmp.Or(b.Bus, "virtio"), memory: cmp.Or(b.Memory, bootMemory), spoken: len(b.Run) > 0,
	}
	program, err := command.LookPath("qemu-system-x86_64")
	if err != nil {
		return s, "", err
	}
	if s.firmware == "" {
		table, err := i.readTable()
		if err != nil {
			return s, "", err
		}
		s.firmware = firmwareFor(table)
	}
	if err := enoughMemory("boot", s.memory+translated<<20); err != nil {
		return s, "", err
	}
	if s.kvm, err = i.tenant.kvmWorks(ctx); err != nil {
		return s, "", err
	}
	if err := i.nameQEMU(ctx, program); err != nil {
		return s, "", err
	}
	how := map[string]string{firmwareBIOS: "BIOS", firmwareUEFI: "UEFI"}[s.firmware]
	return s, how + ", " + map[bool]string{true: "KVM", false: "emulated"}[s.kvm], nil
}

// Types of partitions that tell how a disk boots (UEFI specification, "EFI System
// Partition"; GRUB manual, "BIOS installation").
const (
	typeESP     = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	typeESPDOS  = "ef"
	typeBIOSGPT = "21686148-6449-6e6f-744e-656564454649"
)

// firmwareFor is how a disk boots: by UEFI when it has a system partition, and nothing
// that speaks of a BIOS, under which most boot faster.
func firmwareFor(t disk.Table) string {
	has := func(found func(disk.Partition) bool) bool { return slices.ContainsFunc(t.Partitions, found) }
	system := has(func(p disk.Partition) bool { return p.Type == typeESP || p.Type == typeESPDOS })
	older := has(func(p disk.Partition) bool { return p.Boot && p.Type != typeESPDOS || p.Type == typeBIOSGPT })
	if system && !older {
		return firmwareUEFI
	}
	return firmwareBIOS
}

// nameQEMU records which QEMU took part.
func (i *image) nameQEMU(ctx context.Context, program string) error {
	out, err := command.Output(ctx, command.Cmd{Argv: []string{program, "--version"}, Env: plainEnv}, 4096)
	if err != nil {
		return fault.New(fault.Unknown, "boot", err, "run qemu-system-x86_64 --version by hand")
	}
	line, _, _ := strings.Cut(string(out), "\n")
	tool := Tool{Name: "qemu", Version: strings.TrimPrefix(line, "QEMU emulator version ")}
	if !slices.Contains(i.result.Tools, tool) {
		i.result.Tools = append(i.result.Tools, tool)
	}
	return nil
}

// keep puts what a boot left beside the result. Of several boots each has its own names.
func (i *image) keep(out outcome) {
	i.boots++
	add := func(name string, content []byte) {
		if len(content) == 0 {
			return
		}
		if i.boots > 1 {
			ext := filepath.Ext(name)
			name = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), i.boots, ext)
		}
		i.result.Artifacts = append(i.result.Artifacts, Artifact{Name: name, Content: content})
	}
	add(ArtifactSerial, out.serial)
	add(ArtifactScreen, out.screen)
	if out.ran != nil {
		add(ArtifactRun, out.ran.output)
	}
}

// tryBoot switches a machine on, waits for its marker, has it run its program, and
// switches it off.
func (i *image) tryBoot(ctx context.Context, s machineSpec, want signs, limit time.Duration, run func(*machine, time.Duration) (*ran, error)) (out outcome, err error) {
	start := i.tester.Now()
	m, err := i.tenant.start(ctx, s, want)
	if err != nil {
		return out, err
	}
	defer func() {
		out.serial = m.mask(m.console.text())
		err = errors.Join(err, m.stop())
	}()
	out.booted, out.why, err = m.await(ctx, limit)
	out.took, out.sign = i.tester.Now().Sub(start), m.told
	if out.booted && s.spoken && run != nil {
		out.ran, out.blind = run(m, out.took)
	}
	if picture, perr := m.screen(ctx); perr == nil {
		out.screen = picture
	} else {
		i.detail("the screen could not be photographed: %v", perr)
	}
	if !out.booted && len(s.zero) == 0 {
		i.detail("boot: %s; see %s", out.why, ArtifactSerial)
	}
	return out, err
}

// await waits until the marker came, or it is certain that it will not. A machine that
// had to wait for a processor most of the time was not given what a boot takes: that it
// is late is then no finding.
func (m *machine) await(ctx context.Context, limit time.Duration) (booted bool, why string, err error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	tick := time.NewTicker(machinePoll)
	defer tick.Stop()
	for {
		select {
		case <-m.console.found:
			return true, "", nil
		case <-ctx.Done():
			return false, "", context.Cause(ctx)
		case <-m.process.Done():
			return false, "", m.died()
		case <-timer.C:
			why = "not up after " + span(limit)
			if !m.kernel {
				why += ", and no kernel was seen running"
			}
			if m.starved() {
				err = fault.New(fault.TimedOut, "boot", errors.New(why+", and it waited for a processor longer than it had one"),
					"test when the machine does less, or raise the limit of the check")
			}
			return false, why, err
		case <-tick.C:
			if why, err = m.stuck(ctx); why != "" || err != nil {
				return false, why, err
			}
			if err = m.meetKernel(ctx); err != nil {
				return false, "", err
			}
			if m.kernel && m.shows(ctx) {
				return true, "", nil
			}
		}
	}
}

// stuck says why a machine that is not up will not be; "" while it may.
func (m *machine) stuck(ctx context.Context) (why string, err error) {
	state, err := m.state(ctx)
	if err != nil {
		select {
		case <-m.process.Done():
			return "", m.died()
		case <-time.After(machinePoll):
			return "", fault.New(fault.Unknown, "boot", err, "")
		}
	}
	select {
	case <-m.console.found: // it came before the machine stopped
		return "", nil
	default:
	}
	switch state {
	case stateRunning:
		if nothingToBoot.Match(m.console.text()) {
			return "the firmware found nothing to boot", nil
		}
		return "", nil
	case stateShutdown:
		return "it stopped or started anew before it was up", nil
	case "io-error":
		return "", fault.New(fault.NoSpace, "boot", errors.New("what the machine writes finds no place"), "free some space, or move paths.scratch")
	}
	return "", fault.New(fault.Unknown, "boot", fmt.Errorf("QEMU stopped the machine: %s", state), "see whether this QEMU runs other machines")
}

// controlGrace is by how much a boot that must fail may take longer than the good one.
const controlGrace = 5 * time.Second

// bootControl damages what the disk boots by, on an overlay that is thrown away, and
// boots again: whoever calls that machine up as well could tell nothing.
func (i *image) bootControl(ctx context.Context, s machineSpec, want signs, took time.Duration) error {
	table, err := i.readTable()
	if err != nil {
		return err
	}
	how := "first sector of the disk overwritten"
	s.zero = []int64{0}
	if s.firmware == firmwareUEFI {
		how, s.zero = "first sector of the system partition overwritten", nil
		for _, p := range table.Partitions {
			if p.Type == typeESP || p.Type == typeESPDOS {
				s.zero = append(s.zero, p.Start)
			}
		}
	}
	out, err := i.tryBoot(ctx, s, want, 2*took+controlGrace, nil)
	if err != nil && fault.KindOf(err) != fault.TimedOut {
		return fmt.Errorf("negative control: %w", err)
	}
	i.result.Control = &ControlResult{Damage: how, Caught: !out.booted}
	if !out.booted {
		i.result.Control.By = nameBoot
	}
	return nil
}

// nameBoot is what catches the damage of a boot's control.
const nameBoot = "boot"

// probe is a boot sector for x86 that writes a word on the serial line:
//
//	cld; xor ax,ax; mov ds,ax; mov si,0x7c16; mov dx,0x3f8
//	next: lodsb; test al,al; jz end; out dx,al; jmp next
//	end: hlt; jmp end
const probe = "\xfc\x31\xc0\x8e\xd8\xbe\x16\x7c\xba\xf8\x03\xac\x84\xc0\x74\x03\xee\xeb\xf8\xf4\xeb\xfd" + probeWord + "\x00"

const (
	probeWord = "saoluu-kvm-works"
	// probeLimit bounds the wait for it: with KVM it comes in less than a second.
	probeLimit  = 10 * time.Second
	probeMemory = 64 << 20
)

// probeDisk makes the disk of the probe. SeaBIOS reads none of a single sector.
func (t *tenant) probeDisk() (string, error) {
	sector := make([]byte, 512)
	copy(sector, probe)
	sector[510], sector[511] = 0x55, 0xaa
	path := filepath.Join(t.dir, "probe.img")
	if err := errors.Join(os.WriteFile(path, sector, 0o600), os.Truncate(path, 1<<20), t.give(path)); err != nil {
		return "", boxError(path, err)
	}
	return path, nil
}

// kvmWorks reports whether the processor's own virtualization can be used: by a machine
// that does so. A device file that can be opened says little, as inside of other
// virtual machines.
func (t *tenant) kvmWorks(ctx context.Context) (bool, error) {
	if _, err := os.Stat(kvmDevice); err != nil {
		return false, nil
	}
	path, err := t.probeDisk()
	if err != nil {
		return false, err
	}
	defer os.Remove(path)
	m, err := t.start(ctx, machineSpec{disk: path, firmware: firmwareBIOS, bus: "virtio", memory: probeMemory, kvm: true}, signs{text: regexp.MustCompile(probeWord), bare: true})
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		return false, nil // such as for want of a permission
	}
	works, _, _ := m.await(ctx, probeLimit)
	return works, m.stop()
}
