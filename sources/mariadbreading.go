package sources

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// A mariaReading reads facts of tables within the time there is.
type mariaReading struct {
	conn  *sql.Conn
	plan  FactsPlan
	clock factsClock
	after string // a statement that lets go of what reading a table holds; "" when nothing is held
	live  bool   // others work on the server meanwhile
	mysql bool   // it is not MariaDB

	rows, contents, skipped map[string]string // of tables
}

// read counts the rows of all tables, then reads the contents, those of small tables
// first. What cannot be read in time or without waiting for others is skipped.
func (r *mariaReading) read(ctx context.Context, tables []mariaTable) ([]Fact, error) {
	r.rows, r.contents, r.skipped = map[string]string{}, map[string]string{}, map[string]string{}
	if r.clock.limited() {
		var version string
		if err := r.conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
			return nil, err
		}
		r.mysql = !strings.Contains(version, "MariaDB")
	}
	tables = slices.DeleteFunc(slices.Clone(tables), func(t mariaTable) bool { return t.sequence }) // which have no rows
	slices.SortStableFunc(tables, func(a, b mariaTable) int { return cmp.Compare(a.bytes, b.bytes) })
	hashed := func(t mariaTable) bool { return len(t.columns) > 0 && r.plan.wants(t.of()) }
	for _, t := range tables {
		if !r.clock.limited() && hashed(t) {
			continue // counted while it is hashed
		}
		if err := r.table(ctx, t, false, false); err != nil {
			return nil, err
		}
	}
	rest := slices.DeleteFunc(slices.Clone(tables), func(t mariaTable) bool { return !hashed(t) || r.skipped[t.of()] != "" })
	for i, t := range rest {
		if err := r.table(ctx, t, true, i == len(rest)-1); err != nil {
			return nil, err
		}
	}
	return r.facts(tables), nil
}

func (r *mariaReading) facts(tables []mariaTable) []Fact {
	var all []Fact
	for _, t := range tables {
		for _, f := range []Fact{
			{Kind: FactRows, Of: t.of(), Value: r.rows[t.of()]}, {Kind: FactContent, Of: t.of(), Value: r.contents[t.of()]}, {Kind: FactUnread, Of: t.of(), Value: r.skipped[t.of()]},
		} {
			if f.Value != "" {
				all = append(all, f)
			}
		}
	}
	return all
}

// table counts the rows of a table, or counts and hashes them.
func (r *mariaReading) table(ctx context.Context, t mariaTable, contents, last bool) error {
	of := t.of()
	if r.clock.up() {
		r.skipped[of] = r.clock.reason()
		return nil
	}
	n, sum, err := r.ask(ctx, t, contents, last)
	var me *mysql.MySQLError
	number := uint16(0)
	if errors.As(err, &me) {
		number = me.Number
	}
	switch {
	case err == nil && r.rows[of] != "" && r.rows[of] != n:
		delete(r.rows, of)
		r.skipped[of] = "the table changed while it was read"
	case err == nil:
		r.rows[of] = n
		if contents {
			r.contents[of] = sum
		}
	case r.live && gone(err):
		r.skipped[of] = "the table was made anew or dropped during the backup"
	case r.clock.limited() && slices.Contains([]uint16{1969, 3024}, number): // ER_STATEMENT_TIMEOUT; MySQL's ER_QUERY_TIMEOUT
		r.skipped[of] = r.clock.reason()
	case r.live && number == 1205: // ER_LOCK_WAIT_TIMEOUT
		r.skipped[of] = skippedLocked
	default:
		return fmt.Errorf("table %s: %w", of, err)
	}
	if r.after == "" {
		return nil
	}
	_, err = r.conn.ExecContext(ctx, r.after)
	return err
}

// ask puts the statement for one table, which the server ends when time is up.
func (r *mariaReading) ask(ctx context.Context, t mariaTable, contents, last bool) (n, sum string, err error) {
	digest := "0"
	if contents {
		digest = "COALESCE(SUM(CAST(CONV(LEFT(MD5(CONCAT_WS('|', " + strings.Join(t.columns, ", ") + ")), 16), 16, 10) AS UNSIGNED)), 0)"
	}
	left := r.clock.share(last).Milliseconds() + 1
	before, hint := "", ""
	switch {
	case r.clock.limited() && r.mysql:
		hint = fmt.Sprintf("/*+ MAX_EXECUTION_TIME(%d) */ ", left)
	case r.clock.limited():
		before = fmt.Sprintf("SET STATEMENT max_statement_time = %d.%03d, lock_wait_timeout = %d FOR ", left/1000, left%1000, int(factsLockWait.Seconds()))
	}
	err = r.conn.QueryRowContext(ctx, before+"SELECT "+hint+"COUNT(*), "+digest+" FROM "+t.sql()).Scan(&n, &sum)
	return n, sum, err
}
