package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"saoluu/internal/fault"
	"saoluu/internal/qmp"
)

// blockLimit is for how many seconds a write of the guest may wait for our copy of what
// it overwrites. Then the moment is given up, and the guest goes on.
const blockLimit = 10

// A drive is a disk of a machine, as QEMU tells it (QMP, BlockInfo).
type drive struct {
	Device string `json:"device"`
	Path   string `json:"qdev"`
	In     *struct {
		Node  string `json:"node-name"`
		File  string `json:"file"`
		Image struct {
			Size     int64      `json:"virtual-size"`
			Filename string     `json:"filename"`
			Backing  *imageFile `json:"backing-image"`
		} `json:"image"`
	} `json:"inserted"`
}

type imageFile struct {
	Filename string     `json:"filename"`
	Backing  *imageFile `json:"backing-image"`
}

// peripheral is where QEMU keeps devices that have an id.
const peripheral = "/machine/peripheral/"

// names are those that a drive may be called by.
func (d drive) names() (all []string) {
	id, _, _ := strings.Cut(strings.TrimPrefix(d.Path, peripheral), "/")
	if !strings.HasPrefix(d.Path, peripheral) {
		id = d.Path
	}
	for _, name := range []string{d.Device, id, d.In.Node} {
		if name != "" && !strings.HasPrefix(name, "#") && !strings.HasPrefix(name, prefix) && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// drives are those of a machine that hold something.
func drives(ctx context.Context, conn *qmp.Conn) ([]drive, error) {
	var all []drive
	err := conn.Ask(ctx, "query-block", nil, &all)
	return slices.DeleteFunc(all, func(d drive) bool { return d.In == nil || d.Path == "" }), err
}

// choose finds the disk that is meant.
func (m Machine) choose(ctx context.Context, conn *qmp.Conn) (drive, error) {
	all, err := drives(ctx, conn)
	if err != nil {
		return drive{}, m.problem(err)
	}
	var known []string
	for _, d := range all {
		names := d.names()
		if slices.Contains(names, m.Device) {
			return d, nil
		}
		known = append(known, names[:min(1, len(names))]...)
	}
	return drive{}, fault.New(fault.Absent, m.String(), errors.New("it has no such disk"), fmt.Sprintf("name one of: %s", cmp.Or(strings.Join(known, ", "), "(it has none)")))
}

// Files are where the disk lies on this machine.
func (m Machine) Files(ctx context.Context) ([]string, error) {
	if m.Domain != "" {
		return m.domainFiles(ctx)
	}
	conn, err := m.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	d, err := m.choose(ctx, conn)
	if err != nil {
		return nil, err
	}
	all := []string{d.In.Image.Filename}
	for b := d.In.Image.Backing; b != nil; b = b.Backing {
		all = append(all, b.Filename)
	}
	return slices.DeleteFunc(all, func(file string) bool { return !filepath.IsAbs(file) }), nil
}

// find looks for the disk, and whether it can be held.
func (h *Held) find(ctx context.Context, conn *qmp.Conn) error {
	m := h.mark.Machine
	var version struct {
		QEMU struct {
			Major int `json:"major"`
			Minor int `json:"minor"`
		} `json:"qemu"`
	}
	if err := conn.Ask(ctx, "query-version", nil, &version); err != nil {
		return m.problem(err)
	}
	// copy-before-write has on-cbw-error since 7.1 (QMP, BlockdevOptionsCbw): before,
	// the guest met an error when our file was full.
	if v := version.QEMU; v.Major < 7 || v.Major == 7 && v.Minor < 1 {
		return fault.New(fault.MissingTool, m.String(), fmt.Errorf("it runs in QEMU %d.%d", v.Major, v.Minor),
			"start it in QEMU 7.1 or newer: an older one would make the guest wait when our scratch folder is full")
	}
	if err := m.threads(ctx, conn, version.QEMU.Major); err != nil {
		return err
	}
	d, err := m.choose(ctx, conn)
	if err != nil {
		return err
	}
	if strings.HasPrefix(d.In.Node, prefix) {
		return fault.New(fault.Refused, m.String(), errors.New("another run of saoluu holds it"), "wait until that is over; one that was killed is undone when saoluu starts again")
	}
	h.mark.Path, h.mark.Node, h.Size = d.Path, d.In.Node, d.In.Image.Size
	if h.Size <= 0 {
		return fault.New(fault.Failed, m.String(), errors.New("it is empty"), "")
	}
	return nil
}

// threads refuses a machine that serves disks in threads of their own, in a QEMU that ends
// as a whole when somebody who reads such a disk hangs up, as we do when we are killed
// (blockdev-nbd.c, nbd_blockdev_client_closed; met in 7.2.22, mended in 9.0).
func (m Machine) threads(ctx context.Context, conn *qmp.Conn, major int) error {
	if major >= threadsMended {
		return nil
	}
	var all []any
	if err := conn.Ask(ctx, "query-iothreads", nil, &all); err != nil {
		return m.problem(err)
	}
	if len(all) == 0 {
		return nil
	}
	return m.refuseThreads(major)
}

// threadsMended is the first QEMU that bears it.
const threadsMended = 9

func (m Machine) refuseThreads(major int) error {
	return fault.New(fault.Refused, m.String(), fmt.Errorf("it has threads for disks (iothread), with which QEMU %d may end when its disk is read", major),
		"start it in QEMU 9.0 or newer, or without iothread")
}

// fleece makes the moment: from then on the old content of what the guest overwrites is
// kept.
func (h *Held) fleece(ctx context.Context, conn *qmp.Conn) error {
	m := &h.mark
	if err := h.lend(ctx, conn); err != nil {
		return err
	}
	add := func(driver, name string, more map[string]any) error {
		more["driver"], more["node-name"] = driver, name
		return conn.Ask(ctx, "blockdev-add", more, nil)
	}
	if err := add("copy-before-write", m.filter(), map[string]any{
		"file": m.Node, "target": m.overwritten(), "on-cbw-error": "break-snapshot", "cbw-timeout": blockLimit,
	}); err != nil {
		return err
	}
	if err := h.atRest(ctx, func() error { return m.read(ctx, conn, m.filter()) }); err != nil {
		return err
	}
	return add("snapshot-access", m.moment(), map[string]any{"file": m.filter()})
}

// read says what the disk's device reads and writes from now on.
func (m mark) read(ctx context.Context, conn *qmp.Conn, node string) error {
	return conn.Ask(ctx, "qom-set", map[string]string{"path": m.Path, "property": "drive", "value": node}, nil)
}

// lend gives the machine a file for what its guest overwrites. It goes over as an open
// file, so that QEMU's user needs no right to our folders.
func (h *Held) lend(ctx context.Context, conn *qmp.Conn) error {
	file, err := os.OpenFile(filepath.Join(h.dir, overlayName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(h.Size); err != nil {
		return err
	}
	var set struct {
		ID int `json:"fdset-id"`
	}
	if err := conn.AskWith(ctx, file, "add-fd", nil, &set); err != nil {
		return err
	}
	h.mark.Files = set.ID
	if err := h.mark.write(h.dir); err != nil {
		return err
	}
	return conn.Ask(ctx, "blockdev-add", map[string]any{
		"driver": "file", "node-name": h.mark.overwritten(), "filename": fmt.Sprintf("/dev/fdset/%d", set.ID),
	}, nil)
}

// serve has the machine show the moment, and connects. The socket is ours and goes over
// opened: it lies where nobody else comes.
func (h *Held) serve(ctx context.Context, conn *qmp.Conn) (*export, error) {
	dir, err := os.Open(h.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// The path of a socket has room for 107 bytes (unix(7)).
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false) // the folder goes as a whole
	file, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	name := h.mark.exported()
	if err := conn.AskWith(ctx, file, "getfd", map[string]string{"fdname": name}, nil); err != nil {
		return nil, err
	}
	h.mark.Serving = true
	if err := h.mark.write(h.dir); err != nil {
		return nil, err
	}
	err = conn.Ask(ctx, "nbd-server-start", map[string]any{
		"addr": map[string]any{"type": "fd", "data": map[string]string{"str": name}}, "max-connections": readers,
	}, nil)
	if err != nil {
		h.mark.Serving = false // it is somebody else's
		hint := "see what else backs this machine up; QEMU serves one at a time"
		return nil, fault.New(fault.Refused, h.mark.Machine.String(), errors.Join(err, h.mark.write(h.dir)), hint)
	}
	if err := conn.Ask(ctx, "block-export-add", map[string]any{
		"type": "nbd", "id": name, "node-name": h.mark.moment(), "name": name, "writable": false,
	}, nil); err != nil {
		return nil, err
	}
	to, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return openExport(to, name)
}
