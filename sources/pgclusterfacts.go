package sources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// OfDatabase is what a fact of one database is of in the copy of a whole server, which
// has them all in one part.
func OfDatabase(database, of string) string {
	name := utf8Name(quoteName(database))
	if of == "" {
		return name
	}
	return name + "." + of
}

// ClusterFacts returns facts of one database as those of the whole server it is of.
// Roles, and what is said of no table, stay as they are, and the version is left out:
// those are not the database's.
func ClusterFacts(database string, facts []Fact) []Fact {
	var all []Fact
	for _, f := range facts {
		switch {
		case f.Kind == FactVersion:
			continue
		case f.Kind == FactSkipped && f.Of == "", f.Kind == FactRole:
		default:
			f.Of = OfDatabase(database, f.Of)
		}
		f.Part = partCluster
		all = append(all, f)
	}
	return all
}

// factsOf takes the facts of one database. When no transaction has ended since before
// the copy was begun, nothing was written, and all is now as it was at its end.
func (h *pgHeld) factsOf(ctx context.Context, p *Postgres, clock factsClock) ([]Fact, error) {
	conn, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := settle(ctx, conn); err != nil {
		return nil, p.fault("prepare the session", err)
	}
	if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return nil, p.fault("begin", err)
	}
	var now string
	var idle bool
	if err := conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text, "+quiet).Scan(&now, &idle); err != nil {
		return nil, p.fault("see what was written", err)
	}
	if now == h.snapshot && idle {
		facts, denied, err := h.unchanged(ctx, conn, clock.rest(p.plan()))
		if err != nil {
			return nil, p.fault("read the facts", err)
		}
		if denied == "" {
			return ClusterFacts(p.Database, facts), nil
		}
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		return nil, p.fault("read the facts", err)
	}
	facts, err := h.least(ctx, conn, clock)
	if err != nil {
		return nil, p.fault("read the facts", err)
	}
	return ClusterFacts(p.Database, facts), nil
}

// rest returns a plan for what is left of the time.
func (c factsClock) rest(plan FactsPlan) FactsPlan {
	if c.limited() {
		plan.Limit = max(c.left(), time.Millisecond)
	}
	return plan
}

// quiet is true when no transaction that writes is under way: the snapshot knows of
// none, and none was begun that is later than it. One that is may be in the copy as
// ended: its end is written down before anybody sees it.
const quiet = `(SELECT pg_snapshot_xmin(s) = pg_snapshot_xmax(s) AND age(pg_snapshot_xmax(s)::xid) = 0 FROM pg_current_snapshot() s)`

// unchanged takes all facts there are. What is not logged comes back empty and has
// none. denied names a table that may not be read.
func (h *pgHeld) unchanged(ctx context.Context, conn *pgx.Conn, plan FactsPlan) (facts []Fact, denied string, err error) {
	facts, err = PostgresFacts(ctx, conn, plan)
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == "42501" {
		return nil, pe.Message, nil
	}
	if err != nil {
		return nil, "", err
	}
	rows, err := conn.Query(ctx, `SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S')`)
	if err != nil {
		return nil, "", err
	}
	unlogged := map[string]bool{}
	var t pgTable
	_, err = pgx.ForEachRow(rows, []any{&t.schema, &t.name}, func() error {
		unlogged[t.of()] = true
		return nil
	})
	ofTable := []string{FactRows, FactContent, FactSequence}
	return slices.DeleteFunc(facts, func(f Fact) bool { return unlogged[f.Of] && slices.Contains(ofTable, f.Kind) }), "", err
}

// least counts the rows of each table that were there before the copy began and are
// there now: whatever else was written, the copy holds at least those. A row is older
// than the copy when its transaction is older than all that were under way then.
func (h *pgHeld) least(ctx context.Context, conn *pgx.Conn, clock factsClock) ([]Fact, error) {
	oldest, err := h.oldest()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", factsLock.Milliseconds())); err != nil {
		return nil, err
	}
	tables, err := h.standing(ctx, conn, oldest)
	if err != nil {
		return nil, err
	}
	facts := []Fact{{Kind: FactSkipped, Value: "the server was written to, or not all of it may be read: contents are not compared, only rows that were there before the copy and after it"}}
	counted := map[pgStanding]Fact{}
	for i, t := range tables {
		f, err := t.fact(ctx, conn, oldest, clock, clock.share(i == len(tables)-1))
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.of(), err)
		}
		counted[t] = f
	}
	// A name must have stood for the same table all the while.
	still, err := h.standing(ctx, conn, oldest)
	if err != nil {
		return nil, err
	}
	for _, t := range still {
		if f, ok := counted[t]; ok {
			facts = append(facts, f)
		}
	}
	return facts, nil
}

// oldest is the oldest transaction that was under way, or yet to come, before the copy,
// as the 32 bits of it that rows carry.
func (h *pgHeld) oldest() (string, error) {
	xmin, _, _ := strings.Cut(h.snapshot, ":")
	full, err := strconv.ParseUint(xmin, 10, 64)
	return strconv.FormatUint(full&0xffffffff, 10), err
}

// A pgStanding is a table whose name and place are older than the copy.
type pgStanding struct {
	oid          uint32
	schema, name string
	readable     bool
}

func (t pgStanding) table() *pgTable { return &pgTable{schema: t.schema, name: t.name} }
func (t pgStanding) of() string      { return t.table().of() }

// fact is how many rows there are at least, or why that is not known. It takes no longer
// than its share of the time, when that is limited.
func (t pgStanding) fact(ctx context.Context, conn *pgx.Conn, oldest string, clock factsClock, share time.Duration) (Fact, error) {
	skipped := func(why string) (Fact, error) { return Fact{Kind: FactUnread, Of: t.of(), Value: why}, nil }
	switch {
	case !t.readable:
		return skipped("the user may not read it, or not all of its rows")
	case clock.up():
		return skipped(clock.reason())
	}
	n, err := t.least(ctx, conn, oldest, clock.limited(), share)
	var pe *pgconn.PgError
	if err == nil || ctx.Err() != nil || !errors.As(err, &pe) {
		return Fact{Kind: FactLeast, Of: t.of(), Value: n}, err
	}
	switch pe.Code {
	case "55P03":
		return skipped(skippedLocked)
	case "57014":
		return skipped(clock.reason())
	case "42P01", "42501":
		return skipped("it was dropped, or taken from the user, meanwhile")
	}
	return Fact{}, err
}

// least counts the rows that were there all the while. A row that a transaction under
// way may have deleted does not count, for that one may have ended in the copy.
func (t pgStanding) least(ctx context.Context, conn *pgx.Conn, oldest string, limited bool, share time.Duration) (n string, err error) {
	if limited {
		if _, err := conn.Exec(ctx, fmt.Sprintf("SET statement_timeout = %d", max(1, share.Milliseconds()))); err != nil {
			return "", err
		}
	}
	err = conn.QueryRow(ctx, fmt.Sprintf(`SELECT (count(*) FILTER (WHERE age(r.xmin) > age('%s'::xid) AND (r.xmax = '0'::xid OR %s)))::text
		FROM ONLY %s r`, oldest, quiet, t.table().sql())).Scan(&n)
	return n, err
}

// standing lists, small ones first, the tables that are logged and have been called as they are, schema
// and database too, since before the copy.
func (h *pgHeld) standing(ctx context.Context, conn *pgx.Conn, oldest string) ([]pgStanding, error) {
	rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT c.oid, n.nspname::text, c.relname::text,
			has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND `+userSchema+` AND NOT `+ofExtension("pg_class", "c")+`
			AND age(c.xmin) > age('%[1]s'::xid) AND age(n.xmin) > age('%[1]s'::xid)
			AND EXISTS (SELECT FROM pg_database d WHERE d.datname = current_database() AND age(d.xmin) > age('%[1]s'::xid))
		ORDER BY pg_relation_size(c.oid), n.nspname COLLATE "C", c.relname COLLATE "C"`, oldest))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t pgStanding, err error) {
		return t, row.Scan(&t.oid, &t.schema, &t.name, &t.readable)
	})
}
