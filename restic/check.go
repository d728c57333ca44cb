package restic

import (
	"context"
	"encoding/json"
	"fmt"

	"saoluu/internal/fault"
)

// CheckOptions says how deep to look (restic manual, "Checking integrity and
// consistency"). The zero value checks the structure alone.
type CheckOptions struct {
	ReadData bool // read every pack
	// Part and Parts read the Part-th of Parts equal shares of the packs; a pack
	// is always in the same share. Parts 0 reads none.
	Part, Parts int
}

// A CheckReport is what a check found. Damage is a finding, not an error.
type CheckReport struct {
	Errors      int      // 0 means sound, as far as was looked
	BrokenPacks []string // whole ids
	Messages    []string // what restic said, the first hundred lines
}

// Sound reports whether nothing was found.
func (c CheckReport) Sound() bool { return c.Errors == 0 && len(c.BrokenPacks) == 0 }

// Check looks for damage in the repository. Its error means that it could not
// look, and never that it looked and found something.
func (e *Engine) Check(ctx context.Context, r Repo, o CheckOptions) (CheckReport, error) {
	op := fmt.Sprintf("check repository %q", r.Name)
	if err := r.usable(op); err != nil {
		return CheckReport{}, err
	}
	c := call{op: op, args: []string{"check"}}
	switch {
	case o.Parts != 0 && (o.Part < 1 || o.Part > o.Parts || o.Parts > 256):
		return CheckReport{}, fault.New(fault.Usage, op, fmt.Errorf("no share %d of %d", o.Part, o.Parts), "")
	case o.Parts != 0:
		c.args = append(c.args, "--read-data-subset", fmt.Sprintf("%d/%d", o.Part, o.Parts))
	case o.ReadData:
		c.args = append(c.args, "--read-data")
	}
	h, err := r.Gate.enter(ctx, op, exclusive) // restic itself checks under an exclusive lock
	if err != nil {
		return CheckReport{}, err
	}
	defer h.release()
	c.files = h
	var sum *struct {
		Errors      int      `json:"num_errors"`
		BrokenPacks []string `json:"broken_packs"`
	}
	t, err := e.lines(ctx, r, c, func(m message) error {
		if m.Type == "summary" {
			return json.Unmarshal(m.raw, &sum)
		}
		return nil
	})
	report := CheckReport{Messages: t.notes}
	if sum != nil {
		report.Errors, report.BrokenPacks = sum.Errors, sum.BrokenPacks
	}
	switch kind := fault.KindOf(err); {
	case err == nil && (sum == nil || t.garbage != "" || !report.Sound()):
		return report, t.unproved(op, "gave no clean summary")
	case err == nil:
		return report, nil
	case kind == fault.Damaged:
		report.Errors = max(1, report.Errors) // before it could count them
		return report, nil
	case sum != nil && !report.Sound() && kind == fault.Failed:
		return report, nil
	default:
		return report, err
	}
}
