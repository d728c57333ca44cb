package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// grubProgram is the program of grub-common that reads by the drivers of GRUB. Fedora and
// its kin call it grub2-fstest (grub2-tools-extra).
const grubProgram, grubProgram2 = "grub-fstest", "grub2-fstest"

// grub is a file system that GRUB knows. Its drivers follow links and do not tell of
// them.
type grub struct {
	disk   *Disk
	file   string
	device string // as GRUB calls it
	prefix string // path of the subvolume; empty: none
}

// hasGrub fails when there is neither; it is known from then on by which name.
func (d *Disk) hasGrub() error {
	_, err := d.Command(grubProgram)
	if err == nil {
		return nil
	}
	if _, other := d.Command(grubProgram2); other != nil {
		return err
	}
	d.renamed = true
	return nil
}

// grubName is what GRUB calls a partition.
func (d *Disk) grubName(p disk.Partition, start int64) string {
	switch {
	case start == 0:
		return "loop0"
	case d.Table.Kind == "gpt":
		return fmt.Sprintf("loop0,gpt%d", p.Number)
	}
	return fmt.Sprintf("loop0,msdos%d", p.Number)
}

// logical returns the volumes of the LVM physical volume that a file has.
func (d *Disk) logical(ctx context.Context, file string) ([]Volume, error) {
	if err := d.hasGrub(); err != nil {
		return nil, err
	}
	names := &limited{left: maxText}
	said, good, err := d.run(ctx, names, grubProgram, file, "ls")
	if err == nil && !good {
		err = fault.New(fault.Unknown, "look for volumes of LVM", errors.New(lastLine(said)), "")
	}
	if err != nil {
		return nil, err
	}
	var all []Volume
	var problems error
	for _, m := range lvmName.FindAllStringSubmatch(names.String(), -1) {
		v := Volume{Name: "volume " + m[1], LVM: m[1], driver: grub{d, file, "lvm/" + m[1], ""}}
		about := &limited{left: maxText}
		if _, _, err := d.run(ctx, about, grubProgram, file, "--", "ls", "-l", "(lvm/"+m[1]+")"); err != nil {
			return nil, err
		}
		a := grubAbout.FindStringSubmatch(about.String())
		if a == nil {
			problems = errors.Join(problems, fault.New(fault.Unknown, "read files of "+v.Name, errors.New("it holds nothing that is known here"), ""))
			continue
		}
		v.Type, v.UUID = strings.TrimSuffix(a[1], ","), a[2]
		all = append(all, v)
	}
	return all, problems
}

// grubAbout is what grub-fstest says of a device.
var grubAbout = regexp.MustCompile(`Filesystem type (\S+)(?:.* UUID ([0-9A-Fa-f-]+))?`)

// What the drivers say (GRUB, grub-core/kern/fs.c, fs/fshelp.c and the drivers).
var (
	grubMissing = regexp.MustCompile(`(?m)' not found\.$|: not a directory\.$|: invalid file name `)
	grubSpecial = regexp.MustCompile(`(?m): not a regular file\.$`)
)

func (g grub) name(name string) string {
	return "(" + g.device + ")" + g.prefix + path.Join("/", name)
}

func (g grub) find(ctx context.Context, name string) (File, error) {
	if path.Clean("/"+name) == "/" {
		return g.root(ctx)
	}
	said, good, err := g.disk.run(ctx, io.Discard, grubProgram, "-n", "1", "--", g.file, "cat", g.name(name))
	switch {
	case err != nil:
		return File{}, err
	case good:
		return File{Kind: Regular, Path: name}, nil
	case grubSpecial.MatchString(said):
		kind, err := g.special(ctx, name)
		return File{Kind: kind, Path: name}, err
	case grubMissing.MatchString(said):
		return File{Path: name}, g.absent(ctx, name)
	}
	return File{}, errors.New(lastLine(said))
}

// root tells whether the file system, or the subvolume, can be read at all.
func (g grub) root(ctx context.Context) (File, error) {
	if g.prefix != "" {
		top := g
		top.prefix = ""
		f, err := top.find(ctx, g.prefix)
		return File{Kind: f.Kind, Path: "/"}, err
	}
	said, good, err := g.disk.run(ctx, io.Discard, grubProgram, "-n", "1", "--", g.file, "cat", g.name("/"))
	if err == nil && !good && !grubSpecial.MatchString(said) {
		err = errors.New(lastLine(said))
	}
	return File{Kind: Directory, Path: "/"}, err
}

// special tells a folder from what is neither folder nor regular file: only of a folder
// GRUB finds what is in it.
func (g grub) special(ctx context.Context, name string) (string, error) {
	said, _, err := g.disk.run(ctx, io.Discard, grubProgram, "-n", "1", "--", g.file, "cat", g.name(name)+"/.")
	if err != nil || !grubSpecial.MatchString(said) {
		return Other, err
	}
	return Directory, nil
}

// absent makes sure that a name that GRUB does not find is not there: the drivers
// look for the end of a link in the same file system, and in that of Btrfs outside of the
// subvolume.
func (g grub) absent(ctx context.Context, name string) error {
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(path.Clean(name), "/"), "/") {
		next := path.Join(at, part)
		kind, err := g.special(ctx, next)
		if err != nil {
			return err
		}
		if kind == Directory {
			at = next
			continue
		}
		if listed, err := g.listed(ctx, at, part); err != nil || !listed {
			return err
		}
		_, good, err := g.disk.run(ctx, io.Discard, grubProgram, "-n", "1", "--", g.file, "cat", g.name(next))
		if err == nil && !good {
			err = fault.New(fault.Unknown, "look for a file", fmt.Errorf("%q may be a link to where it cannot be followed", next),
				"ask for the file that the link leads to")
		}
		return err // nothing is below a regular file
	}
	return nil
}

// listed reports whether a folder has a name. GRUB lists names with spaces between
// them, so that one with a space may be taken for two: it is listed then, wrongly.
func (g grub) listed(ctx context.Context, folder, name string) (bool, error) {
	out, err := g.ls(ctx, folder)
	return strings.Contains(" "+out, " "+name+" ") || strings.Contains(" "+out, " "+name+"/ "), err
}

// ls lists a folder. Links that lead nowhere are left out of what is listed with -l.
func (g grub) ls(ctx context.Context, folder string, options ...string) (string, error) {
	out := &limited{left: maxText}
	argv := append([]string{grubProgram, "--", g.file, "ls", "-a"}, options...)
	said, good, err := g.disk.run(ctx, out, append(argv, strings.TrimSuffix(g.name(folder), "/")+"/")...)
	if err == nil && (!good || strings.Contains(said, "error:")) {
		err = errors.New(lastLine(said))
	}
	return strings.TrimSuffix(out.String(), "\n"), err
}

// grubEntry is a line of what grub-fstest lists with -l: DIR or a size, a time, a name.
var grubEntry = regexp.MustCompile(`(?m)^(?:DIR|\d+(?:\.\d+[KMGT]?)?|\?+) +(?:\d{14} )?(.+?)/?$`)

func (g grub) list(ctx context.Context, name string) ([]string, error) {
	out, err := g.ls(ctx, name, "-l")
	var names []string
	for _, m := range grubEntry.FindAllStringSubmatch(out, -1) {
		if m[1] != "." && m[1] != ".." {
			names = append(names, m[1])
		}
	}
	return names, err
}

func (g grub) read(ctx context.Context, w io.Writer, name string) error {
	said, good, err := g.disk.run(ctx, w, grubProgram, "--", g.file, "cat", g.name(name))
	if err == nil && !good {
		err = errors.New(lastLine(said))
	}
	return err
}

// lastLine is the end of what a program said.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimPrefix(text[strings.LastIndexByte(text, '\n')+1:], grubProgram+": ")
}
