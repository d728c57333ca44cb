package sources

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A mariaLook is what no snapshot covers of a whole server, at one moment.
type mariaLook struct {
	source    *MariaDB
	names     []string // of databases
	databases map[string]lookedAt
	users     []Fact
}

// lookedAt is one database of it.
type lookedAt struct {
	locale Fact
	survey *mariaSurvey
}

// look looks at every database and at the users.
func (m *MariaDB) look(ctx context.Context, conn *sql.Conn) (*mariaLook, error) {
	l := &mariaLook{source: m, databases: map[string]lookedAt{}}
	var err error
	if l.names, err = MariaDBDatabases(ctx, conn); err != nil {
		return nil, err
	}
	for _, name := range l.names {
		facts, err := mariaServer(ctx, conn, name)
		if errors.Is(err, sql.ErrNoRows) {
			continue // dropped just now
		}
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", quoteMaria(name), err)
		}
		d := &mariaStream{mariaStreams: &mariaStreams{source: m}, database: name}
		survey, err := d.survey(ctx, conn)
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", quoteMaria(name), err)
		}
		l.databases[name] = lookedAt{facts[1], survey}
	}
	accounts, err := readAccounts(ctx, conn)
	l.users = accounts.facts()
	return l, err
}

// facts returns what is known to be true of the copy: what the snapshot of conn tells,
// unless frozen says that there is none, and what did not change since l.
func (l *mariaLook) facts(ctx context.Context, conn *sql.Conn, frozen error) ([]Fact, error) {
	var all []Fact
	if frozen != nil {
		all = append(all, Fact{Kind: FactSkipped, Value: "no table was read as of the instant of the backup: " + MariaDBText(frozen)})
	}
	for _, name := range l.names {
		at, there := l.databases[name]
		if !there || frozen != nil {
			continue
		}
		facts, err := at.survey.read(ctx, conn)
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", quoteMaria(name), err)
		}
		all = append(all, ofDatabase(name, facts)...)
	}
	// The snapshot ends here, so that what it does not cover is seen as it now is.
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		return nil, err
	}
	after, err := l.source.look(ctx, conn)
	if err != nil {
		return nil, err
	}
	return append(all, l.steady(after)...), nil
}

// steady returns the facts that stood before the backup and still stand after it.
func (l *mariaLook) steady(after *mariaLook) []Fact {
	var all []Fact
	for _, name := range l.names {
		was, there := l.databases[name]
		is, still := after.databases[name]
		if !there || !still {
			all = append(all, Fact{Kind: FactSkipped, Of: quoteMaria(name), Value: "the database was made or dropped during the backup"})
			continue
		}
		facts := was.survey.physical(was.survey.steady(is.survey))
		if was.locale == is.locale {
			facts = append(facts, was.locale)
		}
		all = append(all, ofDatabase(name, facts)...)
	}
	for _, f := range l.users {
		if !slices.Contains(after.users, f) {
			f = Fact{Kind: FactSkipped, Of: f.Of, Value: "the user or its rights changed during the backup"}
		}
		all = append(all, f)
	}
	return all
}

// keptEngines are those without a snapshot whose files hold all the rows.
var keptEngines = []string{"MyISAM", "Aria", "ARCHIVE", "CSV"}

// physical keeps of the facts those that the files of the server hold too. A MEMORY
// table has no rows in them; and the counter of a table is written with its rows, while
// the server goes ahead of it in memory when it inserts many.
func (s *mariaSurvey) physical(facts []Fact) []Fact {
	tables := map[string]mariaTable{}
	for _, t := range s.tables {
		tables[t.of()] = t
	}
	return slices.DeleteFunc(facts, func(f Fact) bool {
		t, known := tables[f.Of]
		switch f.Kind {
		case FactSequence:
			return !t.sequence
		case FactRows, FactContent:
			return known && !t.snapshot() && !slices.Contains(keptEngines, t.engine)
		}
		return false
	})
}

// ofDatabase makes facts of one database facts of its server.
func ofDatabase(name string, facts []Fact) []Fact {
	for i, f := range facts {
		facts[i].Of = strings.TrimSuffix(quoteMaria(name)+"."+f.Of, ".")
	}
	return facts
}

// MariaDBDatabases lists all databases of a server but its own.
func MariaDBDatabases(ctx context.Context, q querier) ([]string, error) {
	names, err := mariaStrings(ctx, q, "SHOW DATABASES")
	return slices.DeleteFunc(names, func(name string) bool {
		// Folders that are no databases show with this prefix (MariaDB manual,
		// "Identifier to File Name Mapping").
		return slices.Contains(systemDatabases, strings.ToLower(name)) || strings.HasPrefix(name, "#mysql50#")
	}), err
}

// MariaDBServerFacts returns what is true of a whole restored server, as the facts of a
// backup by mariabackup say it.
func MariaDBServerFacts(ctx context.Context, conn *sql.Conn, plan FactsPlan) ([]Fact, error) {
	if err := settleMariaDB(ctx, conn); err != nil {
		return nil, err
	}
	facts, err := mariaVersion(ctx, conn)
	if err != nil {
		return nil, err
	}
	databases, err := MariaDBDatabases(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, name := range databases {
		got, err := mariaFacts(ctx, conn, name, plan.within(quoteMaria(name)))
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", quoteMaria(name), err)
		}
		facts = append(facts, ofDatabase(name, got[1:])...)
	}
	accounts, err := readAccounts(ctx, conn)
	return ofPart(partServer, append(facts, accounts.facts()...)), err
}
