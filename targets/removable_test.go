package targets_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
	"saoluu/targets/targettest"
)

// A disk is a file with a file system that can be plugged in and pulled out.
type disk struct {
	image, device string
}

func newDisk(t *testing.T, mkfs ...string) *disk {
	t.Helper()
	needRoot(t)
	d := &disk{image: filepath.Join(t.TempDir(), "disk.img")}
	must(t, os.WriteFile(d.image, nil, 0o600))
	must(t, os.Truncate(d.image, 64<<20))
	run(t, append(mkfs, d.image)...)
	t.Cleanup(func() { d.pull(t) })
	d.plug(t)
	return d
}

func (d *disk) plug(t *testing.T) {
	t.Helper()
	d.device = strings.TrimSpace(run(t, "losetup", "--find", "--show", d.image))
}

// pull takes the disk away while it may be mounted: the kernel lets its mounts go.
func (d *disk) pull(t *testing.T) {
	t.Helper()
	if d.device == "" {
		return
	}
	drives, err := targets.Drives(t.Context())
	for _, drive := range drives {
		if drive.Device == d.device {
			for _, at := range drive.Mounts {
				err = unix.Unmount(at, unix.MNT_DETACH)
			}
		}
	}
	if err != nil && t.Context().Err() == nil {
		t.Error(err)
	}
	run(t, "losetup", "--detach", d.device)
	d.device = ""
}

func siteKeys(t *testing.T) (note.Signer, string) {
	t.Helper()
	private, public, err := note.GenerateKey(nil, "saoluu/STP")
	must(t, err)
	signer, err := note.NewSigner(private)
	must(t, err)
	return signer, public
}

// removable returns a target for a medium, not registered yet.
func removable(t *testing.T, public string) *targets.Removable {
	t.Helper()
	dir := t.TempDir()
	mount := filepath.Join(dir, "media", "usb-a")
	l := local(t, filepath.Join(mount, "saoluu"))
	t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })
	return &targets.Removable{
		Local: *l, Medium: "usb-a", Label: "noi-bo", Secrecy: "none", Mount: mount, Managed: true,
		Verifier: public, LockFile: filepath.Join(dir, "lock"),
	}
}

func headerFor(m *targets.Removable) targets.MediumHeader {
	return targets.MediumHeader{
		Medium: m.Medium, ID: "0123abcd", Site: m.Site, Agency: "Sở Tư pháp", Label: m.Label, Secrecy: m.Secrecy,
		Registered: time.Date(2026, 5, 1, 2, 3, 4, 0, time.UTC),
	}
}

// registered registers a disk and returns the target as it would be made then.
func registered(t *testing.T, m *targets.Removable, d *disk, signer note.Signer) *targets.Removable {
	t.Helper()
	again := *m
	header, drive, err := again.Register(t.Context(), d.device, headerFor(m), signer)
	must(t, err)
	if drive.Device != d.device || header.Filesystem == "" {
		t.Fatalf("registered %+v on %+v", header, drive)
	}
	again.MediumID, again.Filesystem = header.ID, header.Filesystem
	return &again
}

func TestRemovable(t *testing.T) {
	needRoot(t)
	e := engine(t)
	signer, public := siteKeys(t)
	targettest.Run(t, func(t *testing.T) targettest.Fixture {
		d := newDisk(t, "mkfs.ext4", "-q")
		fresh := registered(t, removable(t, public), d, signer)
		return targettest.Fixture{
			Target: fresh,
			Enrolled: func(id string) targets.Target {
				again := *fresh
				again.ID = id
				return &again
			},
			Engine: e, Secret: "a-key-for-tests",
			Away: d.pull, Back: d.plug,
		}
	})
}

func TestMediumRefused(t *testing.T) {
	signer, public := siteKeys(t)
	stranger, _ := siteKeys(t)
	header := func(t *testing.T, m *targets.Removable, h targets.MediumHeader, signer note.Signer) {
		text, err := h.Sign(signer)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(m.Mount, targets.HeaderName), text, 0o644))
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, m *targets.Removable, d *disk)
		want   fault.Kind
		says   string
	}{
		{"nothing", func(*testing.T, *targets.Removable, *disk) {}, fault.WrongTarget, "never enrolled"},
		{"never registered", func(_ *testing.T, m *targets.Removable, _ *disk) { m.MediumID = "" }, fault.Absent, "not in the register"},
		{"not plugged in", func(t *testing.T, _ *targets.Removable, d *disk) { d.pull(t) }, fault.Absent, "not plugged in"},
		{"without its header", func(t *testing.T, m *targets.Removable, _ *disk) {
			must(t, os.Remove(filepath.Join(m.Mount, targets.HeaderName)))
		}, fault.WrongTarget, "no header"},
		{"with another site's signature", func(t *testing.T, m *targets.Removable, _ *disk) {
			h := headerFor(m)
			h.Filesystem = m.Filesystem
			header(t, m, h, stranger)
		}, fault.WrongTarget, "not one of this site"},
		{"with the header of another medium", func(t *testing.T, m *targets.Removable, _ *disk) {
			h := headerFor(m)
			h.Medium, h.Filesystem = "usb-b", m.Filesystem
			header(t, m, h, signer)
		}, fault.WrongTarget, "usb-b"},
		{"with its header from another file system", func(t *testing.T, m *targets.Removable, _ *disk) {
			h := headerFor(m)
			h.Filesystem = "somewhere-else"
			header(t, m, h, signer)
		}, fault.WrongTarget, "header"},
		{"a header that was changed by hand", func(t *testing.T, m *targets.Removable, _ *disk) {
			path := filepath.Join(m.Mount, targets.HeaderName)
			text, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, []byte(strings.Replace(string(text), "noi-bo", "cong-khai", 1)), 0o644))
		}, fault.WrongTarget, "not one of this site"},
		{"another label", func(_ *testing.T, m *targets.Removable, _ *disk) { m.Label = "cong-khai" }, fault.WrongTarget, `bears label "noi-bo"`},
		{"meant for secrets", func(_ *testing.T, m *targets.Removable, _ *disk) { m.Secrecy = "mat" }, fault.WrongTarget, `secrecy "none"`},
		{"a clone beside it", func(t *testing.T, m *targets.Removable, d *disk) {
			clone := &disk{image: filepath.Join(t.TempDir(), "clone.img")}
			run(t, "cp", d.image, clone.image)
			t.Cleanup(func() { clone.pull(t) })
			clone.plug(t)
		}, fault.WrongTarget, "both have the file system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, "mkfs.ext4", "-q")
			m := registered(t, removable(t, public), d, signer)
			c.change(t, m, d)
			err := m.Ready(t.Context())
			if c.name == "nothing" { // the marker comes with enrolling
				_, failed := m.Enroll(t.Context())
				must(t, failed)
				err = m.Ready(t.Context())
			}
			if fault.KindOf(err) != c.want || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "" {
				t.Errorf("%v (%v), hint %q", err, fault.KindOf(err), fault.HintOf(err))
			}
		})
	}
}

func TestMediumNotRegistered(t *testing.T) {
	signer, public := siteKeys(t)
	for _, c := range []struct {
		name  string
		mkfs  []string
		spoil func(t *testing.T, m *targets.Removable, d *disk) (device string)
		says  string
	}{
		{"somebody's files", []string{"mkfs.ext4", "-q", "-d", "targettest"}, nil, "something on the disk"},
		{"no journal", []string{"mkfs.ext2", "-q"}, nil, "does not survive"},
		{"no file system", []string{"true"}, nil, "no file system"},
		{"no such device", []string{"mkfs.ext4", "-q"}, func(*testing.T, *targets.Removable, *disk) string { return "/dev/none" }, "no such file"},
		{"mounted elsewhere", []string{"mkfs.ext4", "-q"}, func(t *testing.T, _ *targets.Removable, d *disk) string {
			at := t.TempDir()
			run(t, "mount", d.device, at)
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			return d.device
		}, "is mounted at"},
		{"another medium of ours", []string{"mkfs.ext4", "-q"}, func(t *testing.T, m *targets.Removable, d *disk) string {
			other := *m
			other.Medium = "usb-b"
			registered(t, &other, d, signer)
			return d.device
		}, `already is medium "usb-b"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, c.mkfs...)
			m := removable(t, public)
			device := d.device
			if c.spoil != nil {
				device = c.spoil(t, m, d)
			}
			_, _, err := m.Register(t.Context(), device, headerFor(m), signer)
			if err == nil || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "" {
				t.Errorf("%v, hint %q", err, fault.HintOf(err))
			}
		})
	}
}

// A registration that was cut off after its header was written is taken up.
func TestMediumRegisteredTwice(t *testing.T) {
	signer, public := siteKeys(t)
	d := newDisk(t, "mkfs.ext4", "-q")
	m := removable(t, public)
	first := registered(t, m, d, signer)
	h := headerFor(m)
	h.ID, h.Registered = "another", h.Registered.Add(time.Hour)
	again := *m
	header, _, err := again.Register(t.Context(), d.device, h, signer)
	if err != nil || header.ID != first.MediumID {
		t.Errorf("%+v, %v", header, err)
	}
}

func TestMediumEjected(t *testing.T) {
	signer, public := siteKeys(t)
	d := newDisk(t, "mkfs.ext4", "-q")
	m := registered(t, removable(t, public), d, signer)
	held, err := os.Open(m.Mount)
	must(t, err)
	if _, err := m.Eject(t.Context(), idle); fault.KindOf(err) != fault.Locked {
		t.Errorf("while it is used: %v", err)
	}
	must(t, held.Close())
	elsewhere := t.TempDir()
	run(t, "mount", d.device, elsewhere)
	if still, err := m.Eject(t.Context(), idle); err != nil || !slices.Equal(still, []string{elsewhere}) {
		t.Errorf("mounted elsewhere: %v, %v", still, err)
	}
	run(t, "umount", elsewhere)
	for range 2 {
		if still, err := m.Eject(t.Context(), idle); err != nil || len(still) > 0 {
			t.Errorf("safe: %v, %v", still, err)
		}
	}
	_, err = m.Enroll(t.Context())
	must(t, err)
	atWork := func() (bool, error) { return true, nil }
	if _, err := m.Eject(t.Context(), atWork); fault.KindOf(err) != fault.Locked {
		t.Errorf("while work is under way: %v", err)
	}
	d.pull(t)
	if _, err := m.Eject(t.Context(), idle); fault.KindOf(err) != fault.Absent {
		t.Errorf("gone: %v", err)
	}
}

func idle() (bool, error) { return false, nil }

// What somebody did to a medium while he had it: it is neither away nor followed.
func TestMediumTamperedWith(t *testing.T) {
	e := engine(t)
	signer, public := siteKeys(t)
	outside := t.TempDir()
	for _, c := range []struct {
		name string
		do   func(t *testing.T, m *targets.Removable)
		kind fault.Kind
	}{
		{"wiped", func(t *testing.T, m *targets.Removable) { must(t, os.RemoveAll(m.Path)) }, fault.Damaged},
		{"no marker", func(t *testing.T, m *targets.Removable) {
			must(t, os.Remove(filepath.Join(m.Path, targets.MarkerName)))
		}, fault.Damaged},
		{"header is a pipe", func(t *testing.T, m *targets.Removable) {
			must(t, os.Remove(filepath.Join(m.Mount, targets.HeaderName)))
			must(t, unix.Mkfifo(filepath.Join(m.Mount, targets.HeaderName), 0o600))
		}, fault.Damaged},
		{"header without end", func(t *testing.T, m *targets.Removable) {
			must(t, os.Truncate(filepath.Join(m.Mount, targets.HeaderName), 1<<40))
		}, fault.Damaged},
		{"folder leads elsewhere", func(t *testing.T, m *targets.Removable) {
			run(t, "cp", "-a", m.Path+"/.", outside)
			must(t, os.RemoveAll(m.Path))
			must(t, os.Symlink(outside, m.Path))
		}, fault.Damaged},
		{"write-protected", func(t *testing.T, m *targets.Removable) {
			drives, err := targets.Drives(t.Context())
			must(t, err)
			for _, d := range drives {
				if slices.Contains(d.Mounts, m.Mount) {
					must(t, unix.Unmount(m.Mount, 0))
					run(t, "blockdev", "--setro", d.Device)
					t.Cleanup(func() { run(t, "blockdev", "--setrw", d.Device) })
				}
			}
		}, fault.Denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, "mkfs.ext4", "-q")
			m := registered(t, removable(t, public), d, signer)
			var err error
			m.ID, err = m.Enroll(t.Context())
			must(t, err)
			_, err = e.Init(t.Context(), m.Repo(), restic.InitOptions{})
			must(t, err)
			must(t, m.Ready(t.Context()))
			c.do(t, m)
			if err := m.Ready(t.Context()); fault.KindOf(err) != c.kind || fault.HintOf(err) == "" {
				t.Errorf("%s: %v, hint %q", fault.KindOf(err), err, fault.HintOf(err))
			}
		})
	}
}

// A plug that is pulled leaves the mount of a device that is dead; what comes
// back is another device.
func TestMediumPulledOut(t *testing.T) {
	e := engine(t)
	signer, public := siteKeys(t)
	d := newDisk(t, "mkfs.ext4", "-q")
	m := registered(t, removable(t, public), d, signer)
	id, err := m.Enroll(t.Context())
	must(t, err)
	m.ID = id
	_, err = e.Init(t.Context(), m.Repo(), restic.InitOptions{})
	must(t, err)
	must(t, m.Ready(t.Context()))
	shutDown(t, m.Mount)
	if err := m.Ready(t.Context()); err == nil {
		t.Error("a dead file system is ready")
	}
	d.pull(t)
	if err := m.Ready(t.Context()); fault.KindOf(err) != fault.Absent {
		t.Errorf("pulled out: %v", err)
	}
	d.plug(t)
	must(t, m.Ready(t.Context()))
}

// shutDown makes a file system fail as when its disk is gone (EXT4_IOC_SHUTDOWN of
// the kernel's fs/ext4/ext4.h, without flushing its journal).
func shutDown(t *testing.T, mount string) {
	t.Helper()
	const shutdown, noLogFlush = 0x8004587d, 2
	dir, err := os.Open(mount)
	must(t, err)
	defer dir.Close()
	must(t, unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, noLogFlush))
}
