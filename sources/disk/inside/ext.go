package inside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"saoluu/internal/fault"
)

// ext is an ext file system.
type ext struct {
	disk  *Disk
	file  string
	start int64
}

// missingInExt is what debugfs says of a name that is not there (lib/et, ext2_err.et).
var missingInExt = regexp.MustCompile(`File not found by ext2_lookup|is not a directory`)

// request puts one request to debugfs(8), whose exit status says nothing of the answer. It
// reports whether the name is there.
func (e ext) request(ctx context.Context, out io.Writer, verb, name string) (bool, error) {
	// In quotes debugfs takes everything as it is; a quote is written twice.
	asked := fmt.Sprintf(`%s "%s"`, verb, strings.ReplaceAll(name, `"`, `""`))
	at := e.file
	if e.start > 0 {
		at = fmt.Sprintf("%s?offset=%d", e.file, e.start)
	}
	said, good, err := e.disk.run(ctx, out, "debugfs", "-R", asked, at)
	if err == nil && !good {
		err = errors.New(lastLine(said))
	}
	if err != nil {
		return false, err
	}
	// Its first line is its name and version.
	_, said, _ = strings.Cut(said, "\n")
	switch {
	case missingInExt.MatchString(said):
		return false, nil
	case strings.TrimSpace(said) != "":
		return false, errors.New(strings.TrimSpace(said))
	}
	return true, nil
}

var (
	extType = regexp.MustCompile(`(?m)^Inode: \d+ +Type: (\S+)`)
	extLink = regexp.MustCompile(`(?m)^Fast link dest: "(.*)"$`)
)

// maxLinks bounds how many links are followed (path_resolution(7)).
const maxLinks = 40

// look tells what stands at a name, a link not followed: its kind as debugfs calls it,
// and where a link leads.
func (e ext) look(ctx context.Context, name string) (kind, to string, err error) {
	var out bytes.Buffer
	if there, err := e.request(ctx, &out, "stat", name); err != nil || !there {
		return "", "", err
	}
	m := extType.FindSubmatch(out.Bytes())
	if m == nil {
		return "", "", errors.New("debugfs does not say what it is")
	}
	if string(m[1]) != "symlink" {
		return string(m[1]), "", nil
	}
	if m := extLink.FindSubmatch(out.Bytes()); m != nil {
		return "symlink", string(m[1]), nil
	}
	text := &limited{left: 4096} // a long one has it where other files have their content
	_, err = e.request(ctx, text, "cat", name)
	return "symlink", text.String(), err
}

func (e ext) find(ctx context.Context, name string) (File, error) {
	asked := name
	for range maxLinks {
		kind, to, err := e.look(ctx, name)
		switch {
		case err != nil:
			return File{}, err
		case kind == "":
			return e.astray(ctx, asked)
		case kind == Regular, kind == Directory:
			return File{Kind: kind, Path: name}, nil
		case kind != "symlink":
			return File{Kind: Other, Path: name}, nil
		}
		name = follow(path.Dir(name), to)
	}
	return File{Path: asked}, nil
}

// follow is where a link in a folder leads.
func follow(folder, to string) string {
	if path.IsAbs(to) {
		return path.Clean(to)
	}
	return path.Join("/", folder, to)
}

// astray says of a name that leads nowhere in this file system where its first link
// leads: another file system may be mounted there.
func (e ext) astray(ctx context.Context, name string) (File, error) {
	at := "/"
	rest := strings.TrimPrefix(path.Clean(name), "/")
	for rest != "" {
		var first string
		first, rest, _ = strings.Cut(rest, "/")
		kind, to, err := e.look(ctx, path.Join(at, first))
		if err != nil || kind == "" {
			return File{Path: name}, err
		}
		if kind == "symlink" {
			return File{Path: path.Join(follow(at, to), rest), Away: path.IsAbs(to)}, nil
		}
		at = path.Join(at, first)
	}
	return File{Path: name}, nil
}

func (e ext) read(ctx context.Context, w io.Writer, name string) error {
	there, err := e.request(ctx, w, "cat", name)
	if err == nil && !there {
		err = fault.New(fault.Unknown, "read a file", errors.New("it went while it was looked at"), "")
	}
	return err
}

func (e ext) list(ctx context.Context, name string) ([]string, error) {
	out := &limited{left: maxText}
	if _, err := e.request(ctx, out, "ls -p", name); err != nil {
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
