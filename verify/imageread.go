package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/disk"
	"saoluu/sources/disk/inside"
)

// What is said of the system on a disk. It decides nothing: a disk need not hold one,
// and what it must hold is said by facts and by the job's own checks.
const (
	nameRelease    = "system: os-release"
	nameKernel     = "system: kernel"
	nameFstab      = "system: fstab"
	nameUncompared = "files not compared" // those of which the backup has no facts
)

// looking is how files of the restored disk are read.
func (i *image) looking() (*inside.Disk, error) {
	if i.inside == nil {
		table, err := i.readTable()
		if err != nil {
			return nil, err
		}
		i.inside = &inside.Disk{Table: table, Command: i.program, Where: func(p disk.Partition) (string, int64) { return i.disk.file, p.Start }}
	}
	return i.inside, nil
}

// isOfSystem tells the facts that speak of the system on a disk of blocks.
func isOfSystem(f sources.Fact) bool {
	return f.Part == sources.PartImage && (f.Kind == sources.FactSystem || f.Kind == sources.FactDiskFile)
}

// describe says which system is on the disk, and compares it with what was there when
// the backup was made.
func (i *image) describe(ctx context.Context) error {
	d, err := i.looking()
	if err != nil {
		return err
	}
	var want []sources.Fact
	var files []string
	uncompared := 0
	for _, f := range i.request.Facts {
		switch {
		case isOfSystem(f):
			want = append(want, f)
			if f.Kind == sources.FactDiskFile {
				files = append(files, f.Of)
			}
		case f.Kind == sources.FactSkipped && (strings.HasPrefix(f.Of, "/") || slices.Contains([]string{inside.Whole, inside.Hostname, inside.Kernels}, f.Of)):
			uncompared++
			i.detail("not compared: %q: %s", f.Of, f.Value)
		}
	}
	known, err := d.Know(ctx, files)
	if err != nil {
		return err
	}
	i.system = known.System
	if err := i.note(ctx, d, known); err != nil {
		return err
	}
	if uncompared > 0 {
		i.assert(Assertion{Name: nameUncompared, Expected: "0", Actual: fmt.Sprint(uncompared)})
	}
	return i.hold(want, known)
}

// note says of a system what it is.
func (i *image) note(ctx context.Context, d *inside.Disk, known inside.Known) error {
	s := known.System
	if s == nil {
		if err := known.Skipped[inside.Whole]; err != nil {
			i.detail("no system was found on the disk: %v", err)
		}
		return nil
	}
	i.assert(Assertion{Name: nameRelease, Expected: "there", Actual: s.Release, OK: true})
	kernel := known.Values[inside.Kernels] != ""
	i.assert(Assertion{Name: nameKernel, Expected: "there", Actual: map[bool]string{true: "there", false: "not found"}[kernel], OK: kernel})
	named, lost, err := d.Lost(ctx, s)
	if named > 0 {
		i.assert(Assertion{Name: nameFstab, Expected: count(named, named) + " on the disk", Actual: count(named-lost, named) + " on the disk", OK: lost == 0})
	}
	return err
}

// hold compares what was read with the facts. What could not be read now, and could when
// the backup was made, leaves the test unknown, unless something else is broken.
func (i *image) hold(want []sources.Fact, known inside.Known) error {
	got := sources.SystemFacts(known)
	var looked []sources.Fact
	var problem error
	for _, f := range want {
		err := known.Skipped[f.Of]
		if err == nil && known.System == nil {
			err = known.Skipped[inside.Whole]
		}
		if err == nil {
			looked = append(looked, f)
		} else if problem == nil {
			problem = fault.New(fault.KindOf(err), "compare the system on the disk", fmt.Errorf("%q: %w", f.Of, err), fault.HintOf(err))
		}
	}
	broken := false
	for _, tally := range sources.Compare(looked, got) {
		i.assert(tallied(tally, looked, got))
		i.explain(tally)
		broken = broken || tally.Held < tally.Of
	}
	if broken && problem != nil {
		i.detail("%v", problem)
		return nil
	}
	return problem
}

// look judges a check on the restored disk.
func (i *image) look(ctx context.Context, c Check, a *Assertion) error {
	switch {
	case c.Boot != nil:
		return i.boot(ctx, c, a)
	case c.Exists != "":
		a.Expected, a.Actual = "there", "not there"
		d, err := i.looking()
		if err != nil {
			return err
		}
		_, f, err := d.Locate(ctx, i.system, c.Exists)
		if f.Kind != "" {
			a.OK, a.Actual = true, "there"
		}
		return err
	case c.SHA256Path != "":
		return i.lookAtContent(ctx, c, a)
	case len(c.Run) > 0:
		err := i.run(ctx, c, a)
		i.engine = i.engine || err == nil
		return err
	}
	return fault.New(fault.Usage, "check", errors.New("it asks for nothing that an image has"), "")
}

func (i *image) lookAtContent(ctx context.Context, c Check, a *Assertion) error {
	a.Expected = "the given digest"
	d, err := i.looking()
	if err != nil {
		return err
	}
	found, err := d.Digest(ctx, i.system, c.SHA256Path)
	switch {
	case err != nil:
		a.Actual = "not read"
	case strings.EqualFold(found, strings.TrimSpace(c.SHA256Hex)):
		a.OK, a.Actual = true, "the given digest"
	case found == inside.NotThere, found == inside.NotRegular:
		a.Actual = found
	default:
		a.Actual = "another digest"
	}
	return err
}
