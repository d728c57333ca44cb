package restic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"saoluu/internal/fault"
)

// InitOptions says how to make a repository.
type InitOptions struct {
	// From is a repository whose chunker parameters are taken over, so that what
	// is copied between the two is stored once (restic manual, "Copying
	// snapshots between repositories").
	From *Repo
}

// Init makes the repository and returns its id, which was read back from it. A
// place that holds one already is fault.Refused.
func (e *Engine) Init(ctx context.Context, r Repo, o InitOptions) (id string, err error) {
	op := fmt.Sprintf("make repository %q", r.Name)
	if err := r.usable(op); err != nil {
		return "", err
	}
	h, err := r.Gate.enter(ctx, op, exclusive)
	if err != nil {
		return "", err
	}
	defer h.release()
	c := call{op: op, args: []string{"init"}, writes: true, files: h}
	if o.From != nil {
		if err := c.reads(*o.From, r); err != nil {
			return "", err
		}
		c.args = append(c.args, "--copy-chunker-params")
	}
	t, err := e.lines(ctx, r, c, func(m message) error {
		var v struct{ ID string }
		if m.Type == "initialized" && json.Unmarshal(m.raw, &v) == nil {
			id = v.ID
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if !isFullID(id) {
		return "", t.unproved(op, "named no repository id")
	}
	config, err := e.config(ctx, r, h)
	if err != nil {
		return "", err
	}
	if config.ID != id {
		return "", fault.New(fault.Failed, op, errors.New("another repository is there than the one just made"), "")
	}
	return id, nil
}
