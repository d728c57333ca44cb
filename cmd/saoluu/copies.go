package main

import (
	"context"
	"slices"
	"strings"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/jobs"
)

// States of a copy beside those of runs.
const (
	copyInvalidated = "invalidated" // a test proved the whole run bad
	copyDamaged     = "damaged"     // a test or a re-read proved this copy bad
	copyRemoved     = "removed"     // deleted by retention
)

// copyKey names one copy of one run.
type copyKey struct{ run, target string }

// A copyRecord is what tests and re-reads have found of copies.
type copyRecord struct {
	level   map[copyKey]string // highest level passed, or "failed"
	damaged map[copyKey]bool   // a test found that the target does not give it back
	missing map[copyKey]bool   // by snapshot: a re-read did not find it
}

// copyLevels are the levels a test may reach, the lowest first.
var copyLevels = []string{
	catalog.LevelListed, catalog.LevelStructure, catalog.LevelReread, catalog.LevelRestored, catalog.LevelAsserted, catalog.LevelBooted,
}

func newCopyRecord() copyRecord {
	return copyRecord{level: map[copyKey]string{}, damaged: map[copyKey]bool{}, missing: map[copyKey]bool{}}
}

// add takes the next test into the record; tests come in the order they finished.
func (r copyRecord) add(t catalog.TestFinished) {
	key := copyKey{t.Run, t.Target}
	switch t.Verdict {
	case catalog.VerdictPassed:
		if slices.Index(copyLevels, t.Level) > slices.Index(copyLevels, r.level[key]) {
			r.level[key] = t.Level
		}
	case catalog.VerdictFailed:
		r.level[key] = catalog.VerdictFailed
		if t.Blames == catalog.BlamesCopy {
			r.damaged[key] = true
		}
	}
}

// state says how a copy of a run stands.
func (r copyRecord) state(run catalog.Run, c catalog.Copy) string {
	if run.State != catalog.RunComplete {
		return run.State
	}
	if c.State != catalog.RunComplete {
		return c.State // the run is good, and this copy is owed
	}
	if !run.Invalidated.IsZero() {
		return copyInvalidated
	}
	if r.damaged[copyKey{run.Run, c.Target}] {
		return copyDamaged
	}
	for _, id := range c.Snapshots {
		if r.missing[copyKey{id, c.Target}] {
			return copyDamaged
		}
	}
	if _, gone := run.Gone[c.Target]; gone {
		return copyRemoved
	}
	return c.State
}

// readCopyRecord reads all tests and re-reads.
func readCopyRecord(ctx context.Context, cat *catalog.Catalog, job string) (copyRecord, error) {
	r := newCopyRecord()
	for t, err := range cat.Tests(ctx, catalog.TestQuery{Job: job}) {
		if err != nil {
			return r, err
		}
		r.add(t.TestFinished)
	}
	now := clockNow()()
	targets, err := cat.TargetStates(ctx, now, 0)
	if err != nil {
		return r, err
	}
	for _, t := range targets {
		checks, err := cat.Checks(ctx, t.Target, now)
		if err != nil {
			return r, err
		}
		for _, c := range checks {
			for _, id := range c.Missing {
				r.missing[copyKey{id, t.Target}] = true
			}
		}
	}
	return r, nil
}

func listRows(ctx context.Context, cfg *config.Config, cat *catalog.Catalog, job, class string, limit int) ([]catalogRow, error) {
	record, err := readCopyRecord(ctx, cat, job)
	if err != nil {
		return nil, err
	}
	archived, err := cat.ArchivedIn(ctx, clockNow()())
	if err != nil {
		return nil, err
	}
	perJob := map[string]int{}
	var rows []catalogRow
	for run, err := range cat.Runs(ctx, catalog.RunQuery{Job: job, Newest: true}) {
		if err != nil {
			return nil, err
		}
		if (class != "" && run.Class != class) || (limit > 0 && perJob[run.Job] >= limit) {
			continue
		}
		perJob[run.Job]++
		rows = append(rows, rowsOf(cfg, run, record, archived[run.Run])...)
	}
	slices.SortStableFunc(rows, func(a, b catalogRow) int { return strings.Compare(a.Class, b.Class) })
	return rows, nil
}

// rowsOf returns a row per copy, or one without a target for a run that has none.
func rowsOf(cfg *config.Config, run catalog.Run, record copyRecord, archives []string) []catalogRow {
	row := catalogRow{Job: run.Job, Class: run.Class, Category: run.Category, Run: run.Run, TakenAt: run.ConsistentAt, State: run.State, Archives: archives}
	if row.TakenAt.IsZero() {
		row.TakenAt = run.StartedAt
	}
	if !run.Invalidated.IsZero() {
		row.State = copyInvalidated
	}
	if len(run.Copies) == 0 {
		return []catalogRow{row}
	}
	var rows []catalogRow
	for _, c := range run.Copies {
		one := row
		one.Target, one.State, one.Level = c.Target, record.state(run, c), record.level[copyKey{run.Run, c.Target}]
		if len(run.Parts) > 0 {
			one.Snapshot = c.Snapshots[run.Parts[0].Name]
		}
		if until, ok := jobs.KeepUntil(cfg, run); ok && one.State == catalog.RunComplete {
			one.KeepUntil = &until
		}
		one.Held = run.Held && run.Gone[c.Target].IsZero()
		if c.Separation != nil && !c.Separation.Unknown {
			one.Separation = &c.Separation.Level
		}
		rows = append(rows, one)
	}
	return rows
}
