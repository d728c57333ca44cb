package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// topVolume is the number of the subvolume that holds all others (btrfs,
// BTRFS_FS_TREE_OBJECTID).
const topVolume = 5

// btrfsVolumes lists all subvolumes of the btrfs that is mounted at a path, the top too,
// and by their numbers the UUID of each and of what it is a snapshot of.
func btrfsVolumes(ctx context.Context, mounted string) (map[string]Subvolume, map[uint64]lineage, error) {
	all, lines := map[string]Subvolume{"": {ID: topVolume}}, map[uint64]lineage{}
	out, err := tool(ctx, "btrfs-progs", "btrfs", "subvolume", "list", "-a", "-u", "-q", "--", mounted)
	if err != nil {
		return nil, nil, err
	}
	for line := range strings.Lines(out) {
		head, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " path ")
		fields := strings.Fields(head)
		if !ok || len(fields) < 2 {
			continue
		}
		id, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return nil, nil, fault.New(fault.Unknown, "list subvolumes", fmt.Errorf("btrfs said %q", line), "")
		}
		path = strings.TrimPrefix(path, "<FS_TREE>/")
		all[path] = Subvolume{ID: id, Path: path}
		var of lineage
		for n := range fields[:len(fields)-1] {
			switch fields[n] {
			case "uuid":
				of.self = fields[n+1]
			case "parent_uuid":
				of.parent = fields[n+1]
			}
		}
		lines[id] = of
	}
	return all, lines, nil
}

// A lineage says what a subvolume is a snapshot of: UUIDs, or a dash.
type lineage struct{ self, parent string }

// past are the subvolumes that are not the system but what it was: those that cannot be
// written to, and snapshots of one that is mounted, as tools for going back make them.
func (s *btrfsState) past(all []Mount, source string) map[uint64]bool {
	mounted := map[string]bool{}
	for _, m := range all {
		if m.Type == TypeBtrfs && m.Source == source {
			mounted[s.lines[s.volumes[strings.Trim(m.Inside, "/")].ID].self] = true
		}
	}
	delete(mounted, "")
	found := map[uint64]bool{}
	for id, of := range s.lines {
		found[id] = s.frozen[id] || mounted[of.parent]
	}
	return found
}

// frozenVolumes lists the subvolumes that cannot be written to, such as the snapshots
// that a system keeps of itself.
func frozenVolumes(ctx context.Context, mounted string) (map[uint64]bool, error) {
	out, err := tool(ctx, "btrfs-progs", "btrfs", "subvolume", "list", "-a", "-r", "--", mounted)
	all := map[uint64]bool{}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 1 {
			id, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				return nil, fault.New(fault.Unknown, "list subvolumes", fmt.Errorf("btrfs said %q", line), "")
			}
			all[id] = true
		}
	}
	return all, err
}

// defaultVolume is the subvolume that is mounted when none is named.
func defaultVolume(ctx context.Context, mounted string) (uint64, error) {
	out, err := tool(ctx, "btrfs-progs", "btrfs", "subvolume", "get-default", mounted)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(out)
	if len(fields) < 2 {
		return 0, fault.New(fault.Unknown, "default subvolume", fmt.Errorf("btrfs said %q", out), "")
	}
	return strconv.ParseUint(fields[1], 10, 64)
}

// btrfsDevices are the devices of a btrfs that the kernel knows, by its UUID; none when
// it has none of that name.
func btrfsDevices(uuid string) ([]string, error) {
	entries, err := os.ReadDir("/sys/fs/btrfs/" + uuid + "/devices")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []string
	for _, e := range entries {
		all = append(all, devicePath(e.Name()))
	}
	return all, err
}

// A btrfsTop is all of a btrfs, seen by nobody else: it is mounted nowhere, so that it is
// gone with us however we end, and nobody can walk into it by mistake.
type btrfsTop struct{ dir *os.File }

func openTop(device string) (*btrfsTop, error) {
	op := fmt.Sprintf("open btrfs on %q", device)
	fd, err := unix.Fsopen(TypeBtrfs, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, mountError(op, err)
	}
	defer unix.Close(fd)
	err = errors.Join(unix.FsconfigSetString(fd, "source", device), unix.FsconfigSetString(fd, "subvolid", strconv.Itoa(topVolume)))
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err != nil {
		return nil, mountError(op, err)
	}
	at, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOATIME)
	if err != nil {
		return nil, mountError(op, err)
	}
	return &btrfsTop{os.NewFile(uintptr(at), "btrfs of "+device)}, nil
}

// path is that of a subvolume or snapshot for programs that we start.
func (t *btrfsTop) path(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), t.dir.Fd()), name)
}

// snapshot makes a read-only snapshot of a subvolume.
func (t *btrfsTop) snapshot(ctx context.Context, volume, name string) error {
	_, err := tool(ctx, "btrfs-progs", "btrfs", "subvolume", "snapshot", "-r", "--", t.path(volume), t.path(name))
	if err == nil {
		return nil
	}
	hint := "look at the free space of the file system, and what the kernel's log says of it"
	if strings.Contains(err.Error(), "Text file busy") {
		hint = "an active swap file keeps its subvolume from being frozen: move it into a subvolume of its own"
	}
	return fault.New(fault.KindOf(err), fmt.Sprintf("snapshot of subvolume %q", volume), err, hint)
}

// drop removes every snapshot whose name begins so.
func (t *btrfsTop) drop(prefix string) error {
	entries, err := os.ReadDir(t.path(""))
	problems := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			if err := t.destroy(e.Name()); err != nil {
				problems = append(problems, fault.New(fault.Failed, fmt.Sprintf("snapshot %q", e.Name()), err, `drop it with "btrfs subvolume delete": what it holds cannot be freed before`))
			}
		}
	}
	return errors.Join(problems...)
}

// A volumeName is what the kernel is told of a subvolume (struct btrfs_ioctl_vol_args,
// linux/btrfs.h).
type volumeName struct {
	fd   int64
	name [4088]byte
}

// snapDestroy is BTRFS_IOC_SNAP_DESTROY of linux/btrfs.h. The program btrfs wants to know
// where a subvolume is mounted, and this one is nowhere.
const snapDestroy = 0x5000940f

// destroy deletes a subvolume at the top.
func (t *btrfsTop) destroy(name string) error {
	top, err := os.Open(t.path("")) // that of fsmount is a name only
	if err != nil {
		return err
	}
	var args volumeName
	copy(args.name[:len(args.name)-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, top.Fd(), snapDestroy, uintptr(unsafe.Pointer(&args))); errno != 0 {
		err = errno
	}
	return errors.Join(err, top.Close())
}

func (t *btrfsTop) close() error { return t.dir.Close() }

// below returns the subvolumes that a mount shows: the one that is mounted, and those
// inside of it that no other mount shows or hides. Those that are past are history that
// the system keeps of itself; they are returned apart.
func below(m Mount, all []Mount, volumes map[string]Subvolume, past map[uint64]bool) (shown, history []Subvolume) {
	root := strings.Trim(m.Inside, "/")
	for path, v := range volumes {
		rest, inside := path, root == ""
		if path == root {
			v.At, v.Mounted = m.At, true
			shown = append(shown, v)
			continue
		}
		if !inside {
			rest, inside = strings.CutPrefix(path, root+"/")
		}
		if !inside {
			continue
		}
		v.At = filepath.Join(m.At, rest)
		switch {
		case covering(v.At, all) != m.At || mountedApart(path, m, all):
		case past[v.ID]:
			history = append(history, v)
		default:
			shown = append(shown, v)
		}
	}
	byID := func(a, b Subvolume) int { return int(a.ID) - int(b.ID) }
	slices.SortFunc(shown, byID)
	slices.SortFunc(history, byID)
	// What lies inside of history is history.
	shown = slices.DeleteFunc(shown, func(v Subvolume) bool {
		return slices.ContainsFunc(history, func(h Subvolume) bool { return strings.HasPrefix(v.At, h.At+"/") })
	})
	return shown, history
}

// covering is the mount point that a path of the system lies at or below.
func covering(path string, all []Mount) string {
	longest := ""
	for _, m := range all {
		if (path == m.At || strings.HasPrefix(path, strings.TrimSuffix(m.At, "/")+"/")) && len(m.At) > len(longest) {
			longest = m.At
		}
	}
	return longest
}

func mountedApart(path string, m Mount, all []Mount) bool {
	return slices.ContainsFunc(all, func(o Mount) bool {
		return o.Type == TypeBtrfs && o.Source == m.Source && o.At != m.At && strings.Trim(o.Inside, "/") == path
	})
}
