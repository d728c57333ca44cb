package guest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// systemURI is where machines of the system are (libvirt, "Connection URIs").
const systemURI = "qemu:///system"

// maxXML bounds what libvirt says of a machine, in bytes.
const maxXML = 4 << 20

const (
	// watchEach is the pause between two looks at the room for what a guest overwrites.
	watchEach = time.Second
	// leastRoom is how much must be left of it, in bytes: what a guest may write between
	// two looks, and until the backup has ended.
	leastRoom = 512 << 20
)

// virsh runs a command of libvirt's shell on the machine.
func (m Machine) virsh(ctx context.Context, name string, args ...string) (string, error) {
	return m.shell(ctx, append([]string{name, "--domain", m.Domain}, args...)...)
}

// shell runs a command of libvirt's shell.
func (m Machine) shell(ctx context.Context, args ...string) (string, error) {
	program, err := command.LookPath("virsh")
	if err != nil {
		return "", fault.New(fault.MissingTool, m.String(), err, "install the package libvirt-clients")
	}
	argv := append([]string{program, "--connect", cmp.Or(m.URI, systemURI)}, args...)
	out, err := command.Output(ctx, command.Cmd{Argv: argv, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/nonexistent"}}, maxXML)
	return string(bytes.TrimSpace(out)), err
}

// A domain is a machine as libvirt describes it (libvirt, "Domain XML format").
type domain struct {
	Threads int `xml:"iothreads"`
	Disks   []struct {
		Target struct {
			Name string `xml:"dev,attr"`
		} `xml:"target"`
		Source struct {
			File   string `xml:"file,attr"`
			Device string `xml:"dev,attr"`
		} `xml:"source"`
	} `xml:"devices>disk"`
}

// describe asks for a machine, which must run.
func (m Machine) describe(ctx context.Context) (d domain, err error) {
	state, err := m.virsh(ctx, "domstate")
	if err != nil {
		return d, m.refusal(err)
	}
	if state != "running" && state != "paused" {
		return d, fault.New(fault.Absent, m.String(), fmt.Errorf("the machine is %s", state), "start it, or save its disk by path")
	}
	text, err := m.virsh(ctx, "dumpxml")
	if err != nil {
		return d, m.refusal(err)
	}
	if err := xml.Unmarshal([]byte(text), &d); err != nil {
		return d, m.problem(err)
	}
	var known []string
	for _, disk := range d.Disks {
		known = append(known, disk.Target.Name)
	}
	if !slices.Contains(known, m.Device) {
		return d, fault.New(fault.Absent, m.String(), errors.New("it has no such disk"), "name one of: "+strings.Join(known, ", "))
	}
	return d, nil
}

// noDomain reports whether libvirt knows no machine of the name, or it is off.
func noDomain(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "failed to get domain") || strings.Contains(err.Error(), "domain is not running"))
}

// refusal is what libvirt said.
func (m Machine) refusal(err error) error {
	var exit *command.ExitError
	switch {
	case noDomain(err):
		return fault.New(fault.Absent, m.String(), err, `correct its name, as "virsh list" shows it`)
	case errors.As(err, &exit):
		return fault.New(fault.Failed, m.String(), err, "see whether libvirt runs, and whether the user that runs saoluu may speak with it (group libvirt)")
	}
	return err
}

// domainFiles are where the disk lies on this machine.
func (m Machine) domainFiles(ctx context.Context) (all []string, err error) {
	d, err := m.describe(ctx)
	for _, disk := range d.Disks {
		if file := cmp.Or(disk.Source.File, disk.Source.Device); disk.Target.Name == m.Device && filepath.IsAbs(file) {
			all = append(all, file)
		}
	}
	return all, err
}

// holdDomain is Hold by libvirt's own call for backups, in which another program reads
// the disk (libvirt, "Domain backup", mode pull).
func (m Machine) holdDomain(ctx context.Context, scratch string) (_ *Held, err error) {
	h := &Held{mark: newMark(m, scratch), dir: scratch}
	d, err := m.describe(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.domainThreads(ctx, d), m.idle(ctx)); err != nil {
		return nil, err
	}
	if err := h.measure(ctx); err != nil {
		return nil, err
	}
	dir, err := reachable(scratch)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Release(context.WithoutCancel(ctx)))
		}
	}()
	if err := h.mark.write(scratch); err != nil {
		return nil, err
	}
	if err := h.atRest(ctx, func() error { return h.begin(ctx, dir) }); err != nil {
		return nil, m.problem(err)
	}
	conn, err := dialIn(ctx, dir, h.mark.Name)
	if err != nil {
		return nil, m.problem(err)
	}
	if h.export, err = openExport(conn, m.Device); err != nil {
		return nil, m.problem(err)
	}
	if h.export.size != h.Size {
		return nil, m.problem(fmt.Errorf("%d bytes are shown of a disk of %d", h.export.size, h.Size))
	}
	h.watch(ctx)
	return h, nil
}

// idle refuses a machine with which libvirt is busy: it would wait for half a minute
// before it says so, with the file systems of the guest at rest.
func (m Machine) idle(ctx context.Context) error {
	said, err := m.virsh(ctx, "domjobinfo")
	if err != nil {
		return m.refusal(err)
	}
	if fields := strings.Fields(said); len(fields) > 2 && fields[2] != "None" {
		return fault.New(fault.Refused, m.String(), errors.New("another job of libvirt has hold of it"),
			`wait until that is over ("virsh domjobinfo"); a run of saoluu that was killed is undone when it starts again`)
	}
	return nil
}

// domainThreads is threads for a machine of libvirt's.
func (m Machine) domainThreads(ctx context.Context, d domain) error {
	if d.Threads == 0 {
		return nil
	}
	said, err := m.shell(ctx, "version")
	if err != nil {
		return m.refusal(err)
	}
	major := 0 // what cannot be read is old
	if _, rest, ok := strings.Cut(said, "hypervisor: QEMU "); ok {
		_, _ = fmt.Sscanf(rest, "%d.", &major)
	}
	if major < threadsMended {
		return m.refuseThreads(major)
	}
	return nil
}

// measure asks how large the disk is, and looks for as much room: when there is none for
// what the guest overwrites, libvirt's way makes the guest stand still, not the backup.
func (h *Held) measure(ctx context.Context) error {
	m := h.mark.Machine
	said, err := m.virsh(ctx, "domblkinfo", "--device", m.Device)
	if err != nil {
		return m.refusal(err)
	}
	for line := range strings.Lines(said) {
		if rest, ok := strings.CutPrefix(line, "Capacity:"); ok {
			if _, err := fmt.Sscan(rest, &h.Size); err != nil {
				return m.problem(err)
			}
		}
	}
	if h.Size <= 0 {
		return m.problem(errors.New("libvirt does not say how large it is"))
	}
	room, err := roomBelow(h.dir)
	if err == nil && room < h.Size+leastRoom {
		err = fault.New(fault.NoSpace, m.String(), fmt.Errorf("the scratch folder has %d bytes free, and the guest may overwrite %d", room, h.Size),
			"free some space, or move paths.scratch: with libvirt a full one would make the guest stand still")
	}
	return err
}

func roomBelow(dir string) (int64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return int64(st.Bavail) * st.Bsize, err
}

// reachable makes a folder below scratch in which QEMU, whatever user it runs as, makes
// its socket and finds its file. Others can neither list it nor remove what is not theirs.
func reachable(scratch string) (string, error) {
	dir := filepath.Join(scratch, "guest")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if err := errors.Join(os.Chmod(dir, 0o733|os.ModeSticky), os.Chmod(scratch, 0o711)); err != nil {
		return "", err
	}
	for up := filepath.Dir(scratch); up != "/"; up = filepath.Dir(up) {
		st, err := os.Stat(up)
		if err != nil {
			return "", err
		}
		if st.Mode().Perm()&0o001 == 0 {
			return "", fault.New(fault.Denied, fmt.Sprintf("folder %q", up), errors.New("the user of virtual machines cannot pass through it"),
				fmt.Sprintf("run chmod o+x %s, or move paths.scratch", up))
		}
	}
	return dir, nil
}

// dialIn connects to a socket in a folder, however long its path is.
func dialIn(ctx context.Context, dir, name string) (net.Conn, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), name))
}

// begin begins the backup.
func (h *Held) begin(ctx context.Context, dir string) error {
	type attribute = xml.Attr
	at := func(name, value string) attribute { return xml.Attr{Name: xml.Name{Local: name}, Value: value} }
	type element struct {
		XMLName xml.Name
		Attrs   []xml.Attr `xml:",any,attr"`
		Inner   []element
	}
	tag := func(name string, attrs []attribute, inner ...element) element {
		return element{XMLName: xml.Name{Local: name}, Attrs: attrs, Inner: inner}
	}
	m := h.mark
	text, err := xml.Marshal(tag("domainbackup", []attribute{at("mode", "pull")},
		tag("server", []attribute{at("transport", "unix"), at("socket", filepath.Join(dir, m.Name))}),
		tag("disks", nil, tag("disk", []attribute{at("name", m.Machine.Device), at("backup", "yes"), at("type", "file"), at("exportname", m.Machine.Device)},
			tag("scratch", []attribute{at("file", filepath.Join(dir, m.overwritten()))})))))
	if err != nil {
		return err
	}
	path := filepath.Join(h.dir, "guest.xml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	if _, err := m.Machine.virsh(ctx, "backup-begin", "--backupxml", path); err != nil {
		return m.Machine.refusal(err)
	}
	return nil
}

// watch ends the backup before there is no room any more for what the guest overwrites.
func (h *Held) watch(ctx context.Context) {
	ctx, h.unwatch = context.WithCancel(ctx)
	h.watched = make(chan struct{})
	go func() {
		defer close(h.watched)
		tick := time.NewTicker(watchEach)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if room, err := roomBelow(h.dir); err != nil || room >= leastRoom {
				continue
			}
			h.lost.Store(true)
			_ = h.mark.abort(context.WithoutCancel(ctx)) // Release tries again, and tells
			return
		}
	}()
}

// errRoom is why a backup was ended before its time.
var errRoom = errors.New("the scratch folder became full of what the guest overwrites, so that the backup was given up before the guest would have to wait")

// ReadAt reads bytes of the disk.
func (h *Held) ReadAt(p []byte, offset int64) (int, error) {
	n, err := h.export.ReadAt(p, offset)
	if err != nil && h.lost.Load() {
		err = errRoom
	}
	return n, err
}

// abort ends the backup, if it is ours. A machine that is gone has none.
func (m mark) abort(ctx context.Context) error {
	state, err := m.Machine.virsh(ctx, "domstate")
	if noDomain(err) || err == nil && state != "running" && state != "paused" {
		return nil
	}
	if err != nil {
		return m.Machine.refusal(err)
	}
	text, err := m.Machine.virsh(ctx, "backup-dumpxml")
	var exit *command.ExitError
	switch {
	case errors.As(err, &exit) && strings.Contains(err.Error(), "no domain backup job"):
		return nil
	case err != nil:
		return m.Machine.refusal(err)
	case !strings.Contains(text, m.Name):
		return nil // somebody else's
	}
	if _, err := m.Machine.virsh(ctx, "domjobabort"); err != nil {
		return m.Machine.refusal(err)
	}
	return nil
}
