package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"saoluu/internal/fault"
)

// maintenance is the database that every server has to be asked about the others
// (PostgreSQL manual, "Creating a Database").
const maintenance = "postgres"

// maxDatabases bounds how many databases one backup holds open at once: a server
// takes 100 connections unless it was told otherwise.
const maxDatabases = 50

// names lists the databases that are saved.
func (p *Postgres) names(ctx context.Context) ([]string, error) {
	switch {
	case p.Database != "":
		return []string{p.Database}, nil
	case !p.All:
		return p.Databases, nil
	}
	about := p.about()
	conn, err := about.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	names, shut, err := pgDatabases(ctx, conn, "datallowconn")
	if err != nil {
		return nil, about.fault("list the databases", err)
	}
	if len(shut) > 0 {
		return nil, fault.New(fault.Denied, p.server(), fmt.Errorf("database %s takes no connections and would be left out without a word", quoteName(shut[0])),
			fmt.Sprintf("run ALTER DATABASE %s ALLOW_CONNECTIONS true, or name in \"databases\" those that are to be saved", quoteName(shut[0])))
	}
	if len(names) > maxDatabases {
		return nil, fault.New(fault.Refused, p.server(), fmt.Errorf("%d databases are too many for one run, which holds a connection to each", len(names)),
			fmt.Sprintf("make several jobs, each with up to %d databases", maxDatabases))
	}
	return names, nil
}

// pgDatabases lists the databases of a server that can be entered, and those that
// cannot, as a condition on pg_database says. Of the templates the two that every
// server has are left out, and those that nobody can enter: they hold nobody's work.
func pgDatabases(ctx context.Context, conn *pgx.Conn, enter string) (open, shut []string, err error) {
	rows, err := conn.Query(ctx, `SELECT datname::text, `+enter+` FROM pg_database
		WHERE datname NOT IN ('template0', 'template1') AND (datallowconn OR NOT datistemplate) ORDER BY datname`)
	if err != nil {
		return nil, nil, err
	}
	var name string
	var can bool
	_, err = pgx.ForEachRow(rows, []any{&name, &can}, func() error {
		if can {
			open = append(open, name)
		} else {
			shut = append(shut, name)
		}
		return nil
	})
	return open, shut, err
}

// about is the source as it is asked about its server: with one database, whichever
// it has.
func (p *Postgres) about() *Postgres {
	one := *p
	if len(p.Databases) > 0 {
		one.Database = p.Databases[0]
	}
	one.Database = cmp.Or(one.Database, maintenance)
	return &one
}

// server names the server in errors.
func (p *Postgres) server() string { return fmt.Sprintf("PostgreSQL at %q", p.host()) }

// partOf is the part that holds the dump of a database. The name of a database that
// is not alone is written so that it can be a file name and a tag.
func (p *Postgres) partOf(name string) string {
	if p.Database != "" {
		return partDatabase
	}
	return PartOfDatabase(name)
}

// PartOfDatabase is the part that holds one database of several.
func PartOfDatabase(name string) string {
	return partDatabase + ":" + strings.ReplaceAll(url.PathEscape(name), ",", "%2C")
}

// A pgViews holds the views of all databases of one backup.
type pgViews struct {
	source *Postgres
	all    []*pgView
}

// open begins the view of one more database.
func (v *pgViews) open(ctx context.Context, name string) error {
	one := *v.source
	one.Database = name
	conn, err := one.connect(ctx)
	if err != nil {
		return err
	}
	view := &pgView{source: &one, part: v.source.partOf(name), conn: conn}
	v.all = append(v.all, view)
	return view.open(ctx)
}

// planted fails when no database has the table of the canary.
func (v *pgViews) planted() error {
	c := v.source.Canary
	if c.Table == "" || slices.ContainsFunc(v.all, func(view *pgView) bool { return view.canary != nil }) {
		return nil
	}
	return fault.New(fault.Failed, v.source.server(), fmt.Errorf("none of the databases has the canary's table %s", c.Table),
		"make it in one of them: "+newPGCanary(c).made)
}

// parts spells out the dumps.
func (v *pgViews) parts(ctx context.Context, scratch string) ([]Part, error) {
	p, first := v.source, v.all[0]
	dump, err := PostgresProgram(ctx, p.Bin, "pg_dump", first.major)
	if err != nil {
		return nil, err
	}
	dumpall, err := PostgresProgram(ctx, p.Bin, "pg_dumpall", first.major)
	if err != nil {
		return nil, err
	}
	env, err := p.environment(scratch)
	if err != nil {
		return nil, err
	}
	var parts []Part
	for _, view := range v.all {
		file := strings.TrimPrefix(view.part, partDatabase+":") + ".pgdump"
		parts = append(parts, Part{Name: view.part, Filename: file, Dump: view.source.dump(dump, env, view.snapshot), Advise: view.source.advise})
	}
	return append(parts, Part{Name: partGlobals, Filename: partGlobals + ".sql", Dump: first.source.globals(dumpall, env, first.passwords)}), nil
}

// facts reads the facts of all views. Those of the server are taken once. The contents
// of small tables come before those of large ones, whichever database they are in.
func (v *pgViews) facts(ctx context.Context) ([]Fact, error) {
	clock := v.source.plan().start()
	var surveys []*pgSurvey
	var batches []*pgBatch
	for _, view := range v.all {
		survey, err := surveyPostgres(ctx, view.conn, v.source.plan(), clock)
		if err != nil {
			return nil, view.source.fault("read the facts", err)
		}
		surveys = append(surveys, survey)
		batches = append(batches, survey.contents()...)
	}
	slices.SortStableFunc(batches, func(a, b *pgBatch) int { return cmp.Compare(a.bytes, b.bytes) })
	for i, batch := range batches {
		batch.last = i == len(batches)-1
		if err := batch.read(ctx, clock); err != nil {
			at := slices.IndexFunc(v.all, func(view *pgView) bool { return view.conn == batch.conn })
			return nil, v.all[at].source.fault("read the facts", err)
		}
	}
	var all []Fact
	for i, view := range v.all {
		for _, f := range view.settled(surveys[i].facts()) {
			if f.Part != partGlobals {
				f.Part = view.part
			} else if i > 0 {
				continue
			}
			all = append(all, f)
		}
	}
	return all, nil
}

// release ends the views and removes the password file. It may be called twice.
func (v *pgViews) release(ctx context.Context, scratch string) func() error {
	return sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWait)
		defer cancel()
		for _, view := range v.all {
			_ = view.conn.Close(ctx) // a server that is gone has dropped the view by itself
		}
		err := os.Remove(filepath.Join(scratch, "pgpass"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// settled takes away what need not be true of the dump, and says what is missing in it.
func (v *pgView) settled(facts []Fact) []Fact {
	// Sequences stand outside of the view. One that moved meanwhile may have been
	// dumped before or after, so nothing is known of it.
	facts = slices.DeleteFunc(facts, func(f Fact) bool {
		return f.Kind == FactSequence && v.sequences[f.Of] != f.Value
	})
	if v.canary != nil {
		facts = append(facts, *v.canary)
	}
	if !v.passwords {
		facts = append(facts, Fact{Part: partGlobals, Kind: FactSkipped, Value: "roles are saved without their passwords, which this user may not read"})
	}
	return facts
}
