package sources

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"saoluu/internal/command"
	"saoluu/sources/disk"
	"saoluu/sources/disk/inside"
)

// look reads what is true of the system on the disk, before its blocks are read: who
// holds it still holds it for both.
func (t *taking) look(ctx context.Context, scratch string) error {
	if t.crash() {
		t.within = t.unseen("the disk was in use, so that its files may differ from those that were saved")
		return nil
	}
	dir := filepath.Join(scratch, "files")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return scratchError(scratch, err)
	}
	d := &inside.Disk{Table: t.found.Table, Command: lookCommand}
	shown, err := disk.ShowPartitions(ctx, dir, t.image, t.found.Table)
	switch {
	case err == nil:
		defer shown.Unmount()
		d.Where = func(p disk.Partition) (string, int64) { return shown.File(p.Number), 0 }
	case t.image.Format == "raw": // without FUSE
		d.Where = func(p disk.Partition) (string, int64) { return t.image.Path, p.Start }
	default:
		t.within = t.unseen(err.Error())
		return nil
	}
	known, err := d.Know(ctx, t.source.Files)
	if err != nil {
		return err
	}
	t.within = SystemFacts(known)
	return t.rebuildTexts(ctx, d, known)
}

// rebuildTexts keeps for the layout what somebody who rebuilds the system by hand asks for
// first.
func (t *taking) rebuildTexts(ctx context.Context, d *inside.Disk, known inside.Known) error {
	if known.System == nil {
		return nil
	}
	about, err := json.MarshalIndent(known.Values, "", "  ")
	if err != nil {
		return err
	}
	packages, err := d.Packages(ctx, known.System)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		t.within = append(t.within, Fact{PartImage, FactSkipped, "packages", err.Error()})
	}
	t.texts = map[string][]byte{"system.json": append(about, '\n'), "fstab.txt": []byte(known.System.Fstab), "packages.txt": []byte(packages)}
	return nil
}

// unseen says of all that could be known of the system why it is not.
func (t *taking) unseen(why string) []Fact {
	known := inside.Known{Skipped: map[string]error{inside.Whole: errors.New(why)}}
	for _, name := range t.source.Files {
		known.Skipped[name] = errors.New(why)
	}
	return SystemFacts(known)
}

func lookCommand(argv ...string) (command.Cmd, error) {
	program, err := command.LookPath(argv[0])
	if err != nil {
		return command.Cmd{}, err
	}
	return command.Cmd{Argv: append([]string{program}, argv[1:]...), Env: []string{"PATH=" + plainPath, "LC_ALL=C"}}, nil
}

// SystemFacts are what is known of the system on a disk, for backup and test alike. A
// file that is not there is no fact to compare by: the job names it wrongly, or it was lost.
func SystemFacts(k inside.Known) []Fact {
	var facts []Fact
	for _, name := range slices.Sorted(maps.Keys(k.Values)) {
		facts = append(facts, Fact{PartImage, FactSystem, name, strings.ToValidUTF8(k.Values[name], "\uFFFD")})
	}
	for _, name := range slices.Sorted(maps.Keys(k.Files)) {
		f := Fact{PartImage, FactDiskFile, name, k.Files[name]}
		if f.Value == inside.NotThere || f.Value == inside.NotRegular {
			f.Kind = FactSkipped
		}
		facts = append(facts, f)
	}
	for _, name := range slices.Sorted(maps.Keys(k.Skipped)) {
		facts = append(facts, Fact{PartImage, FactSkipped, name, k.Skipped[name].Error()})
	}
	return facts
}
