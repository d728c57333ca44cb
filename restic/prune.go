package restic

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"saoluu/internal/fault"
)

// PruneOptions says how thorough to be (restic manual, "Removing snapshots and
// data"). The zero value is restic's default.
type PruneOptions struct {
	MaxUnused string // such as "5%" or "0"; empty means restic's default
	MaxRepack string // most data to rewrite, such as "10G"; empty means no limit
	DryRun    bool   // only say what would be done
}

// A PruneReport is restic's own account of a prune, in its words.
type PruneReport struct {
	Deleted   string // such as "12 blobs / 3.4 MiB"
	Remaining string
	Unused    string // what is left unused on purpose
}

var pruneFigure = regexp.MustCompile(`^(total prune|remaining|unused size after prune): +(.+)$`)

// Prune removes data that no snapshot needs, alone. A deletion that the storage
// refused is an error, whatever the exit status.
func (e *Engine) Prune(ctx context.Context, r Repo, o PruneOptions) (PruneReport, error) {
	op := fmt.Sprintf("prune repository %q", r.Name)
	if err := r.usable(op); err != nil {
		return PruneReport{}, err
	}
	c := call{op: op, args: []string{"prune"}, writes: true}
	if o.MaxUnused != "" {
		c.args = append(c.args, "--max-unused", o.MaxUnused)
	}
	if o.MaxRepack != "" {
		c.args = append(c.args, "--max-repack-size", o.MaxRepack)
	}
	if o.DryRun {
		c.args = append(c.args, "--dry-run")
	}
	h, err := r.Gate.enter(ctx, op, exclusive)
	if err != nil {
		return PruneReport{}, err
	}
	defer h.release()
	c.files = h
	var p PruneReport
	t, err := e.text(ctx, r, c, func(line string) {
		if m := pruneFigure.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			switch m[1] {
			case "total prune":
				p.Deleted = m[2]
			case "remaining":
				p.Remaining = m[2]
			default:
				p.Unused = m[2]
			}
		}
	})
	if err != nil {
		return p, err
	}
	for _, note := range t.notes {
		if strings.Contains(note, "unable to remove") || strings.HasPrefix(note, "Remove(") {
			return p, fault.New(fault.Failed, op, errors.New("restic: "+note), "see whether the storage is append-only, locked or read-only")
		}
	}
	if p.Remaining == "" {
		return p, t.unproved(op, "did not say what remains")
	}
	return p, nil
}
