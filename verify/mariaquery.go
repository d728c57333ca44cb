package verify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"saoluu/internal/fault"
)

// query puts one statement as a user that may read everything, in a transaction that
// may change nothing and has a time limit.
func (d *mariaDrill) query(ctx context.Context, c Check) (answer, error) {
	part, statement := c.Part, c.SQL
	i := slices.IndexFunc(d.databases, func(db loadedDatabase) bool { return part == "" || db.part == part })
	if i < 0 {
		return answer{}, fault.New(fault.Usage, "SQL check", fmt.Errorf("the copy has no database %q", part), "name one of the job's databases in the check")
	}
	conn, err := d.instance.connect(ctx, checkUser, d.databases[i].name)
	if err != nil {
		return answer{}, d.serverError(ctx, "connect to", err)
	}
	defer conn.close()
	for _, set := range []string{
		"SET time_zone = '" + d.offset() + "'", fmt.Sprintf("SET max_statement_time = %d", int(checkLimit.Seconds())), "START TRANSACTION READ ONLY",
	} {
		if _, err := conn.ExecContext(ctx, set); err != nil {
			return answer{}, d.serverError(ctx, "prepare the checks in", err)
		}
	}
	rows, err := conn.QueryContext(ctx, statement)
	if err != nil {
		return d.refusal(ctx, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return d.refusal(ctx, err)
	}
	got := answer{none: true}
	if rows.Next() && len(columns) > 0 {
		values, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return d.refusal(ctx, err)
		}
		got = answer{null: !values[0].Valid, text: values[0].String}
	}
	if rows.Err() != nil {
		return d.refusal(ctx, rows.Err())
	}
	return got, nil
}

// offset is that of the site's zone at the backup: times come without a zone, and are
// judged as the site's.
func (d *mariaDrill) offset() string {
	zone := d.request.Location
	if zone == nil {
		zone = time.UTC
	}
	return d.request.ConsistentAt.In(zone).Format("-07:00")
}

// refusal tells a statement that these data cannot answer from one that is wrong and
// from a failure to look.
func (d *mariaDrill) refusal(ctx context.Context, err error) (answer, error) {
	var me *mysql.MySQLError
	if ctx.Err() != nil || !errors.As(err, &me) {
		return answer{}, d.serverError(ctx, "put a check to", err)
	}
	switch {
	case slices.Contains([]uint16{1146, 1054, 1305, 1449, 1356, 1049}, me.Number):
		return answer{refused: "the query names something that is not there"}, nil
	case damaged(err):
		return answer{refused: "the database is damaged"}, nil
	case slices.Contains([]uint16{1064, 1142, 1143, 1227, 1290, 1370, 1792, 1044}, me.Number):
		return answer{}, fault.New(fault.Usage, "SQL check", errors.New(me.Message), "correct the check's sql; it may only read")
	case strings.HasPrefix(string(me.SQLState[:]), "22"), strings.HasPrefix(string(me.SQLState[:]), "21"):
		return answer{refused: "the query fails on these data"}, nil
	}
	return answer{}, d.serverError(ctx, "put a check to", err)
}
