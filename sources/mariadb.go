package sources

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// MariaDB is a source of databases of one MariaDB or MySQL server and of its users.
// The dump and the facts of a database are of the same instant: both open their
// snapshot while the server holds still for a moment, as the dump begins to be read.
// Several databases follow one another, each at its own instant.
//
// What no snapshot covers is read twice, before the dump and after it, and is a fact
// only when it did not change meanwhile: the schema, users, and tables whose engine
// has no transactions.
type MariaDB struct {
	// Host is the server's socket, or an address. Empty means
	// /run/mysqld/mysqld.sock.
	Host string
	// Port is 3306 when 0; it does not matter on a socket.
	Port int
	// User needs SELECT, SHOW VIEW, TRIGGER, EVENT and RELOAD on *.*; with
	// MethodMariabackup PROCESS, LOCK TABLES and BINLOG MONITOR too.
	User string
	// Password is optional; it is handed to programs in a file of scratch.
	Password string
	// Method is MethodDump (the default) or MethodMariabackup, which saves the files of
	// the whole server, which must run on this host.
	Method string
	// Exactly one of Database, Databases and All says what is saved by a dump: one
	// database, these, or all but the server's own.
	Database  string
	Databases []string
	All       bool
	// SSLMode is disable, require (which believes any certificate) or verify-full;
	// empty means disable on a socket or this machine, else verify-full.
	SSLMode string
	// CA is the file of the authorities to trust; empty means the system's.
	CA string
	// Bin is the folder of mariadb-dump. Empty means along PATH.
	Bin string
	// FactsMode is ModeFull (the default) or ModeCounts.
	FactsMode string
	// FactsLimit is how long the facts of each database may take; 0 means until all
	// are taken.
	FactsLimit time.Duration
	// Canary is planted in the database that its table names.
	Canary Canary
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source  = (*MariaDB)(nil)
	_ Locator = (*MariaDB)(nil)
)

// MariaDBSocket is where distributions put the server's socket.
const MariaDBSocket = "/run/mysqld/mysqld.sock"

// systemDatabases belong to the server itself. Of mysql, users and grants are saved
// as statements; the rest is made anew by the server that takes them.
var systemDatabases = []string{"information_schema", "performance_schema", "mysql", "sys"}

// Prepare makes sure that everything may be read and waits for the dumps to be
// asked for. The errors are fault.Absent for a server or database that is not there,
// fault.Denied for a wrong password or a right that is missing, and
// fault.MissingTool for want of mariadb-dump.
func (m *MariaDB) Prepare(ctx context.Context, scratch string) (_ Payload, err error) {
	if err := m.check(); err != nil {
		return Payload{}, err
	}
	server, err := m.open()
	if err != nil {
		return Payload{}, err
	}
	if m.Method == MethodMariabackup {
		return m.physical(ctx, server, scratch)
	}
	streams := &mariaStreams{source: m, server: server, scratch: scratch}
	defer func() {
		if err != nil {
			err = errors.Join(err, streams.release())
		}
	}()
	names, err := m.names(ctx, server)
	if err != nil {
		return Payload{}, err
	}
	program, err := m.program(ctx, server)
	if err != nil {
		return Payload{}, err
	}
	if err := m.plantable(ctx, server, names); err != nil {
		return Payload{}, err
	}
	options, err := m.optionFile(scratch)
	if err != nil {
		return Payload{}, err
	}
	at := m.Now()
	parts, err := streams.start(ctx, names, program, options)
	if err != nil {
		return Payload{}, err
	}
	return Payload{At: at, Parts: parts, Facts: streams.facts, FactsLast: true, Release: sync.OnceValue(streams.release)}, nil
}

// Locations returns the folder of the server's data when it runs on this host.
func (m *MariaDB) Locations(ctx context.Context) ([]string, error) {
	if !m.local() {
		return nil, nil
	}
	server, err := m.open()
	if err != nil {
		return nil, err
	}
	defer server.Close()
	var dir string
	if err := server.QueryRowContext(ctx, "SELECT @@datadir").Scan(&dir); err != nil {
		return nil, m.fault("find the data of the server", err)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Unknown, m.op("find the data of the server"), fmt.Errorf("%q is not on this host, as in a container", dir), "")
	}
	return []string{filepath.Clean(dir)}, nil
}

func (m *MariaDB) check() error {
	refuse := func(text, hint string) error {
		return fault.New(fault.Usage, "mariadb", errors.New(text), hint)
	}
	switch {
	case m.Method == MethodMariabackup && (m.Database != "" || len(m.Databases) > 0):
		return refuse("mariabackup saves whole servers", "leave database and databases out")
	case m.Database == "" && len(m.Databases) == 0 && !m.All && m.Method != MethodMariabackup:
		return refuse("no database", "set database, databases or all")
	case m.User == "":
		return refuse("no user", "set user")
	case strings.ContainsAny(m.Password+m.User, "\n\r\x00"):
		return refuse("user or password has a line break", "take the line break out of the secret")
	case m.SSLMode != "" && !slices.Contains([]string{"disable", "require", "verify-full"}, m.SSLMode):
		return refuse(fmt.Sprintf("unknown sslmode %q", m.SSLMode), "use disable, require or verify-full")
	case m.Method != "" && m.Method != MethodDump && m.Method != MethodMariabackup:
		return refuse(fmt.Sprintf("unknown method %q", m.Method), "use dump or mariabackup")
	case m.FactsMode != "" && m.FactsMode != ModeFull && m.FactsMode != ModeCounts:
		return refuse(fmt.Sprintf("unknown way %q to take facts", m.FactsMode), "use full or counts")
	}
	for _, name := range append(slices.Clone(m.Databases), m.Database) {
		if slices.Contains(systemDatabases, strings.ToLower(name)) {
			return refuse(fmt.Sprintf("database %q is the server's own", name), "leave it out: users and grants are saved with every run")
		}
	}
	return m.Canary.check()
}

func (m *MariaDB) plan() FactsPlan {
	return FactsPlan{Mode: cmp.Or(m.FactsMode, ModeFull), Limit: m.FactsLimit, Now: m.Now}
}

func (m *MariaDB) host() string { return cmp.Or(m.Host, MariaDBSocket) }
func (m *MariaDB) port() int    { return cmp.Or(m.Port, 3306) }

func (m *MariaDB) onSocket() bool { return filepath.IsAbs(m.host()) }

func (m *MariaDB) local() bool {
	return m.onSocket() || slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, m.host())
}

func (m *MariaDB) sslMode() string {
	if m.local() {
		return cmp.Or(m.SSLMode, "disable")
	}
	return cmp.Or(m.SSLMode, "verify-full")
}

func (m *MariaDB) op(what string) string {
	return fmt.Sprintf("%s: MariaDB at %q", what, m.host())
}

// names lists the databases that are saved; each of them is there and may be read
// whole.
func (m *MariaDB) names(ctx context.Context, server *sql.DB) ([]string, error) {
	there, err := mariaStrings(ctx, server, "SHOW DATABASES")
	if err != nil {
		return nil, m.fault("list the databases", err)
	}
	names := m.Databases
	switch {
	case m.Database != "":
		names = []string{m.Database}
	case m.All:
		if names, err = MariaDBDatabases(ctx, server); err != nil {
			return nil, m.fault("list the databases", err)
		}
	}
	if len(names) == 0 {
		return nil, fault.New(fault.Absent, m.op("list the databases"), errors.New("there is none that this user may see"), "see whether this is the right server; "+m.grant())
	}
	rights, err := m.rights(ctx, server)
	if err != nil {
		return nil, err
	}
	if m.All && !rights.seesAll() {
		return nil, fault.New(fault.Denied, m.op("list the databases"), fmt.Errorf("user %q may not see all databases: those that the server hides from it would be left out without a word", m.User),
			fmt.Sprintf("GRANT SHOW DATABASES ON *.* to the user %q, or name in \"databases\" those that are to be saved", m.User))
	}
	for _, name := range names {
		if lacks := rights.lacking(name); lacks != "" {
			return nil, fault.New(fault.Denied, m.op("dump"), fmt.Errorf("user %q lacks %s on the whole of database %q: what it may not read would be left out without a word", m.User, lacks, name), m.grant())
		}
		if !slices.Contains(there, name) {
			return nil, fault.New(fault.Absent, m.op("dump"), fmt.Errorf("database %q does not exist", name), "correct the database's name")
		}
	}
	return names, nil
}

// partOf is the part that holds the dump of a database.
func (m *MariaDB) partOf(name string) string {
	if m.Database != "" {
		return partDatabase
	}
	return PartOfDatabase(name)
}

// dump is mariadb-dump of one database, with all that belongs to it. Comments stay:
// the last one says that the dump is whole.
func (m *MariaDB) dump(program, options, database string) command.Cmd {
	return m.client(program, options, "--single-transaction", "--quick", "--skip-lock-tables", "--no-tablespaces",
		"--routines", "--events", "--triggers", "--hex-blob", "--skip-dump-date", "--default-character-set=utf8mb4",
		"--max-allowed-packet=1G", "--", database)
}

func (m *MariaDB) client(program, options string, args ...string) command.Cmd {
	return command.Cmd{
		Argv: append([]string{program, "--defaults-file=" + options}, args...),
		Env:  []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/nonexistent"}, Secrets: []string{m.Password},
	}
}
