package targets

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Levels of separation that can be measured on one machine.
const (
	levelSameFS    = 0
	levelOtherFS   = 1
	levelOtherDisk = 2
)

// maxNesting bounds loop files on loop files and device-mapper stacks.
const maxNesting = 16

// A place is what lies beneath a path: every file system that must live for the
// path to be readable, and the physical disks at the bottom.
type place struct {
	path  string
	files []string // file systems as major:minor, outermost first
	disks []string // whole disks by kernel name
	blind string   // why the disks could not be found; empty when they were
}

// Separation compares the target's folder with each location and reports the
// smallest distance found. Symbolic links, bind mounts, loop files, overlays,
// partitions, LVM, RAID and device-mapper are followed to the physical disk.
func (l *Local) Separation(_ context.Context, locations []string) (Separation, error) {
	return separation(probe{sys: "/sys"}, l.Path, locations)
}

func separation(p probe, target string, locations []string) (Separation, error) {
	if len(locations) == 0 {
		return Separation{Unknown: true, How: "the source does not say where on this host its data lie"}, nil
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return Separation{}, fmt.Errorf("read the mount table: %w", err)
	}
	p.mounts = mounts
	there, err := p.beneath(target)
	if err != nil {
		return Separation{}, err
	}
	worst := Separation{Level: levelOtherDisk + 1}
	for _, path := range locations {
		here, err := p.beneath(path)
		if err != nil {
			return Separation{}, err
		}
		if s := compare(here, there); s.Unknown {
			return s, nil
		} else if s.Level < worst.Level {
			worst = s
		}
	}
	return worst, nil
}

// compare decides the level between a source's place and the target's.
func compare(here, there place) Separation {
	how := fmt.Sprintf("source on %s, target on %s", here, there)
	for _, dev := range here.files {
		if slices.Contains(there.files, dev) {
			return Separation{Level: levelSameFS, How: "same file system: " + how}
		}
	}
	for _, disk := range here.disks {
		if slices.Contains(there.disks, disk) {
			return Separation{Level: levelOtherFS, How: "same disk: " + how}
		}
	}
	if here.blind != "" || there.blind != "" {
		return Separation{Unknown: true, How: "disk not found: " + how}
	}
	return Separation{Level: levelOtherDisk, How: "other disk: " + how}
}

// String shows what was found, for the record kept with each copy.
func (p place) String() string {
	disks := strings.Join(p.disks, "+")
	if p.blind != "" {
		disks = p.blind
	}
	return fmt.Sprintf("%s (%s)", strings.Join(p.files, " in "), disks)
}

// A probe reads the kernel's view of devices below sys.
type probe struct {
	sys    string
	mounts []*mountinfo.Info
}

// beneath follows a path down to its disks.
func (p probe) beneath(path string) (place, error) {
	found := place{path: path}
	if err := p.descend(path, &found, 0); err != nil {
		return place{}, err
	}
	slices.Sort(found.disks)
	found.disks = slices.Compact(found.disks)
	return found, nil
}

func (p probe) descend(path string, found *place, depth int) error {
	if depth > maxNesting {
		found.blind = "devices nested too deeply"
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("locate %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(real, &st); err != nil {
		return fmt.Errorf("locate %s: %w", path, err)
	}
	dev := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	found.files = append(found.files, dev)
	if unix.Major(st.Dev) != 0 {
		return p.blockDevice(dev, found, depth)
	}
	return p.anonymous(real, dev, found, depth)
}

// anonymous resolves file systems without a block device of their own: btrfs
// and others name it in the mount table, overlays name the folder they write to.
func (p probe) anonymous(path, dev string, found *place, depth int) error {
	m := p.mountOf(path)
	if m == nil {
		found.blind = "no mount for device " + dev
		return nil
	}
	if upper, ok := option(m.VFSOptions, "upperdir"); ok && m.FSType == "overlay" {
		return p.descend(upper, found, depth+1)
	}
	var st unix.Stat_t
	if strings.HasPrefix(m.Source, "/dev/") && unix.Stat(m.Source, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
		disk := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		found.files = append(found.files, disk)
		return p.blockDevice(disk, found, depth)
	}
	found.blind = m.FSType + " without a block device"
	return nil
}

// mountOf returns the mount that holds path: the longest mount point above it,
// the newest when several share it.
func (p probe) mountOf(path string) *mountinfo.Info {
	var best *mountinfo.Info
	for _, m := range p.mounts {
		inside := path == m.Mountpoint || m.Mountpoint == "/" || strings.HasPrefix(path, m.Mountpoint+"/")
		if inside && (best == nil || len(m.Mountpoint) >= len(best.Mountpoint)) {
			best = m
		}
	}
	return best
}

// blockDevice walks sysfs from a device number to whole disks
// (kernel documentation, ABI/stable/sysfs-block).
func (p probe) blockDevice(dev string, found *place, depth int) error {
	node, err := filepath.EvalSymlinks(filepath.Join(p.sys, "dev/block", dev))
	if err != nil {
		found.blind = "device " + dev + " unknown to the kernel's device tree"
		return nil
	}
	return p.node(node, found, depth)
}

func (p probe) node(node string, found *place, depth int) error {
	if depth > maxNesting {
		found.blind = "devices nested too deeply"
		return nil
	}
	if file, err := os.ReadFile(filepath.Join(node, "loop/backing_file")); err == nil {
		return p.descend(strings.TrimSpace(string(file)), found, depth+1)
	}
	if _, err := os.Stat(filepath.Join(node, "partition")); err == nil {
		return p.node(filepath.Dir(node), found, depth+1)
	}
	slaves, err := os.ReadDir(filepath.Join(node, "slaves"))
	if err != nil || len(slaves) == 0 {
		found.disks = append(found.disks, filepath.Base(node))
		return nil
	}
	for _, s := range slaves {
		below, err := filepath.EvalSymlinks(filepath.Join(node, "slaves", s.Name()))
		if err != nil {
			found.blind = "device below " + filepath.Base(node) + " not found"
			return nil
		}
		if err := p.node(below, found, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// option returns the value of key in a comma-separated list of mount options.
func option(list, key string) (string, bool) {
	for _, o := range strings.Split(list, ",") {
		if value, ok := strings.CutPrefix(o, key+"="); ok {
			return value, true
		}
	}
	return "", false
}
