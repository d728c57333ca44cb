package compliance

import (
	"context"
	"fmt"
	"sort"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// annex adds what a report shows beside the findings.
func (e *evaluation) annex(ctx context.Context, packs []*Pack, result *Result) error {
	var err error
	if result.Watch, err = e.watch(ctx); err != nil {
		return err
	}
	result.Grid, result.Ledger = e.grid(packs), e.ledger
	for i := range result.Grid {
		result.Grid[i].noteSilence(result.Watch)
	}
	if result.Targets, err = e.targetStates(ctx); err != nil {
		return err
	}
	if result.Keys, err = e.keyRecords(ctx); err != nil {
		return err
	}
	if result.Archives, err = e.archived(ctx); err != nil {
		return err
	}
	for _, a := range e.assets {
		if !a.removed.IsZero() {
			continue
		}
		if err := e.proofs(ctx, a, result); err != nil {
			return err
		}
	}
	if result.Changes, err = e.history(ctx); err != nil {
		return err
	}
	result.Media, result.Refused, err = e.register(ctx, result.Copies)
	return err
}

// proofs adds one asset's copies and the state of its restore tests.
func (e *evaluation) proofs(ctx context.Context, a *asset, result *Result) error {
	copies, err := e.copiesOf(ctx, a)
	if err != nil {
		return err
	}
	for _, f := range copies {
		result.Copies = append(result.Copies, CopyState{
			Job: a.Job, Target: f.Target, Run: f.run, Taken: f.taken, Separation: f.Separation, Encryption: f.Encryption, Consistency: f.stillness,
		})
	}
	tests, err := e.testsOf(ctx, a)
	if err != nil {
		return err
	}
	proof := Proof{Job: a.Job, Believed: tests.doubt == ""}
	if len(tests.all) > 0 {
		proof.Last, proof.Verdict = tests.all[0].FinishedAt, tests.all[0].Verdict
	}
	if t, ok := tests.newest(1); ok {
		proof.Passed, proof.Level, proof.Seconds = t.FinishedAt, t.Level, t.RestoreSeconds
	}
	result.Proofs = append(result.Proofs, proof)
	return nil
}

// targetStates describes the targets of the inventory, in its order.
func (e *evaluation) targetStates(ctx context.Context) ([]TargetFacts, error) {
	anchors, err := e.view.Anchors(ctx, e.now)
	if err != nil {
		return nil, fmt.Errorf("read the anchored checkpoints: %w", err)
	}
	anchored := map[string]time.Time{}
	for _, a := range anchors {
		anchored[a.Target] = a.At
	}
	var out []TargetFacts
	for _, row := range e.inv.Targets {
		t, err := e.target(ctx, row.Name)
		if err != nil {
			return nil, err
		}
		every := rereadEvery(row)
		out = append(out, TargetFacts{
			Egress: row.Egress, Needed: t.cover.Monthly(calendar.AgeDays(before(every, e.now, e.loc), e.now, e.loc)), Spared: t.cover.Spared != "",
			Every: every, Covered: t.cover.Percent(before(every, e.now, e.loc), e.now), Ever: t.cover.Percent(time.Time{}, e.now),
			TargetRow: row, Read: t.read, Whole: t.whole, Damaged: t.damaged, Suspect: t.suspect, Groups: t.groups, Done: t.done, Anchored: anchored[row.Name],
		})
	}
	return out, nil
}

// readLedger finds how long the ledger was at the instant the report is made
// for, and its root then.
func (e *evaluation) readLedger(ctx context.Context) error {
	size, err := e.seqAfter(ctx, e.asOf)
	if err != nil {
		return err
	}
	e.ledger.Size = size
	if size > 0 {
		if e.ledger.Root, err = e.view.Root(ctx, size); err != nil {
			return fmt.Errorf("read the root of the ledger: %w", err)
		}
	}
	return nil
}

// seqAfter is the number of the first entry written after t. Entries are in the
// order of time.
func (e *evaluation) seqAfter(ctx context.Context, t time.Time) (int64, error) {
	size, err := e.view.TreeSize(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the size of the ledger: %w", err)
	}
	n := sort.Search(int(size), func(i int) bool {
		entry, failed := e.view.Entry(ctx, int64(i))
		if failed != nil && err == nil {
			err = fmt.Errorf("read entry %d of the ledger: %w", i, failed)
		}
		return entry.At.After(t)
	})
	return int64(n), err
}

// silentAfter is how long the daemon may go without a heartbeat, which it gives
// every hour.
const silentAfter = 2 * time.Hour

// firstShown is the month a grid begins with when there is so much to show: it
// has twelve months at least, and those of the period.
func (e *evaluation) firstShown() calendar.Month {
	const year = 12
	return e.period.First.Add(min(0, e.period.Count-year))
}

// gridMonths are the months the grid shows: the period and, if that is short, the
// time before it, a year in all but not from before there was an inventory.
func (e *evaluation) gridMonths() []calendar.Month {
	first, last := e.firstShown(), e.period.First.Add(e.period.Count-1)
	if begun := calendar.MonthOf(e.begun(), e.loc); first.Compare(begun) < 0 {
		first = begun
	}
	if first.Compare(e.period.First) > 0 {
		first = e.period.First
	}
	var months []calendar.Month
	for m := first; m.Compare(last) <= 0; m = m.Next() {
		months = append(months, m)
	}
	return months
}

// watch measures for each month of the grid how long nobody was watching.
func (e *evaluation) watch(ctx context.Context) ([]Watch, error) {
	months := e.gridMonths()
	from := later(months[0].Start(e.loc), e.begun())
	silences, err := e.silences(ctx, from)
	if err != nil {
		return nil, err
	}
	var out []Watch
	for _, m := range months {
		w := Watch{Month: m}
		for _, s := range silences {
			start, end := later(s[0], m.Start(e.loc)), earlier(s[1], m.End(e.loc))
			if end.After(start) {
				w.Silent += end.Sub(start)
			}
		}
		out = append(out, w)
	}
	return out, nil
}

// begun is when the first asset entered the inventory.
func (e *evaluation) begun() time.Time {
	first := e.inv.SetAt
	for _, known := range e.inv.Since {
		first = earlier(first, known)
	}
	return first
}

// silences lists the spans without a heartbeat from an instant to the one judged.
func (e *evaluation) silences(ctx context.Context, from time.Time) ([][2]time.Time, error) {
	first, err := e.seqAfter(ctx, from.Add(-silentAfter))
	if err != nil {
		return nil, err
	}
	kinds := []string{catalog.Beat{}.Kind(), catalog.DaemonStarted{}.Kind(), catalog.DaemonStopped{}.Kind()}
	var spans [][2]time.Time
	last := from
	for entry, err := range e.view.Entries(ctx, first, kinds...) {
		if err != nil {
			return nil, fmt.Errorf("read the heartbeats: %w", err)
		}
		if entry.At.After(e.now) {
			break
		}
		if entry.At.Sub(last) > silentAfter {
			spans = append(spans, [2]time.Time{last, entry.At})
		}
		last = later(last, entry.At)
	}
	if e.now.Sub(last) > silentAfter {
		spans = append(spans, [2]time.Time{last, e.now})
	}
	return spans, nil
}

// noteSilence puts the time nobody was watching next to a month without backup.
func (r *GridRow) noteSilence(watch []Watch) {
	for i, c := range r.Cells {
		for _, w := range watch {
			if w.Month == c.Month && w.Silent > 0 && c.Good == 0 && c.Outcome != NA {
				r.Cells[i].Why = sentences(c.Why, "không có nhịp theo dõi "+vnSpan(w.Silent.Truncate(time.Hour)))
			}
		}
	}
}
