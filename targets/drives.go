package targets

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A Drive is a block device of this machine with a file system on it.
type Drive struct {
	Device     string   // for example /dev/sdb1
	Filesystem string   // UUID of the file system
	Format     string   // kind of file system; empty when it is not known
	Bytes      int64    // size of the device
	Model      string   // of the disk, when it says so
	Serial     string   // of the disk, when it says so
	External   bool     // the kernel calls the disk removable, or it hangs on a USB port
	Mounts     []string // where it is mounted
}

// String shows what a person would know the drive by.
func (d Drive) String() string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", d.Device, d.Model, d.Serial)), " ")
}

// byUUID is where udev keeps a link to each file system under its UUID.
const byUUID = "/dev/disk/by-uuid"

// Drives lists the file systems on block devices of this machine, mounted or not,
// but for the one it runs from.
func Drives(ctx context.Context) ([]Drive, error) {
	devices, err := partitions("/proc/partitions")
	if err != nil {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	// What the system runs from is no medium, and may be closed even to root.
	devices = slices.DeleteFunc(devices, func(dev partition) bool {
		return slices.ContainsFunc(mounts, func(m *mountinfo.Info) bool { return m.Mountpoint == "/" && dev.holds(m) })
	})
	found, err := identities(ctx, devices)
	if err != nil {
		return nil, err
	}
	var drives []Drive
	for _, dev := range devices {
		id, has := found[dev.path]
		if !has {
			continue
		}
		d := Drive{Device: dev.path, Filesystem: id.uuid, Format: id.format, Bytes: dev.bytes}
		for _, m := range mounts {
			if dev.holds(m) {
				d.Mounts = append(d.Mounts, m.Mountpoint)
				d.Format = m.FSType
			}
		}
		d.Model, d.Serial, d.External = describe("/sys", dev)
		drives = append(drives, d)
	}
	return drives, nil
}

// DrivesChanged returns a text that differs when a drive came or went, or was
// mounted or unmounted. It is cheap: the kernel is asked, no device is read.
func DrivesChanged() (string, error) {
	devices, err := os.ReadFile("/proc/partitions")
	if err != nil {
		return "", fmt.Errorf("list block devices: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("read the mount table: %w", err)
	}
	return string(devices) + string(mounts), nil
}

// A partition is a block device as the kernel lists it.
type partition struct {
	path         string
	major, minor int
	bytes        int64
}

// holds reports whether a mount is of this device. Some file systems have a device
// number of their own, and name the device as their source.
func (p partition) holds(m *mountinfo.Info) bool {
	return m.Source == p.path || m.Major == p.major && m.Minor == p.minor
}

// partitions reads the kernel's list of block devices: major, minor, size in KiB,
// name (proc_partitions(5)). Those without a medium have no size.
func partitions(file string) ([]partition, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	var all []partition
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 4 || f[0] == "major" {
			continue
		}
		major, err1 := strconv.Atoi(f[0])
		minor, err2 := strconv.Atoi(f[1])
		size, err3 := strconv.ParseInt(f[2], 10, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("list block devices: %w", err)
		}
		if size > 0 {
			all = append(all, partition{filepath.Join("/dev", f[3]), major, minor, size << 10})
		}
	}
	return all, nil
}

type identity struct{ uuid, format string }

// identities finds the file systems' UUIDs: udev's when it runs, for it needs no
// permission; else what blkid reads from the devices, as root.
func identities(ctx context.Context, devices []partition) (map[string]identity, error) {
	links, err := os.ReadDir(byUUID)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(links) == 0 {
		return probeDevices(ctx, devices)
	}
	if err != nil {
		return nil, fmt.Errorf("list file systems: %w", err)
	}
	found := map[string]identity{}
	for _, link := range links {
		if device, err := filepath.EvalSymlinks(filepath.Join(byUUID, link.Name())); err == nil {
			found[device] = identity{uuid: link.Name()}
		}
	}
	return found, nil
}

// probeDevices asks blkid, by low-level probing (blkid(8), -p). A device that cannot
// be read is passed over while others can.
func probeDevices(ctx context.Context, devices []partition) (map[string]identity, error) {
	program, err := command.LookPath("blkid", "/usr/sbin", "/sbin")
	if err != nil {
		return nil, fault.New(fault.MissingTool, "look for media", err, "install the package util-linux")
	}
	found, read := map[string]identity{}, 0
	var failed error
	for _, d := range devices {
		out, err := command.Output(ctx, command.Cmd{Argv: []string{program, "-p", "-o", "export", d.path}}, maxSmall)
		var exit *command.ExitError
		switch {
		case errors.As(err, &exit) && exit.Code == 2 && exit.Stderr == "": // it holds nothing that blkid knows
			read++
		case err != nil:
			failed = err
		default:
			read++
			if id := parseExport(out); id.uuid != "" {
				found[d.path] = id
			}
		}
	}
	if read == 0 && failed != nil {
		return nil, fault.New(fault.Unknown, "look for media", failed, "run as root, or on a system with udev")
	}
	return found, ctx.Err()
}

// parseExport reads blkid's export format, KEY=value lines, of one device.
func parseExport(out []byte) identity {
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if key, value, is := strings.Cut(strings.TrimSpace(line), "="); is {
			values[key] = value
		}
	}
	if values["USAGE"] != "filesystem" {
		return identity{}
	}
	return identity{values["UUID"], values["TYPE"]}
}

// describe reads what sysfs says of the disk below a device (kernel documentation,
// ABI/stable/sysfs-block).
func describe(sys string, dev partition) (model, serial string, external bool) {
	node, err := filepath.EvalSymlinks(filepath.Join(sys, fmt.Sprintf("dev/block/%d:%d", dev.major, dev.minor)))
	if err != nil {
		return "", "", false
	}
	if _, err := os.Stat(filepath.Join(node, "partition")); err == nil {
		node = filepath.Dir(node)
	}
	word := func(name string) string {
		text, err := os.ReadFile(filepath.Join(node, name))
		if err != nil {
			return ""
		}
		return strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "?")), " ")
	}
	external = word("removable") == "1" || slices.ContainsFunc(strings.Split(node, "/"), func(s string) bool {
		return strings.HasPrefix(s, "usb") && len(s) > len("usb") && s[3] >= '0' && s[3] <= '9'
	})
	return word("device/model"), word("device/serial"), external
}
