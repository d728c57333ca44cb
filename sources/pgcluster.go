package sources

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// partCluster is the part that holds a whole server, as the tar of pg_basebackup.
const partCluster = "cluster"

// IsCluster reports whether a part of a backup is the physical copy of a whole
// PostgreSQL server, which is unpacked and not loaded.
func IsCluster(part string) bool { return part == partCluster }

// oldestManifest is the first major version whose base backups carry a manifest
// (PostgreSQL 13 release notes). Without one nothing could be verified.
const oldestManifest = 13

// A PostgresCluster is a source of all of a PostgreSQL server, by pg_basebackup: its
// files, with the SHA-256 of each as the server read it, and the log it takes to make
// them consistent. They stand for the instant at which the copy ended.
//
// The server must be a primary of version 13 or later, without tablespaces of its own
// places: their files do not fit one stream.
type PostgresCluster struct {
	// Server says how it is reached. User needs REPLICATION and a line for it in
	// pg_hba.conf, and for facts of the tables pg_read_all_data. Which databases are
	// saved is not for it to say.
	Server Postgres
}

var (
	_ Source  = (*PostgresCluster)(nil)
	_ Locator = (*PostgresCluster)(nil)
)

// Prepare makes sure that the server lets its files be read and keeps its log until
// they were. The errors are those of Postgres, and fault.Refused for a server whose
// files cannot be had in one stream.
func (c *PostgresCluster) Prepare(ctx context.Context, scratch string) (_ Payload, err error) {
	p := c.Server
	p.Database, p.Databases, p.All = "", nil, true
	if err := p.check(); err != nil {
		return Payload{}, err
	}
	held := &pgHeld{source: p.about()}
	release := held.release(ctx, scratch)
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	if err := held.examine(ctx); err != nil {
		return Payload{}, err
	}
	if err := held.keepLog(ctx); err != nil {
		return Payload{}, err
	}
	program, err := PostgresProgram(ctx, p.Bin, "pg_basebackup", held.major)
	if err != nil {
		return Payload{}, err
	}
	env, err := p.environment(scratch)
	if err != nil {
		return Payload{}, err
	}
	if err := held.before(ctx); err != nil {
		return Payload{}, err
	}
	part := Part{Name: partCluster, Filename: partCluster + ".tar", Dump: held.copy(program, env)}
	return Payload{At: p.Now(), Parts: []Part{part}, Facts: held.facts, FactsLast: true, Release: release}, nil
}

// Locations returns the folders of the server's data when it runs on this host.
func (c *PostgresCluster) Locations(ctx context.Context) ([]string, error) {
	return c.Server.Locations(ctx)
}

// A pgHeld is a server that keeps its log for us.
type pgHeld struct {
	source     *Postgres // with the database that is asked about the others
	log        *pgconn.PgConn
	major      int
	identifier string // of the cluster
	snapshot   string // which transactions had ended before the copy began
}

func (h *pgHeld) op(what string) string { return what + ": " + h.source.server() }

// examine refuses what cannot be copied in one stream and verified afterwards.
func (h *pgHeld) examine(ctx context.Context) error {
	conn, err := h.source.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var version int
	var replica bool
	var spaces []string
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
		array(SELECT spcname::text FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1)`).Scan(&version, &replica, &spaces)
	if err != nil {
		return h.source.fault("examine the server", err)
	}
	h.major = version / 10000
	refuse := func(text, hint string) error {
		return fault.New(fault.Refused, h.op("copy"), errors.New(text), hint)
	}
	switch {
	case h.major < oldestManifest:
		return refuse(fmt.Sprintf("version %d sends no manifest of its files, so that nothing could be verified", h.major), `choose method = "dump"`)
	case replica:
		return refuse("it is a replica: what its copy stands for cannot be told", "point the job at the primary server")
	case len(spaces) > 0:
		return refuse(fmt.Sprintf("it has tablespace %s, whose files do not fit the one stream that a copy is", quoteName(spaces[0])),
			`choose method = "dump", or move what is in it to pg_default and drop it`)
	}
	return nil
}

// keepLog opens the kind of session that a copy is made in, and has the server keep
// the log that is written from now on: pg_basebackup fetches it last, and by then a
// busy server would have removed it. What it keeps is let go with the session.
func (h *pgHeld) keepLog(ctx context.Context) error {
	config, err := h.source.config()
	if err != nil {
		return err
	}
	config.RuntimeParams["replication"] = "true"
	if h.major >= 14 {
		config.RuntimeParams["idle_session_timeout"] = "0"
	}
	if h.log, err = pgconn.ConnectConfig(ctx, &config.Config); err != nil {
		return h.refusal(err)
	}
	told, err := h.log.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
	if err != nil || len(told) != 1 || len(told[0].Rows) != 1 {
		return h.refusal(errors.Join(err, errors.New("the server does not tell which cluster it is")))
	}
	h.identifier = string(told[0].Rows[0][0])
	slot := "saoluu_" + strings.ToLower(rand.Text())
	if _, err := h.log.Exec(ctx, "CREATE_REPLICATION_SLOT "+slot+" TEMPORARY PHYSICAL RESERVE_WAL").ReadAll(); err != nil {
		return h.refusal(err)
	}
	return nil
}

// refusal classes why the server does not let itself be copied (SQLSTATE: PostgreSQL
// manual, appendix A).
func (h *pgHeld) refusal(err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return h.source.fault("open a session for the copy", err)
	}
	kind, hint := pgKind(err, "")
	user := quoteName(h.source.User)
	switch {
	case pe.Code == "42501":
		hint = fmt.Sprintf("run ALTER ROLE %s REPLICATION", user)
	case pe.Code == "28000":
		hint = fmt.Sprintf("let %s in by a line for the database \"replication\" in pg_hba.conf", user)
	case pe.Code == "53300":
		kind, hint = fault.Absent, "raise max_wal_senders: a copy takes two"
	case pe.Code == "53400":
		kind, hint = fault.Absent, "raise max_replication_slots: a copy takes one while it is made"
	case pe.Code == "55000":
		kind, hint = fault.Failed, "set wal_level to replica and restart the server"
	}
	return fault.New(kind, h.op("open a session for the copy"), errors.New(h.source.blank(pe.Message)), hint)
}

// copy is pg_basebackup to one stream, the log and the manifest in it.
func (h *pgHeld) copy(program string, env []string) *command.Cmd {
	return &command.Cmd{
		Argv: []string{
			program, "--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--manifest-checksums=SHA256",
			"--no-password", "--label=saoluu",
		},
		Env: env, Secrets: []string{h.source.Password},
	}
}

// before notes which transactions have ended.
func (h *pgHeld) before(ctx context.Context) error {
	conn, err := h.source.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return h.source.fault("note what is written", conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&h.snapshot))
}

// release lets the log go and removes the password file. It may be called twice.
func (h *pgHeld) release(ctx context.Context, scratch string) func() error {
	return sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWait)
		defer cancel()
		if h.log != nil {
			_ = h.log.Close(ctx) // a server that is gone keeps nothing
		}
		err := os.Remove(filepath.Join(scratch, "pgpass"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// factsLock is how long a fact waits for a table that somebody has locked; it then
// has none.
const factsLock = 5 * time.Second

// facts takes what provably was so when the copy ended. There is no snapshot of that
// instant, only those before and after: what is the same in both because nothing can
// have happened between them, was so then.
func (h *pgHeld) facts(ctx context.Context) ([]Fact, error) {
	all := []Fact{
		{Kind: FactVersion, Of: ofServer, Value: fmt.Sprint(h.major)},
		{Kind: FactIdentifier, Value: h.identifier},
	}
	conn, err := h.source.connect(ctx)
	if err != nil {
		return nil, err
	}
	names, shut, err := pgDatabases(ctx, conn, "datallowconn AND has_database_privilege(oid, 'CONNECT')")
	_ = conn.Close(ctx)
	if err != nil {
		return nil, h.source.fault("list the databases", err)
	}
	for _, name := range shut {
		all = append(all, Fact{Kind: FactUnread, Of: OfDatabase(name, ""), Value: "the user may not enter this database, or nobody may"})
	}
	clock, said := h.source.plan().start(), map[Fact]bool{}
	for _, name := range names {
		one := *h.source
		one.Database = name
		facts, err := h.factsOf(ctx, &one, clock)
		if err != nil {
			return nil, err
		}
		for _, f := range facts {
			if !said[f] {
				said[f] = true // what is of the whole server comes with each database
				all = append(all, f)
			}
		}
	}
	return ofPart(partCluster, all), nil
}
