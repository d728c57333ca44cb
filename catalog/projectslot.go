package catalog

import (
	"cmp"
	"context"
	"slices"
	"time"
)

type slotKey struct{ job, action, due int64 }

// A slotRow is an end of a slot.
type slotRow struct {
	state, planned, closed, reason int64
	run                            string
	later                          *slotRow // another end of the same slot
}

func (p *projection) planSlots(ctx context.Context, at int64, e SlotsPlanned) error {
	for _, s := range e.Slots {
		key, err := p.slotKey(ctx, s)
		if err != nil {
			return err
		}
		if p.bulk {
			if _, ok := p.slots[key]; !ok {
				p.slots[key] = at
			}
			continue
		}
		if err := p.planSlot(ctx, key, at); err != nil {
			return err
		}
	}
	p.keep("planned", unix(e.Until))
	return nil
}

func (p *projection) planSlot(ctx context.Context, key slotKey, at int64) error {
	return p.w.exec(ctx, `INSERT OR IGNORE INTO slots(job, action, due, state, planned, closed, run, reason, was, was_closed) VALUES(?,?,?,0,?,0,'',0,0,0)`,
		key.job, key.action, key.due, at)
}

func (p *projection) slotKey(ctx context.Context, s Slot) (slotKey, error) {
	job, err := p.name(ctx, s.Job)
	if err != nil {
		return slotKey{}, err
	}
	action, err := number(actions(), "action", s.Action)
	return slotKey{job, action, unix(s.Due)}, err
}

func (p *projection) closeSlots(ctx context.Context, at int64, state, run, reason string, slots []Slot) error {
	number, err := number(slotStates(), "slot state", state)
	if err != nil {
		return err
	}
	why, err := p.name(ctx, reason)
	if err != nil {
		return err
	}
	for _, s := range slots {
		key, err := p.slotKey(ctx, s)
		if err != nil {
			return err
		}
		if err := p.closeSlot(ctx, key, slotRow{state: number, planned: at, closed: at, run: run, reason: why}); err != nil {
			return err
		}
	}
	return nil
}

// endSlots closes the slot a run or test was for, and those it caught up for.
func (p *projection) endSlots(ctx context.Context, at int64, job, action, id string, due *time.Time, covers []time.Time, good bool) error {
	state, covered := SlotDone, SlotCovered
	if !good {
		state, covered = SlotFailed, SlotFailed // a run that went wrong catches up for nothing
	}
	if due != nil {
		if err := p.closeSlots(ctx, at, state, id, "", []Slot{{job, action, *due}}); err != nil {
			return err
		}
	}
	var earlier []Slot
	for _, t := range covers {
		if due == nil || !t.Equal(*due) {
			earlier = append(earlier, Slot{job, action, t})
		}
	}
	return p.closeSlots(ctx, at, covered, id, "", earlier)
}

// closeSlot ends one slot. The first end counts. Only a slot that went badly can
// still be made up for, and then what it was before stays on record.
func (p *projection) closeSlot(ctx context.Context, key slotKey, row slotRow) error {
	if !p.bulk {
		return p.putSlot(ctx, key, &row)
	}
	if planned, waiting := p.slots[key]; waiting {
		row.planned = planned
		delete(p.slots, key)
	}
	if first, ok := p.closed[key]; ok {
		for first.later != nil {
			first = first.later
		}
		first.later = &row
		return nil
	}
	p.closed[key] = &row
	if len(p.closed) < keptSlots {
		return nil
	}
	return p.writeSlots(ctx)
}

// putSlot writes an end of a slot by the rule of closeSlot: 2 and 4 are failed
// and missed; 1, 3 and 5 are done, covered and waived.
func (p *projection) putSlot(ctx context.Context, key slotKey, s *slotRow) error {
	return p.insert(ctx, `INSERT INTO slots(job, action, due, state, planned, closed, run, reason, was, was_closed) VALUES`, `(?,?,?,?,?,?,?,?,0,0)`,
		` ON CONFLICT DO UPDATE SET was=state, was_closed=closed, state=excluded.state, closed=excluded.closed, run=excluded.run, reason=excluded.reason
		WHERE state=0 OR (state IN (2,4) AND excluded.state IN (1,3,5))`,
		key.job, key.action, key.due, s.state, s.planned, s.closed, s.run, s.reason)
}

// keptSlots is how many ended slots a bulk projection keeps back to write them
// in the order of their key: neighbours go to the same page.
const keptSlots = 1 << 17

func (p *projection) writeSlots(ctx context.Context) error {
	keys := make([]slotKey, 0, len(p.closed))
	for key := range p.closed {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b slotKey) int {
		return cmp.Or(cmp.Compare(a.job, b.job), cmp.Compare(a.action, b.action), cmp.Compare(a.due, b.due))
	})
	for _, key := range keys {
		for row := p.closed[key]; row != nil; row = row.later {
			if err := p.putSlot(ctx, key, row); err != nil {
				return err
			}
		}
	}
	clear(p.closed)
	return nil
}
