package sources

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// A MariaDBServer is what a restored copy must have in common with its source. It is
// the value of the fact FactCollation of a database, as JSON.
type MariaDBServer struct {
	Charset   string `json:"charset"`
	Collation string `json:"collation"`
	LowerCase string `json:"lower_case"` // lower_case_table_names
}

// MariaDBFacts returns what is true of a database and of the users of its server:
// version, collation, the shape of the schema, counters, and of each table the number
// of rows and, with ModeFull, a digest that does not depend on their order.
//
// The digest is the sum of the first 64 bits of the MD5 of the rows, each column as
// text or bytes; generated columns are left out.
func MariaDBFacts(ctx context.Context, conn *sql.Conn, database string, plan FactsPlan) (facts, users []Fact, err error) {
	if err := settleMariaDB(ctx, conn); err != nil {
		return nil, nil, err
	}
	if facts, err = mariaFacts(ctx, conn, database, plan); err != nil {
		return nil, nil, err
	}
	accounts, err := readAccounts(ctx, conn)
	return facts, accounts.facts(), err
}

// mariaFacts takes those of the database alone; the first is the server's version.
func mariaFacts(ctx context.Context, conn *sql.Conn, database string, plan FactsPlan) ([]Fact, error) {
	facts, err := mariaServer(ctx, conn, database)
	if err != nil {
		return nil, err
	}
	schema, err := mariaSchema(ctx, conn, database)
	if err != nil {
		return nil, err
	}
	tables, err := mariaTables(ctx, conn, database)
	if err != nil {
		return nil, err
	}
	counters, err := mariaCounters(ctx, conn, database, tables)
	if err != nil {
		return nil, err
	}
	facts = append(append(facts, schema), counters...)
	read, err := (&mariaReading{conn: conn, plan: plan, clock: plan.start(), live: plan.Limit > 0}).read(ctx, tables)
	if err != nil {
		return nil, err
	}
	canaries, err := mariaCanaries(ctx, conn, database, plan.Canaries)
	return slices.Concat(facts, read, canaries), err
}

// A mariaSurvey is what no snapshot covers, at one moment.
type mariaSurvey struct {
	stream   *mariaStream
	schema   Fact
	counters []Fact
	tables   []mariaTable
	loose    []Fact            // of tables without transactions
	touched  map[string]string // when each of them was last written; "" when nobody knows
}

// survey looks at what a snapshot does not cover.
func (d *mariaStream) survey(ctx context.Context, conn *sql.Conn) (*mariaSurvey, error) {
	s := &mariaSurvey{stream: d, touched: map[string]string{}}
	var err error
	if s.schema, err = mariaSchema(ctx, conn, d.database); err != nil {
		return nil, err
	}
	if s.tables, err = mariaTables(ctx, conn, d.database); err != nil {
		return nil, err
	}
	if s.counters, err = mariaCounters(ctx, conn, d.database, s.tables); err != nil {
		return nil, err
	}
	var told []mariaTable
	for _, t := range s.tables {
		if !t.snapshot() {
			s.touched[t.of()] = t.touched
		}
		if !t.snapshot() && t.touched != "" {
			told = append(told, t)
		}
	}
	plan := d.source.plan()
	s.loose, err = (&mariaReading{conn: conn, plan: plan, clock: plan.start(), live: true}).read(ctx, told)
	return s, err
}

// tight takes version and collation, and reads the facts that the snapshot of conn
// covers.
func (s *mariaSurvey) tight(ctx context.Context, conn *sql.Conn) ([]Fact, error) {
	all, err := mariaServer(ctx, conn, s.stream.database)
	if err != nil {
		return nil, err
	}
	if planted := s.stream.canary; planted != nil {
		if err := s.stream.source.seen(ctx, conn, *planted); err != nil {
			return nil, err
		}
		all = append(all, *planted)
	}
	rows, err := s.read(ctx, conn)
	return append(all, rows...), err
}

// read reads the tables that the snapshot of conn covers. The locks that reading
// takes on a table's definition are dropped after each: they would keep others from
// changing it until the end.
func (s *mariaSurvey) read(ctx context.Context, conn *sql.Conn) ([]Fact, error) {
	if _, err := conn.ExecContext(ctx, "SAVEPOINT saoluu"); err != nil {
		return nil, err
	}
	plan := s.stream.source.plan()
	r := &mariaReading{conn: conn, plan: plan, clock: plan.start(), live: true, after: "ROLLBACK TO SAVEPOINT saoluu"}
	return r.read(ctx, slices.DeleteFunc(slices.Clone(s.tables), func(t mariaTable) bool { return !t.snapshot() }))
}

// gone reports whether a table is not there any more, or not as the snapshot knew it.
func gone(err error) bool {
	var me *mysql.MySQLError
	return errors.As(err, &me) && slices.Contains([]uint16{1146, 1412}, me.Number) // ER_NO_SUCH_TABLE, ER_TABLE_DEF_CHANGED
}

// steady returns the facts that stood before the dump and still stand after it, and
// says of the others that nothing is known.
func (s *mariaSurvey) steady(after *mariaSurvey) []Fact {
	var all []Fact
	if s.schema == after.schema {
		all = append(all, s.schema)
	} else {
		all = append(all, Fact{Kind: FactSkipped, Value: "the schema changed during the backup"})
	}
	// Counters go on: the dump, which came later, is not behind the first look. One
	// that was set back has no fact.
	then := map[string]string{}
	for _, f := range after.counters {
		then[f.Of] = f.Value
	}
	for _, f := range s.counters {
		if now, there := then[f.Of]; there && atLeast(f.Value, now) {
			all = append(all, f)
		}
	}
	was, is := byTable(s.loose), byTable(after.loose)
	for _, t := range s.tables {
		switch of := t.of(); {
		case t.snapshot(), t.sequence:
		case s.touched[of] == "":
			all = append(all, Fact{Kind: FactUnread, Of: of, Value: "engine " + t.engine + " has no snapshot, and does not tell whether the table changed during the backup"})
		case s.touched[of] == after.touched[of] && len(unreadOf(is[of])) > 0:
			all = append(all, unreadOf(is[of])...)
		case s.touched[of] != after.touched[of] || !slices.Equal(was[of], is[of]):
			all = append(all, Fact{Kind: FactUnread, Of: of, Value: "engine " + t.engine + " has no snapshot, and the table changed during the backup"})
		default:
			all = append(all, was[of]...)
		}
	}
	return all
}

// byTable sorts facts by what they are of.
func byTable(facts []Fact) map[string][]Fact {
	all := map[string][]Fact{}
	for _, f := range facts {
		all[f.Of] = append(all[f.Of], f)
	}
	return all
}

// unreadOf are the facts of one table that say why it has no others.
func unreadOf(facts []Fact) []Fact {
	return slices.DeleteFunc(slices.Clone(facts), func(f Fact) bool { return f.Kind != FactUnread })
}

// mariaServer takes version and collation.
func mariaServer(ctx context.Context, conn *sql.Conn, database string) ([]Fact, error) {
	var version string
	var s MariaDBServer
	err := conn.QueryRowContext(ctx, `SELECT VERSION(), DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME, @@lower_case_table_names
		FROM information_schema.SCHEMATA WHERE BINARY SCHEMA_NAME = BINARY ?`, database).Scan(&version, &s.Charset, &s.Collation, &s.LowerCase)
	if err != nil {
		return nil, err
	}
	locale, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return []Fact{
		{Kind: FactVersion, Of: ofServer, Value: MariaDBVersion(version)},
		{Kind: FactCollation, Value: string(locale)},
	}, nil
}

// mariaVersion takes the server's version.
func mariaVersion(ctx context.Context, conn *sql.Conn) ([]Fact, error) {
	var version string
	err := conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version)
	return []Fact{{Kind: FactVersion, Of: ofServer, Value: MariaDBVersion(version)}}, err
}

// MariaDBVersion is the product and the first two numbers of a server's version, such
// as "mariadb 10.11": releases that share them store and read alike.
func MariaDBVersion(text string) string {
	product := "mysql"
	if strings.Contains(text, "MariaDB") {
		product = "mariadb"
	}
	text = strings.TrimPrefix(text, "5.5.5-") // older ones hide behind it (MariaDB manual, "VERSION")
	numbers := strings.SplitN(text, ".", 3)
	return product + " " + strings.Join(numbers[:min(2, len(numbers))], ".")
}

// digestLines is the SHA-256 of lines in any order.
func digestLines(lines []string) string {
	slices.Sort(lines)
	h := sha256.New()
	for _, line := range lines {
		fmt.Fprintf(h, "%q\n", line)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// A mariaTable is a table with rows of its own, or a sequence.
type mariaTable struct {
	database, name string
	engine         string
	sequence       bool
	counter        string // AUTO_INCREMENT; "" without one
	bytes          int64  // of its rows, as the server estimates
	touched        string // when it was last written; "" when unknown or just now
	columns        []string
}

// mariaTables lists the tables of a database with what can be hashed of them.
func mariaTables(ctx context.Context, conn *sql.Conn, database string) ([]mariaTable, error) {
	var all []mariaTable
	at := map[string]int{}
	err := mariaRows(ctx, conn, `SELECT TABLE_NAME, ENGINE, TABLE_TYPE, AUTO_INCREMENT,
			IF(UPDATE_TIME < NOW() - INTERVAL 1 SECOND, UPDATE_TIME, NULL), DATA_LENGTH
		FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND BINARY TABLE_SCHEMA = BINARY ?
			AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') ORDER BY BINARY TABLE_NAME`, []any{database, database}, func(v []sql.NullString) {
		at[v[0].String] = len(all)
		bytes, _ := strconv.ParseInt(v[5].String, 10, 64) // nobody knows of some
		all = append(all, mariaTable{
			bytes: bytes, database: database, name: v[0].String, engine: v[1].String, sequence: v[2].String == "SEQUENCE", counter: v[3].String, touched: v[4].String,
		})
	})
	if err != nil {
		return nil, err
	}
	err = mariaRows(ctx, conn, `SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS
		WHERE TABLE_SCHEMA = ? AND BINARY TABLE_SCHEMA = BINARY ? AND COALESCE(GENERATION_EXPRESSION, '') = ''
		ORDER BY BINARY TABLE_NAME, ORDINAL_POSITION`, []any{database, database}, func(v []sql.NullString) {
		if i, ok := at[v[0].String]; ok {
			all[i].columns = append(all[i].columns, hashed(quoteMaria(v[1].String), v[2].String))
		}
	})
	return all, err
}

// hashed is the expression that stands for a column in the text of its row. A long
// value is hashed by itself: text longer than the server's packet would be lost.
func hashed(column, kind string) string {
	switch kind {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "date", "time", "datetime", "timestamp", "year":
		return "IFNULL(" + column + ", '-')"
	case "char", "varchar", "binary", "varbinary", "enum", "set", "bit", "inet4", "inet6", "uuid":
		return "IFNULL(CONCAT(LENGTH(CAST(" + column + " AS BINARY)), ':', CAST(" + column + " AS BINARY)), '-')"
	default:
		return "IFNULL(MD5(" + column + "), '-')"
	}
}

// snapshot reports whether the table's engine reads as of a snapshot.
func (t mariaTable) snapshot() bool { return t.engine == "InnoDB" && !t.sequence }

// of is the table's name in facts and, in its database, in SQL.
func (t mariaTable) of() string { return quoteMaria(t.name) }

func (t mariaTable) sql() string { return quoteMaria(t.database) + "." + quoteMaria(t.name) }

// mariaCounters takes the next value of every automatic number and sequence.
func mariaCounters(ctx context.Context, conn *sql.Conn, database string, tables []mariaTable) ([]Fact, error) {
	var all []Fact
	for _, t := range tables {
		value := t.counter
		if t.sequence {
			var step string
			err := conn.QueryRowContext(ctx, "SELECT next_not_cached_value, increment FROM "+t.sql()).Scan(&value, &step)
			if gone(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("sequence %s: %w", t.of(), err)
			}
			if strings.HasPrefix(step, "-") {
				value = descending + value
			}
		}
		if value != "" {
			all = append(all, Fact{Kind: FactSequence, Of: t.of(), Value: value})
		}
	}
	return all, nil
}

// mariaShape are the queries whose rows describe a schema: names, types and kinds of
// what there is. Definitions as the server prints them are left out, because some
// come out differently after a dump and a restore.
var mariaShape = []string{
	`SELECT 'table', TABLE_NAME, IF(TABLE_TYPE = 'VIEW', 'view', IF(TABLE_TYPE = 'SEQUENCE', 'sequence', 'table')), TABLE_COLLATION FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND BINARY TABLE_SCHEMA = BINARY ?`,
	`SELECT 'column', c.TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLLATION_NAME FROM information_schema.COLUMNS c
		JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME)
		WHERE c.TABLE_SCHEMA = ? AND t.TABLE_SCHEMA = ? AND t.TABLE_TYPE <> 'VIEW'`,
	`SELECT 'index', TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE, INDEX_TYPE FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND BINARY TABLE_SCHEMA = BINARY ?`,
	`SELECT 'constraint', TABLE_NAME, CONSTRAINT_NAME, CONSTRAINT_TYPE FROM information_schema.TABLE_CONSTRAINTS WHERE TABLE_SCHEMA = ? AND BINARY TABLE_SCHEMA = BINARY ?`,
	`SELECT 'trigger', TRIGGER_NAME, EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ? AND BINARY TRIGGER_SCHEMA = BINARY ?`,
	`SELECT 'routine', ROUTINE_NAME, ROUTINE_TYPE, DEFINER, SECURITY_TYPE FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ? AND BINARY ROUTINE_SCHEMA = BINARY ?`,
	`SELECT 'event', EVENT_NAME, EVENT_TYPE, DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ? AND BINARY EVENT_SCHEMA = BINARY ?`,
	`SELECT 'view', TABLE_NAME, DEFINER, SECURITY_TYPE FROM information_schema.VIEWS WHERE TABLE_SCHEMA = ? AND BINARY TABLE_SCHEMA = BINARY ?`,
}

// mariaSchema takes the shape of a database as one digest.
func mariaSchema(ctx context.Context, conn *sql.Conn, database string) (Fact, error) {
	var lines []string
	for _, query := range mariaShape {
		err := mariaRows(ctx, conn, query, []any{database, database}, func(v []sql.NullString) {
			texts := make([]string, len(v))
			for i := range v {
				texts[i] = fmt.Sprintf("%q", v[i].String)
			}
			lines = append(lines, strings.Join(texts, " "))
		})
		if err != nil {
			return Fact{}, err
		}
	}
	return Fact{Kind: FactSchema, Value: digestLines(lines)}, nil
}
