package sources

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SQLiteFacts returns what is true of the database at path, which nobody may be
// writing to: the number of rows of each table, the digest of its content (mode
// ModeFull), the digest of the schema, and what SQLite's own check says. The
// contents of a virtual table lie in its shadow tables, which are tables like
// others. A table that cannot be read, or for which time was up, has no facts in its
// place but one that says so. The error is only for a file that cannot be opened as a
// database.
func SQLiteFacts(ctx context.Context, path string, plan FactsPlan) ([]Fact, error) {
	return sqliteFacts(ctx, path, plan, plan.start())
}

func sqliteFacts(ctx context.Context, path string, plan FactsPlan, clock factsClock) ([]Fact, error) {
	op := fmt.Sprintf("read database %q", path)
	db, err := openSQLite(path, url.Values{"mode": {"ro"}, "immutable": {"1"}})
	if err != nil {
		return nil, sqliteError(op, err)
	}
	defer db.Close()
	schema, err := sqliteSchema(ctx, db)
	if err != nil {
		return nil, sqliteError(op, err)
	}
	tables, err := sqliteTables(ctx, db)
	if err != nil {
		return nil, sqliteError(op, err)
	}
	r := &sqliteReading{db: db, plan: plan, clock: clock}
	facts, err := r.read(ctx, tables)
	return append([]Fact{{Kind: FactSchema, Value: schema}}, facts...), err
}

// A sqliteReading reads facts of tables within the time there is.
type sqliteReading struct {
	db    *sql.DB
	plan  FactsPlan
	clock factsClock
}

// within runs one query of the reading and says why it was not answered; "" when it was.
func (r *sqliteReading) within(ctx context.Context, last bool, query func(ctx context.Context) error) (skipped string, _ error) {
	if r.clock.up() {
		return r.clock.reason(), nil
	}
	inner, cancel := ctx, context.CancelFunc(func() {})
	if r.clock.limited() {
		inner, cancel = context.WithTimeout(ctx, r.clock.share(last))
	}
	defer cancel()
	err := query(inner)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil && inner.Err() != nil:
		return r.clock.reason(), nil
	case err != nil:
		return err.Error(), nil
	}
	return "", nil
}

// read counts all rows, has SQLite check the database, and reads the contents, those of
// tables with few rows first.
func (r *sqliteReading) read(ctx context.Context, tables []string) ([]Fact, error) {
	var facts []Fact
	rows := map[string]int64{}
	for _, table := range tables {
		skipped, err := r.within(ctx, false, func(ctx context.Context) error {
			var n int64
			err := r.db.QueryRowContext(ctx, "SELECT count(*) FROM "+quoteName(table)).Scan(&n)
			if err == nil {
				rows[table] = n
				facts = append(facts, Fact{Kind: FactRows, Of: table, Value: strconv.FormatInt(n, 10)})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if skipped != "" {
			facts = append(facts, Fact{Kind: FactUnread, Of: table, Value: skipped})
		}
	}
	check, err := r.integrity(ctx)
	if err != nil {
		return nil, err
	}
	facts = append(facts, check)
	tables = slices.DeleteFunc(tables, func(table string) bool {
		_, counted := rows[table]
		return !counted || !r.plan.wants(table)
	})
	slices.SortStableFunc(tables, func(a, b string) int { return cmp.Compare(rows[a], rows[b]) })
	for i, table := range tables {
		fact, err := r.content(ctx, table, i == len(tables)-1)
		if err != nil {
			return nil, err
		}
		facts = append(facts, fact)
	}
	return facts, nil
}

// sqliteSchema returns the digest of all definitions.
func sqliteSchema(ctx context.Context, db *sql.DB) (string, error) {
	rows, err := db.QueryContext(ctx, `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name, tbl_name`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	h := sha256.New()
	for rows.Next() {
		var kind, name, table, text string
		if err := rows.Scan(&kind, &name, &table, &text); err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %q %q %q\n", kind, name, table, text)
	}
	return hex.EncodeToString(h.Sum(nil)), rows.Err()
}

// sqliteTables returns the names of the tables that hold rows of their own.
func sqliteTables(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, `SELECT name FROM pragma_table_list
		WHERE schema = 'main' AND type IN ('table', 'shadow') AND name <> 'sqlite_schema' ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// integrity runs SQLite's own check. A check that cannot run is no verdict on the
// data: a collation of the application's is missing here, for example.
func (r *sqliteReading) integrity(ctx context.Context) (Fact, error) {
	var first string
	skipped, err := r.within(ctx, false, func(ctx context.Context) error {
		err := r.db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&first)
		if err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "no such") {
			first, err = err.Error(), nil
		}
		return err
	})
	if skipped != "" {
		return Fact{Kind: FactSkipped, Of: FactIntegrity, Value: skipped}, err
	}
	return Fact{Kind: FactIntegrity, Value: first}, err
}

// content is the digest of a table's rows.
func (r *sqliteReading) content(ctx context.Context, table string, last bool) (Fact, error) {
	fact := Fact{Kind: FactContent, Of: table}
	skipped, err := r.within(ctx, last, func(ctx context.Context) error {
		columns, err := sqliteColumns(ctx, r.db, table)
		if err != nil {
			return err
		}
		rows, err := r.db.QueryContext(ctx, "SELECT "+columns+" FROM "+quoteName(table))
		if err != nil {
			return err
		}
		defer rows.Close()
		fact.Value, err = digestRows(ctx, rows)
		return err
	})
	if skipped != "" {
		return Fact{Kind: FactUnread, Of: table, Value: skipped}, err
	}
	return fact, err
}

// sqliteColumns lists the stored columns of a table. Each stands behind a plus,
// which changes nothing but takes the declared type away: by that the driver
// would turn some texts into times, and different texts into the same time.
func sqliteColumns(ctx context.Context, db *sql.DB, table string) (string, error) {
	// hidden is 0 for an ordinary column and 3 for a stored generated one.
	rows, err := db.QueryContext(ctx, `SELECT name FROM pragma_table_xinfo(?) WHERE hidden IN (0, 3) ORDER BY cid`, table)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var columns []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", err
		}
		columns = append(columns, "+"+quoteName(name))
	}
	return strings.Join(columns, ", "), rows.Err()
}

// digestRows returns a digest that does not depend on the order of the rows: the sum of
// their SHA-256, taken as four 64-bit numbers each.
func digestRows(ctx context.Context, rows *sql.Rows) (string, error) {
	names, err := rows.Columns()
	if err != nil {
		return "", err
	}
	values, targets := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		targets[i] = &values[i]
	}
	var n int64
	var sum [4]uint64
	var row []byte
	for rows.Next() {
		if n%4096 == 0 && ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err := rows.Scan(targets...); err != nil {
			return "", err
		}
		row = row[:0]
		for _, v := range values {
			row = appendValue(row, v)
		}
		h := sha256.Sum256(row)
		for i := range sum {
			sum[i] += binary.BigEndian.Uint64(h[8*i:])
		}
		n++
	}
	return fmt.Sprintf("%016x%016x%016x%016x", sum[0], sum[1], sum[2], sum[3]), rows.Err()
}

// appendValue appends a form of v that no other value shares: type, length, bytes.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 'n')
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'f'), math.Float64bits(v))
	case bool:
		return append(b, 'b', map[bool]byte{true: 1}[v])
	case string:
		b = binary.AppendUvarint(append(b, 't'), uint64(len(v)))
		return append(b, v...)
	case []byte:
		b = binary.AppendUvarint(append(b, 'x'), uint64(len(v)))
		return append(b, v...)
	case time.Time:
		text := v.UTC().Format(time.RFC3339Nano)
		return append(binary.AppendUvarint(append(b, 'd'), uint64(len(text))), text...)
	default:
		return append(append(b, '?'), fmt.Sprint(v)...)
	}
}

// quoteName quotes an identifier for SQL.
func quoteName(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}
