package guest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"saoluu/internal/fault"
	"saoluu/internal/qmp"
)

// undo takes away from a machine all that is ours, and the mark with it. A machine that
// is off has nothing of ours.
func (m mark) undo(ctx context.Context, scratch string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, undoLimit, errors.New("it takes too long"))
	defer cancel()
	if err := m.thaw(ctx, scratch); err != nil {
		return err
	}
	if err := m.letGo(ctx, scratch); err != nil {
		return fault.New(fault.KindOf(err), "let go of the "+m.Machine.String(), err,
			"it is tried again when saoluu starts; the guest runs on, and copies what it overwrites until then")
	}
	if err := os.Remove(filepath.Join(scratch, markName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// letGo takes away what is ours.
func (m mark) letGo(ctx context.Context, scratch string) error {
	if m.Machine.Domain != "" {
		return m.abort(ctx)
	}
	conn, err := m.Machine.dial(ctx)
	switch {
	case err == nil:
		return errors.Join(m.clear(ctx, conn, scratch), conn.Close())
	case fault.KindOf(err) == fault.Absent:
		return nil
	}
	return err
}

// clear is undo with a machine that answers.
func (m mark) clear(ctx context.Context, conn *qmp.Conn, scratch string) error {
	if err := m.withdraw(ctx, conn); err != nil {
		return err
	}
	nodes, err := nodes(ctx, conn)
	if err != nil {
		return err
	}
	remove := func(name string) error {
		if !slices.Contains(nodes, name) {
			return nil
		}
		return again(ctx, func() error { return conn.Ask(ctx, "blockdev-del", map[string]string{"node-name": name}, nil) })
	}
	if err := remove(m.moment()); err != nil {
		return err
	}
	all, err := drives(ctx, conn)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(d drive) bool { return d.Path == m.Path && d.In.Node == m.filter() }) {
		if err := again(ctx, func() error { return m.read(ctx, conn, m.Node) }); err != nil {
			return err
		}
	}
	if err := errors.Join(remove(m.filter()), remove(m.overwritten())); err != nil {
		return err
	}
	if slices.Contains(nodes, m.overwritten()) {
		// A machine that stands still keeps the file until it goes on: it shall hold no space.
		_ = os.Truncate(filepath.Join(scratch, overlayName), 0)
		_ = conn.Ask(ctx, "remove-fd", map[string]int{"fdset-id": m.Files}, nil) // it may be gone with its last user
	}
	return nil
}

// withdraw ends what the machine shows of its disk. The server is stopped when it is
// ours and nobody else has put anything on it.
func (m mark) withdraw(ctx context.Context, conn *qmp.Conn) error {
	return again(ctx, func() error {
		all, err := exports(ctx, conn)
		if err != nil {
			return err
		}
		if slices.Contains(all, m.exported()) {
			if err := conn.Ask(ctx, "block-export-del", map[string]string{"id": m.exported(), "mode": "hard"}, nil); err != nil {
				return err
			}
			if all, err = exports(ctx, conn); err != nil {
				return err
			}
			if slices.Contains(all, m.exported()) {
				return &qmp.Error{Command: "block-export-del", Text: "it is there still"}
			}
		}
		if !m.Serving || len(all) > 0 {
			return nil
		}
		var refused *qmp.Error
		if err := conn.Ask(ctx, "nbd-server-stop", nil, nil); !errors.As(err, &refused) {
			return err
		}
		return nil // it does not run
	})
}

// again tries what a machine refuses while it is busy with what was asked before.
func again(ctx context.Context, try func() error) error {
	for n := 0; ; n++ {
		err := try()
		var refused *qmp.Error
		if err == nil || !errors.As(err, &refused) || n == undoTries {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(retryPause):
		}
	}
}

// undoTries is how often a machine is asked for the same.
const undoTries = 100

// exports are the ids of what a machine shows to others.
func exports(ctx context.Context, conn *qmp.Conn) ([]string, error) {
	var all []struct {
		ID string `json:"id"`
	}
	err := conn.Ask(ctx, "query-block-exports", nil, &all)
	var ids []string
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	return ids, err
}

// nodes are the names of all block nodes of a machine.
func nodes(ctx context.Context, conn *qmp.Conn) ([]string, error) {
	var all []struct {
		Name string `json:"node-name"`
	}
	err := conn.Ask(ctx, "query-named-block-nodes", map[string]bool{"flat": true}, &all)
	var names []string
	for _, n := range all {
		names = append(names, n.Name)
	}
	return names, err
}
