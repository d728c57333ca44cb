package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// A projection turns events into rows. Append applies one event at a time;
// Rebuild applies all of them in one go. In bulk, rows that will change again
// (open slots, running runs) wait in memory for their last form, and nothing
// is looked up that the ledger's order rules out.
type projection struct {
	w    *writer
	bulk bool

	names   map[string]int64
	jobs    map[string]*jobRow
	targets map[string]*targetRow
	runs    map[string]*runRow // running ones

	// Only in bulk:
	slots   map[slotKey]int64    // open ones with the time they were planned
	closed  map[slotKey]*slotRow // ended ones not written yet
	goods   map[int64][]goodRun  // by job, as long as they are good
	batches map[string]*batch    // rows not written yet, by statement

	kept map[string]int64 // marks that only rise, changed since the last flush

	usedJobs, usedTargets map[string]bool // since the last flush

	nextName, nextTest int64 // 0: not read yet
	inventory          *InventorySet
}

type jobRow struct {
	JobState
	id    int64
	dirty bool
}

type targetRow struct {
	TargetState
	id    int64
	dirty bool
}

func newProjection(w *writer) *projection {
	return &projection{
		w: w, names: map[string]int64{}, jobs: map[string]*jobRow{}, targets: map[string]*targetRow{},
		runs: map[string]*runRow{}, slots: map[slotKey]int64{}, closed: map[slotKey]*slotRow{}, goods: map[int64][]goodRun{}, batches: map[string]*batch{},
		kept: map[string]int64{}, usedJobs: map[string]bool{}, usedTargets: map[string]bool{},
	}
}

// apply brings the tables up to date with one entry.
func (p *projection) apply(ctx context.Context, seq, at int64, e Event) error {
	switch e := e.(type) {
	case InventorySet:
		return p.setInventory(ctx, seq, at, e)
	case SlotsPlanned:
		return p.planSlots(ctx, at, e)
	case SlotsClosed:
		return p.closeSlots(ctx, at, e.State, e.Run, e.Reason, e.Slots)
	case RunStarted:
		return p.startRun(ctx, seq, at, e)
	case RunFinished:
		return p.finishRun(ctx, seq, at, e)
	case CopyFinished:
		return p.finishCopy(ctx, seq, at, e)
	case TestStarted:
		return p.startTest(ctx, seq, e)
	case TestFinished:
		return p.finishTest(ctx, seq, at, e)
	case ControlFinished:
		return p.mark(ctx, kindControl, e.Source, seq, at)
	case RunShrank:
		return p.mark(ctx, kindShrank, e.Job, seq, at)
	case ConfigChanged:
		return p.mark(ctx, kindChanged, e.Job, seq, at)
	case ChangeExplained:
		return p.mark(ctx, kindChanged, e.Job, seq, at)
	case DeletionChallenged:
		return p.mark(ctx, kindChallenge, e.Target, seq, at)
	case LocksRenewed:
		return p.mark(ctx, kindRenewal, e.Target, seq, at)
	case KeySealed:
		return p.mark(ctx, kindSealed, e.Target, seq, at)
	case KeyPlaced:
		return p.mark(ctx, kindPlaced, e.Target, seq, at)
	case EscrowDrilled:
		return p.mark(ctx, kindDrilled, e.Target, seq, at)
	case KeyRotated:
		return p.mark(ctx, kindRotated, e.Target, seq, at)
	case OldKeysChecked:
		return p.mark(ctx, kindOldKeys, e.Target, seq, at)
	case KeyShredded:
		return p.mark(ctx, kindShredded, e.Target, seq, at)
	case SelfSaved:
		return p.mark(ctx, kindSaved, e.Target, seq, at)
	case SelfTested:
		return p.mark(ctx, kindSelfTested, e.Target, seq, at)
	case SiteRecovered:
		return p.mark(ctx, kindRecovered, e.Target, seq, at)
	case MediumRegistered:
		return p.mark(ctx, kindMedium, e.Medium, seq, at)
	case MediumSeen:
		return p.mark(ctx, kindMedium, e.Medium, seq, at)
	case MediumRefused:
		return p.mark(ctx, kindMedium, e.Medium, seq, at)
	case MediumHanded:
		return p.mark(ctx, kindMedium, e.Medium, seq, at)
	case MediumInspected:
		return p.mark(ctx, kindMedium, e.Medium, seq, at)
	case MediumStaged:
		return p.mark(ctx, kindMedium, e.Medium, seq, at)
	case ArchiveWritten:
		return p.archive(ctx, seq, at, e)
	case CheckFinished:
		return p.finishCheck(ctx, seq, at, e)
	case RetentionApplied:
		return p.applyRetention(ctx, seq, at, e)
	case RetentionPlanned:
		return p.mark(ctx, kindPlanned, e.Target, seq, at)
	case RepositoryPruned:
		return p.prune(ctx, seq, at, e)
	case TargetEnrolled:
		return p.enroll(ctx, e)
	case CheckpointAnchored:
		return p.anchor(ctx, seq, at, e)
	case HoldSet:
		return p.hold(ctx, e)
	}
	return nil // the other kinds have no rows
}

// name returns the number of a name, giving it one if it is new.
func (p *projection) name(ctx context.Context, name string) (int64, error) {
	if id, ok := p.names[name]; ok {
		return id, nil
	}
	var id int64
	if !p.bulk {
		row, err := p.w.row(ctx, `SELECT id FROM names WHERE name=?`, name)
		if err != nil {
			return 0, err
		}
		if err := row.Scan(&id); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
	}
	if id == 0 {
		var err error
		if id, err = p.next(ctx, &p.nextName, `SELECT coalesce(max(id),0) FROM names`); err != nil {
			return 0, err
		}
		if err := p.w.exec(ctx, `INSERT INTO names(id, name) VALUES(?,?)`, id, name); err != nil {
			return 0, err
		}
	}
	p.names[name] = id
	return id, nil
}

// next counts on from the highest number in the table, read once.
func (p *projection) next(ctx context.Context, counter *int64, query string) (int64, error) {
	if *counter == 0 {
		row, err := p.w.row(ctx, query)
		if err == nil {
			err = row.Scan(counter)
		}
		if err != nil {
			return 0, err
		}
		*counter++
	}
	n := *counter
	*counter++
	return n, nil
}

// keep sets a kept value; the last one counts.
func (p *projection) keep(name string, value int64) { p.kept[name] = value }

func (p *projection) mark(ctx context.Context, kind int64, subject string, seq, at int64) error {
	id, err := p.name(ctx, subject)
	if err != nil {
		return err
	}
	return p.w.exec(ctx, `INSERT INTO marks(kind, subject, seq, at) VALUES(?,?,?,?)`, kind, id, seq, at)
}

// setInventory compares the inventory with the one before and writes down who
// came and who left.
func (p *projection) setInventory(ctx context.Context, seq, at int64, e InventorySet) error {
	before, err := p.lastInventory(ctx)
	if err != nil {
		return err
	}
	was, is := assetsOf(before), assetsOf(e)
	for _, a := range before.Assets {
		if _, stays := is[a.Job]; stays {
			continue
		}
		if err := p.removeAsset(ctx, at, a); err != nil {
			return err
		}
	}
	for _, a := range e.Assets {
		j, err := p.job(ctx, a.Job)
		if err != nil {
			return err
		}
		j.InInventory, j.dirty = true, true
		if _, known := was[a.Job]; known {
			continue
		}
		if err := p.w.exec(ctx, `INSERT OR IGNORE INTO assets(job, seq, since, until, asset) VALUES(?,?,?,0,'')`, j.id, seq, at); err != nil {
			return err
		}
	}
	if err := p.inventoryTargets(ctx, before.Targets, e.Targets); err != nil {
		return err
	}
	p.inventory = &e
	p.keep("inventory", seq)
	return p.mark(ctx, kindInventory, "", seq, at)
}

func assetsOf(e InventorySet) map[string]Asset {
	m := make(map[string]Asset, len(e.Assets))
	for _, a := range e.Assets {
		m[a.Job] = a
	}
	return m
}

func (p *projection) removeAsset(ctx context.Context, at int64, a Asset) error {
	j, err := p.job(ctx, a.Job)
	if err != nil {
		return err
	}
	j.InInventory, j.dirty = false, true
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return p.w.exec(ctx, `UPDATE assets SET until=?, asset=? WHERE job=? AND until=0`, at, string(text), j.id)
}

func (p *projection) inventoryTargets(ctx context.Context, before, now []TargetRow) error {
	for _, in := range []struct {
		rows []TargetRow
		is   bool
	}{{before, false}, {now, true}} {
		for _, row := range in.rows {
			t, err := p.target(ctx, row.Name)
			if err != nil {
				return err
			}
			t.InInventory, t.dirty = in.is, true
		}
	}
	return nil
}

// lastInventory returns the inventory in force, the empty one before the first.
func (p *projection) lastInventory(ctx context.Context) (InventorySet, error) {
	if p.inventory != nil {
		return *p.inventory, nil
	}
	if p.bulk {
		return InventorySet{}, nil
	}
	row, err := p.w.row(ctx, `SELECT l.entry FROM kept k JOIN ledger l ON l.seq=k.value WHERE k.name='inventory'`)
	if err != nil {
		return InventorySet{}, err
	}
	var line []byte
	if err := row.Scan(&line); errors.Is(err, sql.ErrNoRows) {
		return InventorySet{}, nil
	} else if err != nil {
		return InventorySet{}, err
	}
	e, err := Entry{JSON: line}.Decode()
	if err != nil {
		return InventorySet{}, err
	}
	set, ok := e.(InventorySet)
	if !ok {
		return InventorySet{}, fmt.Errorf("the entry of the inventory is of kind %q", e.Kind())
	}
	return set, nil
}

func (p *projection) enroll(ctx context.Context, e TargetEnrolled) error {
	t, err := p.target(ctx, e.Target)
	if err != nil {
		return err
	}
	t.ID, t.Repository, t.dirty = e.ID, e.Repository, true
	return nil
}

func (p *projection) anchor(ctx context.Context, seq, at int64, e CheckpointAnchored) error {
	t, err := p.target(ctx, e.Target)
	if err != nil {
		return err
	}
	t.AnchoredAt, t.AnchoredSize, t.dirty = instant(at), e.Size, true
	return p.mark(ctx, kindAnchor, e.Target, seq, at)
}

func (p *projection) finishCheck(ctx context.Context, seq, at int64, e CheckFinished) error {
	t, err := p.target(ctx, e.Target)
	if err != nil {
		return err
	}
	t.check(e)
	if e.Due != nil {
		if err := p.endSlots(ctx, at, e.Target, ActionUpkeep, "", e.Due, e.Covers, e.State == RunComplete); err != nil {
			return err
		}
	}
	if len(e.Missing) > 0 {
		if err := p.lose(ctx, at, e.Target, e.Missing); err != nil {
			return err
		}
	}
	return p.mark(ctx, kindCheck, e.Target, seq, at)
}

// check brings a target's posture up to date with a re-read. One that could not
// look says nothing of the packs, and a good one nothing of other groups: damage
// once found stays until the same packs have been read whole.
func (t *targetRow) check(e CheckFinished) {
	t.LastError, t.LastCheck, t.dirty = e.Error, e.State, true
	for b := range PacksOf(e.N, e.Of) {
		switch i, known := slices.BinarySearch(t.Damaged, b); {
		case e.State == RunComplete && known:
			t.Damaged = slices.Delete(t.Damaged, i, i+1)
		case e.State == RunFailed && !known:
			t.Damaged = slices.Insert(t.Damaged, i, b)
		}
	}
	if e.State == RunComplete || e.State == RunFailed {
		t.LastCheckAt = e.FinishedAt
	}
	if len(t.Damaged) > 0 {
		t.LastCheck = RunFailed
	}
}

// sortedKeys returns the keys of m in order, so that a replay writes in the same order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
