package verify

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"net/url"
	"os"
	"slices"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// databases are restored SQLite databases, one a part.
type databases struct {
	*examination
	parts []restoredPart
}

func newDatabases(x *examination, parts []restoredPart) *databases {
	return &databases{examination: x, parts: parts}
}

func (d *databases) facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error) {
	var all []sources.Fact
	for _, p := range d.parts {
		got, err := sources.SQLiteFacts(ctx, p.file, sources.PlanFor(want, p.Part))
		if fault.KindOf(err) == fault.Damaged {
			return nil, &finding{"database", "it opens", "damaged", err}
		}
		if err != nil {
			return nil, err
		}
		for i := range got {
			got[i].Part = p.Part
		}
		all = append(all, got...)
	}
	return all, nil
}

// query opens the database so that nothing can change it.
func (d *databases) query(ctx context.Context, c Check) (answer, error) {
	p, err := d.part(c.Part)
	if err != nil {
		return answer{}, err
	}
	db, err := openDatabase(p.file, url.Values{"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"query_only(1)"}})
	if err != nil {
		return answer{}, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, c.SQL)
	if err != nil {
		return refusal(ctx, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return refusal(ctx, err)
	}
	if !rows.Next() {
		if rows.Err() != nil {
			return refusal(ctx, rows.Err())
		}
		return answer{none: true}, nil
	}
	values := make([]sql.NullString, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := rows.Scan(targets...); err != nil {
		return refusal(ctx, err)
	}
	if len(values) == 0 {
		return answer{none: true}, nil
	}
	return answer{null: !values[0].Valid, text: values[0].String}, nil
}

// refusal tells a statement that these data cannot answer from one that is wrong
// and from a failure to look.
func refusal(ctx context.Context, err error) (answer, error) {
	if ctx.Err() != nil {
		return answer{}, context.Cause(ctx)
	}
	text := err.Error()
	var se *sqlite.Error
	switch {
	case strings.Contains(text, "no such table"), strings.Contains(text, "no such column"), strings.Contains(text, "no such view"):
		return answer{refused: "the query names something that is not there"}, nil
	case errors.As(err, &se) && (se.Code()&0xff == sqlite3.SQLITE_CORRUPT || se.Code()&0xff == sqlite3.SQLITE_NOTADB):
		return answer{refused: "the database is damaged"}, nil
	case errors.As(err, &se) && se.Code()&0xff == sqlite3.SQLITE_ERROR:
		return answer{}, fault.New(fault.Usage, "SQL check", err, "correct the check's sql")
	}
	return answer{}, fault.New(fault.Unknown, "SQL check", err, "")
}

func (d *databases) part(name string) (restoredPart, error) {
	if name == "" {
		return d.parts[0], nil
	}
	for _, p := range d.parts {
		if p.Part == name {
			return p, nil
		}
	}
	return restoredPart{}, fault.New(fault.Usage, "SQL check", fmt.Errorf("the copy has no part %q", name), "correct the check's part")
}

func openDatabase(path string, query url.Values) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func (d *databases) close() error { return nil }

// damage deletes one row of one table that had rows or, when there is none,
// drops a table. Without facts it deletes all rows.
func (d *databases) damage(ctx context.Context, seed string, want []sources.Fact) (string, error) {
	all := len(want) == 0
	if all {
		var err error
		if want, err = stripped(d.facts(ctx, nil)); err != nil {
			return "", err
		}
	}
	damaged := ""
	for _, p := range d.parts {
		if err := os.Chmod(p.file, 0o600); err != nil {
			return "", err
		}
		db, err := openDatabase(p.file, url.Values{"mode": {"rw"}, "_pragma": {"journal_mode(DELETE)"}})
		if err != nil {
			return "", err
		}
		exec := func(statement, table string) (bool, error) {
			statement = strings.ReplaceAll(statement, "TABLE_NAME", `"`+strings.ReplaceAll(table, `"`, `""`)+`"`)
			done, err := db.ExecContext(ctx, statement)
			if err != nil {
				return false, context.Cause(ctx) // a trigger or a virtual table forbids it: another one will do
			}
			n, err := done.RowsAffected()
			return n > 0 || strings.HasPrefix(statement, "DROP"), err
		}
		var how string
		if t := tablesOf(want, p.Part, seed); all {
			how, err = strip(t, exec, "DELETE FROM TABLE_NAME", "DROP TABLE TABLE_NAME")
		} else {
			how, err = spoil(t, exec, "DELETE FROM TABLE_NAME WHERE rowid = (SELECT min(rowid) FROM TABLE_NAME)", "DROP TABLE TABLE_NAME")
		}
		err = errors.Join(err, db.Close())
		if err != nil || how != "" && !all {
			return how, err
		}
		damaged = cmp.Or(how, damaged)
	}
	return damaged, nil
}

// tables are what a control may spoil: those with rows, in an order the seed
// decides, and those without.
type tables struct{ full, empty []string }

func tablesOf(want []sources.Fact, part, seed string) tables {
	var t tables
	for _, f := range want {
		switch {
		case f.Kind != sources.FactRows || f.Part != part:
		case f.Value == "0":
			t.empty = append(t.empty, f.Of)
		default:
			t.full = append(t.full, f.Of)
		}
	}
	h := fnv.New64a()
	h.Write([]byte(seed))
	if n := len(t.full); n > 0 {
		first := int(h.Sum64() % uint64(n))
		t.full = slices.Concat(t.full[first:], t.full[:first])
	}
	return t
}

// spoil tries to delete a row of a table that has some, then to drop an empty
// table, and says what it did.
func spoil(t tables, exec func(statement, table string) (bool, error), deletion, drop string) (string, error) {
	for _, table := range t.full {
		if done, err := exec(deletion, table); done || err != nil {
			return "one row of one table deleted", err
		}
	}
	for _, table := range t.empty {
		if done, err := exec(drop, table); done || err != nil {
			return "one empty table dropped", err
		}
	}
	return "", nil
}
