package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// A Retention is what was deleted from a target at once, or refused.
type Retention struct {
	RetentionApplied
	Seq int64
	At  time.Time // of the entry
}

// A Pruning is a time when a target's space was freed.
type Pruning struct {
	RepositoryPruned
	Seq int64
	At  time.Time // of the entry
}

// A Hold is the newest word about whether a run may be deleted.
type Hold struct {
	HoldSet
	Seq int64
	At  time.Time // of the entry
}

// Retentions returns what retention did to a target, oldest first, as known at asOf.
func (c *Catalog) Retentions(ctx context.Context, target string, asOf time.Time) ([]Retention, error) {
	query, args := marked(kindRetention, asOf)
	query += ` AND m.subject=(SELECT id FROM names WHERE name=?) ORDER BY m.seq`
	return collect(decoded(ctx, c, fmt.Sprintf("read the deletions from target %q", target), query, append(args, target),
		func(e RetentionApplied, seq, at int64) Retention { return Retention{e, seq, instant(at)} }))
}

// Prunings returns when a target's space was freed, oldest first, as known at asOf.
func (c *Catalog) Prunings(ctx context.Context, target string, asOf time.Time) ([]Pruning, error) {
	query, args := marked(kindPruned, asOf)
	query += ` AND m.subject=(SELECT id FROM names WHERE name=?) ORDER BY m.seq`
	return collect(decoded(ctx, c, fmt.Sprintf("read the prunings of target %q", target), query, append(args, target),
		func(e RepositoryPruned, seq, at int64) Pruning { return Pruning{e, seq, instant(at)} }))
}

// Unapplied returns the newest plan of a target that no deletion has ended: its
// process is deleting now, or died in it. ok is false when there is none.
func (c *Catalog) Unapplied(ctx context.Context, target string) (plan RetentionPlanned, ok bool, err error) {
	op := fmt.Sprintf("read the plans for target %q", target)
	query := `SELECT m.seq, l.entry FROM marks m JOIN ledger l ON l.seq=m.seq WHERE m.kind=?1 AND m.subject=(SELECT id FROM names WHERE name=?3)
		AND m.seq > coalesce((SELECT max(seq) FROM marks x WHERE x.kind=?2 AND x.subject=m.subject), -1) ORDER BY m.seq DESC LIMIT 1`
	plans, err := collect(decoded(ctx, c, op, query, []any{kindPlanned, kindRetention, target},
		func(e RetentionPlanned, _, _ int64) RetentionPlanned { return e }))
	if err != nil || len(plans) == 0 {
		return RetentionPlanned{}, false, err
	}
	return plans[0], true, nil
}

// Unpruned returns, by target, when the first deletion was whose space has not
// been freed since. Targets without one are not in it.
func (c *Catalog) Unpruned(ctx context.Context) (map[string]time.Time, error) {
	since := map[string]time.Time{}
	query := `SELECT n.name, m.seq, l.entry FROM target_state s JOIN names n ON n.id=s.target
		JOIN marks m ON m.kind IN (?,?) AND m.subject=s.target AND m.seq > coalesce((SELECT max(seq) FROM marks x WHERE x.kind=? AND x.subject=s.target), -1)
		JOIN ledger l ON l.seq=m.seq WHERE m.kind<>? OR instr(l.entry, '"forgotten":')>0 ORDER BY m.seq`
	err := each(ctx, c.read, query, []any{kindRetention, kindSaved, kindPruned, kindSaved}, func(rows *sql.Rows) error {
		var target string
		var seq int64
		var line []byte
		if err := rows.Scan(&target, &seq, &line); err != nil {
			return err
		}
		if _, found := since[target]; found {
			return nil
		}
		entry, err := entryOf(line)
		if err != nil {
			return err
		}
		e, err := entry.Decode()
		if err != nil {
			return err
		}
		switch e := e.(type) {
		case RetentionApplied:
			if len(e.Removed) > 0 {
				since[target] = entry.At
			}
		case SelfSaved:
			since[target] = entry.At
		}
		return nil
	})
	return since, classify("read what has not been pruned", err)
}

// HoldOf returns the newest word about a run's deletion; Held is false in it, and
// Run empty, when nothing was ever said.
func (c *Catalog) HoldOf(ctx context.Context, run string) (Hold, error) {
	var newest Hold
	for entry, err := range c.Entries(ctx, 0, HoldSet{}.Kind()) {
		if err != nil {
			return Hold{}, err
		}
		e, err := entry.Decode()
		if err != nil {
			return Hold{}, err
		}
		said, ok := e.(HoldSet)
		if !ok {
			return Hold{}, errors.New("an entry of a hold holds something else")
		}
		if said.Run == run {
			newest = Hold{said, entry.Seq, entry.At}
		}
	}
	return newest, nil
}
