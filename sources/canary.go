package sources

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"saoluu/internal/fault"
)

// A Canary is one row of a table of the operator's own, with a fresh value for every
// backup. It is written just before the view of the backup is opened and must be seen
// in it: so the dump is of the server that is written to, and of this night, and no old
// or standing copy of it. The value is no secret.
//
// The table has the columns job, its primary key, value and planted_at.
type Canary struct {
	Table string // schema.table, or database.table of MariaDB; empty: none is planted
	Row   string // what tells the row of this job from those of others
}

// canaryColumns are what a table for canaries is made with.
const canaryColumns = "(job varchar(200) PRIMARY KEY, value varchar(64) NOT NULL, planted_at timestamp NOT NULL)"

// canaryWait is how long planting waits for somebody who has the table or its row.
const canaryWait = 10 * time.Second

// name are the two halves of the table's name.
func (c Canary) name() (first, second string) {
	first, second, _ = strings.Cut(c.Table, ".")
	return first, second
}

func (c Canary) check() error {
	first, second := c.name()
	if c.Table != "" && (first == "" || second == "" || strings.Contains(second, ".") || c.Row == "") {
		return fault.New(fault.Usage, "canary", fmt.Errorf("table %q cannot be used", c.Table), "write it with its schema, or its database, and one point between")
	}
	return nil
}

// unseen is the error for a value that was written and is not there.
func (c Canary) unseen(op string) error {
	return fault.New(fault.Failed, op, fmt.Errorf("the value just planted in %s is not what the backup sees", c.Table),
		"see whether something between saoluu and the server spreads sessions over several servers, or whether column job is no primary key")
}

// A pgCanary is a canary in a PostgreSQL database.
type pgCanary struct {
	Canary
	sql  string // the table's name
	made string // CREATE TABLE, for hints
}

func newPGCanary(c Canary) pgCanary {
	schema, table := c.name()
	name := quoteName(schema) + "." + quoteName(table)
	return pgCanary{c, name, "CREATE TABLE " + name + " " + canaryColumns}
}

// plant writes a fresh value and returns the fact that it must be in the copy; nil where
// the database has no such table and optional says that it need not.
func (c pgCanary) plant(ctx context.Context, p *Postgres, conn *pgx.Conn, optional bool) (*Fact, error) {
	var there bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", c.sql).Scan(&there); err != nil {
		return nil, p.fault("look for the canary's table", err)
	}
	if !there && optional {
		return nil, nil
	}
	wait := fmt.Sprintf("SET statement_timeout = %d", canaryWait.Milliseconds())
	if _, err := conn.Exec(ctx, wait); err != nil {
		return nil, p.fault("plant the canary", err)
	}
	value := rand.Text()
	_, err := conn.Exec(ctx, "INSERT INTO "+c.sql+" (job, value, planted_at) VALUES ($1, $2, now()) ON CONFLICT (job) DO UPDATE SET value = excluded.value, planted_at = excluded.planted_at", c.Row, value)
	if err != nil {
		return nil, c.fault(p, err)
	}
	return &Fact{Kind: FactCanary, Of: utf8Name(c.sql), Value: value}, nil
}

// fault classes why nothing could be planted (SQLSTATE: PostgreSQL manual, appendix A).
func (c pgCanary) fault(p *Postgres, err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return p.fault("plant the canary", err)
	}
	kind, hint := pgKind(err, "")
	switch pe.Code {
	case "42501":
		hint = fmt.Sprintf("run GRANT SELECT, INSERT, UPDATE ON %s TO %s", c.sql, quoteName(p.User))
	case "42P01", "3F000", "42703", "42P10", "42804", "22001":
		kind, hint = fault.Failed, "make the table: "+c.made
	case "25006":
		kind, hint = fault.Refused, "take canary out of the job, or point host at the primary: a standby takes no writes"
	case "57014", "55P03":
		kind, hint = fault.Locked, "see in pg_stat_activity who has "+c.sql+" locked"
	}
	return fault.New(kind, p.op("plant the canary"), errors.New(p.blank(pe.Message)), hint)
}

// seen fails when the view does not show what was planted.
func (c pgCanary) seen(ctx context.Context, p *Postgres, conn *pgx.Conn, planted Fact) error {
	rows, err := conn.Query(ctx, "SELECT value::text FROM ONLY "+c.sql+" WHERE job = $1", c.Row)
	if err != nil {
		return c.fault(p, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return c.fault(p, err)
	}
	if !slices.Equal(values, []string{planted.Value}) {
		return c.unseen(p.op("see the canary"))
	}
	return nil
}

// pgCanaries looks for planted values in a restored database. A table that is not there
// holds none.
func pgCanaries(ctx context.Context, conn *pgx.Conn, planted []Fact) ([]Fact, error) {
	var found []Fact
	for _, f := range planted {
		var value string
		err := conn.QueryRow(ctx, "SELECT value::text FROM ONLY "+f.Of+" WHERE value = $1", f.Value).Scan(&value)
		var pe *pgconn.PgError
		switch {
		case errors.Is(err, pgx.ErrNoRows), errors.As(err, &pe) && slices.Contains([]string{"42P01", "3F000", "42703"}, pe.Code):
		case err != nil:
			return nil, err
		default:
			found = append(found, Fact{Kind: FactCanary, Of: f.Of, Value: value})
		}
	}
	return found, nil
}

// plant writes a fresh value into MariaDB and returns the fact that it must be in the copy.
func (m *MariaDB) plant(ctx context.Context, conn *sql.Conn) (*Fact, error) {
	c := m.Canary
	database, table := c.name()
	name := quoteMaria(database) + "." + quoteMaria(table)
	value := rand.Text()
	for _, wait := range []string{"lock_wait_timeout", "innodb_lock_wait_timeout"} {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("SET %s = %d", wait, int(canaryWait.Seconds()))); err != nil {
			return nil, m.fault("plant the canary", err)
		}
	}
	_, err := conn.ExecContext(ctx, "INSERT INTO "+name+" (job, value, planted_at) VALUES (?, ?, UTC_TIMESTAMP()) ON DUPLICATE KEY UPDATE value = VALUES(value), planted_at = VALUES(planted_at)", c.Row, value)
	if err == nil {
		return &Fact{Kind: FactCanary, Of: quoteMaria(table), Value: value}, settleMariaDB(ctx, conn)
	}
	var me *mysql.MySQLError
	if !errors.As(err, &me) {
		return nil, m.fault("plant the canary", err)
	}
	kind, hint := MariaDBKind(err)
	switch me.Number {
	case 1142, 1143:
		kind, hint = fault.Denied, fmt.Sprintf("run GRANT INSERT, UPDATE ON %s to the user %q", name, m.User)
	case 1146, 1049, 1054, 1406:
		kind, hint = fault.Failed, "make the table: CREATE TABLE "+name+" "+canaryColumns
	case 1290, 1836:
		kind, hint = fault.Refused, "take canary out of the job, or point host at the primary: a replica takes no writes"
	}
	return nil, fault.New(kind, m.op("plant the canary"), errors.New(blanked(MariaDBText(err), m.Password)), hint)
}

// plantable plants a canary for a try, before the night is spent.
func (m *MariaDB) plantable(ctx context.Context, server *sql.DB, names []string) error {
	database, _ := m.Canary.name()
	if m.Canary.Table == "" {
		return nil
	}
	if !slices.Contains(names, database) {
		return fault.New(fault.Usage, m.op("plant the canary"), fmt.Errorf("database %q is not saved", database), "name a table of a database that is saved")
	}
	conn, err := m.session(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = m.plant(ctx, conn)
	return err
}

// seen fails when the snapshot of conn does not show what was planted.
func (m *MariaDB) seen(ctx context.Context, conn *sql.Conn, planted Fact) error {
	database, _ := m.Canary.name()
	values, err := mariaValues(ctx, conn, "SELECT value FROM "+quoteMaria(database)+"."+planted.Of+" WHERE job = ?", m.Canary.Row)
	if err == nil && !slices.Equal(values, []string{planted.Value}) {
		err = m.Canary.unseen(m.op("see the canary"))
	}
	return err
}

// mariaCanaries looks for planted values in a restored database.
func mariaCanaries(ctx context.Context, conn *sql.Conn, database string, planted []Fact) ([]Fact, error) {
	var found []Fact
	for _, f := range planted {
		values, err := mariaValues(ctx, conn, "SELECT value FROM "+quoteMaria(database)+"."+f.Of+" WHERE value = BINARY ?", f.Value)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, value := range values {
			found = append(found, Fact{Kind: FactCanary, Of: f.Of, Value: value})
		}
	}
	return found, nil
}

func mariaValues(ctx context.Context, conn *sql.Conn, query, argument string) (values []string, err error) {
	err = mariaRows(ctx, conn, query, []any{argument}, func(v []sql.NullString) { values = append(values, v[0].String) })
	return values, err
}
