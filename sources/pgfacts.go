package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The words of facts that are about a whole server or database.
const (
	ofServer       = "server"
	ofLargeObjects = "large objects"
	// bootstrap marks the role that the cluster was made with.
	bootstrap = "bootstrap"
)

// userSchema keeps the schemas of users; n is pg_namespace. The prefix is
// reserved for the system (PostgreSQL manual, "Schemas").
const userSchema = `left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema'`

// ofExtension is true of an object that belongs to an extension: it comes with
// the package, may differ between its versions, and is not dumped.
func ofExtension(catalog, alias string) string {
	return fmt.Sprintf(`EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_catalog.%s'::regclass AND e.objid = %s.oid AND e.deptype = 'e')`, catalog, alias)
}

// A Locale is how a PostgreSQL database sorts and encodes text. It is the value
// of the fact FactCollation, as JSON.
type Locale struct {
	Encoding string `json:"encoding"`
	Provider string `json:"provider"` // c, i or b (pg_database.datlocprovider)
	Collate  string `json:"collate"`
	Ctype    string `json:"ctype"`
	Locale   string `json:"locale,omitempty"` // of ICU or the built-in provider
}

// PostgresFacts returns what is true of the database that conn is connected to,
// in the view of its transaction if it is in one: version, encoding, roles,
// extensions, the shape of the schema, sequences, and of each table the number of
// rows and, with ModeFull, a digest that does not depend on their order. Tables
// of extensions and foreign tables have no facts; materialised views have none
// but their place in the schema, since a restore computes them anew.
//
// The digest is the sum of PostgreSQL's own 64-bit hashes of the rows: the same
// on all servers of one major version and byte order.
func PostgresFacts(ctx context.Context, conn *pgx.Conn, mode string) ([]Fact, error) {
	if err := settle(ctx, conn); err != nil {
		return nil, err
	}
	var database, globals []Fact
	for _, take := range []func(context.Context, *pgx.Conn) ([]Fact, error){pgServer, pgExtensions, pgSchema} {
		facts, err := take(ctx, conn)
		if err != nil {
			return nil, err
		}
		database = append(database, facts...)
	}
	globals, err := pgRoles(ctx, conn)
	if err != nil {
		return nil, err
	}
	sequences, err := pgSequences(ctx, conn)
	if err != nil {
		return nil, err
	}
	for of, value := range sequences {
		database = append(database, Fact{Kind: FactSequence, Of: of, Value: value})
	}
	tables, err := pgTables(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		facts, err := t.facts(ctx, conn, mode)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.of(), err)
		}
		database = append(database, facts...)
	}
	return append(ofPart(partDatabase, database), ofPart(partGlobals, globals)...), nil
}

// pgServer takes version and encoding.
func pgServer(ctx context.Context, conn *pgx.Conn) ([]Fact, error) {
	var version int
	var row map[string]any
	var large int64
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, to_jsonb(d) || jsonb_build_object('enc', pg_encoding_to_char(d.encoding)),
		(SELECT count(*) FROM pg_largeobject_metadata)
		FROM pg_database d WHERE d.datname = current_database()`).Scan(&version, &row, &large)
	if err != nil {
		return nil, err
	}
	text := func(keys ...string) string {
		for _, key := range keys {
			if s, ok := row[key].(string); ok {
				return s
			}
		}
		return ""
	}
	l := Locale{
		Encoding: text("enc"), Provider: text("datlocprovider"), Collate: text("datcollate"), Ctype: text("datctype"),
		Locale: text("datlocale", "daticulocale"), // the first since version 17
	}
	if l.Provider == "" {
		l.Provider = "c" // before version 15 there was no other
	}
	locale, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	facts := []Fact{
		{Kind: FactVersion, Of: ofServer, Value: strconv.Itoa(version / 10000)},
		{Kind: FactCollation, Value: string(locale)},
	}
	if large > 0 {
		facts = append(facts, Fact{Kind: FactRows, Of: ofLargeObjects, Value: strconv.FormatInt(large, 10)})
	}
	return facts, nil
}

func pgExtensions(ctx context.Context, conn *pgx.Conn) ([]Fact, error) {
	return pgPairs(ctx, conn, FactExtension, `SELECT extname::text, extversion FROM pg_extension ORDER BY 1`)
}

// pgRoles takes the roles with their attributes and memberships; not those that
// come with the server.
func pgRoles(ctx context.Context, conn *pgx.Conn) ([]Fact, error) {
	return pgPairs(ctx, conn, FactRole, `SELECT r.rolname::text, concat_ws(' ',
			CASE WHEN r.oid = 10 THEN '`+bootstrap+`' END, -- BOOTSTRAP_SUPERUSERID of pg_authid.dat
			CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolcanlogin THEN 'login' END,
			CASE WHEN NOT rolinherit THEN 'noinherit' END, CASE WHEN rolcreaterole THEN 'createrole' END,
			CASE WHEN rolcreatedb THEN 'createdb' END, CASE WHEN rolreplication THEN 'replication' END,
			CASE WHEN rolbypassrls THEN 'bypassrls' END, CASE WHEN rolconnlimit >= 0 THEN 'limit=' || rolconnlimit END,
			'until=' || rolvaliduntil::text,
			'in=' || (SELECT string_agg(quote_ident(g.rolname), ',' ORDER BY g.rolname COLLATE "C")
				FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid))
		FROM pg_roles r WHERE left(r.rolname, 3) <> 'pg_' ORDER BY r.rolname COLLATE "C"`)
}

// pgPairs makes a fact of each row of name and value.
func pgPairs(ctx context.Context, conn *pgx.Conn, kind, query string) ([]Fact, error) {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Fact, error) {
		var of, value string
		err := row.Scan(&of, &value)
		return Fact{Kind: kind, Of: utf8Name(of), Value: utf8Name(value)}, err
	})
}

// pgSequences returns the last value of each sequence that has given one out.
func pgSequences(ctx context.Context, conn *pgx.Conn) (map[string]string, error) {
	rows, err := conn.Query(ctx, `SELECT n.nspname::text, c.relname::text, s.increment_by < 0, s.last_value::text
		FROM pg_sequences s JOIN pg_namespace n ON n.nspname = s.schemaname
		JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename
		WHERE s.last_value IS NOT NULL AND `+userSchema+` AND NOT `+ofExtension("pg_class", "c"))
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	var schema, name, value string
	var down bool
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &down, &value}, func() error {
		if down {
			value = descending + value
		}
		all[pgTable{schema: schema, name: name}.of()] = value
		return nil
	})
	return all, err
}

// A pgTable is an ordinary table; partitions are such.
type pgTable struct {
	schema, name string
	columns      []string // not generated ones, by name
	types        []uint32 // of the columns (pg_type.oid)
	hashRecord   bool     // the server can hash a row as it is: since version 14
}

// hashable are the types whose values hash alike wherever they are restored, and
// faster than as text: their text costs more than all the rest (pg_type.dat). The
// hash of an enumeration, for one, is that of a number the server makes up.
var hashable = []uint32{
	16, 17, 20, 21, 23, // bool bytea int8 int2 int4
	700, 701, 1700, // float4 float8 numeric
	1042, 1082, 1083, 1114, 1184, 2950, // bpchar date time timestamp timestamptz uuid
}

func pgTables(ctx context.Context, conn *pgx.Conn) ([]pgTable, error) {
	const columns = `FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		AND coalesce(to_jsonb(a)->>'attgenerated', '') = '' ORDER BY a.attname COLLATE "C"`
	rows, err := conn.Query(ctx, `SELECT n.nspname::text, c.relname::text,
			array(SELECT a.attname::text `+columns+`), array(SELECT a.atttypid `+columns+`),
			to_regproc('pg_catalog.hash_record_extended') IS NOT NULL
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND `+userSchema+` AND NOT `+ofExtension("pg_class", "c")+`
		ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (pgTable, error) {
		var t pgTable
		err := row.Scan(&t.schema, &t.name, &t.columns, &t.types, &t.hashRecord)
		return t, err
	})
}

// of is the table's name in facts and in SQL.
func (t pgTable) of() string { return utf8Name(t.sql()) }

func (t pgTable) sql() string { return quoteName(t.schema) + "." + quoteName(t.name) }

func (t pgTable) facts(ctx context.Context, conn *pgx.Conn, mode string) ([]Fact, error) {
	var n, sum string
	if mode == ModeCounts {
		err := conn.QueryRow(ctx, "SELECT count(*)::text FROM ONLY "+t.sql()).Scan(&n)
		return []Fact{{Kind: FactRows, Of: t.of(), Value: n}}, err
	}
	err := conn.QueryRow(ctx, fmt.Sprintf("SELECT count(*)::text, coalesce(sum(%s), 0)::text FROM ONLY %s r", t.hash(), t.sql())).Scan(&n, &sum)
	return []Fact{
		{Kind: FactRows, Of: t.of(), Value: n},
		{Kind: FactContent, Of: t.of(), Value: sum},
	}, err
}

// hash is the expression for one row r of the table. Columns stand by name: those
// of a child table may come in another order after a restore.
func (t pgTable) hash() string {
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

// pgSchema takes the shape of the schema: names, types and kinds of what there
// is, in one digest. Definitions as the server prints them are left out, because
// some come out differently after a dump and a restore.
func pgSchema(ctx context.Context, conn *pgx.Conn) ([]Fact, error) {
	rows, err := conn.Query(ctx, schemaQuery())
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, line := range lines {
		fmt.Fprintf(h, "%q\n", line)
	}
	return []Fact{{Kind: FactSchema, Value: hex.EncodeToString(h.Sum(nil))}}, nil
}

// utf8Name makes text that JSON can carry of a name that need not be UTF-8.
func utf8Name(s string) string { return pathName(s) }

// schemaQuery returns one text for each thing in the schema.
func schemaQuery() string {
	return `
WITH rel AS (
	SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE ` + userSchema + ` AND c.relpersistence <> 't' AND NOT ` + ofExtension("pg_class", "c") + `
)
SELECT jsonb_build_array('schema', n.nspname)::text FROM pg_namespace n
	WHERE ` + userSchema + ` AND n.nspname <> 'public' AND NOT ` + ofExtension("pg_namespace", "n") + `
UNION ALL
SELECT jsonb_build_array('relation', nspname, relname, relkind, relpersistence, relrowsecurity)::text
	FROM rel WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
UNION ALL
SELECT jsonb_build_array('column', nspname, relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)::text
	FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid
	WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT jsonb_build_array('constraint', nspname, relname, k.conname, k.contype,
		array(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = rel.oid AND a.attnum = ANY (k.conkey) ORDER BY a.attname COLLATE "C"))::text
	FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid
	WHERE k.contype IN ('p', 'u', 'f', 'x', 'c') AND k.conparentid = 0
UNION ALL
SELECT jsonb_build_array('index', rel.nspname, rel.relname, i.relname, x.indisunique)::text
	FROM rel JOIN pg_index x ON x.indrelid = rel.oid JOIN pg_class i ON i.oid = x.indexrelid
	WHERE x.indisvalid AND rel.relkind IN ('r', 'p', 'm')
UNION ALL
SELECT jsonb_build_array('trigger', nspname, relname, t.tgname, t.tgenabled)::text
	FROM rel JOIN pg_trigger t ON t.tgrelid = rel.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT jsonb_build_array('policy', nspname, relname, p.polname, p.polcmd)::text
	FROM rel JOIN pg_policy p ON p.polrelid = rel.oid
UNION ALL
SELECT jsonb_build_array('function', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid), f.prokind)::text
	FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
	WHERE ` + userSchema + ` AND NOT ` + ofExtension("pg_proc", "f") + `
UNION ALL
SELECT jsonb_build_array('type', n.nspname, t.typname, t.typtype,
		array(SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder))::text
	FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
	WHERE t.typtype IN ('e', 'd', 'r') AND ` + userSchema + ` AND NOT ` + ofExtension("pg_type", "t")
}
