package targets

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
	"time"

	"github.com/gofrs/flock"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// Removable is a folder on a medium of the register: a disk that is plugged in now
// and then. It is told by the UUID of its file system and by the signed header on
// it; both must be those of the register.
type Removable struct {
	Local             // the folder on the medium; its Path lies below Mount, where the header is
	Medium     string // name in the register
	MediumID   string // from the register; empty: not registered
	Filesystem string // UUID, from the register
	Label      string // that the medium must bear
	Secrecy    string // that the medium must be meant for
	Mount      string // where it is mounted
	Managed    bool   // mounted and unmounted by us
	Verifier   string // key of the header's signature (sumdb/note)
	LockFile   string // one process at a time mounts or unmounts
	Away       string // where it was last said to be, for people
	Withdrawn  string // why it must not be used any more; empty: it may be
}

var (
	_ Target   = (*Removable)(nil)
	_ Enroller = (*Removable)(nil)
	_ Measurer = (*Removable)(nil)
	_ Finder   = (*Removable)(nil)
	_ Keeper   = (*Removable)(nil)
)

// formats are the file systems that are mounted: those that survive a pulled plug.
var formats = []string{"ext4", "ext3", "xfs", "btrfs"}

// Ready plugs the medium in as far as software can: it is looked for, mounted, and
// its header compared with the register. Then the folder on it is looked at.
func (m *Removable) Ready(ctx context.Context) error {
	if err := m.plugIn(ctx); err != nil {
		return err
	}
	return m.present(ctx, m.Local.Ready(ctx))
}

// present tells what is missing on a medium that is plugged in from a medium that is
// away: one that was wiped does not come back by itself.
func (m *Removable) present(ctx context.Context, err error) error {
	if fault.KindOf(err) != fault.Absent {
		return err
	}
	if _, away := m.find(ctx); away != nil {
		return away
	}
	return fault.New(fault.Damaged, m.op(), fmt.Errorf("medium %q is plugged in, and what lies on it is not all there: %v", m.Medium, err),
		"see what became of it; if it was wiped or is broken, withdraw it with \"saoluu medium stage\"")
}

// Enroll makes the folder and marks it as the site's target.
func (m *Removable) Enroll(ctx context.Context) (string, error) {
	if err := m.plugIn(ctx); err != nil {
		return "", err
	}
	return m.Local.Enroll(ctx)
}

// Separation compares the medium, while it is plugged in, with the places a
// source's data lie in. What fails together with it is itself alone.
func (m *Removable) Separation(ctx context.Context, locations []string) (Separation, error) {
	s, err := m.Local.Separation(ctx, locations)
	s.Domain = "medium " + m.Medium
	return s, err
}

func (m *Removable) op() string { return fmt.Sprintf("target %q", m.Name) }

// plugIn mounts the medium unless it is mounted, and checks whose it is.
func (m *Removable) plugIn(ctx context.Context) error {
	if m.Withdrawn != "" {
		return fault.New(fault.Refused, m.op(), fmt.Errorf("medium %q is not used any more: %s", m.Medium, m.Withdrawn), "give another medium a target of its own")
	}
	if m.MediumID == "" {
		return fault.New(fault.Absent, m.op(), fmt.Errorf("medium %q is not in the register", m.Medium),
			fmt.Sprintf("plug it in and run \"saoluu medium add %s --device DEVICE\"", m.Medium))
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	drive, err := m.find(ctx)
	if err != nil {
		return err
	}
	if err := m.mount(ctx, drive); err != nil {
		return err
	}
	return m.present(ctx, m.identify(ctx))
}

// lockPoll is how often a lock that another process holds is tried again.
const lockPoll = 50 * time.Millisecond

// lock keeps other processes from mounting and unmounting the medium.
func (m *Removable) lock(ctx context.Context) (unlock func(), err error) {
	lock := flock.New(m.LockFile)
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return nil, fault.New(fault.Failed, m.op(), err, "check paths.state")
	}
	return func() { _ = lock.Unlock() }, nil // it holds nothing that could be lost
}

// find returns the drive with the medium's file system.
func (m *Removable) find(ctx context.Context) (Drive, error) {
	drives, err := Drives(ctx)
	if err != nil {
		return Drive{}, err
	}
	drives = slices.DeleteFunc(drives, func(d Drive) bool { return d.Filesystem != m.Filesystem })
	switch len(drives) {
	case 1:
		return drives[0], nil
	case 0:
		if m.Managed {
			m.sweep()
		}
		return Drive{}, fault.New(fault.Absent, m.op(), fmt.Errorf("medium %q is not plugged in", m.Medium), cmp.Or(m.Away, "plug it in"))
	}
	return Drive{}, fault.New(fault.WrongTarget, m.op(), fmt.Errorf("%s and %s both have the file system of medium %q", drives[0].Device, drives[1].Device, m.Medium),
		"unplug the copy; a clone of a medium is not that medium")
}

// sweep takes away the mount of a drive that was pulled out: what is written there
// would be lost. Its mount point goes too: where it is missing, nothing can be written
// to the disk that holds it.
func (m *Removable) sweep() {
	if mounted, err := mountinfo.Mounted(m.Mount); err == nil && mounted {
		_ = unix.Unmount(m.Mount, unix.MNT_DETACH) // what cannot be taken away is no longer used either
	}
	_ = os.Remove(m.Mount) // fails while something is mounted there or lies in it
}

// mount makes the drive's file system appear at Mount.
func (m *Removable) mount(ctx context.Context, drive Drive) error {
	if slices.Contains(drive.Mounts, m.Mount) {
		return nil
	}
	if !m.Managed {
		return m.awaitMount(ctx, drive)
	}
	if !slices.Contains(formats, drive.Format) {
		return fault.New(fault.Refused, m.op(), fmt.Errorf("%s has file system %q, which does not survive a pulled plug", drive.Device, drive.Format),
			"use one of: "+strings.Join(formats, ", "))
	}
	m.sweep()
	if err := os.MkdirAll(m.Mount, 0o700); err != nil {
		return fault.New(fault.Failed, m.op(), err, "check paths.state")
	}
	// A link on the medium could lead what is written and deleted there to any place.
	err := unix.Mount(drive.Device, m.Mount, drive.Format, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME|unix.MS_NOSYMFOLLOW, "")
	if err != nil {
		_ = os.Remove(m.Mount)
	}
	switch {
	case errors.Is(err, unix.EACCES) && os.Geteuid() == 0, errors.Is(err, unix.EROFS): // mount(2)
		return fault.New(fault.Denied, m.op(), fmt.Errorf("%s can only be read: %w", drive.Device, err), "take the write protection off the medium; a disk that has put it on itself is worn out")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fault.New(fault.Denied, m.op(), fmt.Errorf("%s may not be mounted by this user", drive.Device),
			"let the system mount it and say where in \"mount\": docs/how-to/removable.md shows how")
	case err != nil:
		return fault.New(fault.Damaged, m.op(), fmt.Errorf("mount %s: %w", drive.Device, err), "check the disk's file system with fsck")
	}
	return nil
}

// awaitMount touches the place where the system mounts the medium, which sets off
// an automount, and looks whether the medium is there.
func (m *Removable) awaitMount(ctx context.Context, drive Drive) error {
	_, touched := os.ReadDir(m.Mount)
	again, err := m.find(ctx)
	if err != nil || slices.Contains(again.Mounts, m.Mount) {
		return err
	}
	return fault.New(fault.Failed, m.op(), fmt.Errorf("medium %q is plugged in as %s and not mounted at %s", m.Medium, drive.Device, m.Mount),
		fault.HintOf(folder{m.Name, m.Mount}.classed(touched))+"mount it there")
}

// identify compares the header on the medium with the register and with what the
// target wants.
func (m *Removable) identify(ctx context.Context) error {
	signed, err := folder{m.Name, m.Mount}.read(ctx, HeaderName)
	if errors.Is(err, fs.ErrNotExist) {
		return m.wrong(errors.New("it bears no header of saoluu"))
	}
	if err != nil {
		return err
	}
	header, err := OpenHeader(signed, m.Verifier)
	switch {
	case err != nil:
		return fault.New(fault.WrongTarget, m.op(), err, fault.HintOf(err))
	case header.Secrecy != m.Secrecy:
		return m.wrong(fmt.Errorf("it is meant for secrecy %q, and the target for %q", header.Secrecy, m.Secrecy))
	case header.Medium != m.Medium || header.ID != m.MediumID || header.Site != m.Site || header.Filesystem != m.Filesystem:
		return m.wrong(fmt.Errorf("its header is that of medium %q of site %q", header.Medium, header.Site))
	case header.Label != m.Label:
		return m.wrong(fmt.Errorf("it bears label %q, and the target wants %q", header.Label, m.Label))
	}
	return nil
}

func (m *Removable) wrong(err error) error {
	return fault.New(fault.WrongTarget, m.op(), fmt.Errorf("the disk with the file system of medium %q is refused: %w", m.Medium, err),
		"keep the disk aside and find out where it comes from")
}

// Register writes a header to an empty file system and returns it with the drive.
// A drive that bears the medium's header of this site already keeps it: a
// registration that was cut off is taken up.
func (m *Removable) Register(ctx context.Context, device string, header MediumHeader, signer note.Signer) (MediumHeader, Drive, error) {
	unlock, err := m.lock(ctx)
	if err != nil {
		return header, Drive{}, err
	}
	defer unlock()
	drive, err := m.offered(ctx, device)
	if err != nil {
		return header, drive, err
	}
	m.Filesystem, header.Filesystem = drive.Filesystem, drive.Filesystem
	if err := m.mount(ctx, drive); err != nil {
		return header, drive, err
	}
	if there, err := m.taken(ctx, header); err != nil || there.ID != "" {
		return there, drive, err
	}
	signed, err := header.Sign(signer)
	if err != nil {
		return header, drive, err
	}
	return header, drive, folder{m.Name, m.Mount}.create(ctx, HeaderName, signed)
}

// offered returns the drive that was named, if it may become a medium.
func (m *Removable) offered(ctx context.Context, device string) (Drive, error) {
	op := fmt.Sprintf("register medium %q", m.Medium)
	real, err := filepath.EvalSymlinks(device)
	if err != nil {
		return Drive{}, fault.New(fault.Usage, op, err, "name the device of the disk, such as /dev/sdb1")
	}
	drives, err := Drives(ctx)
	if err != nil {
		return Drive{}, err
	}
	i := slices.IndexFunc(drives, func(d Drive) bool { return d.Device == real })
	if i < 0 {
		return Drive{}, fault.New(fault.Refused, op, fmt.Errorf("%s has no file system with a UUID", device),
			fmt.Sprintf("if nothing on it is needed any more, run \"mkfs.ext4 %s\"", device))
	}
	for j, d := range drives {
		if j != i && d.Filesystem == drives[i].Filesystem {
			return drives[i], fault.New(fault.Refused, op, fmt.Errorf("%s and %s have the same file system UUID", d.Device, real), "give one of them another (tune2fs -U random)")
		}
	}
	for _, at := range drives[i].Mounts {
		if at != m.Mount {
			return drives[i], fault.New(fault.Refused, op, fmt.Errorf("%s is mounted at %s", real, at), fmt.Sprintf("unmount it there, or say in \"mount\" that it is %q", at))
		}
	}
	return drives[i], nil
}

// taken returns the header that is on the drive when it is the same medium's. A
// drive with anything else on it is refused.
func (m *Removable) taken(ctx context.Context, wanted MediumHeader) (MediumHeader, error) {
	op := fmt.Sprintf("register medium %q", m.Medium)
	signed, err := folder{m.Name, m.Mount}.read(ctx, HeaderName)
	if err == nil {
		there, err := OpenHeader(signed, m.Verifier)
		if err != nil {
			return there, fault.New(fault.Refused, op, err, fault.HintOf(err))
		}
		if wanted.ID, wanted.Registered = there.ID, there.Registered; there != wanted {
			return MediumHeader{}, fault.New(fault.Refused, op, fmt.Errorf("it already is medium %q with label %q, secrecy %q", there.Medium, there.Label, there.Secrecy),
				"sanitise it first, or register it under its own name")
		}
		return there, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return MediumHeader{}, err
	}
	if strange, err := (folder{m.Name, m.Mount}).strange(ctx); err != nil || strange {
		return MediumHeader{}, errors.Join(err, fault.New(fault.Refused, op, errors.New("there is something on the disk already"),
			"a medium begins empty: make a new file system on it if nothing on it is needed any more"))
	}
	return MediumHeader{}, nil
}

// Eject writes what is in memory to the medium and unmounts it, when we mounted it
// and nobody uses it. busy reports whether work is under way that may use it: it is
// asked while nobody can plug the medium in. Eject returns where the medium is still
// mounted; nothing when it is safe to remove. One that is not there is Absent.
func (m *Removable) Eject(ctx context.Context, busy func() (bool, error)) (still []string, err error) {
	unlock, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	switch at, err := busy(); {
	case err != nil:
		return nil, err
	case at:
		return nil, m.inUse(errors.New("a run, test, restore or upkeep is under way"))
	}
	drive, err := m.find(ctx)
	if err != nil {
		return nil, err
	}
	if slices.Contains(drive.Mounts, m.Mount) {
		if err := syncMount(m.Mount); err != nil {
			return drive.Mounts, fault.New(fault.Damaged, m.op(), fmt.Errorf("write to medium %q: %w", m.Medium, err), "do not rely on what was written last")
		}
		if m.Managed {
			if err := unix.Unmount(m.Mount, 0); err != nil {
				return drive.Mounts, m.inUse(err)
			}
			_ = os.Remove(m.Mount) // as sweep does
			drive.Mounts = slices.DeleteFunc(drive.Mounts, func(at string) bool { return at == m.Mount })
		}
	}
	return drive.Mounts, nil
}

func (m *Removable) inUse(err error) error {
	return fault.New(fault.Locked, m.op(), fmt.Errorf("unmount medium %q: %w", m.Medium, err), "close what uses it, then run \"saoluu medium eject "+m.Medium+"\"")
}

// syncMount flushes a whole file system (syncfs(2)).
func syncMount(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(dir.Fd()))
	return errors.Join(err, dir.Close())
}
