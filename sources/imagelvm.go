package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/sources/system"
)

// snapshotMark is the file below scratch that names the snapshot of a volume. It is
// there before the snapshot is, so that one of a process that was killed is found.
const snapshotMark = "lvm-snapshot"

// snapshotRoom is how much of the volume may change while its snapshot is read
// (lvcreate(8), --extents). A snapshot that is full is void, and the run fails.
const snapshotRoom = "10%ORIGIN"

// An lvmSnapshot is a snapshot of a volume that is ours to drop.
type lvmSnapshot struct {
	name string // group/volume
	mark string // file that names it
}

// snapshotName is that of a snapshot of a run, whose scratch folder is named after it; n
// counts the volumes of the run.
func snapshotName(scratch string, n int) string {
	return "saoluu-" + filepath.Base(scratch) + snapshotNumber(n)
}

func snapshotNumber(n int) string {
	if n == 0 {
		return ""
	}
	return "-" + strconv.Itoa(n)
}

// freeze returns the path to be read: that of the source, or of a snapshot of it.
func (t *taking) freeze(ctx context.Context, scratch string) (path string, err error) {
	if t.consistency() != ConsistencySnapshot {
		return t.source.Path, nil
	}
	t.snapshot, path, err = takeSnapshot(ctx, t.op(), scratch, t.source.Path, 0)
	return path, err
}

// takeSnapshot takes a snapshot of a volume and returns its path. What is to be removed
// is returned with an error too; nil when there is nothing.
func takeSnapshot(ctx context.Context, op, scratch, path string, n int) (*lvmSnapshot, string, error) {
	volume, err := system.LVM(ctx, "lvs", "--noheadings", "--separator", "/", "--options", "vg_name,lv_name,pool_lv", path)
	names := strings.Split(strings.TrimSpace(volume), "/")
	if err != nil || len(names) != 3 || names[0] == "" {
		return nil, "", fault.New(fault.KindOf(err), op, errors.Join(errors.New("it is no volume of LVM"), err), `give the path of a volume, or another consistency`)
	}
	name := snapshotName(scratch, n)
	s := &lvmSnapshot{name: names[0] + "/" + name, mark: filepath.Join(scratch, snapshotMark+snapshotNumber(n))}
	if err := durable.WriteFile(s.mark, []byte(s.name+"\n"), 0o600); err != nil {
		return nil, "", scratchError(scratch, err)
	}
	options := []string{"--snapshot", "--yes", "--name", name, "--setactivationskip", "n"}
	if names[2] == "" { // a thin volume takes what it needs from its pool
		options = append(options, "--extents", snapshotRoom)
	}
	if _, err := system.LVM(ctx, "lvcreate", append(options, names[0]+"/"+names[1])...); err != nil {
		return s, "", fault.New(fault.KindOf(err), op, err, "see whether its volume group has room for a snapshot, and whether saoluu may make one")
	}
	path, err = system.LVM(ctx, "lvs", "--noheadings", "--options", "lv_path", s.name)
	return s, strings.TrimSpace(path), err
}

// whole fails when the snapshot was full before it was read to its end: what was read
// then is not what it stood for.
func (s *lvmSnapshot) whole(ctx context.Context) error {
	said, err := system.LVM(ctx, "lvs", "--noheadings", "--options", "lv_attr", s.name)
	if err != nil {
		return err
	}
	// The fifth letter is the state: I and S are invalid snapshots (lvs(8)).
	if attr := strings.TrimSpace(said); len(attr) < 5 || attr[4] == 'I' || attr[4] == 'S' {
		return fault.New(fault.Failed, "", fmt.Errorf("its snapshot was full before it was read (%s)", attr),
			"back it up when less is written to it: the snapshot holds changes of a tenth of the volume")
	}
	return nil
}

// remove drops the snapshot, if it was made.
func (s *lvmSnapshot) remove(ctx context.Context) error {
	if _, err := system.LVM(ctx, "lvs", "--noheadings", "--options", "lv_name", s.name); err != nil {
		var exit *command.ExitError
		if errors.As(err, &exit) {
			return os.Remove(s.mark) // there is none
		}
		return err
	}
	if _, err := system.LVM(ctx, "lvremove", "--yes", "--force", s.name); err != nil {
		return fault.New(fault.Failed, fmt.Sprintf("snapshot %q", s.name), err, `drop it with "lvremove" before it is full`)
	}
	return os.Remove(s.mark)
}

// dropSnapshots drops the snapshots that a run left which was killed. Only those with
// the name of the run are ours.
func dropSnapshots(ctx context.Context, scratch string) error {
	entries, err := os.ReadDir(scratch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	problems := []error{err}
	for _, e := range entries {
		number, is := strings.CutPrefix(e.Name(), snapshotMark)
		if !is {
			continue
		}
		mark := filepath.Join(scratch, e.Name())
		text, err := os.ReadFile(mark)
		if name := strings.TrimSpace(string(text)); err == nil && strings.HasSuffix(name, "/"+snapshotName(scratch, 0)+number) {
			err = (&lvmSnapshot{name: name, mark: mark}).remove(ctx)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
