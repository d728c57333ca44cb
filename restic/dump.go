package restic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"saoluu/internal/fault"
)

// DumpOptions says how to read.
type DumpOptions struct {
	NoCache bool // fetch everything from the repository: what a restore test must do
}

// Dump writes one file of a snapshot to w and returns its length. On error, part
// of it may have been written; whoever reads w must not take its end for good
// before Dump has returned nil. An error of w is returned as it is, wrapped.
func (e *Engine) Dump(ctx context.Context, r Repo, snapshot, file string, w io.Writer, o DumpOptions) (int64, error) {
	if !path.IsAbs(file) {
		return 0, fault.New(fault.Usage, "read from "+r.Name, fmt.Errorf("path %q is not absolute", file), "")
	}
	op := fmt.Sprintf("read %q from %q", path.Base(file), r.Name)
	return e.dump(ctx, r, op, snapshot, file, nil, w, o)
}

// DumpTree writes a whole snapshot to w as a tar archive, in the order of its names.
// What Dump says of its end is true of it too.
func (e *Engine) DumpTree(ctx context.Context, r Repo, snapshot string, w io.Writer, o DumpOptions) (int64, error) {
	return e.dump(ctx, r, fmt.Sprintf("read a tree from %q", r.Name), snapshot, "/", []string{"--archive", "tar"}, w, o)
}

func (e *Engine) dump(ctx context.Context, r Repo, op, snapshot, file string, how []string, w io.Writer, o DumpOptions) (int64, error) {
	if err := errors.Join(r.usable(op), fullID(op, snapshot)); err != nil {
		return 0, err
	}
	h, err := r.Gate.enter(ctx, op, heavy)
	if err != nil {
		return 0, err
	}
	defer h.release()
	c := call{op: op, args: append([]string{"dump"}, how...), tail: []string{snapshot, file}, files: h}
	if o.NoCache {
		c.args = append(c.args, "--no-cache")
	}
	counted := &counter{w: w}
	err = e.stream(ctx, r, c, counted)
	return counted.n, err
}

// A counter counts what passes.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
