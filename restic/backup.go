package restic

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// Backup makes one snapshot. With fault.Incomplete the summary is set too: a
// snapshot exists, but some of the source is not in it. With any other error no
// snapshot was made, as far as restic says.
func (e *Engine) Backup(ctx context.Context, r Repo, q BackupRequest) (Summary, error) {
	op := fmt.Sprintf("back up to %q", r.Name)
	if err := errors.Join(r.usable(op), q.check(op)); err != nil {
		return Summary{}, err
	}
	h, err := r.Gate.enter(ctx, op, heavy)
	if err != nil {
		return Summary{}, err
	}
	defer h.release()
	// After the wait: what was there an hour ago may be unmounted now.
	if err := q.present(op); err != nil {
		return Summary{}, err
	}
	s, err := e.backup(ctx, r, op, q, h)
	if q.Parent != "" && err != nil && fault.KindOf(err) != fault.Incomplete && parentGone(err, q.Parent) {
		q.Parent = ""
		s, err = e.backup(ctx, r, op, q, h)
		s.Reread = true
	}
	return s, err
}

// parentGone tells whether restic failed because it found no parent: somebody
// removed the snapshot that the caller remembers.
func parentGone(err error, parent string) bool {
	text := err.Error()
	return strings.Contains(text, "failed to load snapshot "+parent[:8]) || strings.Contains(text, "no matching ID found for prefix")
}

func (e *Engine) backup(ctx context.Context, r Repo, op string, q BackupRequest, h held) (Summary, error) {
	c := call{op: op, args: q.args(), tail: q.paths(), dir: cmp.Or(q.Root, q.Dir), writes: true, files: h}
	digest := ""
	if q.Stdin != nil {
		dir, err := os.MkdirTemp(e.TempDir, "pump-")
		if err != nil {
			return Summary{}, fmt.Errorf("%s: %w", op, err)
		}
		defer os.RemoveAll(dir)
		digest = filepath.Join(dir, "digest")
		if err := e.pump(&c, *q.Stdin, digest); err != nil {
			return Summary{}, err
		}
	}
	ctx, watch := command.WithStall(ctx, e.Stall, op)
	defer watch.Stop()
	b := &backupReader{q: q, kick: watch.Kick}
	t, err := e.lines(ctx, r, c, b.take)
	s := b.summary.result(t)
	switch {
	case err != nil && fault.KindOf(err) != fault.Incomplete:
		return Summary{Errors: t.items, ErrorCount: t.count}, dumpError(op, err, digest, c.secrets)
	case !isFullID(s.SnapshotID) || t.garbage != "":
		return s, t.unproved(op, "did not say cleanly which snapshot it made")
	case err == nil && t.count > 0:
		// 0.18 exits 0 for a path that vanished after we looked.
		err = fault.New(fault.Incomplete, op, t.itemsError("read", fmt.Sprintf("restic: %d items not saved, first %s", t.count, t.items[0].Error())), "")
	}
	if digest != "" {
		return withDigest(op, s, digest, err)
	}
	return s, err
}

// dumpError prefers what the pump reports to what restic says about it, which is
// only that its command failed.
func dumpError(op string, err error, digest string, secrets []string) error {
	_, perr := command.ReadDigest(digest)
	var why *fault.Error
	if cutOff(err) || !errors.As(perr, &why) || why.Kind == fault.Cancelled {
		return err
	}
	return fault.New(why.Kind, op, errors.New(command.Blank(why.Error(), secrets)), why.Hint)
}

// cutOff reports whether restic was ended by us.
func cutOff(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if kind := fault.KindOf(err); kind == fault.Cancelled || kind == fault.TimedOut {
			return true
		}
	}
	return false
}

// withDigest adds what the pump saw, which must be what restic stored.
func withDigest(op string, s Summary, file string, err error) (Summary, error) {
	d, derr := command.ReadDigest(file)
	if derr == nil && d.Bytes != s.Bytes {
		derr = fmt.Errorf("the dump is %d bytes, restic stored %d", d.Bytes, s.Bytes)
	}
	if derr != nil {
		return s, fault.New(fault.Failed, op, errors.Join(derr, err), "")
	}
	s.Digest = &d
	return s, err
}

// pump makes restic read from our pump, and the pump from the dump command.
func (e *Engine) pump(c *call, dump command.Cmd, digest string) error {
	if len(e.Pump) == 0 {
		return fault.New(fault.Usage, c.op, errors.New("the engine has no pump"), "")
	}
	env, err := json.Marshal(append([]string{}, dump.Env...))
	if err != nil {
		return fmt.Errorf("%s: %w", c.op, err)
	}
	c.env = append(c.env, command.PumpEnv+"="+string(env))
	c.tail = append(append([]string{}, e.Pump...), "--digest", digest, "--why", dump.Why, "--stall", dump.Stall.String(), "--")
	c.tail = append(c.tail, dump.Argv...)
	c.secrets = dump.Secrets
	return nil
}
