package restic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A CopyRequest names the snapshots to be copied.
type CopyRequest struct {
	IDs        []string       // whole ids in the source repository
	OnProgress func(Progress) // percentage of each snapshot in turn; may be nil
}

// Copy copies snapshots between repositories that were made with the same
// chunker parameters (restic manual, "Copying snapshots between repositories"),
// and returns the whole id in the destination for each id of the source. What
// is there already is not copied again. Ids missing in the result were not
// copied, and err says so; those in it were seen in the destination.
func (e *Engine) Copy(ctx context.Context, from, to Repo, q CopyRequest) (map[string]string, error) {
	op := fmt.Sprintf("copy from %q to %q", from.Name, to.Name)
	c := call{op: op, args: []string{"copy", "-v"}, tail: q.IDs, writes: true}
	if err := errors.Join(c.reads(from, to), from.usable(op), to.usable(op)); err != nil {
		return nil, err
	}
	if len(q.IDs) == 0 {
		return nil, nil
	}
	for _, id := range q.IDs {
		if err := fullID(op, id); err != nil {
			return nil, err
		}
	}
	h, err := enterBoth(ctx, op, heavy, from.Gate, to.Gate)
	if err != nil {
		return nil, err
	}
	defer h.release()
	run, watch := command.WithStall(ctx, e.Stall, op)
	defer watch.Stop()
	c.files = h
	to.LimitDownload = from.LimitDownload // restic has one bound for both, and fetches from one alone
	reader := &copyReader{q: q, kick: watch.Kick, short: map[string]string{}}
	if _, err = e.text(run, to, c, reader.line); err != nil {
		return nil, err
	}
	return e.copied(ctx, to, op, q.IDs, reader.short, h)
}

// copied looks the copies up in the destination.
func (e *Engine) copied(ctx context.Context, to Repo, op string, ids []string, short map[string]string, h held) (map[string]string, error) {
	var f Filter
	for _, id := range ids {
		if s := short[id]; s != "" {
			f.IDs = append(f.IDs, s)
		}
	}
	if len(f.IDs) < len(ids) {
		f.IDs = nil // a restic that speaks otherwise: look through the whole list
	}
	list, err := e.snapshots(ctx, to, op, f, h)
	if err != nil {
		return nil, err
	}
	found, taken := map[string]string{}, map[string]string{}
	for _, id := range ids {
		made := destination(list, id, short[id])
		if made == "" {
			continue
		}
		if other := taken[made]; other != "" {
			return nil, fault.New(fault.Failed, op, fmt.Errorf("snapshots %.10s and %.10s would both be %.10s in the destination", other, id, made), "")
		}
		found[id], taken[made] = made, id
	}
	if n := len(ids) - len(found); n > 0 {
		return found, fault.New(fault.Failed, op,
			fmt.Errorf("restic exited with status 0 but %d of %d snapshots are not in the destination", n, len(ids)),
			"see whether they still exist in the source")
	}
	return found, nil
}

// destination returns the whole id of the copy of one snapshot: the one that
// names it as its original, else the one restic said it saved; "" when none does.
func destination(list []Snapshot, id, short string) string {
	said := ""
	for _, s := range list {
		switch {
		case s.Original == id || s.ID == id:
			return s.ID
		case short != "" && strings.HasPrefix(s.ID, short):
			said = s.ID
		}
	}
	return said
}

// reads adds a second repository that a call reads from. Restic has one
// environment and one set of options for both, so two that need different values
// of one cannot meet in one run; authorities it takes from several files.
func (c *call) reads(from, to Repo) error {
	c.from = &from
	c.secrets = append(c.secrets, from.secrets()...)
	for _, kv := range from.Env {
		key, value, _ := strings.Cut(kv, "=")
		have, known := lookup(to.Env, key)
		switch {
		case known && have != value && key == "RESTIC_CACERT":
			c.env = append(c.env, key+"="+have+","+value)
		case known && have != value:
			return c.conflict(key)
		case !known:
			c.env = append(c.env, kv)
		}
	}
	if slow := from; from.Fast != nil {
		slow.Fast = nil
		c.slower = append(slices.Clone(c.env), slow.opener("RESTIC_FROM_")...)
	}
	c.env = append(c.env, from.opener("RESTIC_FROM_")...)
	for _, kv := range from.Options {
		key, value, _ := strings.Cut(kv, "=")
		have, known := lookup(to.Options, key)
		if known && have != value {
			return c.conflict(key)
		}
		if !known {
			c.options = append(c.options, kv)
		}
	}
	return nil
}

func (c *call) conflict(key string) error {
	return fault.New(fault.Usage, c.op, fmt.Errorf("both need %s, with different values", key),
		"put a target of another kind first in the job, or give both targets the same account and key")
}

// Clash reports whether one run of restic cannot open both repositories, because
// they need different values of one setting.
func Clash(from, to Repo) bool { return (&call{}).reads(from, to) != nil }

// lookup returns the value of a key in a list of key=value.
func lookup(list []string, key string) (string, bool) {
	for _, kv := range list {
		if k, v, _ := strings.Cut(kv, "="); k == key {
			return v, true
		}
	}
	return "", false
}
