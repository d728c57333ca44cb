package system

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// Types of file systems that are treated in ways of their own.
const (
	TypeBtrfs = "btrfs"
	TypeZFS   = "zfs"
	typeSwap  = "swap"
	typeVFAT  = "vfat"
	typeXFS   = "xfs"
	typeLVM   = "LVM2_member"

	typeZFSMember = "zfs_member"
)

// A Mount is a file system, or a subvolume of one, that is part of the system.
type Mount struct {
	At       string // where in the system
	Path     string // where on this machine
	Type     string
	Source   string // the block device, or the dataset of ZFS
	Device   string // the block device
	Inside   string // what of the file system is mounted: "/", or a subvolume of btrfs with a slash in front
	ReadOnly bool   // nobody can write to it, wherever it is mounted

	number [2]int // of the file system, as the kernel counts
}

// mounts returns the file systems of disks that are mounted at root and below, each
// once, the outer before the inner, and what is there besides and belongs to the system.
// What is covered by something else cannot be read. The error is fault.Refused where root
// is no file system of a disk.
func mounts(root string, table []*mountinfo.Info) (all []Mount, beside, covered []Uncovered, err error) {
	for _, i := range table {
		at, below := within(root, i.Mountpoint)
		if !below {
			continue
		}
		switch top, err := onTop(i); {
		case !ofDisk(i):
			if foreign(i.FSType) {
				beside = append(beside, Uncovered{at, fmt.Sprintf("%s from %s", i.FSType, i.Source)})
			}
			continue
		case err != nil:
			return nil, nil, nil, err
		case !top:
			covered = append(covered, Uncovered{at, fmt.Sprintf("something else is mounted over its %s of %s", i.FSType, i.Source)})
			continue
		}
		all = append(all, Mount{
			At: at, Path: i.Mountpoint, Type: i.FSType, Source: i.Source, Device: i.Source, Inside: i.Root,
			ReadOnly: slices.Contains(strings.Split(i.VFSOptions, ","), "ro"), number: [2]int{i.Major, i.Minor},
		})
	}
	slices.SortStableFunc(all, func(a, b Mount) int { return strings.Compare(a.At, b.At) })
	if len(all) == 0 || all[0].At != "/" {
		return nil, nil, nil, noRoot(root, table)
	}
	covered = slices.DeleteFunc(covered, func(u Uncovered) bool { return u.What == "/" }) // what lay at root before
	return all, beside, covered, nil
}

// within returns the path of a mount point as the system under root calls it.
func within(root, point string) (string, bool) {
	if point == root {
		return "/", true
	}
	rest, below := strings.CutPrefix(point, strings.TrimSuffix(root, "/")+"/")
	return "/" + rest, below
}

// ofDisk reports whether a file system lies on a block device that it writes to.
// Read-only images, such as those of snap packages, lie as files in another one.
func ofDisk(i *mountinfo.Info) bool {
	switch i.FSType {
	case "squashfs", "erofs", "iso9660", "udf", "cramfs":
		return false
	case TypeBtrfs, TypeZFS:
		return true
	}
	return i.Major != 0
}

// foreign reports whether files of a type lie elsewhere, and would be missed.
func foreign(kind string) bool {
	if rest, fuse := strings.CutPrefix(kind, "fuse."); fuse {
		return !slices.Contains([]string{"saoluu", "lxcfs", "portal", "gvfsd-fuse", "snapfuse"}, rest)
	}
	return slices.Contains([]string{"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs", "glusterfs", "afs", "ocfs2", "gfs2"}, kind)
}

// onTop reports whether a mount is what its mount point shows.
func onTop(i *mountinfo.Info) (bool, error) {
	if !ofDisk(i) {
		return false, nil
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, i.Mountpoint, unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st); err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			return false, nil // a folder above it is covered
		}
		return false, fault.New(fault.KindOf(err), fmt.Sprintf("mount point %q", i.Mountpoint), err, "")
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return false, fault.New(fault.MissingTool, "look at mounts", errors.New("the kernel does not tell mounts apart"), "saving a system file by file needs Linux 5.12 or later")
	}
	return st.Mnt_id == uint64(i.ID), nil
}

// noRoot says why there is no system at root.
func noRoot(root string, table []*mountinfo.Info) error {
	op := fmt.Sprintf("system %q", root)
	kind := ""
	for _, i := range table {
		if i.Mountpoint == root {
			kind = i.FSType
		}
	}
	switch {
	case kind == "":
		return fault.New(fault.Refused, op, errors.New("nothing is mounted there"), "give the mount point of the root of a system, such as /")
	case kind == "overlay" || kind == "aufs":
		return fault.New(fault.Refused, op, fmt.Errorf("its root is an %s: this is a container or a live system, and has no disk of its own", kind), "save the machine that it runs on")
	}
	return fault.New(fault.Refused, op, fmt.Errorf("its root is a %s, which lies on no disk of this machine", kind), `save its files with a source of type "files"`)
}

// chosen drops what is shown a second time: a folder that is bound elsewhere, or a file
// system that is mounted twice. subvolume says whether a path inside of a btrfs is one.
func chosen(ctx context.Context, all []Mount, subvolume func(context.Context, Mount) (bool, error)) ([]Mount, error) {
	type shown struct {
		number [2]int
		inside string
	}
	seen := map[shown]bool{}
	var kept []Mount
	for _, m := range all {
		whole := m.Inside == "/"
		if m.Type == TypeBtrfs {
			var err error
			if whole, err = subvolume(ctx, m); err != nil {
				return nil, err
			}
		}
		if !whole && m.At == "/" {
			return nil, fault.New(fault.Refused, fmt.Sprintf("system %q", m.Path), fmt.Errorf("its root is the folder %q of another file system", m.Inside), "give a mount point at which a whole file system or subvolume is mounted")
		}
		if key := (shown{m.number, m.Inside}); whole && !seen[key] {
			seen[key] = true
			kept = append(kept, m)
		}
	}
	return kept, nil
}

// An entry is a line of fstab(5).
type entry struct{ spec, at, kind, options string }

// fstab reads what a system mounts at boot.
func fstab(text string) []entry {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`)
	var all []entry
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		e := entry{spec: strings.ReplaceAll(unescape.Replace(fields[0]), `"`, ""), at: unescape.Replace(fields[1]), kind: fields[2], options: "defaults"}
		if len(fields) > 3 {
			e.options = fields[3]
		}
		if strings.HasPrefix(e.at, "/") {
			e.at = path.Clean(e.at)
		}
		all = append(all, e)
	}
	return all
}

// optional reports whether a system comes up without what an entry names.
func (e entry) optional() bool {
	given := strings.Split(e.options, ",")
	return slices.Contains(given, "noauto") || slices.Contains(given, "nofail")
}
