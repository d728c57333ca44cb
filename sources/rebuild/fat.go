package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// An esp is a FAT file system whose files stand in a folder meanwhile.
type esp struct {
	at     string // in the system
	folder string
	device *os.File
	uefi   bool // it is an EFI system partition
	modes  modes
}

// modes are those that Linux shows of files in FAT (mount(8), "Mount options for fat").
type modes struct {
	file, folder os.FileMode
	uid, gid     int
}

// modesOf reads mount options. Without any, as root mounts it, all may read.
func modesOf(options string) modes {
	m := modes{file: 0o755, folder: 0o755}
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		mask, err := strconv.ParseUint(value, 8, 9)
		if id, err := strconv.ParseUint(value, 10, 31); err == nil && key == "uid" {
			m.uid = int(id)
		} else if err == nil && key == "gid" {
			m.gid = int(id)
		}
		if err != nil {
			continue
		}
		if key == "umask" || key == "fmask" {
			m.file = 0o777 &^ os.FileMode(mask)
		}
		if key == "umask" || key == "dmask" {
			m.folder = 0o777 &^ os.FileMode(mask)
		}
	}
	return m
}

// typesESP are the types of an EFI system partition, of a GPT and of a DOS table.
var typesESP = map[string]bool{"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": true, "ef": true}

// standIn shows a folder where FAT is mounted in the system.
func (d *Disk) standIn(s seat, device *os.File) error {
	f := &d.layout.FileSystems[s.n]
	p, err := place(d.layout, f)
	if err != nil {
		return err
	}
	e := esp{at: s.at, folder: filepath.Join(d.dir, fmt.Sprintf("fat-%d", f.Partition)), device: device, uefi: typesESP[strings.ToLower(p.Type)], modes: modesOf(f.Options)}
	if err := os.Mkdir(e.folder, 0o755); err != nil {
		return err
	}
	at := filepath.Join(d.Root, s.at)
	if err := unix.Mount(e.folder, at, "", unix.MS_BIND, ""); err != nil {
		return mountError(f, err)
	}
	d.mounts = append(d.mounts, at)
	d.esps = append(d.esps, e)
	return nil
}

// fillFAT writes what lies in the folders into the FAT file systems that they stand for.
func (d *Disk) fillFAT(ctx context.Context) error {
	for _, e := range d.esps {
		if e.uefi {
			if _, err := d.fallback(e); err != nil {
				return err
			}
		}
		entries, err := os.ReadDir(e.folder)
		if err != nil {
			return err
		}
		argv := []string{"mcopy", "-Q", "-n", "-m", "-s", "-i", e.device.Name()}
		for _, f := range entries {
			argv = append(argv, filepath.Join(e.folder, f.Name()))
		}
		if len(entries) == 0 {
			continue
		}
		if err := plain(e); err != nil {
			return err
		}
		if err := run(ctx, nil, append(argv, "::/")...); err != nil {
			return fmt.Errorf("files of %q: %w", e.at, err)
		}
	}
	return d.wholeESPs(ctx)
}

// plain refuses what FAT does not have: mcopy would follow a link to files of ours.
func plain(e esp) error {
	return filepath.WalkDir(e.folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !entry.Type().IsRegular() {
			err = fault.New(fault.Refused, op, fmt.Errorf("%q is no regular file, and cannot have been on FAT", e.at+strings.TrimPrefix(path, e.folder)), "")
		}
		return err
	})
}

// wholeESPs puts a copy of the loader where firmware looks for one on system partitions
// that were saved as they were.
func (d *Disk) wholeESPs(ctx context.Context) error {
	for n := range d.layout.FileSystems {
		f := &d.layout.FileSystems[n]
		if !whole(d.layout, f) || f.Type != typeVFAT {
			continue
		}
		device, err := d.device(n)
		if err != nil {
			return err
		}
		e := esp{at: fmt.Sprintf("partition %d", f.Partition), folder: filepath.Join(d.dir, fmt.Sprintf("efi-%d", f.Partition)), device: device, modes: modesOf("")}
		if err := os.Mkdir(e.folder, 0o700); err != nil {
			return err
		}
		if err := d.readFAT(ctx, e); err != nil {
			return err
		}
		added, err := d.fallback(e)
		if err != nil {
			return err
		}
		if !added {
			continue
		}
		boot, err := inFAT(e.folder, "EFI/BOOT")
		if err != nil {
			return err
		}
		if err := run(ctx, nil, "mcopy", "-Q", "-o", "-s", "-i", device.Name(), boot, "::/EFI/"); err != nil {
			return err
		}
	}
	return nil
}

// readFAT reads all files of a FAT file system into the folder that stands for it.
func (d *Disk) readFAT(ctx context.Context, e esp) error {
	if err := run(ctx, nil, "mcopy", "-Q", "-n", "-m", "-s", "-i", e.device.Name(), "::/", e.folder); err != nil {
		return fmt.Errorf("files of %q: %w", e.at, err)
	}
	return filepath.WalkDir(e.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := e.modes.file
		if entry.IsDir() {
			mode = e.modes.folder
		}
		return errors.Join(os.Chown(path, e.modes.uid, e.modes.gid), os.Chmod(path, mode))
	})
}

// fallbackNames are what firmware starts that knows of no system (UEFI specification,
// "Removable Media Boot Behavior"), and how loaders are called for that processor.
var fallbackNames = map[string]struct{ fallback, suffix string }{
	"x86_64":  {"BOOTX64.EFI", "x64.efi"},
	"aarch64": {"BOOTAA64.EFI", "aa64.efi"},
}

// fallback puts a copy of the loader where firmware looks that was told of none: what the
// old firmware was told is in variables of its own, which are not on the disk.
func (d *Disk) fallback(e esp) (added bool, err error) {
	names, ok := fallbackNames[d.layout.OS.Arch]
	if !ok {
		names = fallbackNames["x86_64"]
	}
	if found, err := inFAT(e.folder, path.Join("EFI", "BOOT", names.fallback)); found != "" || err != nil {
		return false, err
	}
	from, err := d.loaderFiles(e.folder, names.suffix)
	if err != nil || len(from) == 0 {
		if err == nil && d.layout.Firmware == system.FirmwareUEFI {
			d.note("no UEFI boot loader lies on the system partition at %s: the disk may not boot", e.at)
		}
		return false, err
	}
	dir, err := inFAT(e.folder, "EFI/BOOT")
	if dir == "" && err == nil {
		dir = filepath.Join(filepath.Dir(filepath.Dir(from[0])), "BOOT")
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return false, err
	}
	for i, name := range from {
		to := strings.ToLower(filepath.Base(name))
		if i == 0 {
			to = names.fallback
		}
		if err := copyFile(filepath.Join(dir, to), name); err != nil && !errors.Is(err, fs.ErrExist) {
			return false, err
		}
	}
	d.note("%s was copied to \\EFI\\BOOT\\%s, because what the firmware knew of it is not on the disk", filepath.Base(from[0]), names.fallback)
	return true, nil
}

// loaderFiles finds the loader on a system partition, and what it needs beside it. A shim
// looks for GRUB in its own folder.
func (d *Disk) loaderFiles(folder, suffix string) ([]string, error) {
	for _, name := range []string{"shim" + suffix, "systemd-boot" + suffix, "grub" + suffix} {
		found, err := filepath.Glob(filepath.Join(folder, "[Ee][Ff][Ii]", "*", "*"))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if !strings.EqualFold(filepath.Base(path), name) {
				continue
			}
			files := []string{path}
			for _, beside := range []string{"grub" + suffix, "mm" + suffix} {
				other, err := inFAT(filepath.Dir(path), beside)
				if err != nil {
					return nil, err
				}
				if strings.HasPrefix(name, "shim") && other != "" {
					files = append(files, other)
				}
			}
			return files, nil
		}
	}
	return nil, nil
}

// inFAT finds a name below a folder as FAT would, where capitals do not matter; "" when it
// is not there.
func inFAT(folder, name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		entries, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		found := ""
		for _, e := range entries {
			if strings.EqualFold(e.Name(), part) {
				found = e.Name()
			}
		}
		if found == "" {
			return "", nil
		}
		folder = filepath.Join(folder, found)
	}
	return folder, nil
}

func copyFile(to, from string) error {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
