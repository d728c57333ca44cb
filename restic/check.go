package restic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"saoluu/internal/fault"
)

// CheckOptions says how deep to look (restic manual, "Checking integrity and
// consistency"). The zero value checks the structure alone.
type CheckOptions struct {
	ReadData bool // read every pack
	// Subset and Of read the Subset-th of Of equal shares of the packs, counted
	// from 1; a pack is always in the same share. Of 0 reads none.
	Subset, Of int
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
	case o.Of != 0 && (o.Subset < 1 || o.Subset > o.Of || o.Of > 256):
		return CheckReport{}, fault.New(fault.Usage, op, fmt.Errorf("no share %d of %d", o.Subset, o.Of), "")
	case o.Of != 0:
		c.args = append(c.args, "--read-data-subset", fmt.Sprintf("%d/%d", o.Subset, o.Of))
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
	switch {
	case err == nil && (sum == nil || t.garbage != "" || !report.Sound()):
		return report, t.unproved(op, "gave no clean summary")
	case err == nil:
		return report, nil
	case fault.KindOf(err) == fault.Damaged && damaged(t):
		report.Errors = max(1, report.Errors) // it may end before it has counted
		return report, nil
	case fault.KindOf(err) == fault.Damaged:
		return report, fault.New(fault.Unknown, op, errors.Unwrap(err), "see what keeps it from reading the repository")
	default:
		return report, err // a summary says num_errors 1 even for a repository that is locked
	}
}

// Restic counts a pack that it may not read among the damaged ones.
var (
	cannotLook = regexp.MustCompile(`(?i)permission denied|operation not permitted|input/output error|timeout|connection re|\b403\b`)
	looked     = regexp.MustCompile(`(?i)ciphertext|unexpected pack|does not exist|not found|no such file|hash|wrong length|contains \d+ errors|mixed pack`)
)

// damaged tells whether damage was seen, rather than nothing at all.
func damaged(t *transcript) bool {
	blind, found := false, false
	for _, note := range t.notes {
		blind = blind || cannotLook.MatchString(note)
		found = found || looked.MatchString(cannotLook.ReplaceAllString(note, ""))
	}
	return found || !blind
}
