package catalog

import (
	"context"
	"time"
)

// A Dated is an event with the entry that holds it. The zero value stands for
// none.
type Dated[E Event] struct {
	Event E
	Seq   int64
	At    time.Time // of the entry
}

// A KeyState is what is known of the key of one target's repository.
type KeyState struct {
	First    time.Time              // when the key of its present repository was first sealed or printed; zero: never
	Sealed   Dated[KeySealed]       // the newest
	Placed   Dated[KeyPlaced]       // the newest
	Drilled  Dated[EscrowDrilled]   // the newest that succeeded
	Tries    []Dated[EscrowDrilled] // all drills, oldest first
	Rotated  Dated[KeyRotated]      // the newest
	Shredded Dated[KeyShredded]     // the newest
}

// KeyStates returns what is known of the keys, by target, as known at asOf.
func (c *Catalog) KeyStates(ctx context.Context, asOf time.Time) (map[string]KeyState, error) {
	states := map[string]KeyState{}
	sealed, err := datedOf[KeySealed](ctx, c, kindSealed, asOf)
	if err != nil {
		return nil, err
	}
	for _, e := range sealed {
		s := states[e.Event.Target]
		if s.First.IsZero() || s.Sealed.Event.Repository != e.Event.Repository {
			s.First = e.At
		}
		s.Sealed = e
		states[e.Event.Target] = s
	}
	placed, err := datedOf[KeyPlaced](ctx, c, kindPlaced, asOf)
	if err != nil {
		return nil, err
	}
	for _, e := range placed {
		s := states[e.Event.Target]
		s.Placed = e
		states[e.Event.Target] = s
	}
	drilled, err := datedOf[EscrowDrilled](ctx, c, kindDrilled, asOf)
	if err != nil {
		return nil, err
	}
	for _, e := range drilled {
		s := states[e.Event.Target]
		if s.Tries = append(s.Tries, e); e.Event.OK {
			s.Drilled = e
		}
		states[e.Event.Target] = s
	}
	rotated, err := datedOf[KeyRotated](ctx, c, kindRotated, asOf)
	if err != nil {
		return nil, err
	}
	for _, e := range rotated {
		s := states[e.Event.Target]
		s.Rotated = e
		states[e.Event.Target] = s
	}
	shredded, err := datedOf[KeyShredded](ctx, c, kindShredded, asOf)
	for _, e := range shredded {
		s := states[e.Event.Target]
		s.Shredded = e
		states[e.Event.Target] = s
	}
	return states, err
}

// A SelfState is what is known of the copies of the state itself on one target.
type SelfState struct {
	Saved  Dated[SelfSaved]  // the newest
	Tested Dated[SelfTested] // the newest
	Passed time.Time         // when a test last passed
}

// SelfStates returns what is known of the copies of the state itself, by target,
// as known at asOf.
func (c *Catalog) SelfStates(ctx context.Context, asOf time.Time) (map[string]SelfState, error) {
	states := map[string]SelfState{}
	query, args := newestMarked(kindSaved, asOf)
	saved, err := collect(decoded(ctx, c, "read the self-backups", query, args, datedRow[SelfSaved]))
	if err != nil {
		return nil, err
	}
	for _, e := range saved {
		s := states[e.Event.Target]
		s.Saved = e
		states[e.Event.Target] = s
	}
	tested, err := datedOf[SelfTested](ctx, c, kindSelfTested, asOf)
	for _, e := range tested {
		s := states[e.Event.Target]
		s.Tested = e
		if e.Event.Verdict == VerdictPassed {
			s.Passed = e.At
		}
		states[e.Event.Target] = s
	}
	return states, err
}

// LastRecovered returns when the state was last brought back from a target.
func (c *Catalog) LastRecovered(ctx context.Context) (Dated[SiteRecovered], error) {
	all, err := datedOf[SiteRecovered](ctx, c, kindRecovered, c.options.Now().AddDate(100, 0, 0))
	if err != nil || len(all) == 0 {
		return Dated[SiteRecovered]{}, err
	}
	return all[len(all)-1], nil
}

// datedOf returns all events of a rare kind, oldest first.
func datedOf[E Event](ctx context.Context, c *Catalog, kind int, asOf time.Time) ([]Dated[E], error) {
	query, args := marked(kind, asOf)
	var e E
	return collect(decoded(ctx, c, "read entries of kind "+e.Kind(), query+` ORDER BY m.seq`, args, datedRow[E]))
}

func datedRow[E Event](e E, seq, at int64) Dated[E] { return Dated[E]{e, seq, instant(at)} }
