package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// A clusterDrill is the copy of a whole PostgreSQL server, started as it is.
type clusterDrill struct {
	drill
}

// startClusterDrill unpacks a copy, holds its files against their manifest and starts
// a server on them. Damage is a *finding.
func startClusterDrill(ctx context.Context, x *examination, parts []restoredPart) (loaded subject, err error) {
	if len(parts) != 1 {
		return nil, fault.New(fault.Unknown, "restore test", fmt.Errorf("%d parts in the copy of a whole server, which has 1", len(parts)), "")
	}
	d := &clusterDrill{drill{examination: x}}
	if d.cluster, err = startRestored(ctx, x, parts[0]); err != nil {
		return nil, err
	}
	x.result.Tools = append(x.result.Tools, Tool{Name: "postgresql", Version: d.cluster.version})
	if err := d.list(ctx); err != nil {
		return nil, errors.Join(err, d.cluster.stop())
	}
	return d, nil
}

// list finds the databases. One whose deletion was cut off (datconnlimit -2) can be
// entered by nobody.
func (d *clusterDrill) list(ctx context.Context) error {
	conn, err := d.cluster.connect(ctx, d.cluster.superuser, d.cluster.home)
	if err != nil {
		return d.serverError(ctx, "connect to", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT datname::text FROM pg_database WHERE datallowconn AND datname NOT IN ('template0', 'template1') AND datconnlimit <> -2 ORDER BY datname`)
	if err != nil {
		return d.serverError(ctx, "list the databases of", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return d.serverError(ctx, "list the databases of", err)
	}
	for _, name := range names {
		d.databases = append(d.databases, loadedDatabase{sources.PartOfDatabase(name), name})
	}
	return nil
}

// facts takes what is now true of all databases, by the code that took the facts of
// the source.
func (d *clusterDrill) facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error) {
	all, err := d.identity(ctx)
	if err != nil {
		return nil, err
	}
	for _, db := range d.databases {
		got, err := d.factsOf(ctx, db, sources.PlanFor(d.within(db, want), db.part))
		if err != nil {
			return nil, err
		}
		all = append(all, sources.ClusterFacts(db.name, got)...)
	}
	for _, f := range all {
		if f.Kind == sources.FactRows {
			f.Kind = sources.FactLeast
			all = append(all, f)
		}
	}
	return all, nil
}

// within returns the facts of one database as if it had been saved alone.
func (d *clusterDrill) within(db loadedDatabase, want []sources.Fact) []sources.Fact {
	var all []sources.Fact
	for _, f := range want {
		if of, ok := strings.CutPrefix(f.Of, sources.OfDatabase(db.name, "")+"."); ok {
			all = append(all, sources.Fact{Part: db.part, Kind: f.Kind, Of: of, Value: f.Value})
		}
	}
	return all
}

// identity says which server this is the copy of.
func (d *clusterDrill) identity(ctx context.Context) ([]sources.Fact, error) {
	conn, err := d.cluster.connect(ctx, d.cluster.superuser, d.cluster.home)
	if err != nil {
		return nil, d.serverError(ctx, "connect to", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var version, identifier string
	err = conn.QueryRow(ctx, `SELECT (current_setting('server_version_num')::int / 10000)::text, system_identifier::text FROM pg_control_system()`).Scan(&version, &identifier)
	if err != nil {
		return nil, d.serverError(ctx, "identify", err)
	}
	return []sources.Fact{
		{Part: d.request.Parts[0].Part, Kind: sources.FactVersion, Of: "server", Value: version},
		{Part: d.request.Parts[0].Part, Kind: sources.FactIdentifier, Value: identifier},
	}, nil
}

// hold reports whether any table of any database has a row.
func (d *clusterDrill) hold(ctx context.Context) (bool, error) {
	found, err := d.facts(ctx, nil)
	return slices.ContainsFunc(found, func(f sources.Fact) bool { return f.Kind == sources.FactRows && f.Value != "0" }), err
}

// damage deletes from one table what its facts speak of: one row of those that are
// known by their number, all of those of which only a part is known.
func (d *clusterDrill) damage(ctx context.Context, seed string, want []sources.Fact) (string, error) {
	for _, kind := range []string{sources.FactRows, sources.FactLeast} {
		for _, db := range d.databases {
			how, err := d.damageTable(ctx, db, kind, seed, want)
			if how != "" || err != nil {
				return how, err
			}
		}
	}
	return "", nil
}

func (d *clusterDrill) damageTable(ctx context.Context, db loadedDatabase, kind, seed string, want []sources.Fact) (string, error) {
	var tables []sources.Fact
	for _, f := range d.within(db, want) {
		if f.Kind == kind && f.Value != "0" {
			f.Kind = sources.FactRows
			tables = append(tables, f)
		}
	}
	if len(tables) == 0 {
		return "", nil
	}
	if kind == sources.FactRows {
		return d.damageOne(ctx, db, seed, tables, false)
	}
	how, err := d.damageOne(ctx, db, seed, tables[:1], true)
	if how != "" {
		how = "all rows of one table deleted"
	}
	return how, err
}
