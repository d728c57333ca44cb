package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// Names inside the throwaway server.
const (
	drillDatabase = "restored"
	checkRole     = "saoluu_check" // puts the job's checks: may read everything and change nothing
)

// A drill is a PostgreSQL copy, loaded into a server of its own.
type drill struct {
	*examination
	cluster   *cluster
	databases []loadedDatabase
}

// A loadedDatabase is a part of the copy and the name it has in the throwaway server.
type loadedDatabase struct {
	part, name string
}

// warmed is a started server, or why there is none.
type warmed struct {
	cluster  *cluster
	instance *instance
	err      error
}

// stop ends whichever server there is.
func (w warmed) stop() error {
	switch {
	case w.cluster != nil:
		return w.cluster.stop()
	case w.instance != nil:
		return w.instance.stop()
	}
	return nil
}

// warmUp starts the throwaway server while the copy is fetched, when the facts
// say which version it takes.
func (x *examination) warmUp(ctx context.Context) {
	var start func() warmed
	switch version := recordedVersion(x.request.Facts); {
	case version == "", x.request.isCluster(): // which brings a server of its own
		return
	case x.request.Source == "postgres":
		start = func() (w warmed) {
			major, _ := strconv.Atoi(version)
			w.cluster, w.err = startCluster(ctx, x, major)
			return w
		}
	case x.request.Source == "mariadb" && !x.physical():
		start = func() (w warmed) {
			w.instance, w.err = startInstance(ctx, x, version)
			return w
		}
	default:
		return
	}
	ready := make(chan warmed, 1)
	x.warm = ready
	go func() { ready <- start() }()
}

// recordedVersion is the major version of the source, or "" when no fact tells.
func recordedVersion(facts []sources.Fact) string {
	for _, f := range facts {
		if f.Kind == sources.FactVersion && f.Of == "server" {
			return f.Value
		}
	}
	return ""
}

// server returns the throwaway server for the dump in file.
func (d *drill) server(ctx context.Context, file string) (*cluster, error) {
	if d.warm != nil {
		w := <-d.warm
		d.warm = nil
		return w.cluster, w.err
	}
	major, err := d.major(ctx, file)
	if err != nil {
		return nil, err
	}
	return startCluster(ctx, d.examination, major)
}

// startDrill loads a copy. Damage is a *finding: the dump cannot be read, or the
// server refuses what is in it.
func startDrill(ctx context.Context, x *examination, parts []restoredPart) (loaded subject, err error) {
	databases, globals, err := drillParts(parts)
	if err != nil {
		return nil, err
	}
	d := &drill{examination: x}
	if d.cluster, err = d.server(ctx, databases[0].file); err != nil {
		return nil, err
	}
	x.result.Tools = append(x.result.Tools, Tool{Name: "postgresql", Version: d.cluster.version})
	defer func() {
		if err != nil {
			loaded, err = nil, errors.Join(err, d.cluster.stop())
		}
	}()
	conn, err := d.cluster.connect(ctx, d.cluster.superuser, "postgres")
	if err != nil {
		return nil, d.serverError(ctx, "prepare", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := d.extensions(ctx, conn); err != nil {
		return nil, err
	}
	if err := d.globals(ctx, conn, globals); err != nil {
		return nil, err
	}
	for i, p := range databases {
		name := drillDatabase
		if i > 0 {
			name = fmt.Sprintf("%s_%d", drillDatabase, i+1)
		}
		d.databases = append(d.databases, loadedDatabase{p.Part, name})
		if err := d.create(ctx, conn, p.Part, name); err != nil {
			return nil, err
		}
		if err := d.load(ctx, p, name); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// drillParts tells the dumps of databases from that of the roles.
func drillParts(parts []restoredPart) (databases []restoredPart, globals *restoredPart, err error) {
	for _, p := range parts {
		if p.Part == "globals" {
			globals = &p
			continue
		}
		databases = append(databases, p)
	}
	if len(databases) == 0 {
		return nil, nil, fault.New(fault.Unknown, "restore test", errors.New("no dump of a database in the copy"), "")
	}
	return databases, globals, nil
}

// dumpedFrom is how pg_restore shows the server a dump was made of.
var dumpedFrom = regexp.MustCompile(`(?m)^;\s+Dumped from database version: (\d+)`)

// major is the major version of the source as the dump says.
func (d *drill) major(ctx context.Context, file string) (int, error) {
	program, err := sources.PostgresProgram(ctx, d.request.Bin, "pg_restore", 0)
	if err != nil {
		return 0, err
	}
	major := 0
	_, err = command.Lines(ctx, command.Cmd{Argv: []string{program, "--list", file}, Env: plainEnv}, func(line []byte) error {
		if m := dumpedFrom.FindSubmatch(line); m != nil {
			major, _ = strconv.Atoi(string(m[1]))
		}
		return nil
	})
	var exit *command.ExitError
	if errors.As(err, &exit) {
		if kind, hint, ok := environment(exit.Stderr); ok {
			return 0, fault.New(kind, "read the dump", err, hint)
		}
		return 0, &finding{"dump", "it can be read", "damaged", err}
	}
	if err == nil && major == 0 {
		err = fault.New(fault.Unknown, "read the dump", errors.New("it does not name its server's version"), "")
	}
	return major, err
}

// serverError classes what the drill's own server says while it is prepared.
// Nothing of the copy has been looked at then, so none of it is damage.
func (d *drill) serverError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if kind, hint, ok := environment(err.Error()); ok {
		return fault.New(kind, what, err, hint)
	}
	return fault.New(fault.Unknown, what+" the throwaway PostgreSQL server", err, "")
}

// extensions fails when one that the database uses is not installed here.
func (d *drill) extensions(ctx context.Context, conn *pgx.Conn) error {
	var names []string
	for _, f := range d.request.Facts {
		if f.Kind == sources.FactExtension {
			names = append(names, f.Of)
		}
	}
	rows, err := conn.Query(ctx, `SELECT n FROM unnest($1::text[]) n WHERE NOT EXISTS (SELECT FROM pg_available_extensions e WHERE e.name = n)`, names)
	if err != nil {
		return d.serverError(ctx, "prepare", err)
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return d.serverError(ctx, "prepare", err)
	}
	if len(missing) == 0 {
		return nil
	}
	major, _, _ := strings.Cut(d.cluster.version, ".")
	return fault.New(fault.MissingTool, "prepare the throwaway PostgreSQL server", fmt.Errorf("extension %q is not installed on this host", missing[0]),
		fmt.Sprintf("install its package for PostgreSQL %s, such as postgresql-contrib or postgresql-%s-%s", major, major, strings.ReplaceAll(missing[0], "_", "-")))
}

// create makes the empty database for a part, with the encoding and collation of the
// source.
func (d *drill) create(ctx context.Context, conn *pgx.Conn, part, name string) error {
	var l sources.Locale
	for _, f := range d.request.Facts {
		if f.Kind == sources.FactCollation && f.Part == part {
			if err := json.Unmarshal([]byte(f.Value), &l); err != nil {
				return fault.New(fault.Unknown, "read the fact on collation", err, "")
			}
		}
	}
	statement := "CREATE DATABASE " + name + " TEMPLATE template0"
	option := func(name, value string) {
		if value != "" {
			statement += " " + name + " " + quoteText(value)
		}
	}
	option("ENCODING", l.Encoding)
	option("LC_COLLATE", l.Collate)
	option("LC_CTYPE", l.Ctype)
	switch l.Provider {
	case "i":
		statement += " LOCALE_PROVIDER icu"
		option("ICU_LOCALE", l.Locale)
	case "b":
		statement += " LOCALE_PROVIDER builtin"
		option("BUILTIN_LOCALE", l.Locale)
	}
	if _, err := conn.Exec(ctx, statement); err != nil {
		return d.serverError(ctx, "create a database in", err)
	}
	return nil
}

func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// load runs pg_restore. As its user, the dump must be the cluster's.
func (d *drill) load(ctx context.Context, p restoredPart, name string) error {
	file := filepath.Join(d.cluster.dir, "dump")
	if err := os.Rename(p.file, file); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(file, 0o600), d.cluster.give(file)); err != nil {
		return err
	}
	restore := d.cluster.program("pg_restore", "--host="+d.cluster.sockets, "--port=5432", "--username="+d.cluster.superuser,
		"--no-password", "--dbname="+name, "--jobs=2", "--exit-on-error", "--no-tablespaces", "--no-subscriptions", "--no-publications", file)
	_, err := command.Run(ctx, restore)
	var exit *command.ExitError
	switch {
	case err == nil:
		return os.Remove(file) // its space is wanted, its content is in the tables
	case !errors.As(err, &exit):
		return fmt.Errorf("load the dump: %w", err)
	}
	if kind, hint, ok := environment(exit.Stderr); ok {
		return fault.New(kind, "load the dump", err, hint)
	}
	if exit.Signal != 0 || onlyDeaths(exit.Stderr) {
		return fault.New(fault.Unknown, "load the dump", err, "see in the kernel's log whether memory ran out")
	}
	return &finding{"load", "the server takes the dump", "refused", fmt.Errorf("%w: %s", err, exit.Stderr)}
}

// onlyDeaths reports whether pg_restore had nothing to say but that its workers
// died: something killed them, and it was not the data.
func onlyDeaths(stderr string) bool {
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, "a worker process died unexpectedly") {
			return false
		}
	}
	return true
}

func (d *drill) close() error { return d.cluster.stop() }

// facts takes what is now true of the loaded databases, by the code that took the
// facts of the source.
func (d *drill) facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error) {
	var all []sources.Fact
	for i, db := range d.databases {
		got, err := d.factsOf(ctx, db, sources.PlanFor(want, db.part))
		if err != nil {
			return nil, err
		}
		for _, f := range got {
			switch {
			case f.Part != "globals":
				f.Part = db.part
			case i > 0:
				continue // those of the server are the same from everywhere
			}
			all = append(all, f)
		}
	}
	return all, nil
}

func (d *drill) factsOf(ctx context.Context, db loadedDatabase, plan sources.FactsPlan) ([]sources.Fact, error) {
	conn, err := d.cluster.connect(ctx, d.cluster.superuser, db.name)
	if err != nil {
		return nil, d.serverError(ctx, "connect to", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	got, err := sources.PostgresFacts(ctx, conn, plan)
	var pe *pgconn.PgError
	if errors.As(err, &pe) && strings.HasPrefix(pe.Code, "XX") { // internal error, data or index corrupted
		return nil, &finding{"database", "it can be read", "damaged", err}
	}
	if err != nil {
		return nil, d.serverError(ctx, "read", err)
	}
	return got, nil
}

// database returns the database of a part; of no part, the first one.
func (d *drill) database(part string) (loadedDatabase, error) {
	for _, db := range d.databases {
		if part == "" || db.part == part {
			return db, nil
		}
	}
	return loadedDatabase{}, fault.New(fault.Usage, "SQL check", fmt.Errorf("the copy has no database %q", part), "name one of the job's databases in the check")
}
