package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"saoluu/internal/fault"
)

// query puts one statement as a role that may read everything, in a transaction
// that may change nothing and has a time limit.
func (d *drill) query(ctx context.Context, c Check) (answer, error) {
	db, err := d.database(c.Part)
	if err != nil {
		return answer{}, err
	}
	conn, err := d.checker(ctx, db.name)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// The simple protocol gives every value as text.
	rows, err := conn.Query(ctx, c.SQL, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return d.refusal(ctx, err)
	}
	defer rows.Close()
	got := answer{none: true}
	if rows.Next() {
		if values := rows.RawValues(); len(values) > 0 {
			got = answer{null: values[0] == nil, text: string(values[0])}
		}
	}
	rows.Close()
	if rows.Err() != nil {
		return d.refusal(ctx, rows.Err())
	}
	return got, nil
}

// checker connects as the role of the checks, which is made when first wanted.
func (d *drill) checker(ctx context.Context, database string) (*pgx.Conn, error) {
	admin, err := d.cluster.connect(ctx, d.cluster.superuser, database)
	if err != nil {
		return nil, d.serverError(ctx, "connect to", err)
	}
	defer admin.Close(context.WithoutCancel(ctx))
	var there, old bool
	err = admin.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), current_setting('server_version_num')::int < 140000`, checkRole).Scan(&there, &old)
	if err == nil && !there {
		grant := "GRANT pg_read_all_data TO " + checkRole
		if old {
			grant = "ALTER ROLE " + checkRole + " SUPERUSER" // there was no such role before version 14
		}
		_, err = admin.Exec(ctx, "CREATE ROLE "+checkRole+" LOGIN BYPASSRLS", pgx.QueryExecModeSimpleProtocol)
		if err == nil {
			_, err = admin.Exec(ctx, grant)
		}
	}
	if err != nil {
		return nil, d.serverError(ctx, "prepare the checks in", err)
	}
	conn, err := d.cluster.connect(ctx, checkRole, database)
	if err != nil {
		return nil, d.serverError(ctx, "connect to", err)
	}
	for _, set := range []string{
		"SET timezone = 'UTC'", "SET datestyle = 'ISO, YMD'", fmt.Sprintf("SET statement_timeout = %d", checkLimit.Milliseconds()),
		"SET default_transaction_read_only = on", "BEGIN TRANSACTION READ ONLY",
	} {
		if _, err := conn.Exec(ctx, set); err != nil {
			return nil, errors.Join(d.serverError(ctx, "prepare the checks in", err), conn.Close(ctx))
		}
	}
	return conn, nil
}

// refusal tells a statement that these data cannot answer from one that is wrong
// and from a failure to look (SQLSTATE: PostgreSQL manual, appendix A).
func (d *drill) refusal(ctx context.Context, err error) (answer, error) {
	var pe *pgconn.PgError
	if ctx.Err() != nil || !errors.As(err, &pe) {
		return answer{}, d.serverError(ctx, "put a check to", err)
	}
	switch {
	case slices.Contains([]string{"42P01", "42703", "3F000", "42883", "42704"}, pe.Code):
		return answer{refused: "the query names something that is not there"}, nil
	case strings.HasPrefix(pe.Code, "XX"):
		return answer{refused: "the database is damaged"}, nil
	case strings.HasPrefix(pe.Code, "22"):
		return answer{refused: "the query fails on these data"}, nil
	case strings.HasPrefix(pe.Code, "42"), pe.Code == "25006":
		return answer{}, fault.New(fault.Usage, "SQL check", errors.New(pe.Message), "correct the check's sql; it may only read")
	}
	return answer{}, d.serverError(ctx, "put a check to", err)
}
