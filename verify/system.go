package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/sources/disk"
	"saoluu/sources/rebuild"
	"saoluu/sources/system"
)

// systemPart is the place, among the parts, of the files of a system; -1 without one.
func (r Request) systemPart() int {
	return slices.IndexFunc(r.Parts, func(p PartCopy) bool { return sources.IsSystem(r.Source, p.Part) })
}

// fetchSystem rebuilds the disk of a system in the sandbox: its layout first, and then its
// files straight into the file systems that were made after it. Where no disk can be
// rebuilt, the files alone are restored, and the result says why.
func (x *examination) fetchSystem(ctx context.Context) ([]restoredPart, error) {
	parts := make([]restoredPart, len(x.request.Parts))
	show := x.progress()
	restore := func(n int, dir string) error {
		done, err := x.tester.Engine.Restore(ctx, x.request.Repo, parts[n].Snapshot, dir, restic.RestoreOptions{NoCache: true, Overwrite: true, OnProgress: show(n)})
		x.result.RestoredBytes += done.Bytes
		return x.restoreError(ctx, parts[n].PartCopy, err)
	}
	of, layout := x.request.systemPart(), -1
	for n, p := range x.request.Parts {
		parts[n] = restoredPart{PartCopy: p, dir: filepath.Join(x.sandbox.data, strconv.Itoa(n))}
		if n == of {
			continue
		}
		if p.Part == sources.PartLayout {
			layout = n
		}
		if err := restore(n, parts[n].dir); err != nil {
			return nil, err
		}
	}
	if layout < 0 {
		return nil, &finding{"layout", "1 layout", "none", nil}
	}
	err := x.rebuild(ctx, &parts[of], parts[layout].dir, func(root string) error { return restore(of, root) })
	if why := whyNotRebuilt(err); why != "" {
		x.result.Beyond = "its disk was not rebuilt: " + why
		x.detail("%v; %s", err, fault.HintOf(err))
		return parts, restore(of, parts[of].dir)
	}
	if fault.KindOf(err) == fault.Damaged {
		return nil, &finding{AssertionRestore, "what the disk is rebuilt from is whole", "damaged", err}
	}
	return parts, err
}

// whyNotRebuilt says why no disk can be made of a copy that may be whole; "" for an error
// of another kind.
func whyNotRebuilt(err error) string {
	switch fault.KindOf(err) {
	case fault.Denied:
		return "mounts or loop devices are not allowed here"
	case fault.Refused:
		return "it has what cannot be made anew"
	}
	return ""
}

// rebuild makes the disk of a system, which restore fills with its files.
func (x *examination) rebuild(ctx context.Context, part *restoredPart, texts string, restore func(root string) error) (err error) {
	layout, err := sources.ReadLayout(texts)
	if err != nil {
		return err
	}
	if err := os.Mkdir(part.dir, 0o700); err != nil {
		return boxError(part.dir, err)
	}
	file := filepath.Join(part.dir, sources.ImageFile)
	out, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return boxError(part.dir, err)
	}
	defer func() {
		err = errors.Join(err, out.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(file))
		}
	}()
	d, err := rebuild.Make(ctx, layout, texts, out, x.sandbox.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := restore(d.Root); err != nil {
		return err
	}
	if err := d.Finish(ctx); err != nil {
		return err
	}
	for _, note := range d.Notes {
		x.detail("rebuilt disk: %s", note)
	}
	part.file, part.layout = file, layout
	return nil
}

// mounted shows the files of a rebuilt disk as its system has them, while do looks at them.
func (i *image) mounted(ctx context.Context, write bool, do func(*files) error) (err error) {
	mode := os.O_RDONLY
	if write {
		mode = os.O_RDWR
	}
	file, err := os.OpenFile(i.disk.file, mode, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	d, err := rebuild.Open(ctx, i.layout, file, i.sandbox.data, write)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	shown := *i.files
	shown.parts = slices.Clone(i.parts)
	for n := range shown.parts {
		if shown.parts[n].Part == i.disk.Part {
			shown.parts[n].file, shown.parts[n].dir = "", d.Root
		}
	}
	return do(&shown)
}

// systemFacts takes the facts of a rebuilt disk: of its files, and of its partitions.
func (i *image) systemFacts(ctx context.Context, want []sources.Fact) (found []sources.Fact, err error) {
	err = i.mounted(ctx, false, func(shown *files) (err error) {
		found, err = shown.facts(ctx, want)
		return err
	})
	if err != nil {
		return nil, err
	}
	table, err := i.readTable()
	if err != nil {
		return nil, err
	}
	// What was not saved is not made anew, and not said to be there.
	for n, p := range table.Partitions {
		for _, saved := range i.layout.Disk.Table.Partitions {
			if saved.Number == p.Number && p.System == (disk.System{}) && !i.expects(p.Number) {
				table.Partitions[n].System = saved.System
			}
		}
	}
	isTable := func(f sources.Fact) bool {
		return f.Part == sources.PartLayout && (f.Kind == sources.FactTable || f.Kind == sources.FactPartition)
	}
	if !slices.ContainsFunc(want, isTable) {
		return found, nil
	}
	found = slices.DeleteFunc(found, isTable)
	for _, f := range sources.TableFacts(table) {
		f.Part = sources.PartLayout
		found = append(found, f)
	}
	return found, nil
}

// expects reports whether a partition of a rebuilt disk must hold its file system.
func (i *image) expects(number int) bool {
	return slices.ContainsFunc(i.layout.FileSystems, func(f system.FileSystem) bool { return f.Partition == number && f.Saved })
}

// renewed tells the facts of files that are others on a rebuilt disk than in the backup.
func (i *image) renewed(f sources.Fact) bool {
	path, ok := sources.FactPath(f)
	return i.layout != nil && ok && f.Part == i.disk.Part && rebuild.Renewed(i.layout, path)
}

// damageSystem spoils one file of a rebuilt disk that has a fact. Not one in FAT, of which
// a copy is shown, and not the layout, of which the disk was made already.
func (i *image) damageSystem(ctx context.Context, seed string, want []sources.Fact) (how string, err error) {
	inFAT := func(path string) bool {
		return slices.ContainsFunc(i.layout.FileSystems, func(f system.FileSystem) bool {
			return f.Type == "vfat" && f.Mount != "" && strings.HasPrefix(path, f.Mount+"/")
		})
	}
	candidates := slices.DeleteFunc(slices.Clone(want), func(f sources.Fact) bool {
		path, ok := sources.FactPath(f)
		return f.Part != i.disk.Part || ok && inFAT(path) || i.renewed(f)
	})
	if len(candidates) == 0 {
		return "", nil
	}
	err = i.mounted(ctx, true, func(shown *files) (err error) {
		how, err = shown.damage(ctx, seed, candidates)
		return err
	})
	return how, err
}

// notRebuilt is the error of a check that needs a disk where none could be rebuilt.
func (x *examination) notRebuilt() error {
	return fault.New(fault.Unknown, fmt.Sprintf("restore test of %q", x.request.Job), errors.New(x.result.Beyond), "test it as root on a machine with loop devices")
}
