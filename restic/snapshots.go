package restic

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Snapshot is one entry of a repository's list.
type Snapshot struct {
	ID             string    `json:"id"`
	Time           time.Time `json:"time"`
	Parent         string    `json:"parent"`
	Original       string    `json:"original"` // the id before it was copied or rewritten; empty otherwise
	Tree           string    `json:"tree"`
	Paths          []string  `json:"paths"`
	Host           string    `json:"hostname"`
	User           string    `json:"username"`
	Tags           []string  `json:"tags"`
	ProgramVersion string    `json:"program_version"`
	Summary        *struct {
		Start      time.Time `json:"backup_start"`
		End        time.Time `json:"backup_end"`
		TotalFiles int64     `json:"total_files_processed"`
		TotalBytes int64     `json:"total_bytes_processed"`
		DataAdded  int64     `json:"data_added"`
		Packed     int64     `json:"data_added_packed"`
	} `json:"summary"` // nil for snapshots of an older restic
}

// Tag returns the value of the tag "key=value", or "".
func (s Snapshot) Tag(key string) string {
	for _, t := range s.Tags {
		if v, ok := strings.CutPrefix(t, key+"="); ok {
			return v
		}
	}
	return ""
}

// A Filter chooses snapshots. The zero Filter chooses all.
type Filter struct {
	Tags []string // a snapshot must have them all
	IDs  []string // only these; ids that are not there are left out without an error
}

// Snapshots lists the chosen snapshots, oldest first. It reads every snapshot of
// the repository unless IDs are given: not for the way of a backup.
func (e *Engine) Snapshots(ctx context.Context, r Repo, f Filter) ([]Snapshot, error) {
	op := fmt.Sprintf("list snapshots of %q", r.Name)
	if err := r.usable(op); err != nil {
		return nil, err
	}
	h, err := r.Gate.enter(ctx, op, light)
	if err != nil {
		return nil, err
	}
	defer h.release()
	return e.snapshots(ctx, r, op, f, h)
}

// snapshots is Snapshots inside the gate.
func (e *Engine) snapshots(ctx context.Context, r Repo, op string, f Filter, h held) ([]Snapshot, error) {
	c := call{op: op, args: []string{"snapshots"}, tail: f.IDs, files: h}
	if len(f.Tags) > 0 {
		c.args = append(c.args, "--tag", strings.Join(f.Tags, ","))
	}
	out, err := e.output(ctx, r, c)
	if err != nil {
		return nil, err
	}
	var list []Snapshot
	err = json.Unmarshal(out, &list)
	bad := func(s Snapshot) bool { return !isFullID(s.ID) || s.Time.IsZero() }
	if err != nil || list == nil || slices.ContainsFunc(list, bad) {
		return nil, (&transcript{garbage: quoteStart(out)}).unproved(op, "printed no list of snapshots")
	}
	slices.SortStableFunc(list, func(a, b Snapshot) int { return a.Time.Compare(b.Time) })
	return list, nil
}

// snapshotIDs lists the ids alone, without reading any snapshot.
func (e *Engine) snapshotIDs(ctx context.Context, r Repo, op string, h held) (map[string]bool, error) {
	ids := map[string]bool{}
	t := &transcript{}
	_, err := e.text(ctx, r, call{op: op, args: []string{"list", "snapshots"}, files: h}, func(line string) {
		line = strings.TrimSpace(line)
		switch {
		case isFullID(line):
			ids[line] = true
		case line != "" && t.garbage == "":
			t.garbage = quoteStart([]byte(line))
		}
	})
	if err != nil {
		return nil, err
	}
	if t.garbage != "" {
		return nil, t.unproved(op, "printed no list of snapshot ids")
	}
	return ids, nil
}
