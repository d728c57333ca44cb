package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	pictures "image"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/internal/qmp"
)

// Firmwares of machines.
const (
	firmwareBIOS = "bios"
	firmwareUEFI = "uefi"
)

// A machineSpec says which virtual machine is made of a disk.
type machineSpec struct {
	disk     string // the image; never written to
	firmware string
	bus      string // what the disk hangs on: virtio or sata
	memory   int64  // bytes
	kvm      bool
	twice    bool // translated code is mapped twice: it may not be written where it runs
	spoken   bool // it can be spoken to: by its agent, and on its serial line
	// zero are the offsets of sectors that the machine finds to be zeros, whatever the
	// image holds.
	zero []int64
}

// A machine is a virtual machine that runs QEMU as the tenant. It has no network card,
// and what it writes is thrown away.
type machine struct {
	*tenant
	console *console
	process *command.Process
	monitor *qmp.Conn
	want    signs
	kernel  bool     // one was seen running, or none is expected
	stale   []string // lines of the screen from before
	told    string   // by which sign it was told to be up, where that was not its serial line
	looks   int      // at its screen
	alike   bool     // the last one was as it should be
	keys    *os.File // what is typed on its serial line; nil: nothing can be
	secret  string   // that was typed; empty: none
}

const (
	// machinePoll is the pause between two looks at a running machine.
	machinePoll = 100 * time.Millisecond
	// machineStart bounds the time until QEMU takes commands.
	machineStart = time.Minute
	// translated bounds what emulation keeps of translated code, in MiB. Without it
	// QEMU 7 may take a gigabyte beside the memory of the machine.
	translated = 256
)

// arguments are those of QEMU (qemu(1)).
func (s machineSpec) arguments(socket, variables string) []string {
	board, acceleration := "pc", fmt.Sprintf("tcg,tb-size=%d", translated)
	if s.firmware == firmwareUEFI || s.bus == "sata" {
		board = "q35"
	}
	if s.kvm {
		acceleration = "kvm"
	} else if s.twice {
		acceleration += ",split-wx=on"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-name", "saoluu-restore-test",
		// Without graphics its BIOS speaks on the serial line too: it has one still.
		"-machine", board + ",graphics=off", "-vga", "std", "-display", "none",
		"-accel", acceleration, "-cpu", "max", "-m", strconv.FormatInt(s.memory>>20, 10) + "M",
		"-nic", "none", "-serial", "stdio", "-qmp", "unix:" + option(socket) + ",server=on,wait=off",
		"-no-reboot", "-no-shutdown", // it stands still where it would start anew, and can be looked at
		"-boot", "strict=on,reboot-timeout=1", // a BIOS that finds nothing to boot says so and ends
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-drive", "file=" + option(s.disk) + ",format=raw,if=none,id=disk,snapshot=on,discard=ignore",
	}
	switch s.bus {
	case "sata":
		args = append(args, "-device", "ide-hd,drive=disk,bootindex=1")
	default:
		args = append(args, "-device", "virtio-blk-pci,drive=disk,bootindex=1")
	}
	if s.spoken {
		args = append(args,
			"-chardev", "socket,id=agent,server=on,wait=off,path="+option(agentSocket(socket)), "-device", "virtio-serial-pci",
			"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0")
	}
	if len(s.zero) > 0 {
		args = append(args, "-S") // it waits until they are
	}
	if s.firmware == firmwareUEFI {
		code, _ := firmwareFiles()
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file="+option(code), "-drive", "if=pflash,format=raw,file="+option(variables))
	}
	return args
}

// option doubles commas, which end an option of QEMU.
func option(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// firmwareFiles are the code of a UEFI firmware and the file its variables start from;
// empty when there is none. Debian's and Fedora's places are known.
func firmwareFiles() (code, variables string) {
	for _, pair := range [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	} {
		if _, err := os.Stat(pair[0]); err == nil {
			return pair[0], pair[1]
		}
	}
	return "", ""
}

// start switches a machine on. Its console looks for the marker from then on.
func (t *tenant) start(ctx context.Context, s machineSpec, want signs) (_ *machine, err error) {
	program, err := command.LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	variables := filepath.Join(t.dir, "firmware-variables")
	if s.firmware == firmwareUEFI {
		if err := t.firmware(variables); err != nil {
			return nil, err
		}
	}
	m := &machine{tenant: t, console: newConsole(want.text), want: want, kernel: want.bare}
	if want.bare {
		m.console.look()
	}
	for _, socket := range []string{m.socket(), agentSocket(m.socket())} {
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	s.twice = !s.kvm && !mayWriteCode()
	c := t.command(program, s.arguments(m.socket(), variables)...)
	c.Env = append([]string{"TMPDIR=" + t.dir}, c.Env...) // where what it writes goes
	c.Stdout = m.console
	if s.spoken {
		in, keys, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer in.Close()
		c.Stdin, m.keys = in, keys
	}
	// There is nothing worth a clean shutdown.
	c.Interrupt, c.Grace = syscall.SIGKILL, stopGrace
	if s.kvm {
		c.Credential = withKVM(c.Credential)
		if t.confined {
			c.Argv = slices.Insert(c.Argv, slices.Index(c.Argv, "--"), "--device", kvmDevice)
		}
	}
	if m.process, err = command.Start(ctx, c); err != nil {
		if m.keys != nil {
			err = errors.Join(err, m.keys.Close())
		}
		return nil, err
	}
	err = m.ready(ctx)
	if err == nil && len(s.zero) > 0 {
		err = m.overwrite(ctx, s.zero)
	}
	if err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

// mayWriteCode reports whether programs here may run memory that they wrote. A service
// may forbid it (systemd.exec(5), MemoryDenyWriteExecute), and it is how QEMU emulates
// a processor; where it is forbidden QEMU has its code at two places, for 50 MiB more.
func mayWriteCode() bool {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return true
	}
	err = unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC)
	return errors.Join(err, unix.Munmap(page)) == nil
}

// overwrite makes sectors zeros on the overlay of a machine that waits, and lets it go.
// QEMU does not say whether it could: a machine that boots all the same will.
func (m *machine) overwrite(ctx context.Context, offsets []int64) error {
	for _, at := range offsets {
		line := fmt.Sprintf(`qemu-io disk "write -P 0 %d 512"`, at)
		if err := m.monitor.Ask(ctx, "human-monitor-command", map[string]string{"command-line": line}, nil); err != nil {
			return err
		}
	}
	return m.monitor.Ask(ctx, "cont", nil, nil)
}

// firmware makes the file of a machine's variables.
func (t *tenant) firmware(path string) error {
	code, initial := firmwareFiles()
	if code == "" {
		return fault.New(fault.MissingTool, "boot by UEFI", errors.New("no firmware for virtual machines is installed"), "install it: apt-get install ovmf")
	}
	content, err := os.ReadFile(initial)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path, content, 0o600), t.give(path))
}

func (m *machine) socket() string { return filepath.Join(m.sockets, "qmp") }

// agentSocket is beside the control socket.
func agentSocket(socket string) string { return filepath.Join(filepath.Dir(socket), "qga") }

// ready waits until QEMU takes commands.
func (m *machine) ready(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, machineStart, fault.New(fault.TimedOut, "start a virtual machine", nil, "see whether the machine is overloaded"))
	defer cancel()
	tick := time.NewTicker(machinePoll)
	defer tick.Stop()
	for {
		if m.monitor, err = qmp.Dial(ctx, m.socket()); err == nil {
			return nil
		}
		select {
		case <-m.process.Done():
			return m.died()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// died says why QEMU itself ended, which no guest makes it do: it stands still then.
func (m *machine) died() error {
	_, err := m.process.Wait()
	if kind, hint, ok := environment(errorText(err)); ok {
		return fault.New(kind, "run a virtual machine", err, hint)
	}
	return fault.New(fault.Unknown, "run a virtual machine", fmt.Errorf("it ended: %w", err), "see in the kernel's log whether memory ran out")
}

// errorText is all that a program said.
func errorText(err error) string {
	var exit *command.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// Words of QEMU for how a machine is (QMP, RunState).
const (
	stateRunning  = "running"
	stateShutdown = "shutdown"
)

// state asks how the machine is.
func (m *machine) state(ctx context.Context) (string, error) {
	var answer struct {
		Status string `json:"status"`
	}
	err := m.monitor.Ask(ctx, "query-status", nil, &answer)
	return answer.Status, err
}

// maxScreen bounds a picture of a screen, in bytes and in pixels.
const (
	maxScreen       = 8 << 20
	maxScreenPixels = 16 << 20
)

// screen photographs the screen, as PNG. It is read and written anew: what a guest made
// of the emulator must not reach a reader of reports.
func (m *machine) screen(ctx context.Context) ([]byte, error) {
	picture, err := m.photograph(ctx)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, picture)
	return out.Bytes(), err
}

// photograph reads the screen.
func (m *machine) photograph(ctx context.Context) (pictures.Image, error) {
	path := filepath.Join(m.dir, "screen.png")
	err := m.monitor.Ask(ctx, "screendump", map[string]string{"filename": path, "format": "png"}, nil)
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxScreen {
		return nil, fmt.Errorf("the picture of the screen has %d bytes", st.Size())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	size, err := png.DecodeConfig(bytes.NewReader(content))
	if err != nil || size.Width*size.Height > maxScreenPixels {
		return nil, errors.Join(errors.New("the picture of the screen cannot be read"), err)
	}
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return picture, nil
}

// starved reports whether the machine waited longer for a processor than it had one
// (Linux, Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat). Where the kernel
// does not tell it is false.
func (m *machine) starved() bool {
	var ran, waited int64
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.process.Pid()))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended meanwhile
		}
		var r, w int64
		if _, err := fmt.Sscan(string(text), &r, &w); err == nil {
			ran, waited = ran+r, waited+w
		}
	}
	return waited > ran
}

// stop switches the machine off.
func (m *machine) stop() error {
	err := m.monitor.Close()
	if errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	if m.keys != nil {
		err = errors.Join(err, m.keys.Close())
	}
	stopped := m.process.Stop(stopGrace)
	var exit *command.ExitError
	if errors.As(stopped, &exit) {
		stopped = nil // it was gone already, which is all that is wanted here
	}
	return errors.Join(err, stopped)
}

// kvmDevice is the kernel's virtualization.
const kvmDevice = "/dev/kvm"

// withKVM adds the group that may use it to a user's.
func withKVM(c *command.Credential) *command.Credential {
	var st syscall.Stat_t
	if c == nil || syscall.Stat(kvmDevice, &st) != nil || st.Gid == 0 {
		return c
	}
	with := *c
	with.Groups = append(slices.Clone(c.Groups), st.Gid)
	return &with
}
