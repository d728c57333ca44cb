package jobs

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/sources/rebuild"
)

// systemParts are the files of a system among the parts of a plan, and the layout of its
// disk; nil when they are not both there.
func (p RestorePlan) systemParts() (files, layout *RestorePart) {
	for n := range p.Parts {
		switch {
		case sources.IsSystem(p.Job.Source.Type, p.Parts[n].Name):
			files = &p.Parts[n]
		case p.Parts[n].Name == sources.PartLayout:
			layout = &p.Parts[n]
		}
	}
	if files == nil || layout == nil {
		return nil, nil
	}
	return files, layout
}

// placedSystem is placed for a run with the files of a system: its disk is rebuilt in a
// file or on a device, or the files come back into a folder.
func (p RestorePlan) placedSystem() RestorePlan {
	if files, _ := p.systemParts(); files == nil || isDir(p.To) || p.wantsFolder {
		return p
	}
	p.Rebuild, p.Kind = true, "file"
	if st, err := os.Stat(p.To); err == nil && st.Mode()&os.ModeDevice != 0 {
		p.Kind = "device"
	}
	return p
}

// Room that is needed beside the files of a system: for what file systems say of them, and
// for what they hold when they are empty.
const (
	roomPerSystem = 64 << 20
	roomShare     = 10 // the tenth part
)

// restoreSystem rebuilds the disk of a system, under a name of its own until all of it is
// there, or on a device.
func (r *Runner) restoreSystem(ctx context.Context, p RestorePlan, from restic.Repo, id string) (n int64, err error) {
	dir, clean, err := r.scratch(id)
	if err != nil {
		return 0, fault.New(fault.Failed, "make a scratch folder", err, "check paths.scratch")
	}
	defer func() { err = errors.Join(err, clean()) }()
	files, part := p.systemParts()
	texts := filepath.Join(dir, sources.PartLayout)
	if _, err := r.Engine.Restore(ctx, from, part.Snapshot, texts, restic.RestoreOptions{}); err != nil {
		return 0, err
	}
	layout, err := sources.ReadLayout(texts)
	if err != nil {
		return 0, err
	}
	room := *files
	room.Bytes += room.Bytes/roomShare + int64(len(layout.FileSystems))*roomPerSystem
	out, err := p.imageFile(p.To, room)
	if err == nil {
		err = markUnfinished(dir, out)
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, out.Close())
		if err != nil && p.Kind != "device" {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	d, err := rebuild.Make(ctx, layout, texts, out, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	s, err := r.Engine.Restore(ctx, from, files.Snapshot, d.Root, restic.RestoreOptions{Overwrite: true, OnProgress: func(q restic.Progress) {
		r.show(Progress{Job: p.Job.Name, Step: "restore " + files.Name, Done: q.BytesDone, Total: q.BytesTotal, Remaining: q.Remaining})
	}})
	if err != nil {
		return s.Bytes, err
	}
	if err := d.Finish(ctx); err != nil {
		return s.Bytes, err
	}
	for _, note := range d.Notes {
		r.Log.Warn().Str("job", p.Job.Name).Msg(note)
	}
	if p.Kind == "device" {
		return s.Bytes, nil
	}
	return s.Bytes, os.Rename(out.Name(), p.To)
}
