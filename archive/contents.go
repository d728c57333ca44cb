package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"saoluu/internal/fault"
)

// contents writes the runs of a set into one tar.
type contents struct {
	w     *tar.Writer
	out   *volumes // where all of it ends, for its error
	spool string   // folder for the list of a run's files
	made  time.Time
	show  func(n int64)
}

// folder of a run inside the tar.
func folder(job, run string) string { return path.Join(job, run) }

func (c *contents) run(ctx context.Context, r Run) (err error) {
	rec := record{Run: r.Run, Job: r.Job, Class: r.Class, ConsistentAt: r.ConsistentAt, Ledger: r.Ledger}
	for _, p := range r.Parts {
		rec.Parts = append(rec.Parts, p.PartInfo)
	}
	lines, err := os.CreateTemp(c.spool, "archive-*")
	if err != nil {
		return fault.New(fault.Failed, "write the list of files", err, "check paths.scratch")
	}
	defer func() { err = errors.Join(err, lines.Close()) }()
	if err := os.Remove(lines.Name()); err != nil { // it lives as long as it is open
		return err
	}
	a, err := newAccount(rec, r.Facts, lines)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	root := folder(r.Job, r.Run)
	if err := c.file(a, root, "run.json", append(text, '\n')); err != nil {
		return err
	}
	if len(r.Facts) > 0 {
		if err := c.file(a, root, "facts.json", r.Facts); err != nil {
			return err
		}
	}
	for _, p := range r.Parts {
		if err := c.part(ctx, a, root, p); err != nil {
			return err
		}
	}
	if err := a.closed(); err != nil {
		return err
	}
	return c.sums(root, lines)
}

// file writes a small file of ours.
func (c *contents) file(a *account, root, name string, text []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(root, name), Size: int64(len(text)), Mode: 0o600, ModTime: c.made, Format: tar.FormatPAX}
	if err := c.w.WriteHeader(h); err != nil {
		return c.failed(err)
	}
	_, err := a.file(name, strings.NewReader(string(text)), c.w)
	return c.failed(err)
}

// sums writes the list of files.
func (c *contents) sums(root string, lines *os.File) error {
	size, err := lines.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = lines.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(root, SumsFile), Size: size, Mode: 0o600, ModTime: c.made, Format: tar.FormatPAX}
	if err := c.w.WriteHeader(h); err != nil {
		return c.failed(err)
	}
	_, err = io.Copy(c.w, lines)
	return c.failed(err)
}

// errAbandoned stops a part that nobody reads any more.
var errAbandoned = errors.New("the archive was given up")

// part puts what a part's tar holds below the part's folder. The end of that tar
// counts only when whoever writes it says that all was written.
func (c *contents) part(ctx context.Context, a *account, root string, p Part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := p.Tar(ctx, w)
		ended <- err
		_ = w.CloseWithError(err) // never fails (io.PipeWriter)
	}()
	err := c.copy(ctx, a, root, p.Name, tar.NewReader(r))
	if err == nil {
		_, err = io.Copy(io.Discard, r) // the padding after the last entry
	}
	if err != nil {
		_ = r.CloseWithError(errAbandoned) // never fails (io.PipeReader)
	}
	said := <-ended
	switch {
	case c.out.err != nil:
		return c.out.err
	case said != nil && !errors.Is(said, errAbandoned):
		return said
	case err != nil:
		return fault.New(fault.Failed, fmt.Sprintf("read part %q of run %s", p.Name, a.run), err, "try again; if it stays, take another copy with --target")
	}
	return nil
}

// copy copies the entries of a tar below a folder.
func (c *contents) copy(ctx context.Context, a *account, root, part string, from *tar.Reader) error {
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := path.Join(part, path.Clean("/"+h.Name))
		h.Name, h.Format = path.Join(root, name), tar.FormatPAX
		h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := c.w.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			a.count(name, 0)
			continue
		}
		if _, err := a.file(name, &shown{r: from, show: c.show}, c.w); err != nil {
			return err
		}
	}
}

// failed prefers what the medium said.
func (c *contents) failed(err error) error {
	if err != nil && c.out.err != nil {
		return c.out.err
	}
	return err
}
