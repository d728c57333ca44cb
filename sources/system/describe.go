package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// Describe completes the layout and writes it, and the code of boot loaders, into a
// folder that is empty. What a rebuilt system would lack is among its Uncovered; the
// error of the second result says what it must not lack.
func (h *Held) Describe(ctx context.Context, dir string) (lacks error, err error) {
	l := &h.Layout
	if l.Disk.Table.Kind != "none" {
		if l.Disk.Dump, err = tool(ctx, "fdisk", "sfdisk", "--dump", "--", l.Disk.Path); err != nil {
			return nil, err
		}
	}
	if err := h.describeAll(ctx); err != nil {
		return nil, err
	}
	if err := h.keepCode(dir); err != nil {
		return nil, err
	}
	l.Firmware = h.firmware()
	l.Loaders = h.loaders(dir)
	l.SwapFiles = h.swapFiles()
	l.OS = h.os()
	lacks = h.wanted()
	text, err := l.Encode()
	if err != nil {
		return lacks, err
	}
	return lacks, os.WriteFile(filepath.Join(dir, LayoutFile), text, 0o600)
}

// wanted fails for a file system that is covered, or that the system mounts at boot and
// that is not mounted: its mount point is then an empty folder, and a backup of it would
// be called good.
func (h *Held) wanted() error {
	var problems []error
	lack := func(format string, args ...any) {
		problems = append(problems, fault.New(fault.Incomplete, fmt.Sprintf("system %q", h.Root), fmt.Errorf(format, args...), "mount it where it belongs, and nothing over it"))
	}
	for _, c := range h.covered {
		if c.What == "/tmp" || c.What == "/var/tmp" {
			continue // a service has some of its own there, and a system comes up without
		}
		lack("%q cannot be read: %s", c.What, c.Why)
	}
	for _, e := range fstab(h.text("/etc/fstab")) {
		if !strings.HasPrefix(e.at, "/") || !strings.HasPrefix(e.spec, "UUID=") && !strings.HasPrefix(e.spec, "LABEL=") && !strings.HasPrefix(e.spec, "PART") && !strings.HasPrefix(e.spec, "/dev/") {
			continue
		}
		if _, mounted := h.mountAt(e.at); mounted || slices.ContainsFunc(h.Layout.Uncovered, func(u Uncovered) bool { return u.What == e.at }) {
			continue
		}
		if slices.ContainsFunc(h.Layout.FileSystems, func(f FileSystem) bool { return f.Mount == e.at && h.keptWhole(f.Partition) }) {
			continue
		}
		h.Layout.Uncovered = append(h.Layout.Uncovered, Uncovered{e.at, e.spec + " of its fstab is not mounted"})
		if !e.optional() {
			lack("%q is in its fstab and not mounted", e.at)
		}
	}
	return errors.Join(problems...)
}

// keptWhole reports whether a partition was saved as it is.
func (h *Held) keptWhole(number int) bool {
	return slices.ContainsFunc(h.Layout.Code, func(c Code) bool { return c.What == CodeESP && c.Partition == number })
}

// swapFiles are files that the system swaps to: by its fstab, and where it is this
// machine's own by what it does now. One that does not look like swap is a file like any
// other, whatever fstab calls it: it would be in no backup.
func (h *Held) swapFiles() []SwapFile {
	var paths []string
	for _, e := range fstab(h.text("/etc/fstab")) {
		if e.kind == typeSwap && strings.HasPrefix(e.spec, "/") && !strings.HasPrefix(e.spec, "/dev/") {
			paths = append(paths, filepath.Clean(e.spec))
		}
	}
	if text, err := os.ReadFile("/proc/swaps"); err == nil {
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "file" {
				paths = append(paths, h.Inside(strings.ReplaceAll(fields[0], `\040`, " "))...)
			}
		}
	}
	var all []SwapFile
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		if size, is := h.swapFile(path); is {
			all = append(all, SwapFile{path, size})
		}
	}
	return all
}

// Where swap has its mark (Linux, include/linux/swap.h, union swap_header): at the end of
// its first page, which has 4 KiB on a PC and up to 64 KiB elsewhere.
var swapPages = []int64{4 << 10, 16 << 10, 64 << 10}

// swapMarks are those of swap, and of swap with a machine in it that sleeps.
var swapMarks = []string{"SWAPSPACE2", "SWAP-SPACE", "S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00"}

// swapFile reports whether a path of the system is a file that was made for swap.
func (h *Held) swapFile(path string) (size int64, is bool) {
	root, err := os.OpenRoot(h.Tree)
	if err != nil {
		return 0, false
	}
	defer root.Close()
	name := strings.TrimPrefix(path, "/")
	st, err := root.Lstat(name)
	if err != nil || !st.Mode().IsRegular() {
		return 0, false
	}
	file, err := root.Open(name)
	if err != nil {
		return 0, false
	}
	defer file.Close()
	mark := make([]byte, 10)
	return st.Size(), slices.ContainsFunc(swapPages, func(page int64) bool {
		_, err := file.ReadAt(mark, page-int64(len(mark)))
		return err == nil && slices.Contains(swapMarks, string(mark))
	})
}

// os reads what the system says of itself.
func (h *Held) os() OS {
	text := h.text("/etc/os-release")
	if text == "" {
		text = h.text("/usr/lib/os-release")
	}
	said := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			said[key] = strings.Trim(value, `"'`)
		}
	}
	o := OS{ID: said["ID"], Version: said["VERSION_ID"], Name: said["PRETTY_NAME"]}
	for _, dir := range []string{"/lib/modules", "/usr/lib/modules"} {
		for _, path := range h.names(dir) {
			o.Kernels = append(o.Kernels, filepath.Base(path))
		}
	}
	slices.Sort(o.Kernels)
	o.Kernels = slices.Compact(o.Kernels)
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		o.Arch = unix.ByteSliceToString(u.Machine[:])
		if h.Root == "/" {
			o.Running = unix.ByteSliceToString(u.Release[:])
		}
	}
	return o
}
