package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// A System is one that was looked at: what of its disk is mounted where.
type System struct {
	Root   string // where its root is mounted on this machine
	Mounts []Mount
	Layout Layout

	disk    *os.File // to be read as bytes
	places  []place  // of Mounts
	table   []*mountinfo.Info
	covered []Uncovered
	btrfs   map[string]*btrfsState
}

// A btrfsState is what is known of one btrfs, by its device.
type btrfsState struct {
	volumes map[string]Subvolume
	lines   map[uint64]lineage
	frozen  map[uint64]bool
}

// Look finds out what is mounted below root, and which disk it lies on. It changes
// nothing. The error is fault.Refused for what is no system, or one whose disk could not
// be rebuilt, fault.Denied and fault.MissingTool as their words say. Close the result.
func Look(ctx context.Context, root string) (*System, error) {
	if err := permitted(root); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, fault.New(fault.Absent, fmt.Sprintf("system %q", root), err, "mount it, or correct the path in the job")
	}
	root = real
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fault.New(fault.Unknown, fmt.Sprintf("system %q", root), err, "")
	}
	return look(ctx, root, table)
}

// look is Look, by the mounts of a table.
func look(ctx context.Context, root string, table []*mountinfo.Info) (_ *System, err error) {
	s := &System{Root: root, table: table, btrfs: map[string]*btrfsState{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	all, beside, covered, err := mounts(root, table)
	if err != nil {
		return nil, err
	}
	s.Layout, s.covered = Layout{Root: root, Uncovered: append(beside, covered...)}, covered
	if all, err = chosen(ctx, all, s.isVolume); err != nil {
		return nil, err
	}
	if err := s.sameDisk(ctx, all); err != nil {
		return nil, err
	}
	return s, s.readDisk()
}

// Close lets go of the disk.
func (s *System) Close() error {
	if s.disk == nil {
		return nil
	}
	err := s.disk.Close()
	s.disk = nil
	return err
}

// permitted fails when this process may not do what saving a system needs.
func permitted(root string) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fault.New(fault.Unknown, fmt.Sprintf("system %q", root), err, "")
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_DAC_READ_SEARCH
	override := data[0].Effective&(1<<unix.CAP_DAC_OVERRIDE) != 0 && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
	if data[0].Effective&need != need && !override {
		return fault.New(fault.Denied, fmt.Sprintf("system %q", root), errors.New("only root can read all of a system and freeze it"),
			"run saoluu as root, or give its service CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH (docs/how-to/images.md)")
	}
	return nil
}

// isVolume reports whether what is mounted is a subvolume, not a folder of one.
func (s *System) isVolume(ctx context.Context, m Mount) (bool, error) {
	state, err := s.volumes(ctx, m)
	if err != nil {
		return false, err
	}
	_, is := state.volumes[strings.Trim(m.Inside, "/")]
	return is, nil
}

func (s *System) volumes(ctx context.Context, m Mount) (*btrfsState, error) {
	if known := s.btrfs[m.Source]; known != nil {
		return known, nil
	}
	volumes, lines, err := btrfsVolumes(ctx, m.Path)
	if err != nil {
		return nil, err
	}
	frozen, err := frozenVolumes(ctx, m.Path)
	if err != nil {
		return nil, err
	}
	s.btrfs[m.Source] = &btrfsState{volumes, lines, frozen}
	return s.btrfs[m.Source], nil
}

// sameDisk keeps the mounts that lie on the disk of the root, and names the others.
func (s *System) sameDisk(ctx context.Context, all []Mount) error {
	root, err := all[0].place(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		p, err := m.place(ctx)
		if m.At != "/" && (err != nil && fault.KindOf(err) == fault.Refused || err == nil && p.disk != root.disk) {
			s.Layout.Uncovered = append(s.Layout.Uncovered, Uncovered{m.At, cmp.Or(errorText(err), "it lies on another disk: "+p.disk)})
			continue
		}
		if err != nil {
			return err
		}
		s.Mounts, s.places = append(s.Mounts, m), append(s.places, p)
	}
	return nil
}

// place finds where a mount lies.
func (m *Mount) place(ctx context.Context) (_ place, err error) {
	if m.Type == TypeZFS {
		if m.Device, err = zfsDevice(ctx, m.Source); err != nil {
			return place{}, err
		}
	}
	return locate(ctx, m.Device)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// readDisk opens the disk and reads its table.
func (s *System) readDisk() (err error) {
	at := s.places[0].disk
	op := fmt.Sprintf("disk %q", at)
	switch s.disk, err = os.Open(at); {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.Absent, op, err, "let saoluu see the disk, or the file behind the loop device: its boot sectors are needed")
	case err != nil:
		return fault.New(fault.Denied, op, err, "let saoluu read the disk: its boot sectors are needed")
	}
	d := &s.Layout.Disk
	d.Path, d.Sector = at, 512
	if d.Size, err = s.disk.Seek(0, 2); err != nil {
		return fault.New(fault.Failed, op, err, "")
	}
	if sector, err := unix.IoctlGetInt(int(s.disk.Fd()), unix.BLKSSZGET); err == nil { // a file has none
		d.Sector = int64(sector)
	}
	if d.Table, err = disk.ReadTable(s.disk, d.Size, d.Sector); err != nil {
		return fault.New(fault.Failed, op, err, "see the kernel's log")
	}
	if d.Table.Trouble != "" {
		return fault.New(fault.Refused, op, errors.New(d.Table.Trouble), "mend its partition table with fdisk: no disk can be rebuilt by it")
	}
	for n := range s.places {
		p, err := s.places[n].partition(d.Table)
		if err != nil {
			return err
		}
		s.places[n].number = p.Number
	}
	return nil
}

// Inside returns the paths of something on this machine as the system calls it; none when
// it is not in the system. A folder that is bound elsewhere lies at its own place too.
func (s *System) Inside(path string) []string {
	if real, err := filepath.EvalSymlinks(path); err == nil { // one that is not there is named all the same
		path = real
	}
	var all []string
	if at, in := within(s.Root, path); in {
		all = append(all, at)
	}
	var under *mountinfo.Info
	for _, i := range s.table {
		if _, in := within(i.Mountpoint, path); in && (under == nil || len(i.Mountpoint) >= len(under.Mountpoint)) {
			under = i
		}
	}
	if under == nil {
		return all
	}
	rest, _ := within(under.Mountpoint, path)
	for _, m := range s.Mounts {
		if m.number != [2]int{under.Major, under.Minor} {
			continue
		}
		if deep, in := within(m.Inside, filepath.Join(under.Root, rest)); in {
			all = append(all, filepath.Join(m.At, deep))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// mountAt returns the mount at a path of the system.
func (s *System) mountAt(at string) (Mount, bool) {
	n := slices.IndexFunc(s.Mounts, func(m Mount) bool { return m.At == at })
	if n < 0 {
		return Mount{}, false
	}
	return s.Mounts[n], true
}
