package sources

import (
	"cmp"
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

// How much one statement reads: a table of its own has each large one, and a thousand
// small ones need no thousand round trips. Others can change a table's definition
// between two statements, not during one.
const (
	pgBatchTables = 100
	pgBatchBytes  = 64 << 20
)

// factsLockWait is how long a statement that reads facts queues behind somebody who has
// a table for himself. Who comes later queues behind it.
const factsLockWait = time.Second

// A pgTable is an ordinary table; partitions are such.
type pgTable struct {
	schema, name string
	columns      []string // not generated ones, by name
	types        []uint32 // of the columns (pg_type.oid)
	hashRecord   bool     // the server can hash a row as it is: since version 14
	oid, file    uint32   // pg_class.oid and relfilenode, as the view has them
	pages        int64    // of the table and its long values, as was last estimated

	rows, content string // "" until read
	skipped       string // why one of them is not
}

// hashable are the types whose values hash alike wherever they are restored, and
// faster than as text: their text costs more than all the rest (pg_type.dat). The
// hash of an enumeration, for one, is that of a number the server makes up.
var hashable = []uint32{
	16, 17, 20, 21, 23, // bool bytea int8 int2 int4
	700, 701, 1700, // float4 float8 numeric
	1042, 1082, 1083, 1114, 1184, 2950, // bpchar date time timestamp timestamptz uuid
}

func pgTables(ctx context.Context, conn *pgx.Conn) ([]*pgTable, error) {
	const columns = `FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		AND coalesce(to_jsonb(a)->>'attgenerated', '') = '' ORDER BY a.attname COLLATE "C"`
	rows, err := conn.Query(ctx, `SELECT n.nspname::text, c.relname::text,
			array(SELECT a.attname::text `+columns+`), array(SELECT a.atttypid `+columns+`),
			to_regproc('pg_catalog.hash_record_extended') IS NOT NULL, c.oid, c.relfilenode,
			greatest(c.relpages, 0)::int8 + coalesce((SELECT greatest(l.relpages, 0) FROM pg_class l WHERE l.oid = c.reltoastrelid), 0)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND `+userSchema+` AND NOT `+ofExtension("pg_class", "c")+`
		ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*pgTable, error) {
		t := &pgTable{}
		err := row.Scan(&t.schema, &t.name, &t.columns, &t.types, &t.hashRecord, &t.oid, &t.file, &t.pages)
		return t, err
	})
}

// of is the table's name in facts and in SQL.
func (t *pgTable) of() string { return utf8Name(t.sql()) }

func (t *pgTable) sql() string { return quoteName(t.schema) + "." + quoteName(t.name) }

// bytes is about how much reading the table costs: its pages, or, when the server has
// not looked at them lately, what as many narrow rows take.
func (t *pgTable) bytes() int64 {
	const page, row = 8 << 10, 64
	n, _ := strconv.ParseInt(t.rows, 10, 64) // 0 before they were counted
	return max(t.pages*page, n*row)
}

// facts are those of the table that were read, and why others were not.
func (t *pgTable) facts() []Fact {
	var all []Fact
	for _, f := range []Fact{
		{Kind: FactRows, Of: t.of(), Value: t.rows}, {Kind: FactContent, Of: t.of(), Value: t.content}, {Kind: FactUnread, Of: t.of(), Value: t.skipped},
	} {
		if f.Value != "" {
			all = append(all, f)
		}
	}
	return all
}

// A pgBatch are tables that one statement reads.
type pgBatch struct {
	conn     *pgx.Conn
	tables   []*pgTable
	contents bool // and not only how many rows they have
	bytes    int64
	last     bool // nothing is read after it
}

// batches makes batches of tables, small ones first.
func (s *pgSurvey) batches(tables []*pgTable, contents bool) []*pgBatch {
	slices.SortStableFunc(tables, func(a, b *pgTable) int { return cmp.Compare(a.bytes(), b.bytes()) })
	var all []*pgBatch
	for _, t := range tables {
		last := len(all) - 1
		if last < 0 || len(all[last].tables) == pgBatchTables || all[last].bytes+t.bytes() > pgBatchBytes {
			all = append(all, &pgBatch{conn: s.conn, contents: contents})
			last++
		}
		all[last].tables = append(all[last].tables, t)
		all[last].bytes += t.bytes()
	}
	return all
}

// count counts the rows of the tables. Without a limit, those whose contents are read
// are counted then.
func (s *pgSurvey) count(ctx context.Context, clock factsClock) error {
	tables := slices.DeleteFunc(slices.Clone(s.tables), func(t *pgTable) bool { return !clock.limited() && s.plan.wants(t.of()) })
	for _, batch := range s.batches(tables, false) {
		if err := batch.read(ctx, clock); err != nil {
			return err
		}
	}
	return s.again(ctx, clock, tables)
}

// again counts once more what somebody had locked.
func (s *pgSurvey) again(ctx context.Context, clock factsClock, tables []*pgTable) error {
	for _, t := range tables {
		if t.skipped != skippedLocked {
			continue
		}
		t.skipped = ""
		if err := (&pgBatch{conn: s.conn, tables: []*pgTable{t}}).read(ctx, clock); err != nil {
			return err
		}
	}
	return nil
}

// contents are the batches of the tables whose contents are wanted.
func (s *pgSurvey) contents() []*pgBatch {
	return s.batches(slices.DeleteFunc(slices.Clone(s.tables), func(t *pgTable) bool { return t.skipped != "" || !s.plan.wants(t.of()) }), true)
}

// read reads the tables of a batch by one statement or, when that fails, by one each.
// With a limit, what cannot be read in time, or without waiting for others, is skipped;
// what was made anew after the view was opened is not what the dump has.
func (b *pgBatch) read(ctx context.Context, clock factsClock) error {
	if clock.up() {
		b.skip(clock.reason())
		return nil
	}
	err := b.ask(ctx, clock)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var pe *pgconn.PgError
	state := ""
	if errors.As(err, &pe) {
		state = pe.Code
	}
	switch {
	case state == "57014" && clock.up(): // query_canceled
		b.skip(clock.reason())
		return nil
	case len(b.tables) > 1 && b.conn.PgConn().TxStatus() != 'E':
		for i, t := range b.tables {
			one := &pgBatch{conn: b.conn, tables: []*pgTable{t}, contents: b.contents, last: b.last && i == len(b.tables)-1}
			if err := one.read(ctx, clock); err != nil {
				return err
			}
		}
		return nil
	case clock.limited() && state == "55P03": // lock_not_available
		b.skip(skippedLocked)
		return nil
	case clock.limited() && state == "57014":
		b.skip(clock.reason())
		return nil
	case clock.limited() && state == "53200": // out_of_memory
		b.skip("the server has no room for its lock (max_locks_per_transaction) or no memory")
		return nil
	case clock.limited() && state == "42P01": // undefined_table
		b.skip("the table was dropped during the backup")
		return nil
	}
	return fmt.Errorf("table %s: %w", b.tables[0].of(), err)
}

func (b *pgBatch) skip(why string) {
	for _, t := range b.tables {
		t.skipped = why
	}
}

// ask puts the statement. In a transaction it does so inside a savepoint: with it go the
// locks on the tables, for all of which together the server may have no room, and a
// statement that fails does not take the transaction down.
func (b *pgBatch) ask(ctx context.Context, clock factsClock) (err error) {
	if b.conn.PgConn().TxStatus() == 'T' {
		guard := "SAVEPOINT saoluu"
		if clock.limited() {
			left := clock.share(b.last)
			if len(b.tables) > 1 {
				left = clock.left() / 2 // the other half is for one by one
			}
			guard += fmt.Sprintf("; SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d", left.Milliseconds()+1, factsLockWait.Milliseconds())
		}
		if _, err := b.conn.Exec(ctx, guard, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		defer func() {
			_, undone := b.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT saoluu; RELEASE SAVEPOINT saoluu", pgx.QueryExecModeSimpleProtocol)
			if err == nil {
				err = undone
			}
		}()
	}
	rows, err := b.conn.Query(ctx, b.statement())
	if err != nil {
		return err
	}
	var i int
	var file uint32
	var count, sum string
	_, err = pgx.ForEachRow(rows, []any{&i, &file, &count, &sum}, func() error {
		t := b.tables[i]
		if clock.limited() && (file != t.file || t.rows != "" && t.rows != count) {
			t.skipped = "the table was emptied or made anew during the backup"
			return nil
		}
		t.rows, t.content = count, sum
		return nil
	})
	return err
}

// statement asks for number, file, count and digest of each table.
func (b *pgBatch) statement() string {
	var all []string
	for i, t := range b.tables {
		sum := "''"
		if b.contents {
			sum = "coalesce(sum(" + t.hash() + "), 0)::text"
		}
		all = append(all, fmt.Sprintf("SELECT %d, coalesce(pg_relation_filenode(%d::oid), 0), count(*)::text, %s FROM ONLY %s r", i, t.oid, sum, t.sql()))
	}
	return strings.Join(all, " UNION ALL ")
}

// hash is the expression for one row r of the table. Columns stand by name: those
// of a child table may come in another order after a restore.
func (t *pgTable) hash() string {
	columns := make([]string, len(t.columns))
	for i, c := range t.columns {
		columns[i] = "r." + quoteName(c)
		if t.hashRecord && !slices.Contains(hashable, t.types[i]) {
			columns[i] = "(" + columns[i] + `)::text COLLATE "C"`
		}
	}
	row := "ROW(" + strings.Join(columns, ", ") + ")"
	if t.hashRecord && len(columns) > 0 {
		return "hash_record_extended(" + row + ", 0)"
	}
	return "hashtextextended((" + row + `::text) COLLATE "C", 0)`
}
