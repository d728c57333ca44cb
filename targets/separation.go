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

// Levels of separation that can be measured.
const (
	levelSameFS    = 0
	levelOtherFS   = 1
	levelOtherDisk = 2
)

// LevelOtherHost is the level of another machine or storage system.
const LevelOtherHost = 3

// levelOtherSite is never measured: the configuration says where a target stands.
const levelOtherSite = 4

// maxNesting bounds loop files on loop files and device-mapper stacks.
const maxNesting = 16

// HostLocation is the location of data that lie on another machine: two slashes
// and its name or address.
func HostLocation(name string) string { return "//" + name }

// A place is what lies beneath a location: every file system that must live for
// it to be readable, and the physical disks at the bottom, or another machine.
type place struct {
	files []string // file systems as major:minor or server:export, outermost first
	disks []string // whole disks by kernel name
	host  *host    // the machine that holds the data, when it is not this one
	blind string   // why the disks could not be found; empty when they were
}

// Declared is what the configuration says of where a target stands and nobody can
// measure.
type Declared struct {
	System string // the storage system below it: virtual disks of one array have one
	Site   string // another place than the agency's
}

// separation compares a target's place with each location and reports the
// smallest distance found. Symbolic links, bind mounts, loop files, overlays,
// partitions, LVM, RAID and device-mapper are followed to the physical disk,
// network mounts and addresses to the machine that answers.
func separation(ctx context.Context, p probe, target string, said Declared, locations []string) (Separation, error) {
	if p.mounts == nil {
		mounts, err := mountinfo.GetMounts(nil)
		if err != nil {
			return Separation{}, fmt.Errorf("read the mount table: %w", err)
		}
		p.mounts = mounts
	}
	there, err := p.beneath(ctx, target)
	if err != nil {
		return Separation{}, err
	}
	worst := Separation{Level: levelOtherSite + 1}
	for _, path := range locations {
		here, err := p.beneath(ctx, path)
		if err != nil {
			return Separation{}, err
		}
		s := declare(compare(here, there), said)
		if worst.Level > levelOtherSite || s.Unknown || !worst.Unknown && s.Level < worst.Level {
			worst = s
		}
	}
	if len(locations) == 0 {
		worst = Separation{Unknown: true, How: "the source does not say where its data lie"}
	}
	worst.Domain = there.domain(said)
	return worst, nil
}

// declare adds what the configuration says. A declared storage system stands in
// where nothing can be seen; another site counts only for another machine.
func declare(s Separation, said Declared) Separation {
	switch {
	case s.Unknown && said.System != "":
		return Separation{Level: LevelOtherHost, Declared: true, How: fmt.Sprintf("declared storage system %q; measured: %s", said.System, s.How)}
	case !s.Unknown && s.Level >= LevelOtherHost && said.Site != "":
		return Separation{Level: levelOtherSite, Declared: true, How: fmt.Sprintf("declared site %q; measured: L%d, %s", said.Site, s.Level, s.How)}
	}
	return s
}

// domain names what fails together: copies of one domain are lost together. It is
// empty when nothing is known.
func (p place) domain(said Declared) string {
	switch {
	case said.System != "":
		return "system " + said.System
	case p.host != nil:
		return p.host.String()
	case p.blind == "" && len(p.disks) > 0:
		return "disk " + strings.Join(p.disks, "+")
	}
	return ""
}

// compare decides the level between a source's place and the target's.
func compare(here, there place) Separation {
	how := fmt.Sprintf("source on %s, target on %s", here, there)
	for _, dev := range here.files {
		if slices.Contains(there.files, dev) {
			return Separation{Level: levelSameFS, How: "same file system: " + how}
		}
	}
	if here.host != nil || there.host != nil {
		return compareHosts(here, there, how)
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

// compareHosts decides the level where at least one of the places is reached
// through the network.
func compareHosts(here, there place, how string) Separation {
	for _, p := range []place{here, there} {
		if p.host != nil && p.host.own {
			return Separation{Unknown: true, How: "an address of this machine, what lies behind it cannot be seen: " + how}
		}
	}
	if here.host != nil && there.host != nil && here.host.same(*there.host) {
		return Separation{Level: levelOtherFS, How: "same machine behind the network: " + how}
	}
	return Separation{Level: LevelOtherHost, How: "other machine: " + how}
}

// String shows what was found, for the record kept with each copy.
func (p place) String() string {
	if p.host != nil {
		return strings.Join(append(slices.Clone(p.files), p.host.String()), " at ")
	}
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
	look   func(ctx context.Context, name string) (host, error) // resolves hosts
}

// machine is the probe of the machine we run on.
func machine() probe { return probe{sys: "/sys", look: lookHost} }

// beneath follows a location down to its disks or its machine.
func (p probe) beneath(ctx context.Context, location string) (place, error) {
	var found place
	if name, ok := strings.CutPrefix(location, "//"); ok {
		h, err := p.look(ctx, name)
		found.host = &h
		return found, err
	}
	if err := p.descend(ctx, location, &found, 0); err != nil {
		return place{}, err
	}
	slices.Sort(found.disks)
	found.disks = slices.Compact(found.disks)
	return found, nil
}

func (p probe) descend(ctx context.Context, path string, found *place, depth int) error {
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
	if unix.Major(st.Dev) != 0 {
		found.files = append(found.files, dev)
		return p.blockDevice(ctx, dev, found, depth)
	}
	return p.anonymous(ctx, real, dev, found, depth)
}

// anonymous resolves file systems without a block device of their own: btrfs
// and others name it in the mount table, overlays name the folder they write to,
// network file systems name a server.
func (p probe) anonymous(ctx context.Context, path, dev string, found *place, depth int) error {
	m := p.mountOf(path)
	if m == nil {
		found.files = append(found.files, dev)
		found.blind = "no mount for device " + dev
		return nil
	}
	if server := serverOf(m); server != "" {
		h, err := p.look(ctx, server)
		if err != nil {
			found.files = append(found.files, m.Source)
			found.blind = err.Error()
			return nil
		}
		found.files, found.host = append(found.files, m.Source), &h
		return nil
	}
	found.files = append(found.files, dev)
	if upper, ok := option(m.VFSOptions, "upperdir"); ok && m.FSType == "overlay" {
		return p.descend(ctx, upper, found, depth+1)
	}
	var st unix.Stat_t
	if strings.HasPrefix(m.Source, "/dev/") && unix.Stat(m.Source, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
		disk := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		found.files = append(found.files, disk)
		return p.blockDevice(ctx, disk, found, depth)
	}
	found.blind = m.FSType + " without a block device"
	return nil
}

// serverOf returns the server of a network mount: NFS writes "server:/export",
// SMB "//server/share", sshfs "user@server:/path" (mount table, proc_pid_mountinfo(5)).
// addr= among the options is what the kernel really speaks to.
func serverOf(m *mountinfo.Info) string {
	var server string
	switch m.FSType {
	case "nfs", "nfs4", "fuse.sshfs", "ceph":
		server, _, _ = strings.Cut(m.Source, ":/")
		if _, after, ok := strings.Cut(server, "@"); ok {
			server = after
		}
	case "cifs", "smb3", "smbfs":
		server, _, _ = strings.Cut(strings.TrimPrefix(m.Source, "//"), "/")
	default:
		return ""
	}
	if addr, ok := option(m.VFSOptions, "addr"); ok {
		return addr
	}
	return strings.Trim(server, "[]")
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
func (p probe) blockDevice(ctx context.Context, dev string, found *place, depth int) error {
	node, err := filepath.EvalSymlinks(filepath.Join(p.sys, "dev/block", dev))
	if err != nil {
		found.blind = "device " + dev + " unknown to the kernel's device tree"
		return nil
	}
	return p.node(ctx, node, found, depth)
}

func (p probe) node(ctx context.Context, node string, found *place, depth int) error {
	if depth > maxNesting {
		found.blind = "devices nested too deeply"
		return nil
	}
	if file, err := os.ReadFile(filepath.Join(node, "loop/backing_file")); err == nil {
		return p.descend(ctx, strings.TrimSpace(string(file)), found, depth+1)
	}
	if _, err := os.Stat(filepath.Join(node, "partition")); err == nil {
		return p.node(ctx, filepath.Dir(node), found, depth+1)
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
		if err := p.node(ctx, below, found, depth+1); err != nil {
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
