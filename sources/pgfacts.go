package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

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
// on all servers of one major version and byte order. With a limit conn must be in a
// transaction, which is still good afterwards.
func PostgresFacts(ctx context.Context, conn *pgx.Conn, plan FactsPlan) ([]Fact, error) {
	clock := plan.start()
	s, err := surveyPostgres(ctx, conn, plan, clock)
	if err != nil {
		return nil, err
	}
	batches := s.contents()
	for i, batch := range batches {
		batch.last = i == len(batches)-1
		if err := batch.read(ctx, clock); err != nil {
			return nil, err
		}
	}
	return s.facts(), nil
}

// A pgSurvey are the facts of one database, of which contents are still to be read.
type pgSurvey struct {
	conn              *pgx.Conn
	plan              FactsPlan
	database, globals []Fact
	tables            []*pgTable
}

// surveyPostgres takes the facts that take little time, and counts the rows.
func surveyPostgres(ctx context.Context, conn *pgx.Conn, plan FactsPlan, clock factsClock) (*pgSurvey, error) {
	if err := settle(ctx, conn); err != nil {
		return nil, err
	}
	s := &pgSurvey{conn: conn, plan: plan}
	for _, take := range []func(context.Context, *pgx.Conn) ([]Fact, error){pgServer, pgExtensions, pgSchema} {
		facts, err := take(ctx, conn)
		if err != nil {
			return nil, err
		}
		s.database = append(s.database, facts...)
	}
	var err error
	if s.globals, err = pgRoles(ctx, conn); err != nil {
		return nil, err
	}
	sequences, err := pgSequences(ctx, conn)
	if err != nil {
		return nil, err
	}
	for of, value := range sequences {
		s.database = append(s.database, Fact{Kind: FactSequence, Of: of, Value: value})
	}
	if s.tables, err = pgTables(ctx, conn); err != nil {
		return nil, err
	}
	canaries, err := pgCanaries(ctx, conn, plan.Canaries)
	if err != nil {
		return nil, err
	}
	s.database = append(s.database, canaries...)
	return s, s.count(ctx, clock)
}

// facts are all that were taken.
func (s *pgSurvey) facts() []Fact {
	for _, t := range s.tables {
		s.database = append(s.database, t.facts()...)
	}
	return append(ofPart(partDatabase, s.database), ofPart(partGlobals, s.globals)...)
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
		all[(&pgTable{schema: schema, name: name}).of()] = value
		return nil
	})
	return all, err
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
