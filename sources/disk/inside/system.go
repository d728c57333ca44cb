package inside

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"saoluu/internal/fault"
)

// A System is the operating system on a disk.
type System struct {
	Root    Volume
	Release string // name and version, as os-release has them
	Fstab   string // its text; empty: there is none
	Mounts  []Mount
}

// A Mount is a line of the fstab that mounts a file system of a disk.
type Mount struct {
	At     string
	What   string  // as the fstab names it
	Volume *Volume // nil: none of this disk that can be read
}

// candidates are where a volume may have the root of a system.
func (v Volume) candidates(ctx context.Context) ([]Volume, error) {
	all := []Volume{v}
	if v.Type != "btrfs" {
		return all, nil
	}
	names, err := v.List(ctx, "/")
	slices.Sort(names)
	for _, name := range names {
		all = append(all, v.In(name))
	}
	// Where systems that roll back to snapshots begin (snapper).
	return append(all, v.In("@/.snapshots/1/snapshot")), err
}

// System looks for the operating system: the first volume with an os-release, but rather
// one whose own fstab mounts it as the root. It is nil when there is none; the
// error then says which volumes could not be read.
func (d *Disk) System(ctx context.Context) (*System, error) {
	volumes, unread, err := d.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	var best *System
	problems := errors.Join(unread...)
	for _, v := range volumes {
		if v.Type == "vfat" || v.Type == "ntfs" {
			continue
		}
		found, err := d.systemOn(ctx, v, volumes)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		problems = errors.Join(problems, err)
		if found != nil && found.rooted() {
			return found, nil
		}
		if best == nil {
			best = found
		}
	}
	if best != nil {
		return best, nil
	}
	return nil, problems
}

// systemOn looks at one volume and its subvolumes.
func (d *Disk) systemOn(ctx context.Context, v Volume, volumes []Volume) (*System, error) {
	candidates, err := v.candidates(ctx)
	if err != nil {
		return nil, err
	}
	var best *System
	for _, c := range candidates {
		s, err := d.systemAt(ctx, c, volumes)
		if err != nil {
			return nil, err
		}
		if s != nil && s.rooted() {
			return s, nil
		}
		if best == nil {
			best = s
		}
	}
	return best, nil
}

func (d *Disk) systemAt(ctx context.Context, root Volume, volumes []Volume) (*System, error) {
	for _, name := range []string{"/usr/lib/os-release", "/etc/os-release"} {
		text, err := root.text(ctx, name)
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		s := &System{Root: root, Release: releaseOf(text)}
		if s.Fstab, err = root.text(ctx, "/etc/fstab"); err != nil {
			return nil, err
		}
		s.Mounts = mountsOf(s.Fstab, volumes)
		return s, nil
	}
	return nil, nil
}

// rooted reports whether the fstab mounts the volume that it lies on as the root.
func (s *System) rooted() bool {
	n := slices.IndexFunc(s.Mounts, func(m Mount) bool { return m.At == "/" })
	if n < 0 || s.Mounts[n].Volume == nil {
		return false
	}
	v := *s.Mounts[n].Volume
	return v.same(s.Root) && (v.Sub == s.Root.Sub || v.Sub == "")
}

// releaseOf is the name and version in an os-release (os-release(5)).
func releaseOf(text string) string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[key] = strings.Trim(value, `"'`)
		}
	}
	return strings.TrimSpace(fields["ID"] + " " + fields["VERSION_ID"])
}

// withoutDisk are file systems of an fstab that lie on no disk.
var withoutDisk = []string{"swap", "tmpfs", "proc", "sysfs", "devpts", "none"}

// mountsOf reads an fstab (fstab(5)).
func mountsOf(text string, volumes []Volume) []Mount {
	var all []Mount
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || slices.Contains(withoutDisk, fields[2]) || !path.IsAbs(fields[1]) {
			continue
		}
		m := Mount{At: path.Clean(unescape(fields[1])), What: fields[0]}
		if n := slices.IndexFunc(volumes, func(v Volume) bool { return v.called(fields[0]) }); n >= 0 {
			v := volumes[n].In(subvolume(fields))
			m.Volume = &v
		}
		all = append(all, m)
	}
	return all
}

// unescape takes back how an fstab writes a space.
func unescape(text string) string { return strings.ReplaceAll(text, `\040`, " ") }

// subvolume is the path that the options of an fstab line name.
func subvolume(fields []string) string {
	if len(fields) < 4 {
		return ""
	}
	for option := range strings.SplitSeq(fields[3], ",") {
		if sub, ok := strings.CutPrefix(option, "subvol="); ok {
			return sub
		}
	}
	return ""
}

// called reports whether an fstab means this volume by what it names.
func (v Volume) called(what string) bool {
	key, id, _ := strings.Cut(what, "=")
	id = strings.Trim(id, `"`)
	switch {
	case id == "":
	case key == "UUID":
		return strings.EqualFold(v.UUID, id)
	case key == "PARTUUID":
		return strings.EqualFold(v.ID, id)
	}
	if v.LVM == "" {
		return false
	}
	if name, ok := strings.CutPrefix(what, "/dev/mapper/"); ok {
		return name == v.LVM
	}
	group, name, two := strings.Cut(strings.TrimPrefix(what, "/dev/"), "/")
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return two && double(group)+"-"+double(name) == v.LVM
}

// Lost counts the file systems and swaps that the fstab names by what is written in
// them, and those of them that are not on the disk.
func (d *Disk) Lost(ctx context.Context, s *System) (named, lost int, err error) {
	volumes, _, err := d.Volumes(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, p := range d.Table.Partitions { // which need not be readable
		volumes = append(volumes[:len(volumes):len(volumes)], Volume{UUID: p.System.UUID, ID: p.ID})
	}
	for line := range strings.Lines(s.Fstab) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], "UUID=") && !strings.HasPrefix(fields[0], "PARTUUID=") {
			continue
		}
		named++
		if !slices.ContainsFunc(volumes, func(v Volume) bool { return v.called(fields[0]) }) {
			lost++
		}
	}
	return named, lost, nil
}

// Locate finds a file as the system on the disk would, or else on a volume that the system
// does not mount. With a File of no kind it is certain that nothing is there.
func (d *Disk) Locate(ctx context.Context, s *System, name string) (Volume, File, error) {
	volumes, unread, err := d.Volumes(ctx)
	if err != nil {
		return Volume{}, File{}, err
	}
	certain := len(unread) == 0
	if s != nil {
		v, f, err := s.find(ctx, name)
		if f.Kind != "" {
			return v, f, nil
		}
		if err != nil {
			return v, f, err
		}
		certain = true
	}
	for _, v := range volumes {
		if s != nil && s.has(v) {
			continue // a file there that another mount hides is not there
		}
		f, err := v.Find(ctx, name)
		if err == nil && f.Kind != "" {
			return v, f, nil
		}
		if s == nil && err != nil {
			unread, certain = append(unread, err), false
		}
	}
	if !certain {
		err := errors.Join(unread...)
		return Volume{}, File{}, fault.New(fault.KindOf(unread[0]), "look for a restored file", err, fault.HintOf(unread[0]))
	}
	return Volume{}, File{}, nil
}

// find follows a name over the file systems that the fstab mounts.
func (s *System) find(ctx context.Context, name string) (Volume, File, error) {
	for range maxLinks {
		m := s.covering(name)
		if m.Volume == nil {
			return Volume{}, File{}, fault.New(fault.Unknown, "look for a restored file", errors.New("it lies on "+m.What+", which is not on this disk or cannot be read"),
				"test by boot whether the disk is whole, or back the file up by a job of type files too")
		}
		below := path.Join("/", strings.TrimPrefix(path.Clean(name), m.At))
		f, err := m.Volume.Find(ctx, below)
		if err != nil || f.Kind != "" || f.Path == below {
			return *m.Volume, f, err
		}
		name = f.Path // a link, which may lead over to another volume
		if !f.Away {
			name = path.Join(m.At, name)
		}
	}
	return Volume{}, File{}, nil
}

// has reports whether a volume is the root or mounted.
func (s *System) has(v Volume) bool {
	return v.same(s.Root) || slices.ContainsFunc(s.Mounts, func(m Mount) bool { return m.Volume != nil && m.Volume.same(v) })
}

// covering is the mount that has a path.
func (s *System) covering(name string) Mount {
	best := Mount{At: "/", What: s.Root.Name, Volume: &s.Root}
	for _, m := range s.Mounts {
		if m.At != "/" && len(m.At) > len(best.At) && strings.HasPrefix(name+"/", m.At+"/") {
			best = m
		}
	}
	return best
}
