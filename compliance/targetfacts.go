package compliance

import (
	"context"
	"fmt"
	"time"

	"saoluu/catalog"
)

// targetFacts is what is known of one target at the instant judged.
type targetFacts struct {
	enrolled time.Time // zero when not recorded
	read     time.Time // newest group of packs read back whole
	whole    time.Time // every group was read back whole at or after this; zero when never
	damaged  time.Time // since when damage is known that no later re-read has cleared; zero when none
	suspect  time.Time // when a restore test got damaged data, unless every group was read whole since
	groups   int       // groups a full pass has
	done     int       // groups read in the pass under way or last finished
	cover    catalog.Coverage
}

// target reads a target's re-reads, once.
func (e *evaluation) target(ctx context.Context, name string) (*targetFacts, error) {
	if t := e.targets[name]; t != nil {
		return t, nil
	}
	if e.enrolled == nil {
		if err := e.readEnrolments(ctx); err != nil {
			return nil, err
		}
	}
	checks, err := e.view.Checks(ctx, name, e.now)
	if err != nil {
		return nil, fmt.Errorf("read the re-reads of %q: %w", name, err)
	}
	t := &targetFacts{enrolled: e.enrolled[name]}
	t.follow(checks)
	if at := e.suspect[name]; at.After(t.whole) {
		t.suspect = at
	}
	e.targets[name] = t
	return t, nil
}

// readEnrolments finds when each target was first enrolled.
func (e *evaluation) readEnrolments(ctx context.Context) error {
	e.enrolled, e.repositories = map[string]time.Time{}, map[string]string{}
	for entry, err := range e.view.Entries(ctx, 0, catalog.TargetEnrolled{}.Kind()) {
		if err != nil {
			return fmt.Errorf("read when targets were enrolled: %w", err)
		}
		event, err := entry.Decode()
		if err != nil {
			return fmt.Errorf("read when targets were enrolled: %w", err)
		}
		t, ok := event.(catalog.TargetEnrolled)
		if !ok || entry.At.After(e.now) {
			continue
		}
		if e.enrolled[t.Target].IsZero() {
			e.enrolled[t.Target] = entry.At
		}
		e.repositories[t.Target] = t.Repository
	}
	return nil
}

// follow goes through the re-reads in order. A part is known to be whole since it
// was last read; damage stands until the same part is read whole again. A re-read
// that could not look changes nothing. Parts are told by the packs themselves, so
// that what was read in another number of groups counts too.
func (t *targetFacts) follow(checks []catalog.Check) {
	t.cover = catalog.Covered(checks)
	t.read, t.whole, t.damaged = t.cover.Read, t.cover.Oldest(), t.cover.Damaged()
	t.groups, t.done = t.cover.Groups, t.cover.Done()
}

// firstCopy estimates when the first copy of an asset reached a target: not
// before the target was enrolled nor before the first good backup.
func (t *targetFacts) firstCopy(a *asset) time.Time {
	return later(a.firstGood(), t.enrolled)
}
