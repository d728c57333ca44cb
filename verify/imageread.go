package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources/disk"
)

// What is said of the system on a disk. It decides nothing: a disk need not hold one,
// and the job's own checks name what it must hold.
const (
	nameRelease = "system: os-release"
	nameKernel  = "system: kernel"
	nameFstab   = "system: fstab"
)

// maxText bounds a text that is read from a disk, in bytes.
const maxText = 1 << 20

// An extReader reads files of one ext file system without mounting it.
type extReader struct {
	image     *image
	partition disk.Partition
}

// readers are the file systems whose files can be read, and whether these are all that
// hold files.
func (i *image) readers() (all []extReader, complete bool, err error) {
	table, err := i.readTable()
	if err != nil {
		return nil, false, err
	}
	complete = table.Trouble == ""
	for _, p := range table.Partitions {
		switch {
		case table.Trouble != "":
		case strings.HasPrefix(p.System.Type, "ext"):
			all = append(all, extReader{i, p})
		case p.System.Type != "swap" && p.System.Type != "vfat":
			complete = false
		}
	}
	return all, complete, nil
}

// missingInExt is what debugfs says of a name that is not there (lib/et, ext2_err.et).
var missingInExt = regexp.MustCompile(`File not found by ext2_lookup|is not a directory`)

// request puts one request to debugfs(8), whose exit status says nothing. It reports
// whether the name is there.
func (r extReader) request(ctx context.Context, out io.Writer, verb, name string) (bool, error) {
	const op = "read a file of an image"
	if strings.ContainsAny(name, "\x00\n\r") {
		return false, fault.New(fault.Usage, op, fmt.Errorf("the path %q cannot be asked for", name), "")
	}
	// In quotes debugfs takes everything as it is; a quote is written twice.
	asked := fmt.Sprintf(`%s "%s"`, verb, strings.ReplaceAll(name, `"`, `""`))
	c, err := r.image.program("debugfs", "-R", asked, fmt.Sprintf("%s?offset=%d", r.image.disk.file, r.partition.Start))
	if err != nil {
		return false, err
	}
	c.Stdout = out
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fault.New(fault.TimedOut, op, fmt.Errorf("over its limit of %s", checkLimit), ""))
	defer cancel()
	res, err := command.Run(ctx, c)
	if err != nil {
		return false, err
	}
	// Its first line is its name and version.
	_, said, _ := strings.Cut(res.Stderr, "\n")
	switch {
	case missingInExt.MatchString(said):
		return false, nil
	case strings.TrimSpace(said) != "":
		return false, fault.New(fault.Unknown, op, errors.New(strings.TrimSpace(said)), "see by e2fsck -fn whether its file system is damaged")
	}
	return true, nil
}

// An extFile is what a name stands for.
type extFile struct {
	kind string // as debugfs calls it: regular, directory, symlink, …; empty: nothing is there
	path string // where it was found, links followed
}

var (
	extType = regexp.MustCompile(`(?m)^Inode: \d+ +Type: (\S+)`)
	extLink = regexp.MustCompile(`(?m)^Fast link dest: "(.*)"$`)
)

// maxLinks bounds how many links are followed (path_resolution(7)).
const maxLinks = 40

// find follows a name as a kernel would that has the file system as its root.
func (r extReader) find(ctx context.Context, name string) (extFile, error) {
	for range maxLinks {
		var out bytes.Buffer
		if there, err := r.request(ctx, &out, "stat", name); err != nil || !there {
			return extFile{}, err
		}
		m := extType.FindSubmatch(out.Bytes())
		if m == nil {
			return extFile{}, fault.New(fault.Unknown, "read a file of an image", errors.New("debugfs does not say what it is"), "")
		}
		if string(m[1]) != "symlink" {
			return extFile{string(m[1]), name}, nil
		}
		to, err := r.target(ctx, name, out.Bytes())
		if err != nil || to == "" {
			return extFile{}, err
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
		name = path.Clean(to)
	}
	return extFile{}, nil
}

// target is where a link leads; a long one has it where other files have their content.
func (r extReader) target(ctx context.Context, name string, stat []byte) (string, error) {
	if m := extLink.FindSubmatch(stat); m != nil {
		return string(m[1]), nil
	}
	text := &limited{left: 4096}
	_, err := r.request(ctx, text, "cat", name)
	return text.String(), err
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

// text returns the content of a small file; "" when there is none.
func (r extReader) text(ctx context.Context, name string) (string, error) {
	f, err := r.find(ctx, name)
	if err != nil || f.kind != "regular" {
		return "", err
	}
	text := &limited{left: maxText}
	_, err = r.request(ctx, text, "cat", f.path)
	return text.String(), err
}

// lists returns the names in a folder; none when there is no such folder.
func (r extReader) lists(ctx context.Context, name string) ([]string, error) {
	f, err := r.find(ctx, name)
	if err != nil || f.kind != "directory" {
		return nil, err
	}
	out := &limited{left: maxText}
	if _, err := r.request(ctx, out, "ls -p", f.path); err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		if fields := strings.Split(line, "/"); len(fields) > 5 { // /inode/mode/uid/gid/name/size/
			names = append(names, fields[5])
		}
	}
	return names, nil
}

// A system is the operating system on a disk.
type system struct {
	root   extReader
	mounts map[string]extReader // where other file systems of the disk are mounted
	lost   int                  // how many that fstab names are not on the disk
	named  int                  // how many it names
}

// operating looks for the operating system: the first file system with an os-release.
func (i *image) operating(ctx context.Context, readers []extReader) (*system, string, error) {
	for _, r := range readers {
		for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
			text, err := r.text(ctx, name)
			if err != nil {
				return nil, "", err
			}
			if text != "" {
				return &system{root: r, mounts: map[string]extReader{}}, releaseOf(text), nil
			}
		}
	}
	return nil, "", nil
}

// releaseOf is the name and version in an os-release (os-release(5)).
func releaseOf(text string) string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[key] = strings.Trim(value, `"'`)
		}
	}
	return strings.TrimSpace(fields["ID"] + " " + fields["VERSION_ID"])
}

// mount reads the fstab, and which of the file systems it names are on the disk.
func (s *system) mount(ctx context.Context, readers []extReader, all []disk.Partition) error {
	text, err := s.root.text(ctx, "/etc/fstab")
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		key, id, _ := strings.Cut(fields[0], "=")
		if key != "UUID" && key != "PARTUUID" {
			continue
		}
		s.named++
		same := func(p disk.Partition) bool {
			return key == "UUID" && strings.EqualFold(p.System.UUID, id) || key == "PARTUUID" && strings.EqualFold(p.ID, id)
		}
		if !slices.ContainsFunc(all, same) {
			s.lost++
		}
		if n := slices.IndexFunc(readers, func(r extReader) bool { return same(r.partition) }); n >= 0 {
			s.mounts[path.Clean(fields[1])] = readers[n]
		}
	}
	return nil
}

// kernel reports whether a kernel lies where boot loaders look for one.
func (s *system) kernel(ctx context.Context, readers []extReader) (bool, error) {
	for _, r := range readers {
		for _, dir := range []string{"/boot", "/"} {
			names, err := r.lists(ctx, dir)
			if err != nil {
				return false, err
			}
			if slices.ContainsFunc(names, func(n string) bool {
				return strings.HasPrefix(n, "vmlinu") || strings.HasPrefix(n, "bzImage") || strings.HasPrefix(n, "kernel-")
			}) {
				return true, nil
			}
		}
	}
	return false, nil
}

// describe says which system is on the disk.
func (i *image) describe(ctx context.Context) error {
	readers, _, err := i.readers()
	if err != nil || len(readers) == 0 {
		return err
	}
	s, release, err := i.operating(ctx, readers)
	if err != nil || s == nil {
		return err
	}
	i.system = s
	i.assert(Assertion{Name: nameRelease, Expected: "there", Actual: release, OK: true})
	kernel, err := s.kernel(ctx, readers)
	if err != nil {
		return err
	}
	i.assert(Assertion{Name: nameKernel, Expected: "there", Actual: map[bool]string{true: "there", false: "not in an ext file system"}[kernel], OK: kernel})
	table, err := i.readTable()
	if err != nil {
		return err
	}
	if err := s.mount(ctx, readers, table.Partitions); err != nil {
		return err
	}
	if s.named > 0 {
		i.assert(Assertion{Name: nameFstab, Expected: count(s.named, s.named) + " on the disk", Actual: count(s.named-s.lost, s.named) + " on the disk", OK: s.lost == 0})
	}
	return nil
}

// errUnread says that a file may be where nothing here can look.
func errUnread(name string) error {
	return fault.New(fault.Unknown, "look for a restored file", errors.New("the disk has file systems whose files cannot be read without mounting them"),
		fmt.Sprintf("test by boot whether it is whole, or back %q up by a job of type files too", name))
}

// locate finds a file of the system on the disk, or of any file system where there is
// none.
func (i *image) locate(ctx context.Context, name string) (extReader, extFile, error) {
	readers, complete, err := i.readers()
	if err != nil {
		return extReader{}, extFile{}, err
	}
	type place struct {
		reader extReader
		path   string
	}
	var places []place
	if i.system != nil {
		best := "/"
		places = append(places, place{i.system.root, name})
		for at, r := range i.system.mounts {
			if strings.HasPrefix(name, at+"/") && len(at) > len(best) {
				best, places[0] = at, place{r, strings.TrimPrefix(name, at)}
			}
		}
	}
	for _, r := range readers {
		places = append(places, place{r, name})
	}
	for _, p := range places {
		f, err := p.reader.find(ctx, p.path)
		if err != nil || f.kind != "" {
			return p.reader, f, err
		}
	}
	if !complete {
		return extReader{}, extFile{}, errUnread(name)
	}
	return extReader{}, extFile{}, nil
}

// look judges a check on the restored disk.
func (i *image) look(ctx context.Context, c Check, a *Assertion) error {
	switch {
	case c.Boot != nil:
		return i.boot(ctx, c, a)
	case c.Exists != "":
		a.Expected, a.Actual = "there", "not there"
		_, f, err := i.locate(ctx, c.Exists)
		if f.kind != "" {
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
	a.Expected, a.Actual = "the given digest", "not there"
	r, f, err := i.locate(ctx, c.SHA256Path)
	switch {
	case err != nil || f.kind == "":
		return err
	case f.kind != "regular":
		a.Actual = "not a regular file"
		return nil
	}
	sum := sha256.New()
	if _, err := r.request(ctx, sum, "cat", f.path); err != nil {
		return err
	}
	a.OK = strings.EqualFold(hex.EncodeToString(sum.Sum(nil)), strings.TrimSpace(c.SHA256Hex))
	a.Actual = map[bool]string{true: "the given digest", false: "another digest"}[a.OK]
	return nil
}
