package restic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A Node is one file, folder or other item of a snapshot.
type Node struct {
	Path    string    `json:"path"`
	Type    string    `json:"type"` // file, dir, symlink, dev, chardev, fifo, socket
	Size    int64     `json:"size"` // of a file
	Mode    uint32    `json:"mode"` // as Go's fs.FileMode
	UID     uint32    `json:"uid"`
	GID     uint32    `json:"gid"`
	ModTime time.Time `json:"mtime"`
}

// List hands every item of a snapshot below folder (empty for all) to fn, in
// the order of the tree. An error of fn ends it and is returned, wrapped.
func (e *Engine) List(ctx context.Context, r Repo, snapshot, folder string, fn func(Node) error) error {
	if folder == "" {
		return e.list(ctx, r, snapshot, []string{"ls"}, nil, fn)
	}
	return e.list(ctx, r, snapshot, []string{"ls", "--recursive"}, []string{folder}, fn)
}

// ListFolder hands what stands right in a folder of a snapshot to fn, as List does. Of a
// large tree it reads next to nothing.
func (e *Engine) ListFolder(ctx context.Context, r Repo, snapshot, folder string, fn func(Node) error) error {
	return e.list(ctx, r, snapshot, []string{"ls"}, []string{folder}, fn)
}

func (e *Engine) list(ctx context.Context, r Repo, snapshot string, args, below []string, fn func(Node) error) error {
	op := fmt.Sprintf("list a snapshot of %q", r.Name)
	if err := errors.Join(r.usable(op), fullID(op, snapshot)); err != nil {
		return err
	}
	h, err := r.Gate.enter(ctx, op, light)
	if err != nil {
		return err
	}
	defer h.release()
	c := call{op: op, args: args, tail: append([]string{snapshot}, below...), files: h}
	id := ""
	t, err := e.lines(ctx, r, c, func(m message) error {
		kind := struct {
			Struct string `json:"struct_type"` // the older name of message_type
			ID     string `json:"id"`
			Node
		}{}
		if err := json.Unmarshal(m.raw, &kind); err != nil {
			return fmt.Errorf("list of the snapshot: %w", err)
		}
		switch kind.Struct + m.Type {
		case "snapshotsnapshot", "snapshot":
			id = kind.ID
		case "nodenode", "node":
			return fn(kind.Node)
		}
		return nil
	})
	if err == nil && (id != snapshot || t.garbage != "") {
		return t.unproved(op, "did not name the snapshot it listed")
	}
	return err
}
