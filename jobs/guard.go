package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/targets"
)

const (
	// challengeEvery is how often the storage is asked to delete what it must not.
	challengeEvery = 7 * 24 * time.Hour
	// challengeHolds is for how long a refusal counts as proof: as long as a re-read
	// of the newest copy does (compliance policy).
	challengeHolds = 31 * 24 * time.Hour
)

// levelOutOfReach is the level of a copy that nobody can delete (requirements of
// 39/2024/QĐ-UBND on separate storage, as saoluu measures them: L5).
const levelOutOfReach = 5

// guard keeps the promise of a target that lets nobody delete: its locks are
// renewed, and once a week it is asked to delete what it must not.
func (r *Runner) guard(ctx context.Context, to place, done *Upkept) error {
	if !r.promises(to.name) {
		return nil
	}
	return errors.Join(r.renew(ctx, to, done), r.challenge(ctx, to, done))
}

// promises reports whether a target's storage should refuse to delete.
func (r *Runner) promises(target string) bool {
	t := r.Config.Targets[target]
	return t.ObjectLock > 0 || t.AppendOnly
}

func (r *Runner) renew(ctx context.Context, to place, done *Upkept) error {
	locker, can := to.target.(targets.Locker)
	if !can {
		return nil
	}
	renewals, err := r.Catalog.Renewals(ctx, r.Now())
	if err != nil {
		return err
	}
	last := renewals[to.name]
	r.show(Progress{Job: to.name, Step: "renew locks"})
	renewed, err := locker.Renew(ctx, targets.Renewal{Through: last.Through, Until: last.Until}, done.leaving)
	if err != nil || renewed == nil {
		return err
	}
	done.Renewed = renewed.Objects
	_, err = r.Catalog.Append(context.WithoutCancel(ctx), catalog.LocksRenewed{
		Target: to.name, Through: renewed.Through, Until: renewed.Until, Objects: renewed.Objects,
	})
	return err
}

func (r *Runner) challenge(ctx context.Context, to place, done *Upkept) error {
	guarded, can := to.target.(targets.Guarded)
	if !can {
		return nil
	}
	challenges, err := r.Catalog.Challenges(ctx, r.Now())
	if err != nil {
		return err
	}
	if last := challenges[to.name]; last.Refused && r.Now().Sub(last.At) < challengeEvery && !r.Now().Before(last.At) {
		return nil
	}
	r.show(Progress{Job: to.name, Step: "try to delete"})
	tried, err := guarded.Challenge(ctx)
	if err != nil {
		return err
	}
	done.Refused = tried.Refused
	_, err = r.Catalog.Append(context.WithoutCancel(ctx), catalog.DeletionChallenged{Target: to.name, Refused: tried.Refused, How: tried.How})
	if err == nil && !tried.Refused {
		err = fault.New(fault.Verification, fmt.Sprintf("target %q", to.name), fmt.Errorf("the storage lets go of what it must keep: %s", tried.How),
			"find out who changed the storage: copies there are not safe from whoever holds its keys")
	}
	return err
}

// measure records how far the copy lies from its source. A distance that cannot
// be measured is recorded as unknown, not as none.
func (r *Runner) measure(ctx context.Context, source sources.Source, to place, copied *catalog.Copy) {
	s, err := distance(ctx, source, to)
	if err != nil {
		copied.Separation = &catalog.Separation{Unknown: true, How: fault.Public(err)}
		return
	}
	copied.Separation = &catalog.Separation{Level: s.Level, How: s.How, Domain: s.Domain, Declared: s.Declared, Unknown: s.Unknown}
	if s.Unknown || s.Level < targets.LevelOtherHost || !r.promises(to.name) {
		return
	}
	// A lock protects from people, not from the loss of the machine beside it, so
	// it counts only elsewhere, and only when it was tried.
	challenges, err := r.Catalog.Challenges(ctx, r.Now())
	if last := challenges[to.name]; err == nil && last.Refused && r.Now().Sub(last.At) < challengeHolds {
		copied.Separation.Level = levelOutOfReach
		copied.Separation.How = fmt.Sprintf("deletion refused on %s (entry %d); measured: L%d, %s", last.At.UTC().Format(time.DateOnly), last.Seq, s.Level, s.How)
	}
}

func distance(ctx context.Context, source sources.Source, to place) (targets.Separation, error) {
	measurer, can := to.target.(targets.Measurer)
	locator, knows := source.(sources.Locator)
	if !can || !knows {
		return targets.Separation{Unknown: true, How: "this kind of source or target cannot be measured"}, nil
	}
	locations, err := locator.Locations(ctx)
	if err != nil {
		return targets.Separation{}, err
	}
	return measurer.Separation(ctx, locations)
}

// RecoverTarget brings a target back to what it held at an instant, from versions
// that its storage kept; the zero instant means when saoluu last wrote to it or
// read it, within a minute. What is there afterwards is opened and compared with the catalog.
func (r *Runner) RecoverTarget(ctx context.Context, name string, at time.Time) (catalog.TargetRecovered, error) {
	done := catalog.TargetRecovered{Target: name}
	to, err := r.place(ctx, name)
	if err != nil {
		return done, err
	}
	op := fmt.Sprintf("recover target %q", name)
	locker, can := to.target.(targets.Locker)
	if !can || !r.promises(name) {
		return done, fault.New(fault.Refused, op, errors.New("its storage keeps no versions"), "only targets with object_lock can be brought back")
	}
	slack := time.Duration(0)
	if at.IsZero() {
		slack = clockSlack
		if at, err = r.lastTouched(ctx, name); err != nil {
			return done, err
		}
	}
	if at.IsZero() {
		return done, fault.New(fault.Usage, op, errors.New("the catalog does not know when it was last right"), "say --at with the instant before the damage")
	}
	r.show(Progress{Job: name, Step: "recover"})
	recovered, err := locker.Recover(ctx, at.Add(-slack), at.Add(slack))
	done.To, done.Kept, done.Undeleted, done.Restored = at.UTC(), recovered.Kept, recovered.Undeleted, recovered.Restored
	if err != nil {
		return done, err
	}
	if _, err := r.Catalog.Append(context.WithoutCancel(ctx), done); err != nil {
		return done, err
	}
	if err := to.target.Ready(ctx); err != nil {
		return done, err
	}
	if err := r.sameRepository(ctx, to); err != nil {
		return done, err
	}
	var kept Upkept
	if older, err := r.compare(ctx, to, &kept); err != nil || older != nil {
		return done, errors.Join(err, older)
	}
	return done, missing(&kept.CheckFinished)
}

// clockSlack is how far the clock of a storage may be from ours when an instant
// of ours is held against its own.
const clockSlack = time.Minute

// lastTouched is when saoluu last wrote to a target or looked at it.
func (r *Runner) lastTouched(ctx context.Context, target string) (time.Time, error) {
	state, err := r.Catalog.TargetState(ctx, target)
	if err != nil {
		return time.Time{}, err
	}
	last := state.LastCopyAt
	for _, t := range []time.Time{state.LastCheckAt, state.AnchoredAt, state.LastPruneAt} {
		if t.After(last) {
			last = t
		}
	}
	return last, nil
}
