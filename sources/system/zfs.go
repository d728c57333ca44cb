package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// markZFS is the file below Dir that names snapshots of ZFS. It is there before they are.
const markZFS = "zfs-snapshots"

// zfsPackage brings the programs of ZFS.
const zfsPackage = "zfsutils-linux"

// zfsDevice returns the device of the pool that a dataset lies in, which must have no other.
func zfsDevice(ctx context.Context, dataset string) (string, error) {
	pool, _, _ := strings.Cut(dataset, "/")
	out, err := tool(ctx, zfsPackage, "zpool", "list", "-v", "-H", "-P", "-L", pool)
	if err != nil {
		return "", err
	}
	var devices []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 0 && strings.HasPrefix(fields[0], "/dev/") {
			devices = append(devices, fields[0])
		}
	}
	if len(devices) != 1 {
		return "", fault.New(fault.Refused, fmt.Sprintf("pool %q", pool), fmt.Errorf("it lies on %d disks or partitions, and one disk is rebuilt", len(devices)), `save its files with a source of type "files"`)
	}
	return devices[0], nil
}

// snapshotZFS takes a snapshot of all datasets of the system, of one moment, once.
func (h *Held) snapshotZFS(ctx context.Context) error {
	if h.datasets != nil {
		return nil
	}
	for _, m := range h.Mounts {
		if m.Type == TypeZFS && !m.ReadOnly {
			h.datasets = append(h.datasets, m.Source+"@"+h.zfsName())
		}
	}
	if err := durable.WriteFile(filepath.Join(h.how.Dir, markZFS), []byte(strings.Join(h.datasets, "\n")+"\n"), 0o600); err != nil {
		return fault.New(fault.Failed, "note a snapshot", err, "check paths.scratch")
	}
	_, err := tool(ctx, zfsPackage, "zfs", append([]string{"snapshot"}, h.datasets...)...)
	return err
}

// zfsName is what snapshots of a run are called.
func (h *Held) zfsName() string { return strings.TrimSuffix(snapshotPrefix(h.how.Dir), "-") }

// freezeZFS shows the snapshot of a dataset.
func (h *Held) freezeZFS(ctx context.Context, m Mount) ([]func() error, error) {
	err := h.snapshotZFS(ctx)
	return []func() error{func() error { return h.view.bind(filepath.Join(m.Path, ".zfs/snapshot", h.zfsName()), m.At) }}, err
}

// dropZFS drops the snapshots that are noted in a run's folder.
func dropZFS(ctx context.Context, dir string) error {
	mark := filepath.Join(dir, markZFS)
	text, err := os.ReadFile(mark)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	problems := []error{err}
	for line := range strings.Lines(string(text)) {
		name := strings.TrimSpace(line)
		if !strings.HasSuffix(name, "@"+strings.TrimSuffix(snapshotPrefix(dir), "-")) {
			continue // not one of this run
		}
		_, err := tool(ctx, zfsPackage, "zfs", "list", "-t", "snapshot", "-H", "-o", "name", name)
		var exit *command.ExitError
		if errors.As(err, &exit) {
			continue // there is none
		}
		if err == nil {
			_, err = tool(ctx, zfsPackage, "zfs", "destroy", name)
		}
		if err != nil {
			problems = append(problems, fault.New(fault.Failed, fmt.Sprintf("snapshot %q", name), err, `drop it with "zfs destroy": what it holds cannot be freed before`))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return os.Remove(mark)
}
