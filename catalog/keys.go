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
	Checked  Dated[OldKeysChecked]  // the newest
	Shredded Dated[KeyShredded]     // the newest
}

// With returns the state after one more event about the target's key. Events of
// other kinds change nothing.
func (k KeyState) With(e Event, seq int64, at time.Time) KeyState {
	switch e := e.(type) {
	case KeySealed:
		if k.First.IsZero() || k.Sealed.Event.Repository != e.Repository {
			k.First = at
		}
		k.Sealed = Dated[KeySealed]{e, seq, at}
	case KeyPlaced:
		k.Placed = Dated[KeyPlaced]{e, seq, at}
	case EscrowDrilled:
		d := Dated[EscrowDrilled]{e, seq, at}
		if k.Tries = append(k.Tries, d); e.OK {
			k.Drilled = d
		}
	case KeyRotated:
		k.Rotated = Dated[KeyRotated]{e, seq, at}
	case OldKeysChecked:
		k.Checked = Dated[OldKeysChecked]{e, seq, at}
	case KeyShredded:
		k.Shredded = Dated[KeyShredded]{e, seq, at}
	}
	return k
}

// Remaining returns the old keys that still open the repository, and those that
// are deleted and kept by the storage, as far as was seen last.
func (k KeyState) Remaining() (left []string, kept []KeptKey) {
	if k.Checked.Seq > k.Rotated.Seq {
		return k.Checked.Event.Left, k.Checked.Event.Kept
	}
	return k.Rotated.Event.Left, k.Rotated.Event.Kept
}

// Shut reports whether all keys of the repository were taken away on purpose, so
// that nobody here can read it: destroyed, or kept as versions by the storage.
func (k KeyState) Shut(repository string) bool {
	e := k.Shredded.Event
	return e.Repository == repository && (e.State == RunComplete || e.State == RunIncomplete)
}

// KeyStates returns what is known of the keys, by target, as known at asOf.
func (c *Catalog) KeyStates(ctx context.Context, asOf time.Time) (map[string]KeyState, error) {
	states := map[string]KeyState{}
	for _, add := range []func() error{
		func() error {
			return addKeys(ctx, c, kindSealed, asOf, states, func(e KeySealed) string { return e.Target })
		},
		func() error {
			return addKeys(ctx, c, kindPlaced, asOf, states, func(e KeyPlaced) string { return e.Target })
		},
		func() error {
			return addKeys(ctx, c, kindDrilled, asOf, states, func(e EscrowDrilled) string { return e.Target })
		},
		func() error {
			return addKeys(ctx, c, kindRotated, asOf, states, func(e KeyRotated) string { return e.Target })
		},
		func() error {
			return addKeys(ctx, c, kindOldKeys, asOf, states, func(e OldKeysChecked) string { return e.Target })
		},
		func() error {
			return addKeys(ctx, c, kindShredded, asOf, states, func(e KeyShredded) string { return e.Target })
		},
	} {
		if err := add(); err != nil {
			return nil, err
		}
	}
	return states, nil
}

// addKeys adds all events of one kind to the states of their targets.
func addKeys[E Event](ctx context.Context, c *Catalog, kind int, asOf time.Time, states map[string]KeyState, target func(E) string) error {
	all, err := datedOf[E](ctx, c, kind, asOf)
	for _, d := range all {
		states[target(d.Event)] = states[target(d.Event)].With(d.Event, d.Seq, d.At)
	}
	return err
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
