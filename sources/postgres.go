package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// partGlobals is the name of the part that holds roles and tablespaces.
const partGlobals = "globals"

// lockWait is how long pg_dump waits for a table somebody has locked for itself.
// It queues behind that lock, and everybody else queues behind it.
const lockWait = 5 * time.Minute

// releaseWait is how long Release waits for the server to say goodbye.
const releaseWait = 5 * time.Second

// Postgres is a source of PostgreSQL databases of one server and of its roles. The
// dump and the facts of a database read one exported snapshot, so they speak of the
// same instant. PostgreSQL has no snapshot across databases: theirs are taken one
// after the other, before anything is read. Roles are outside of any snapshot; they
// are read as the last one is taken.
type Postgres struct {
	// Host is the folder of the server's socket, or an address. Empty means
	// /var/run/postgresql.
	Host string
	// Port is 5432 when 0. It names the socket too.
	Port int
	// User needs pg_read_all_data (PostgreSQL 14 and later), which also lets the
	// roles' password hashes be saved, or else SELECT on everything.
	User string
	// Password is optional; it is handed to programs in a file of scratch.
	Password string
	// Exactly one of Database, Databases and All says what is saved: one database,
	// these, or all that take connections and are no templates.
	Database  string
	Databases []string
	All       bool
	// SSLMode is one of libpq's; empty means prefer.
	SSLMode string
	// SSLRootCert is the file of the authority to trust; optional.
	SSLRootCert string
	// Bin is the folder of pg_dump and pg_dumpall. Empty means where
	// distributions put the server's own major version, then any later one.
	Bin string
	// FactsMode is ModeFull (the default) or ModeCounts.
	FactsMode string
	// FactsLimit is how long the facts may take; 0 means until all are taken.
	FactsLimit time.Duration
	// Canary is planted in every database that has its table, and at least in one.
	Canary Canary
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source  = (*Postgres)(nil)
	_ Locator = (*Postgres)(nil)
)

// Prepare opens the view that everything is read in. The errors are
// fault.Absent for a server or database that is not there, fault.Denied for a
// wrong password or a table that may not be read, and fault.MissingTool for a
// pg_dump that is missing or older than the server.
func (p *Postgres) Prepare(ctx context.Context, scratch string) (_ Payload, err error) {
	if err := p.check(); err != nil {
		return Payload{}, err
	}
	names, err := p.names(ctx)
	if err != nil {
		return Payload{}, err
	}
	views := &pgViews{source: p}
	release := views.release(ctx, scratch)
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	for _, name := range names {
		if err := views.open(ctx, name); err != nil {
			return Payload{}, err
		}
	}
	if err := views.planted(); err != nil {
		return Payload{}, err
	}
	parts, err := views.parts(ctx, scratch)
	if err != nil {
		return Payload{}, err
	}
	return Payload{At: views.all[0].at, Parts: parts, Facts: views.facts, Release: release}, nil
}

// Locations returns the folders of the server's data when it runs on this host.
// The error is fault.Unknown when the user may not know them: a backup needs no
// such right.
func (p *Postgres) Locations(ctx context.Context) ([]string, error) {
	host := p.host()
	if !filepath.IsAbs(host) && !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, host) {
		return nil, nil
	}
	conn, err := p.about().connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT current_setting('data_directory')
		UNION ALL SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''`)
	if err != nil {
		return nil, p.fault("find the data of the server", err)
	}
	places, err := pgx.CollectRows(rows, pgx.RowTo[string])
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == "42501" {
		return nil, fault.New(fault.Unknown, p.op("find the data of the server"), errors.New(pe.Message),
			fmt.Sprintf("grant pg_read_all_settings to %s so that the distance of the copies can be measured", quoteName(p.User)))
	}
	if err != nil {
		return nil, p.fault("find the data of the server", err)
	}
	for _, place := range places {
		if _, err := os.Stat(place); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.Unknown, p.op("find the data of the server"), fmt.Errorf("%q is not on this host, as in a container", place), "")
		}
	}
	return places, nil
}

func (p *Postgres) check() error {
	refuse := func(text, hint string) error {
		return fault.New(fault.Usage, "postgres", errors.New(text), hint)
	}
	switch {
	case p.Database == "" && len(p.Databases) == 0 && !p.All:
		return refuse("no database", "set database, databases or all")
	case p.User == "":
		return refuse("no user", "set user")
	case strings.ContainsAny(p.Password, "\n\r\x00"):
		return refuse("the password has a line break", "take the line break out of the secret")
	case p.SSLMode != "" && !slices.Contains([]string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}, p.SSLMode):
		return refuse(fmt.Sprintf("unknown sslmode %q", p.SSLMode), "use one of libpq's, such as verify-full")
	case p.FactsMode != "" && p.FactsMode != ModeFull && p.FactsMode != ModeCounts:
		return refuse(fmt.Sprintf("unknown way %q to take facts", p.FactsMode), "use full or counts")
	}
	return p.Canary.check()
}

func (p *Postgres) plan() FactsPlan {
	return FactsPlan{Mode: cmp.Or(p.FactsMode, ModeFull), Limit: p.FactsLimit, Now: p.Now}
}

func (p *Postgres) host() string { return cmp.Or(p.Host, "/var/run/postgresql") }
func (p *Postgres) port() int    { return cmp.Or(p.Port, 5432) }

func (p *Postgres) op(what string) string {
	return fmt.Sprintf("%s: database %q", what, p.Database)
}

// connString writes libpq's form of settings, each value quoted.
func connString(settings map[string]string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var all []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		all = append(all, fmt.Sprintf("%s='%s'", key, quote.Replace(settings[key])))
	}
	return strings.Join(all, " ")
}

// connect opens a session of its own.
func (p *Postgres) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := p.config()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, p.fault("connect", err)
	}
	return conn, nil
}

// config says how a session is opened. Nothing of our environment takes part.
func (p *Postgres) config() (*pgx.ConnConfig, error) {
	settings := map[string]string{
		"host": p.host(), "port": strconv.Itoa(p.port()), "user": p.User, "database": p.Database,
		"sslmode": cmp.Or(p.SSLMode, "prefer"), "passfile": os.DevNull, "servicefile": os.DevNull,
	}
	if p.SSLRootCert != "" {
		settings["sslrootcert"] = p.SSLRootCert
	}
	config, err := pgx.ParseConfig(connString(settings))
	if err != nil {
		return nil, fault.New(fault.Usage, p.op("connect"), errors.New(p.blank(err.Error())), "check host, port and sslmode")
	}
	config.Password = p.Password
	return plainPostgres(config), nil
}

// environment is that of the client programs. The password lies in a file that
// only we can read; its wildcards stand for a server that is already named.
func (p *Postgres) environment(scratch string) ([]string, error) {
	file := filepath.Join(scratch, "pgpass")
	escaped := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(p.Password)
	if err := os.WriteFile(file, []byte("*:*:*:*:"+escaped+"\n"), 0o600); err != nil {
		return nil, scratchError(scratch, err)
	}
	env := []string{
		"PGPASSFILE=" + file, "PGHOST=" + p.host(), "PGPORT=" + strconv.Itoa(p.port()), "PGUSER=" + p.User,
		"PGSSLMODE=" + cmp.Or(p.SSLMode, "prefer"), "PGAPPNAME=saoluu", "PGCONNECT_TIMEOUT=30",
		"LC_ALL=C", "PATH=/usr/bin:/bin",
	}
	if p.SSLRootCert != "" {
		env = append(env, "PGSSLROOTCERT="+p.SSLRootCert)
	}
	return env, nil
}

// dump is pg_dump in its own format, not compressed: restic then finds what did
// not change since the last dump, which a compressed one hides.
func (p *Postgres) dump(program string, env []string, snapshot string) *command.Cmd {
	return &command.Cmd{
		Argv: []string{
			program, "--format=custom", "--compress=0", "--no-password", "--snapshot=" + snapshot,
			fmt.Sprintf("--lock-wait-timeout=%d", lockWait.Milliseconds()),
			"--dbname=" + connString(map[string]string{"dbname": p.Database}),
		},
		Env: env, Secrets: []string{p.Password},
	}
}

// globals is pg_dumpall for what belongs to the whole server.
func (p *Postgres) globals(program string, env []string, passwords bool) *command.Cmd {
	argv := []string{
		program, "--globals-only", "--no-password",
		fmt.Sprintf("--lock-wait-timeout=%d", lockWait.Milliseconds()),
		"--dbname=" + connString(map[string]string{"dbname": p.Database}),
	}
	if !passwords {
		argv = append(argv, "--no-role-passwords")
	}
	return &command.Cmd{Argv: argv, Env: env, Secrets: []string{p.Password}}
}

// A pgView is the consistent view of one database.
type pgView struct {
	source    *Postgres // with its one database
	part      string
	conn      *pgx.Conn
	at        time.Time
	major     int
	snapshot  string
	passwords bool              // password hashes may be read
	sequences map[string]string // as they were before the dump began
	canary    *Fact             // nil: none is planted in this database
}

// open begins the transaction whose snapshot everything reads in.
func (v *pgView) open(ctx context.Context) error {
	p := v.source
	if err := v.plant(ctx); err != nil {
		return err
	}
	if err := settle(ctx, v.conn); err != nil {
		return p.fault("prepare the session", err)
	}
	if _, err := v.conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return p.fault("begin", err)
	}
	var version int
	err := v.conn.QueryRow(ctx, `SELECT pg_export_snapshot(), current_setting('server_version_num')::int,
		has_table_privilege('pg_catalog.pg_authid', 'SELECT')`).Scan(&v.snapshot, &version, &v.passwords)
	if err != nil {
		return p.fault("export a snapshot", err)
	}
	v.at, v.major = p.Now(), version/10000
	if err := v.permitted(ctx); err != nil {
		return err
	}
	if v.canary != nil {
		if err := newPGCanary(p.Canary).seen(ctx, p, v.conn, *v.canary); err != nil {
			return err
		}
	}
	v.sequences, err = pgSequences(ctx, v.conn)
	return p.fault("read the sequences", err)
}

// plant plants the canary of this database. One of several need not have its table.
func (v *pgView) plant(ctx context.Context) (err error) {
	if v.source.Canary.Table != "" {
		v.canary, err = newPGCanary(v.source.Canary).plant(ctx, v.source, v.conn, v.part != partDatabase)
	}
	return err
}

// permitted fails before the night is spent when there is a table that may not
// be read.
func (v *pgView) permitted(ctx context.Context) error {
	var table string
	err := v.conn.QueryRow(ctx, `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'm', 'S') AND c.relpersistence <> 't' AND `+userSchema+`
			AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind
				WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
				ELSE has_table_privilege(c.oid, 'SELECT') END)
			AND NOT `+ofExtension("pg_class", "c")+`
		ORDER BY 1 LIMIT 1`).Scan(&table)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return v.source.fault("check the permissions", err)
	}
	return fault.New(fault.Denied, v.source.op("dump"), fmt.Errorf("permission denied for %s", table), v.source.grant())
}
