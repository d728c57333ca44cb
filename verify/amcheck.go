package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// nameAmcheck is the assertion that PostgreSQL finds no fault in its own tables and
// indexes.
const nameAmcheck = "amcheck"

// amcheck has the server look into tables and btree indexes of all loaded databases.
// What a dump brought has just been written by this very server: the order in its
// indexes is looked at, which shows comparisons that contradict themselves. Files that
// came as they were (whole) may have been damaged long ago: there the catalogs are
// looked at too, values stored apart, and whether every row is in the unique indexes.
func (d *drill) amcheck(ctx context.Context, whole bool) error {
	good := 0
	for _, db := range d.databases {
		n, err := d.amcheckOf(ctx, db, whole)
		if err != nil {
			return err
		}
		good += n
	}
	if good > 0 {
		d.assert(Assertion{Name: nameAmcheck, Expected: count(good, good), Actual: count(good, good), OK: true})
	}
	return nil
}

// amcheckOf looks into one database and returns how many tables and indexes it has
// that are good. What it takes to look is undone.
func (d *drill) amcheckOf(ctx context.Context, db loadedDatabase, whole bool) (int, error) {
	conn, err := d.cluster.connect(ctx, d.cluster.superuser, db.name)
	if err != nil {
		return 0, d.serverError(ctx, "connect to", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// What the database does by itself when something is made in it must not happen.
	for _, statement := range []string{"BEGIN", "SET LOCAL session_replication_role = replica"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return 0, d.serverError(ctx, "prepare", err)
		}
	}
	schema, heap, err := d.amcheckIn(ctx, conn)
	if err != nil || schema == "" {
		return 0, err
	}
	l := looker{drill: d, conn: conn, schema: schema, whole: whole}
	tables := 0
	if heap {
		if tables, err = l.tables(ctx); err != nil {
			return 0, err
		}
	}
	indexes, err := l.indexes(ctx)
	return tables + indexes, err
}

// amcheckIn makes the extension where there is none, and returns its schema and whether
// it can look into tables, which it can since version 14; "" when it is not installed.
func (d *drill) amcheckIn(ctx context.Context, conn *pgx.Conn) (schema string, heap bool, err error) {
	var installed bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'amcheck'),
		coalesce((SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'), '')`).Scan(&installed, &schema)
	if err == nil && !installed {
		d.detail("amcheck is not installed on this host, so that tables and indexes are not looked into: install the contrib package of PostgreSQL")
		return "", false, nil
	}
	if err == nil && schema == "" {
		schema = "pg_catalog"
		_, err = conn.Exec(ctx, "CREATE EXTENSION amcheck SCHEMA pg_catalog")
	}
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = 'verify_heapam' AND n.nspname = $1)`, schema).Scan(&heap)
	}
	if err != nil {
		return "", false, d.serverError(ctx, "prepare amcheck in", err)
	}
	return schema, heap, nil
}

// A looker has one database looked into.
type looker struct {
	*drill
	conn   *pgx.Conn
	schema string // of amcheck
	whole  bool
}

// among keeps what is looked into: c is pg_class, n its pg_namespace. Dumps bring no
// catalogs.
func (l looker) among() string {
	text := `c.relpersistence <> 't' AND n.nspname <> 'pg_toast'`
	if !l.whole {
		text += ` AND left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema'`
	}
	return text
}

// tables looks into all tables (2 is the access method heap, pg_am.dat).
func (l looker) tables(ctx context.Context) (n int, err error) {
	var broken int
	var first string
	err = l.conn.QueryRow(ctx, fmt.Sprintf(`SELECT count(*), count(v.msg), coalesce(min(c.oid::regclass::text || ': ' || v.msg), '')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN LATERAL %s.verify_heapam(c.oid::regclass, on_error_stop := true, check_toast := %t) v ON true
		WHERE c.relkind IN ('r', 'm') AND c.relam = 2 AND %s`, quoteName(l.schema), l.whole, l.among())).Scan(&n, &broken, &first)
	if err == nil && broken > 0 {
		err = l.damage(errors.New(first))
	}
	return n, l.fault(ctx, err)
}

// indexes looks into all btree indexes (403 is their access method, pg_am.dat) but
// those whose order another machine's language rules decided, or code that is not
// PostgreSQL's or an extension's.
func (l looker) indexes(ctx context.Context) (n int, err error) {
	doubtful := "false"
	if l.whole {
		doubtful = l.otherRules()
	}
	// Only values of fixed length are looked for from the table: others may be stored
	// in several ways, which older versions take for different.
	thorough := fmt.Sprintf(`%t AND x.indisunique AND x.indexprs IS NULL AND x.indpred IS NULL
		AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attlen <= 0)`, l.whole)
	var passed int
	err = l.conn.QueryRow(ctx, fmt.Sprintf(`WITH all_of AS MATERIALIZED (
			SELECT c.oid, %s AS doubtful, %s AS thorough
			FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relam = 403 AND c.relkind = 'i' AND x.indisvalid AND x.indisready AND %s
				AND NOT EXISTS (SELECT FROM unnest(x.indclass) u(oid) WHERE u.oid >= 16384 AND NOT EXISTS
					(SELECT FROM pg_depend e WHERE e.classid = 'pg_opclass'::regclass AND e.objid = u.oid AND e.deptype = 'e')))
		SELECT count(%s.bt_index_check(oid::regclass, thorough)) FILTER (WHERE NOT doubtful), count(*) FILTER (WHERE doubtful) FROM all_of`,
		doubtful, thorough, l.among(), quoteName(l.schema))).Scan(&n, &passed)
	if passed > 0 {
		l.detail("amcheck: %d indexes on text were made by another version of the system's language rules, and are not looked into", passed)
	}
	return n, l.fault(ctx, err)
}

// otherRules is true of an index x with a key whose order depends on a language and of
// which it is not certain that it was made by the very rules of this host. Versions
// before 15 do not know by which the default of a database was.
func (l looker) otherRules() string {
	standard := "d.datcollate IN ('C', 'POSIX')"
	if major, _, _ := strings.Cut(l.cluster.version, "."); major >= "15" {
		standard = "d.datcollversion IS NOT DISTINCT FROM pg_database_collation_actual_version(d.oid)"
	}
	// 100, 950 and 951 are default, C and POSIX (pg_collation.dat).
	return fmt.Sprintf(`EXISTS (SELECT FROM unnest(x.indcollation) u(oid) WHERE u.oid NOT IN (0, 950, 951) AND NOT CASE u.oid
		WHEN 100 THEN (SELECT %s FROM pg_database d WHERE d.datname = current_database())
		ELSE (SELECT k.collversion IS NOT DISTINCT FROM pg_collation_actual_version(k.oid) FROM pg_collation k WHERE k.oid = u.oid) END)`, standard)
}

func (l looker) damage(cause error) error {
	return &finding{nameAmcheck, "no fault in tables and indexes", "damaged", cause}
}

// fault tells damage from a failure to look (SQLSTATE: PostgreSQL manual, appendix A:
// data or index corrupted, a file that is not there).
func (l looker) fault(ctx context.Context, err error) error {
	var found *finding
	var pe *pgconn.PgError
	switch {
	case err == nil, errors.As(err, &found):
		return err
	case errors.As(err, &pe) && (strings.HasPrefix(pe.Code, "XX") || pe.Code == "58P01"):
		return l.damage(err)
	}
	return l.serverError(ctx, "look into tables and indexes of", err)
}
