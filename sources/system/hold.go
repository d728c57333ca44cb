package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// How a system is held still while it is read.
const (
	Snapshot = "snapshot"
	Crash    = "crash"
	Offline  = "offline"
)

// How says how a system is to be held.
type How struct {
	Consistency string // one of the words above
	Dir         string // an empty folder of ours, whose name is that of the run
	// Volume makes a snapshot of an LVM volume, given by its device, and returns its own.
	Volume func(ctx context.Context, device string) (string, error)
}

// Held is a system that can be read below Tree.
type Held struct {
	*System
	Tree string // folder that shows the system
	// Left are paths of the system that are shown and yet not part of it: what btrfs
	// keeps of the past.
	Left []string

	how   How
	view  view
	watch []watched // file systems that could not be frozen
	tops  map[string]*btrfsTop
	saved map[string][]Subvolume // by device of a btrfs
	// datasets are snapshots of ZFS; nil before they were taken.
	datasets []string
	undo     context.Context // for what is undone at the end, however that comes
}

// markBtrfs is the file below Dir that names the file systems in which snapshots were
// made. It is there before they are, so that those of a process that was killed are found.
const markBtrfs = "btrfs-snapshots"

// treeFolder is the folder below Dir in which the system is shown.
const treeFolder = "tree"

// snapshotPrefix begins the names of the snapshots of a run.
func snapshotPrefix(dir string) string { return "saoluu-" + filepath.Base(dir) + "-" }

// Hold makes a system stand still, as far as it can be, and shows it. The error is
// fault.Refused where that cannot be done as asked. Call Release, also on error.
func (s *System) Hold(ctx context.Context, how How) (*Held, error) {
	h := &Held{System: s, how: how, Tree: filepath.Join(how.Dir, treeFolder), tops: map[string]*btrfsTop{}, saved: map[string][]Subvolume{}, undo: context.WithoutCancel(ctx)}
	h.view.dir = h.Tree
	s.Layout.Consistency = how.Consistency
	if err := os.Mkdir(h.Tree, 0o700); err != nil {
		return h, fault.New(fault.Failed, "make a folder", err, "check paths.scratch")
	}
	if err := h.allowed(); err != nil {
		return h, err
	}
	shows, err := h.freezeAll(ctx)
	if err != nil {
		return h, err
	}
	for _, show := range shows {
		if err := show(); err != nil {
			return h, err
		}
	}
	if err := h.view.complete(); err != nil {
		return h, err
	}
	return h, h.look(ctx)
}

// allowed fails when the system cannot be held as asked, before anything is done.
func (h *Held) allowed() error {
	for n, m := range h.Mounts {
		op := fmt.Sprintf("system %q", h.Root)
		switch {
		case h.how.Consistency == Offline && !m.ReadOnly:
			return fault.New(fault.Refused, op, fmt.Errorf("%q is mounted so that it can be written to", m.Path),
				`mount it read-only, or set consistency = "snapshot", or "crash" to read it as it changes`)
		case h.how.Consistency != Snapshot || m.ReadOnly || h.freezes(n) || forBoot(m.At):
		default:
			return fault.New(fault.Refused, op, fmt.Errorf("%q is a file system of type %s on a plain partition, of which no snapshot can be taken", m.Path, m.Type),
				`put it on LVM or btrfs, or set consistency = "crash" to read it as it changes`)
		}
	}
	return nil
}

// Holdable fails when the system cannot be held so, as far as can be seen without doing it.
func (s *System) Holdable(consistency string) error {
	return (&Held{System: s, how: How{Consistency: consistency}}).allowed()
}

// freezes reports whether a snapshot can be taken of a mount.
func (h *Held) freezes(n int) bool {
	return h.Mounts[n].Type == TypeBtrfs || h.Mounts[n].Type == TypeZFS || h.places[n].volume != ""
}

// forBoot reports whether a file system holds what boots the system. It hardly ever
// changes, and often lies where no snapshots are: it is saved when it held still.
func forBoot(at string) bool {
	return at == "/boot" || at == "/efi" || strings.HasPrefix(at, "/boot/")
}

// freezeAll takes all snapshots, one right after the other, and returns what shows the
// file systems in their order.
func (h *Held) freezeAll(ctx context.Context) (shows []func() error, err error) {
	for n, m := range h.Mounts {
		var show []func() error
		switch {
		case m.Type == TypeBtrfs:
			show, err = h.freezeBtrfs(ctx, m)
		case h.how.Consistency == Snapshot && !m.ReadOnly && m.Type == TypeZFS:
			show, err = h.freezeZFS(ctx, m)
		case h.how.Consistency == Snapshot && !m.ReadOnly && h.places[n].volume != "":
			show, err = h.freezeVolume(ctx, m)
		default:
			show = h.live(m)
		}
		if err != nil {
			return nil, err
		}
		shows = append(shows, show...)
	}
	return shows, nil
}

// live shows a file system as it is, and watches it where all else stands still.
func (h *Held) live(m Mount) []func() error {
	if h.how.Consistency == Snapshot && !m.ReadOnly {
		h.watch = append(h.watch, watched{mount: m})
	}
	return []func() error{func() error { return h.view.bind(m.Path, m.At) }}
}

func (h *Held) freezeVolume(ctx context.Context, m Mount) ([]func() error, error) {
	device, err := h.how.Volume(ctx, m.Source)
	options := ""
	if m.Type == typeXFS {
		options = "nouuid" // the volume itself is mounted under the same one
	}
	return []func() error{func() error { return h.view.mount(device, m.Type, options, m.At) }}, err
}

// freezeBtrfs takes a snapshot of every subvolume that a mount shows.
func (h *Held) freezeBtrfs(ctx context.Context, m Mount) ([]func() error, error) {
	state, err := h.volumes(ctx, m)
	if err != nil {
		return nil, err
	}
	shown, history := below(m, h.Mounts, state.volumes, state.past(h.Mounts, m.Source))
	h.saved[m.Source] = append(h.saved[m.Source], shown...)
	for _, v := range history {
		h.Layout.Uncovered = append(h.Layout.Uncovered, Uncovered{v.At, WhyHistory})
	}
	if h.how.Consistency != Snapshot || m.ReadOnly {
		for _, v := range history {
			h.Left = append(h.Left, v.At)
		}
		return h.live(m), nil
	}
	top, err := h.top(ctx, m.Source)
	if err != nil {
		return nil, err
	}
	var shows []func() error
	for _, v := range shown {
		name := fmt.Sprintf("%s%d", snapshotPrefix(h.how.Dir), v.ID)
		if err := top.snapshot(ctx, v.Path, name); err != nil {
			return nil, err
		}
		shows = append(shows, func() error { return h.view.mount(m.Source, TypeBtrfs, "subvol=/"+name, v.At) })
	}
	return shows, nil
}

// top opens the whole of a btrfs, once, and notes that snapshots will be made in it.
func (h *Held) top(ctx context.Context, device string) (*btrfsTop, error) {
	if t := h.tops[device]; t != nil {
		return t, nil
	}
	said, err := probe(ctx, device)
	if err != nil {
		return nil, err
	}
	mark := filepath.Join(h.how.Dir, markBtrfs)
	known, err := os.ReadFile(mark)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := durable.WriteFile(mark, append(known, said["UUID"]+"\n"...), 0o600); err != nil {
		return nil, fault.New(fault.Failed, "note a snapshot", err, "check paths.scratch")
	}
	t, err := openTop(device)
	if err == nil {
		h.tops[device] = t
	}
	return t, err
}

// Still fails when something that could not be frozen changed since Hold.
func (h *Held) Still(ctx context.Context) error {
	if h.how.Consistency == Offline {
		now, err := Look(ctx, h.Root)
		if err != nil {
			return err
		}
		defer now.Close()
		for _, m := range now.Mounts {
			if !m.ReadOnly {
				return fmt.Errorf("%q was made writable while it was read", m.Path)
			}
		}
	}
	for _, w := range h.watch {
		changed, err := w.changed(ctx, filepath.Join(h.Tree, w.mount.At))
		if err != nil {
			return err
		}
		if changed != "" {
			return fmt.Errorf("%q, of which no snapshot can be taken, changed while it was read: %s", w.mount.At, changed)
		}
	}
	return nil
}

// look notes how the file systems are that are watched.
func (h *Held) look(ctx context.Context) (err error) {
	for n := range h.watch {
		w := &h.watch[n]
		if w.before, err = w.list(ctx, filepath.Join(h.Tree, w.mount.At)); err != nil {
			return err
		}
	}
	return nil
}

// Release takes everything away that Hold made. It may be called twice.
func (h *Held) Release() error {
	if h == nil {
		return nil
	}
	err := Unmount(h.Tree)
	for device, t := range h.tops {
		err = errors.Join(err, t.drop(snapshotPrefix(h.how.Dir)), t.close())
		delete(h.tops, device)
	}
	err = errors.Join(err, dropZFS(h.undo, h.how.Dir))
	if err != nil {
		return err // the marks stay, for the next start
	}
	if err := os.Remove(filepath.Join(h.how.Dir, markBtrfs)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return h.Close()
}

// CleanUp takes away what a process left that was killed while it held a system in the
// folder dir: mounts and snapshots.
func CleanUp(ctx context.Context, dir string) error {
	if err := Unmount(dir + "/" + treeFolder); err != nil {
		return err
	}
	if err := dropZFS(ctx, dir); err != nil {
		return err
	}
	mark := filepath.Join(dir, markBtrfs)
	text, err := os.ReadFile(mark)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	problems := []error{err}
	for uuid := range strings.Lines(string(text)) {
		problems = append(problems, dropLeft(strings.TrimSpace(uuid), snapshotPrefix(dir)))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return os.Remove(mark)
}

// dropLeft drops the snapshots of a run in a btrfs, wherever it is now.
func dropLeft(uuid, prefix string) error {
	devices, err := btrfsDevices(uuid)
	if err != nil || len(devices) == 0 {
		return cmp.Or(err, error(fault.New(fault.Absent, fmt.Sprintf("btrfs %s", uuid), errors.New("it is not mounted, and holds snapshots of a run that was cut off"), "mount it once: they are dropped then")))
	}
	top, err := openTop(devices[0])
	if err != nil {
		return err
	}
	return errors.Join(top.drop(prefix), top.close())
}

// used returns how many bytes of a mounted file system are in use.
func used(path string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}
