// Package inside reads files on an image of a disk without mounting it: no kernel is
// given a file system that somebody else may have written.
//
// ext2 to ext4 are read by debugfs of e2fsprogs, the others by grub-fstest of
// grub-common, which is the drivers of a boot loader in a program: XFS, Btrfs with its
// subvolumes, FAT, NTFS, and volumes of LVM with any of these. Neither checks the sums
// that a file system keeps of its content, nor plays a journal back.
//
// That a name is not there is said only where it was seen that it is not: what a
// program cannot read is an error.
package inside

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// Limit is how long one program may read.
const Limit = 10 * time.Minute

// maxText bounds a text that is read from a disk, in bytes.
const maxText = 1 << 20

// A Disk is an image whose files are read.
type Disk struct {
	Table disk.Table
	// Where tells which file has a partition, and at which byte it begins there. An
	// offset of 0 is a file of the partition alone, or of a disk without partitions.
	Where func(p disk.Partition) (file string, start int64)
	// Command spells out a program with its arguments. Its error is fault.MissingTool
	// when there is none.
	Command func(argv ...string) (command.Cmd, error)

	volumes []Volume
	unread  []error
	listed  bool
	renamed bool // grub-fstest is called grub2-fstest here
}

// Kinds of file.
const (
	Regular   = "regular"
	Directory = "directory"
	Other     = "other"
)

// A File is what a name stands for.
type File struct {
	Kind string // one of the kinds above; empty: nothing is there
	// Path is where it lies, links followed. Where nothing is there, it is where the
	// first link on the way leads, for that may be another volume.
	Path string
	// Away: Path counts from the root of the system, not of the volume.
	Away bool
}

// A driver reads one file system.
type driver interface {
	// find follows links inside of the file system.
	find(ctx context.Context, path string) (File, error)
	// read writes the content of a regular file.
	read(ctx context.Context, w io.Writer, path string) error
	// list returns the names in a folder.
	list(ctx context.Context, path string) ([]string, error)
}

// A Volume is a file system, or a subvolume of one.
type Volume struct {
	driver
	Name string // for people
	Type string // of the file system, as blkid calls it
	UUID string // of the file system
	ID   string // of the partition, as in PARTUUID
	LVM  string // name below /dev/mapper; empty for a partition
	Sub  string // the subvolume's path; empty: the file system's own root
}

// same reports whether two volumes are one, of whatever subvolume.
func (v Volume) same(w Volume) bool { return v.Name == w.Name }

// Find tells what a path of a volume stands for.
func (v Volume) Find(ctx context.Context, path string) (File, error) {
	if strings.ContainsAny(path, "\x00\n\r") {
		return File{}, fault.New(fault.Usage, v.op(), fmt.Errorf("the path %q cannot be asked for", path), "")
	}
	f, err := v.find(ctx, path)
	return f, v.wrap(err)
}

// Read writes the content of a regular file that Find found.
func (v Volume) Read(ctx context.Context, w io.Writer, f File) error {
	return v.wrap(v.read(ctx, w, f.Path))
}

// List returns the names in a folder; none where there is no such folder.
func (v Volume) List(ctx context.Context, path string) ([]string, error) {
	f, err := v.Find(ctx, path)
	if err != nil || f.Kind != Directory {
		return nil, err
	}
	names, err := v.list(ctx, f.Path)
	return names, v.wrap(err)
}

// text returns the content of a small file; "" when there is none.
func (v Volume) text(ctx context.Context, path string) (string, error) {
	f, err := v.Find(ctx, path)
	if err != nil || f.Kind != Regular {
		return "", err
	}
	text := &limited{left: maxText}
	err = v.Read(ctx, text, f)
	return text.String(), err
}

func (v Volume) op() string { return "read a file of " + v.Name }

func (v Volume) wrap(err error) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return fmt.Errorf("%s: %w", v.Name, err)
	}
	return fault.New(fault.Unknown, v.op(), err, "see by the checker of its file system whether it is damaged")
}

// A limited buffer keeps the beginning of what is written to it.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	kept := p[:min(len(p), l.left)]
	l.left -= len(kept)
	l.Buffer.Write(kept)
	return len(p), nil
}

// Types of partition that hold no files (UEFI specification, and the discoverable
// partitions of GRUB and Windows).
const (
	typeBIOSBoot  = "21686148-6449-6e6f-744e-656564454649"
	typeMSReserve = "e3c9e316-0b5c-4db8-817d-f92df00215ae"
)

// Volumes are the file systems whose files can be read, and why others cannot. An
// error is one of the whole disk.
func (d *Disk) Volumes(ctx context.Context) (all []Volume, unread []error, err error) {
	if d.listed {
		return d.volumes, d.unread, nil
	}
	if d.Table.Trouble != "" {
		d.unread = append(d.unread, fault.New(fault.Unknown, "read files of an image", errors.New(d.Table.Trouble), ""))
	}
	for _, p := range d.Table.Partitions {
		if d.Table.Trouble != "" || p.System.Type == "swap" || p.System.Type == "" && slices.Contains([]string{typeBIOSBoot, typeMSReserve}, strings.ToLower(p.Type)) {
			continue
		}
		found, err := d.of(ctx, p)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if err != nil && !slices.ContainsFunc(d.unread, func(e error) bool { return e.Error() == err.Error() }) {
			d.unread = append(d.unread, err)
		}
		d.volumes = append(d.volumes, found...)
	}
	d.listed = true
	return d.volumes, d.unread, nil
}

// of returns the volumes in a partition.
func (d *Disk) of(ctx context.Context, p disk.Partition) ([]Volume, error) {
	v := Volume{Name: fmt.Sprintf("partition %d", p.Number), Type: p.System.Type, UUID: p.System.UUID, ID: p.ID}
	if p.Number == 0 {
		v.Name = "the file system"
	}
	file, start := d.Where(p)
	switch p.System.Type {
	case "ext2", "ext3", "ext4":
		v.driver = ext{d, file, start}
		return []Volume{v}, nil
	case "xfs", "btrfs", "vfat", "ntfs":
		if err := d.hasGrub(); err != nil {
			return nil, err
		}
		v.driver = grub{d, file, d.grubName(p, start), ""}
		return []Volume{v}, nil
	case "LVM2_member":
		return d.logical(ctx, file)
	}
	return nil, fault.New(fault.Unknown, "read files of "+v.Name, fmt.Errorf("it holds %s", cmp.Or(p.System.Type, "nothing that is known here")), "")
}

// In returns the volume with one of its subvolumes as its root.
func (v Volume) In(sub string) Volume {
	if g, ok := v.driver.(grub); ok && v.Type == "btrfs" {
		v.Sub = strings.Trim(sub, "/")
		g.prefix = ""
		if v.Sub != "" {
			g.prefix = "/" + v.Sub
		}
		v.driver = g
	}
	return v
}

// run has a program write what it read. It returns what the program says on stderr, and
// whether it ended well.
func (d *Disk) run(ctx context.Context, out io.Writer, argv ...string) (said string, good bool, err error) {
	if d.renamed && argv[0] == grubProgram {
		argv[0] = grubProgram2
	}
	c, err := d.Command(argv...)
	if err != nil {
		return "", false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Limit, fault.New(fault.TimedOut, argv[0], fmt.Errorf("over its limit of %s", Limit), "see whether the machine is overloaded"))
	defer cancel()
	c.Stdout = out
	res, err := command.Run(ctx, c)
	var exit *command.ExitError
	if errors.As(err, &exit) && exit.Signal == 0 {
		return exit.Stderr, false, nil
	}
	return res.Stderr, err == nil, err
}

// lvmName takes the names of volumes out of what grub-fstest lists.
var lvmName = regexp.MustCompile(`\(lvm/([^)]+)\)`)
