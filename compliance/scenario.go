package compliance

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// A scenario is a small catalog in memory: one asset, or none, with the history
// that a pack's test gives. It answers as of an instant like the real one.
type scenario struct {
	loc        *time.Location
	site       catalog.SiteInfo
	set        time.Time
	assets     []catalog.Asset
	removed    []catalog.RemovedAsset
	targets    []catalog.TargetRow
	classes    []catalog.ClassInfo
	runs       []catalog.Run // oldest first
	tests      []catalog.Test
	checks     []catalog.Check
	removals   []catalog.Retention
	anchors    []catalog.Anchor
	controls   []catalog.Control
	custodians []catalog.SealedTo
	keys       []keyEvent // oldest first
	archives   []catalog.Dated[catalog.ArchiveWritten]
	media      []catalog.Dated[catalog.Event] // oldest first
	changes    []catalog.ConfigChange         // oldest first
	compared   []catalog.Comparison           // of the tables with the ledger, oldest first
	entries    []catalog.Entry
	enrolments []catalog.Entry
	broken     bool // the ledger's entries are not those its hashes were made of
}

func (s *scenario) Inventory(_ context.Context, asOf time.Time) (catalog.InventoryAt, error) {
	inv := catalog.InventoryAt{Since: map[string]time.Time{}}
	if s.set.After(asOf) {
		return inv, nil
	}
	inv.InventorySet = catalog.InventorySet{Site: s.site, Classes: s.classes, Targets: s.targets, Assets: slices.Clone(s.assets), Custodians: s.custodians}
	inv.SetAt = s.set
	for _, a := range s.assets {
		inv.Since[a.Job] = s.set
	}
	for _, r := range s.removed {
		inv.Since[r.Asset.Job] = s.set
		if r.At.After(asOf) {
			inv.Assets = append(inv.Assets, r.Asset)
		} else {
			inv.Removed = append(inv.Removed, r)
		}
	}
	return inv, nil
}

// goodAt returns the runs that counted as good at asOf, oldest first.
func (s *scenario) goodAt(job string, asOf time.Time) []catalog.Run {
	return slices.DeleteFunc(slices.Clone(s.runs), func(r catalog.Run) bool { return r.Job != job || !r.Good(asOf) })
}

func (s *scenario) Months(_ context.Context, from, to, asOf time.Time) ([]catalog.Month, error) {
	byMonth := map[string]*catalog.Month{}
	var order []string
	for _, r := range s.runs {
		at := r.ConsistentAt
		if at.IsZero() {
			at = r.StartedAt
		}
		if at.Before(from) || !at.Before(to) || r.FinishedAt.After(asOf) {
			continue
		}
		month := calendar.MonthOf(at, s.loc)
		key := r.Job + " " + month.String()
		m := byMonth[key]
		if m == nil {
			m = &catalog.Month{Job: r.Job, Start: month.Start(s.loc)}
			byMonth[key], order = m, append(order, key)
		}
		switch {
		case r.Good(asOf):
			if m.Good++; m.First.IsZero() {
				m.First = at
			}
			m.Last = at
		case r.State == catalog.RunComplete:
			m.Voided++
		default:
			m.Bad++
		}
	}
	slices.Sort(order)
	months := make([]catalog.Month, 0, len(order))
	for _, key := range order {
		months = append(months, *byMonth[key])
	}
	return months, nil
}

func (s *scenario) GoodSpans(ctx context.Context, from, to, asOf time.Time) ([]catalog.Span, error) {
	months, err := s.Months(ctx, from, to, asOf)
	var spans []catalog.Span
	for _, m := range months {
		n := len(spans)
		switch {
		case m.Good == 0:
		case n > 0 && spans[n-1].Job == m.Job:
			spans[n-1].Last = m.Last
		default:
			spans = append(spans, catalog.Span{Job: m.Job, First: m.First, Last: m.Last})
		}
	}
	return spans, err
}

func (s *scenario) GoodTimes(_ context.Context, job string, from, to, asOf time.Time) ([]time.Time, error) {
	var times []time.Time
	for _, r := range s.goodAt(job, asOf) {
		if !r.ConsistentAt.Before(from) && r.ConsistentAt.Before(to) {
			times = append(times, r.ConsistentAt)
		}
	}
	return times, nil
}

func (s *scenario) Runs(_ context.Context, q catalog.RunQuery) iter.Seq2[catalog.Run, error] {
	var chosen []catalog.Run
	for _, r := range s.runs {
		at := r.ConsistentAt
		if at.IsZero() {
			at = r.StartedAt
		}
		outside := (!q.From.IsZero() && at.Before(q.From)) || (!q.To.IsZero() && !at.Before(q.To))
		wanted := (!q.GoodOnly || r.Good(q.AsOf)) && (!q.NotGood || r.State != catalog.RunComplete)
		if r.Job == q.Job && !outside && !r.FinishedAt.After(q.AsOf) && wanted {
			chosen = append(chosen, r)
		}
	}
	return chosenOf(chosen, q.Newest, q.Limit)
}

func (s *scenario) Tests(_ context.Context, q catalog.TestQuery) iter.Seq2[catalog.Test, error] {
	var chosen []catalog.Test
	for _, t := range s.tests {
		at := t.FinishedAt
		outside := (!q.From.IsZero() && at.Before(q.From)) || (!q.To.IsZero() && !at.Before(q.To))
		if (q.Job == "" || t.Job == q.Job) && (q.Verdict == "" || t.Verdict == q.Verdict) && !outside && !at.After(q.AsOf) {
			chosen = append(chosen, t)
		}
	}
	return chosenOf(chosen, q.Newest, q.Limit)
}

// chosenOf yields rows in the order and number a query asks for.
func chosenOf[R any](rows []R, newest bool, limit int) iter.Seq2[R, error] {
	if newest {
		slices.Reverse(rows)
	}
	if limit > 0 && len(rows) > limit {
		rows = rows[:limit]
	}
	return func(yield func(R, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (s *scenario) Controls(_ context.Context, asOf time.Time) (map[string]catalog.Control, error) {
	newest := map[string]catalog.Control{}
	for _, c := range s.controls {
		if !c.At.After(asOf) {
			newest[c.Source] = c
		}
	}
	return newest, nil
}

func (s *scenario) Checks(_ context.Context, target string, asOf time.Time) ([]catalog.Check, error) {
	return slices.DeleteFunc(slices.Clone(s.checks), func(c catalog.Check) bool { return c.Target != target || c.At.After(asOf) }), nil
}

func (s *scenario) Anchors(_ context.Context, asOf time.Time) ([]catalog.Anchor, error) {
	return slices.DeleteFunc(slices.Clone(s.anchors), func(a catalog.Anchor) bool { return a.At.After(asOf) }), nil
}

func (s *scenario) Retentions(_ context.Context, target string, asOf time.Time) ([]catalog.Retention, error) {
	return slices.DeleteFunc(slices.Clone(s.removals), func(r catalog.Retention) bool { return r.Target != target || r.At.After(asOf) }), nil
}

func (s *scenario) Compared(_ context.Context, asOf time.Time) (catalog.Comparison, error) {
	var newest catalog.Comparison
	for _, c := range s.compared {
		if !c.At.After(asOf) {
			newest = c
		}
	}
	return newest, nil
}

// ConfigChanges returns what a test gives, explained as far as asOf.
func (s *scenario) ConfigChanges(_ context.Context, asOf time.Time) (map[string][]catalog.ConfigChange, error) {
	all := map[string][]catalog.ConfigChange{}
	for _, c := range s.changes {
		if c.At.After(asOf) {
			continue
		}
		c.Explained = slices.DeleteFunc(slices.Clone(c.Explained), func(d catalog.Dated[catalog.ChangeExplained]) bool { return d.At.After(asOf) })
		all[c.Job] = append(all[c.Job], c)
	}
	return all, nil
}

// addChanges reads how the configuration changed, and when that was explained:
// changes = [{ at = 2026-05-02, files = 3, explained = 2026-05-03 }].
func (sc *scenario) addChanges(s *scope) {
	for i, t := range s.tables("changes") {
		c := catalog.ConfigChange{Seq: int64(7000 + i), At: t.instant("at", sc.loc),
			ConfigChanged: catalog.ConfigChanged{Run: fmt.Sprintf("run-%d", i), Job: testJob, Before: "before", Changed: t.number("files", 1, 1, 1000)}}
		if at := t.instant("explained", sc.loc); !at.IsZero() {
			c.Explained = []catalog.Dated[catalog.ChangeExplained]{{Event: catalog.ChangeExplained{Run: c.Run, Job: testJob, Note: "thử", By: "thử"}, At: at}}
		}
		sc.changes = append(sc.changes, c)
	}
}

// A keyEvent is one entry about the key of a target.
type keyEvent struct {
	target string
	seq    int64
	at     time.Time
	event  catalog.Event
}

func (s *scenario) KeyStates(_ context.Context, asOf time.Time) (map[string]catalog.KeyState, error) {
	states := map[string]catalog.KeyState{}
	for _, k := range s.keys {
		if !k.at.After(asOf) {
			states[k.target] = states[k.target].With(k.event, k.seq, k.at)
		}
	}
	return states, nil
}

func (s *scenario) Archives(_ context.Context, asOf time.Time) ([]catalog.Dated[catalog.ArchiveWritten], error) {
	return slices.DeleteFunc(slices.Clone(s.archives), func(d catalog.Dated[catalog.ArchiveWritten]) bool { return d.At.After(asOf) }), nil
}

func (s *scenario) Run(_ context.Context, id string) (catalog.Run, error) {
	for _, r := range s.runs {
		if r.Run == id {
			return r, nil
		}
	}
	return catalog.Run{}, fmt.Errorf("run %q: %w", id, catalog.ErrMissing)
}

func (s *scenario) TreeSize(context.Context) (int64, error) { return int64(len(s.entries)), nil }

func (s *scenario) Root(_ context.Context, size int64) (tlog.Hash, error) {
	tree := frontier{}
	for _, e := range s.entries[:size] {
		line := e.JSON
		if s.broken && e.Seq == 0 {
			line = append([]byte("changed "), line...)
		}
		tree.add(tlog.RecordHash(line))
	}
	return tree.root(), nil
}

func (s *scenario) Entry(_ context.Context, seq int64) (catalog.Entry, error) {
	if seq < 0 || seq >= int64(len(s.entries)) {
		return catalog.Entry{}, fmt.Errorf("entry %d: not there", seq)
	}
	return s.entries[seq], nil
}

// Entries yields of the kinds only target enrolments.
func (s *scenario) Entries(_ context.Context, from int64, only ...string) iter.Seq2[catalog.Entry, error] {
	if len(only) > 0 {
		return chosenOf(slices.DeleteFunc(slices.Clone(s.enrolments), func(e catalog.Entry) bool { return !slices.Contains(only, e.Kind) }), false, 0)
	}
	return chosenOf(slices.Clone(s.entries[min(int(from), len(s.entries)):]), false, 0)
}

// ProveInclusion is never asked of so short a ledger.
func (s *scenario) ProveInclusion(_ context.Context, seq, _ int64) ([]tlog.Hash, error) {
	return nil, fmt.Errorf("entry %d: a scenario keeps no proofs", seq)
}

// Media replays the events of the media that a test gives.
func (s *scenario) Media(_ context.Context, asOf time.Time) (map[string]catalog.MediumState, []catalog.MediumRefusal, error) {
	register := map[string]catalog.MediumState{}
	for _, d := range s.media {
		if d.At.After(asOf) {
			continue
		}
		switch e := d.Event.(type) {
		case catalog.MediumSeen:
			m := register[e.Medium]
			m.Medium, m.Seen = e.Medium, catalog.Dated[catalog.MediumSeen]{Event: e, Seq: d.Seq, At: d.At}
			register[e.Medium] = m
		case catalog.MediumStaged:
			m := register[e.Medium]
			m.Medium, m.Staged = e.Medium, catalog.Dated[catalog.MediumStaged]{Event: e, Seq: d.Seq, At: d.At}
			register[e.Medium] = m
		}
	}
	return register, nil, nil
}

// addMedia reads when media were plugged in and pulled out, and came to a stage:
// media = [{ target = "usb", pulled = 2026-05-02, stage = "lost", at = 2026-05-10 }].
func (sc *scenario) addMedia(s *scope) {
	for _, t := range s.tables("media") {
		name := t.text("target")
		i := slices.IndexFunc(sc.targets, func(row catalog.TargetRow) bool { return row.Name == name && row.Type == "removable" })
		if i < 0 {
			t.errorf("target", "there is no removable target %q", name)
			continue
		}
		sc.targets[i].Medium, sc.targets[i].Label = name, t.optional("label")
		for key, plugged := range map[string]bool{"plugged": true, "pulled": false} {
			if at := t.instant(key, sc.loc); !at.IsZero() {
				sc.media = append(sc.media, catalog.Dated[catalog.Event]{Event: catalog.MediumSeen{Medium: name, Plugged: plugged}, At: at})
			}
		}
		if at := t.instant("at", sc.loc); !at.IsZero() {
			sc.media = append(sc.media, catalog.Dated[catalog.Event]{Event: catalog.MediumStaged{Medium: name, Stage: t.text("stage")}, At: at})
		}
	}
	slices.SortStableFunc(sc.media, func(a, b catalog.Dated[catalog.Event]) int { return a.At.Compare(b.At) })
}
