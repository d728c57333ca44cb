package sources

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

// snapshotMark is the file below scratch that names the snapshot of a volume. It is
// there before the snapshot is, so that one of a process that was killed is found.
const snapshotMark = "lvm-snapshot"

// snapshotRoom is how much of the volume may change while its snapshot is read
// (lvcreate(8), --extents). A snapshot that is full is void, and the run fails.
const snapshotRoom = "10%ORIGIN"

// maxSaid bounds what the programs of LVM say of one volume, in bytes.
const maxSaid = 64 << 10

// An lvmSnapshot is a snapshot of a volume that is ours to drop.
type lvmSnapshot struct {
	name string // group/volume
	mark string // file that names it
}

// snapshotName is that of the snapshot of a run, whose scratch folder is named after it.
func snapshotName(scratch string) string { return "saoluu-" + filepath.Base(scratch) }

// freeze returns the path to be read: that of the source, or of a snapshot of it.
func (t *taking) freeze(ctx context.Context, scratch string) (string, error) {
	if t.consistency() != ConsistencySnapshot {
		return t.source.Path, nil
	}
	volume, err := lvm(ctx, "lvs", "--noheadings", "--separator", "/", "--options", "vg_name,lv_name,pool_lv", t.source.Path)
	names := strings.Split(strings.TrimSpace(volume), "/")
	if err != nil || len(names) != 3 || names[0] == "" {
		return "", fault.New(fault.KindOf(err), t.op(), errors.Join(errors.New("it is no volume of LVM"), err), `give the path of a volume, or another consistency`)
	}
	s := &lvmSnapshot{mark: filepath.Join(scratch, snapshotMark)}
	s.name = names[0] + "/" + snapshotName(scratch)
	if err := durable.WriteFile(s.mark, []byte(s.name+"\n"), 0o600); err != nil {
		return "", scratchError(scratch, err)
	}
	t.snapshot = s
	options := []string{"--snapshot", "--yes", "--name", snapshotName(scratch), "--setactivationskip", "n"}
	if names[2] == "" { // a thin volume takes what it needs from its pool
		options = append(options, "--extents", snapshotRoom)
	}
	if _, err := lvm(ctx, "lvcreate", append(options, names[0]+"/"+names[1])...); err != nil {
		return "", fault.New(fault.KindOf(err), t.op(), err, "see whether its volume group has room for a snapshot, and whether saoluu may make one")
	}
	path, err := lvm(ctx, "lvs", "--noheadings", "--options", "lv_path", s.name)
	return strings.TrimSpace(path), err
}

// whole fails when the snapshot was full before it was read to its end: what was read
// then is not what it stood for.
func (s *lvmSnapshot) whole(ctx context.Context) error {
	said, err := lvm(ctx, "lvs", "--noheadings", "--options", "lv_attr", s.name)
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
	if _, err := lvm(ctx, "lvs", "--noheadings", "--options", "lv_name", s.name); err != nil {
		var exit *command.ExitError
		if errors.As(err, &exit) {
			return os.Remove(s.mark) // there is none
		}
		return err
	}
	if _, err := lvm(ctx, "lvremove", "--yes", "--force", s.name); err != nil {
		return fault.New(fault.Failed, fmt.Sprintf("snapshot %q", s.name), err, `drop it with "lvremove" before it is full`)
	}
	return os.Remove(s.mark)
}

// dropSnapshot drops the snapshot that a run left which was killed. Only one with the
// name of the run is ours.
func dropSnapshot(ctx context.Context, scratch string) error {
	mark := filepath.Join(scratch, snapshotMark)
	text, err := os.ReadFile(mark)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	name := strings.TrimSpace(string(text))
	if err != nil || !strings.HasSuffix(name, "/"+snapshotName(scratch)) {
		return err
	}
	return (&lvmSnapshot{name: name, mark: mark}).remove(ctx)
}

// lvm runs a program of LVM and returns what it says.
func lvm(ctx context.Context, name string, args ...string) (string, error) {
	program, err := command.LookPath(name)
	if err != nil {
		return "", fault.New(fault.MissingTool, "LVM", err, "install the package lvm2")
	}
	out, err := command.Output(ctx, command.Cmd{Argv: append([]string{program}, args...), Env: []string{"PATH=" + plainPath, "LC_ALL=C"}}, maxSaid)
	return string(out), err
}
