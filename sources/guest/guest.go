// Package guest holds the disk of a running virtual machine still, so that it can be
// read as it was at one moment while the machine goes on writing to it.
//
// QEMU is asked to put a filter before the disk (fleece.go): of every block that the
// guest is about to overwrite the old content is first copied into a file of ours, and
// what is read is that copy, or the disk where nothing was overwritten. The guest's own
// files are opened by nobody but QEMU, and its chain of images stays as it was. When our
// file cannot take a copy the moment is lost and the reading fails; the guest is not
// made to wait for longer than blockLimit, and never meets an error of ours. Under
// libvirt, which lets nobody else speak with QEMU, its own call for backups is used
// (libvirt.go). The disk is read over NBD, through a socket that only we can reach (nbd.go).
//
// What was begun stands in a file below the run's scratch folder before it is, so that
// the next start can undo what a run left that was killed (Drop).
package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/internal/qmp"
)

// A Machine names a disk of a running virtual machine: by QEMU's control socket, or by
// its name in libvirt.
type Machine struct {
	QMP    string // path of QEMU's control socket; empty: it is libvirt's
	Device string // the disk: an id of -drive or -device, or the name of a node; of libvirt, its target
	Agent  string // path of the socket of the guest agent's channel; empty: none is asked, but by libvirt

	Domain string // its name in libvirt
	URI    string // where that is; empty: the system's
}

// String is what messages call it.
func (m Machine) String() string {
	if m.Domain != "" {
		return fmt.Sprintf("disk %q of the virtual machine %q", m.Device, m.Domain)
	}
	return fmt.Sprintf("disk %q of the virtual machine at %q", m.Device, m.QMP)
}

// A Held disk reads as it was at one moment until it is released.
type Held struct {
	*export
	// Size is that of the disk, in bytes.
	Size int64
	// Rest says how the file systems in it were brought to rest at that moment, or why
	// they were not.
	Rest string
	// AtRest tells which of both.
	AtRest bool

	mark mark
	dir  string

	lost    atomic.Bool   // the room for what is overwritten came to its end
	unwatch func()        // ends looking at it; nil: nobody does
	watched chan struct{} // closed when that has ended
}

const (
	// undoLimit bounds how long it takes to undo what was begun.
	undoLimit = 2 * time.Minute
	// retryPause is between two tries of what a machine is not ready for.
	retryPause = 100 * time.Millisecond
	// readers is how many may read the disk: one.
	readers = 1
)

// Names of what is ours below the scratch folder of a run.
const (
	markName    = "guest.json"
	overlayName = "guest-overwritten"
	socketName  = "nbd"
)

// A mark says what was begun.
type mark struct {
	Machine Machine `json:"machine"`
	Name    string  `json:"name"`   // of what we add to the machine begins so
	Path    string  `json:"path"`   // of the disk's device in the machine
	Node    string  `json:"node"`   // what it read before
	Frozen  bool    `json:"frozen"` // file systems may be
	Serving bool    `json:"serving"`
	Files   int     `json:"files"` // number of the set of files that we gave it
}

// Names of what we add to a machine (QEMU allows 31 characters, qemu-common.h).
func (m mark) overwritten() string { return m.Name + "-o" }
func (m mark) filter() string      { return m.Name + "-f" }
func (m mark) moment() string      { return m.Name + "-m" }
func (m mark) exported() string    { return m.Name + "-e" }

// prefix begins the name of all that is ours in a machine.
const prefix = "saoluu-"

// newMark is the mark of a run, which its scratch folder names.
func newMark(m Machine, scratch string) mark {
	h := fnv.New64a()
	h.Write([]byte(scratch))
	return mark{Machine: m, Name: fmt.Sprintf("%s%016x", prefix, h.Sum64())}
}

// write puts the mark where Drop finds it.
func (m mark) write(scratch string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(scratch, markName), text, 0o600); err != nil {
		return fault.New(fault.Failed, "write to the scratch folder", err, "free some space, or move paths.scratch")
	}
	return nil
}

// Hold holds the disk of a machine still. What belongs to that lies below scratch.
func (m Machine) Hold(ctx context.Context, scratch string) (_ *Held, err error) {
	if m.Domain != "" {
		return m.holdDomain(ctx, scratch)
	}
	h := &Held{mark: newMark(m, scratch), dir: scratch}
	conn, err := m.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.find(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	defer func() {
		_ = conn.Close() // the socket serves one at a time
		if err != nil {
			err = errors.Join(err, h.Release(context.WithoutCancel(ctx)))
		}
	}()
	if err := h.mark.write(scratch); err != nil {
		return nil, err
	}
	if err := h.fleece(ctx, conn); err != nil {
		return nil, m.problem(err)
	}
	if h.export, err = h.serve(ctx, conn); err != nil {
		return nil, m.problem(err)
	}
	if h.export.size != h.Size {
		return nil, m.problem(fmt.Errorf("%d bytes are shown of a disk of %d", h.export.size, h.Size))
	}
	return h, nil
}

// Release lets the machine go.
func (h *Held) Release(ctx context.Context) error {
	if h.unwatch != nil {
		h.unwatch()
		<-h.watched
	}
	// The machine ends the connection, as it does best by itself (fleece.go, threads).
	err := h.mark.undo(ctx, h.dir)
	if h.export != nil {
		_ = h.export.Close()
	}
	return err
}

// Drop undoes what a run left in a machine that was killed; scratch is its folder.
func Drop(ctx context.Context, scratch string) error {
	text, err := os.ReadFile(filepath.Join(scratch, markName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var m mark
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", markName, err)
	}
	return m.undo(ctx, scratch)
}

// dial connects to the machine.
func (m Machine) dial(ctx context.Context) (*qmp.Conn, error) {
	conn, err := qmp.Dial(ctx, m.QMP)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, qmp.ErrHeld):
		return nil, fault.New(fault.Refused, m.String(), err, "give QEMU a second -qmp socket for saoluu alone; one that libvirt holds serves nobody else")
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.New(fault.Denied, m.String(), err, "let the user that runs saoluu write to the socket")
	case gone(err):
		return nil, fault.New(fault.Absent, m.String(), err, "start the machine with -qmp unix:PATH,server=on,wait=off, or correct the path in the job")
	}
	return nil, fault.New(fault.Failed, m.String(), err, "see whether it is a control socket of QEMU")
}

// gone reports whether nobody is behind a socket: the machine is off.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// problem is what went wrong with the machine while its disk was to be held.
func (m Machine) problem(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return fault.New(fault.Failed, m.String(), err, "see what the machine's log says; its disk is as it was before")
}
