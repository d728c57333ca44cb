package compliance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

// keyFacts is what is known of the key of one target's repository at the instant
// judged.
type keyFacts struct {
	catalog.KeyState
	repository string             // the one in use; empty when no enrolment is on record
	custodians []catalog.SealedTo // of the inventory; nil: it does not say
	able       []string           // custodians of today among those it was sealed to
	left       []string           // recipients who are custodians no longer
	changed    []string           // custodians of today with another key than it was sealed to
	without    []string           // custodians of today it was not sealed to at all
}

// key gathers what is known of a target's key.
func (e *evaluation) key(ctx context.Context, target string) (keyFacts, error) {
	if e.keys == nil {
		var err error
		if e.keys, err = e.view.KeyStates(ctx, e.now); err != nil {
			return keyFacts{}, fmt.Errorf("read the states of keys: %w", err)
		}
	}
	if e.enrolled == nil {
		if err := e.readEnrolments(ctx); err != nil {
			return keyFacts{}, err
		}
	}
	k := keyFacts{KeyState: e.keys[target], repository: e.repositories[target], custodians: e.inv.Custodians}
	sealed := k.Sealed.Event.Recipients
	var prints []string // one key under two names is one custodian
	for _, to := range sealed {
		switch {
		case slices.Contains(e.inv.Custodians, to):
			if !slices.Contains(prints, to.Fingerprint) {
				k.able, prints = append(k.able, to.Custodian), append(prints, to.Fingerprint)
			}
		case slices.ContainsFunc(e.inv.Custodians, ofName(to.Custodian)):
			k.changed = append(k.changed, to.Custodian)
		default:
			k.left = append(k.left, to.Custodian)
		}
	}
	for _, c := range e.inv.Custodians {
		if !slices.ContainsFunc(sealed, ofName(c.Custodian)) {
			k.without = append(k.without, c.Custodian)
		}
	}
	return k, nil
}

func ofName(custodian string) func(catalog.SealedTo) bool {
	return func(to catalog.SealedTo) bool { return to.Custodian == custodian }
}

// destroyed is when all keys of the repository were taken away, so that nobody here
// can read again what lay in it till then; zero if they were not.
func (k keyFacts) destroyed() time.Time {
	if !k.Shut(k.Shredded.Event.Repository) {
		return time.Time{}
	}
	return k.Shredded.At
}

// tried is the newest drill in which somebody who is a custodian today opened the
// repository with the sealed key; zero if there was none since it was first sealed.
func (k keyFacts) tried() catalog.Dated[catalog.EscrowDrilled] {
	for _, t := range slices.Backward(k.Tries) {
		if t.Event.OK && !t.At.Before(k.First) && slices.ContainsFunc(k.custodians, ofName(t.Event.Custodian)) {
			return t
		}
	}
	return catalog.Dated[catalog.EscrowDrilled]{}
}

// refused is the newest drill since the key was last sealed, when it found that the
// sealed key does not open the repository (Fail), or somebody's identity the sealed
// key (Warn). Pass: it did neither.
func (k keyFacts) refused() (Outcome, catalog.Dated[catalog.EscrowDrilled]) {
	for _, t := range slices.Backward(k.Tries) {
		if t.Seq < k.Sealed.Seq {
			break
		}
		switch fault.Kind(t.Event.ErrorKind) {
		case fault.Damaged, fault.Verification:
			return Fail, t
		case fault.WrongKey, fault.WrongTarget:
			return Warn, t
		case "":
			if !t.Event.OK {
				return Warn, t // from before the kind was recorded
			}
			return Pass, t
		}
	}
	return Pass, catalog.Dated[catalog.EscrowDrilled]{}
}

// foreign reports whether what was recorded is about another repository than the
// one in use.
func (k keyFacts) foreign(repository string) bool {
	return k.repository != "" && repository != k.repository
}

// keyRecords describes the keys of the targets of the inventory, in its order.
func (e *evaluation) keyRecords(ctx context.Context) ([]KeyRecord, error) {
	var out []KeyRecord
	for _, row := range e.inv.Targets {
		k, err := e.key(ctx, row.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, KeyRecord{
			Target: row.Name, Sealed: k.Sealed, Placed: k.Placed, Drilled: k.tried(), Rotated: k.Rotated, Shredded: k.destroyed(), Left: k.left,
		})
	}
	return out, nil
}

func entry(seq int64) string { return fmt.Sprintf("entry:%d", seq) }

func quoted(names []string) string { return "“" + strings.Join(names, "”, “") + "”" }
