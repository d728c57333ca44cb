package sources

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// SQLiteFacts returns what is true of the database at path, which nobody may be
// writing to: the number of rows of each table, the digest of its content (mode
// ModeFull), the digest of the schema, and what SQLite's own check says. The
// contents of a virtual table lie in its shadow tables, which are tables like
// others. A table that cannot be read has no facts in its place but one that
// says so. The error is only for a file that cannot be opened as a database.
func SQLiteFacts(ctx context.Context, path, mode string) ([]Fact, error) {
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
	facts := []Fact{{Kind: FactSchema, Value: schema}, sqliteIntegrity(ctx, db)}
	for _, table := range tables {
		got, err := sqliteTable(ctx, db, table, mode)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			got = []Fact{{Kind: FactSkipped, Of: table, Value: err.Error()}}
		}
		facts = append(facts, got...)
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

// sqliteIntegrity runs SQLite's own check. A check that cannot run is no verdict
// on the data: a collation of the application's is missing here, for example.
func sqliteIntegrity(ctx context.Context, db *sql.DB) Fact {
	var first string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&first); err != nil {
		if strings.Contains(err.Error(), "no such") {
			return Fact{Kind: FactSkipped, Of: FactIntegrity, Value: err.Error()}
		}
		first = err.Error()
	}
	return Fact{Kind: FactIntegrity, Value: first}
}

// sqliteTable returns the facts of one table.
func sqliteTable(ctx context.Context, db *sql.DB, table, mode string) ([]Fact, error) {
	if mode != ModeFull {
		var n int64
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+quoteName(table)).Scan(&n); err != nil {
			return nil, err
		}
		return []Fact{{Kind: FactRows, Of: table, Value: strconv.FormatInt(n, 10)}}, nil
	}
	columns, err := sqliteColumns(ctx, db, table)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT "+columns+" FROM "+quoteName(table))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	n, sum, err := digestRows(ctx, rows)
	if err != nil {
		return nil, err
	}
	return []Fact{
		{Kind: FactRows, Of: table, Value: strconv.FormatInt(n, 10)},
		{Kind: FactContent, Of: table, Value: sum},
	}, nil
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

// digestRows returns the number of rows and a digest that does not depend on
// their order: the sum of the rows' SHA-256, taken as four 64-bit numbers each.
func digestRows(ctx context.Context, rows *sql.Rows) (int64, string, error) {
	names, err := rows.Columns()
	if err != nil {
		return 0, "", err
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
			return 0, "", context.Cause(ctx)
		}
		if err := rows.Scan(targets...); err != nil {
			return 0, "", err
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
	return n, fmt.Sprintf("%016x%016x%016x%016x", sum[0], sum[1], sum[2], sum[3]), rows.Err()
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
