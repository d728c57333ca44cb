package verify

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

const (
	// startLimit bounds initdb and the start of the server: together they take
	// one to two seconds on an idle machine.
	startLimit = 3 * time.Minute
	// startPoll is the pause between two tries to connect.
	startPoll = 50 * time.Millisecond
	// stopGrace is how long the server may take for an immediate shutdown.
	stopGrace = 5 * time.Second
)

// clusterSettings make a server that is thrown away after use: nothing is synced,
// nothing is reachable but by the socket, and memory stays modest. Memory that its
// processes share lies in its folder: in /dev/shm it would stay there after a kill -9.
var clusterSettings = []string{
	"listen_addresses=", "port=5432", "fsync=off", "full_page_writes=off", "synchronous_commit=off",
	"wal_level=minimal", "max_wal_senders=0", "max_wal_size=2GB", "autovacuum=off", "shared_buffers=256MB",
	"maintenance_work_mem=256MB", "max_connections=20", "jit=off", "logging_collector=off", "archive_mode=off",
	"log_statement=none", "log_min_error_statement=panic", "unix_socket_permissions=0700",
	"dynamic_shared_memory_type=mmap",
}

// A cluster is a throwaway PostgreSQL server.
type cluster struct {
	*tenant
	version   string
	superuser string
	home      string // a database that is there from the beginning
}

// serverVersion is how the server's program tells its version.
var serverVersion = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// findServer returns the folder and version of the server programs of exactly
// one major version: a later one would store and hash differently.
func findServer(ctx context.Context, bin string, major int) (string, string, error) {
	dirs := []string{bin}
	if bin == "" {
		dirs = []string{fmt.Sprintf("/usr/lib/postgresql/%d/bin", major), fmt.Sprintf("/usr/pgsql-%d/bin", major)}
	}
	seen := ""
	for _, dir := range dirs {
		out, err := command.Output(ctx, command.Cmd{Argv: []string{filepath.Join(dir, "postgres"), "--version"}, Env: plainEnv}, 4096)
		if ctx.Err() != nil {
			return "", "", context.Cause(ctx)
		}
		m := serverVersion.FindStringSubmatch(string(out))
		if err != nil || m == nil {
			continue
		}
		if m[2] == strconv.Itoa(major) {
			return dir, m[1], nil
		}
		seen = fmt.Sprintf("; %q has version %s", dir, m[1])
	}
	return "", "", fault.New(fault.MissingTool, fmt.Sprintf("find a PostgreSQL %d server for the restore test", major),
		errors.New("not installed"+seen), fmt.Sprintf("install postgresql-%d", major))
}

// plainEnv is the environment of every program of a drill.
var plainEnv = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/nonexistent", "PGCONNECT_TIMEOUT=30"}

// superuser is the role the source's cluster was made with. The throwaway one's
// is given the same name, so that what was granted by it can be granted again.
func superuser(facts []sources.Fact) string {
	for _, f := range facts {
		if f.Kind == sources.FactRole && strings.HasPrefix(f.Value, "bootstrap") {
			return f.Of
		}
	}
	return "postgres"
}

// startCluster makes a cluster of one major version in the sandbox and starts it.
func startCluster(ctx context.Context, x *examination, major int) (_ *cluster, err error) {
	bin, version, err := findServer(ctx, x.request.Bin, major)
	if err != nil {
		return nil, err
	}
	home, err := x.settle(bin)
	if err != nil {
		return nil, err
	}
	c := &cluster{tenant: home, version: version, superuser: superuser(x.request.Facts), home: "postgres"}
	limit, cancel := context.WithTimeoutCause(ctx, startLimit, fault.New(fault.TimedOut, "start a throwaway PostgreSQL server", nil, "see whether the machine is overloaded"))
	defer cancel()
	_, err = command.Run(limit, c.program("initdb", "--pgdata="+c.data(), "--username="+c.superuser, "--auth=trust",
		"--no-sync", "--no-locale", "--encoding=UTF8", "--no-instructions"))
	if err != nil {
		return nil, c.fault("make a throwaway PostgreSQL server", err)
	}
	return c, c.serve(ctx, limit)
}

// serve starts the server, which ends with ctx, and waits until limit for it to take
// connections. Settings come on top of those of all throwaway servers.
func (c *cluster) serve(ctx, limit context.Context, settings ...string) (err error) {
	server := c.program("postgres", append([]string{"-D", c.data(), "-k", c.sockets}, options(settings)...)...)
	// SIGQUIT is the immediate shutdown: there is nothing worth a checkpoint.
	server.Interrupt, server.Grace, server.Dir = syscall.SIGQUIT, stopGrace, c.data()
	if c.process, err = command.Start(ctx, server); err != nil {
		return err
	}
	if err := c.ready(limit); err != nil {
		return errors.Join(err, c.stop())
	}
	return nil
}

// options are settings as arguments of the server; the last of a name counts.
func options(settings []string) []string {
	var all []string
	for _, s := range slices.Concat(clusterSettings, settings) {
		all = append(all, "-c", s)
	}
	return all
}

func (c *cluster) data() string { return filepath.Join(c.dir, "pg") }

// program spells out one of PostgreSQL's programs, run as the cluster's user.
func (c *cluster) program(name string, args ...string) command.Cmd {
	return c.command(filepath.Join(c.bin, name), args...)
}

// ready waits until the server takes connections.
func (c *cluster) ready(ctx context.Context) error {
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		conn, err := c.connect(ctx, c.superuser, c.home)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.process.Done():
			_, err := c.process.Wait()
			return c.fault("start a throwaway PostgreSQL server", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// connect opens a session. Nothing of our environment takes part.
func (c *cluster) connect(ctx context.Context, role, database string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=" + c.sockets + " port=5432 sslmode=disable passfile=/dev/null servicefile=/dev/null")
	if err != nil {
		return nil, err
	}
	config.User, config.Database, config.Password = role, database, ""
	// Limits that a restored role was given must not end what we do as it.
	config.RuntimeParams = map[string]string{"application_name": "saoluu restore test", "statement_timeout": "0", "lock_timeout": "0"}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	return pgx.ConnectConfig(ctx, config)
}

// environmental are words by which the system, not the data, makes programs of
// PostgreSQL, MariaDB and QEMU fail.
var environmental = []struct {
	text *regexp.Regexp
	kind fault.Kind
	hint string
}{
	{regexp.MustCompile(`No space left on device|Disk quota exceeded|wrote only \d+ of \d+ bytes|Check free disk space`), fault.NoSpace, "free some space, or move paths.scratch"},
	{regexp.MustCompile(`out of memory|Cannot allocate memory|could not resize shared memory|could not map anonymous shared memory`), fault.Unknown, "give the machine more memory, or raise limits.test_memory"},
	{regexp.MustCompile(`loaded via .?shared_preload_libraries|could not open extension control file|extension .* is not available|could not access file|could not load library`), fault.MissingTool, "install the package of the extension the database uses"},
	{regexp.MustCompile(`invalid (LC_COLLATE |LC_CTYPE )?locale name|could not create locale|ICU is not supported|could not open collator`), fault.MissingTool, "install the locale the database uses (package locales-all)"},
	{regexp.MustCompile(`(?m)^setpriv: `), fault.Unknown, "let programs give up capabilities: SystemCallFilter=capset in a drop-in of the service"},
	{regexp.MustCompile(`(?m)^(prlimit|confine): `), fault.Unknown, "see what the service forbids to programs, by systemctl cat saoluu"},
	{regexp.MustCompile(`jit buffer|failed to map shared memory for execute`), fault.Unknown, "let programs write code: MemoryDenyWriteExecute=no in a drop-in of the service"},
	{regexp.MustCompile(`no option group 'sandbox'|failed to install seccomp`), fault.Unknown, "let it confine itself: SystemCallFilter=seccomp in a drop-in of the service; or install a QEMU that was built with seccomp"},
	{regexp.MustCompile(`database locale is incompatible`), fault.MissingTool, "install the locale the databases use (package locales-all)"},
	{regexp.MustCompile(`database files are incompatible with server`), fault.MissingTool, "install a PostgreSQL that was built like the source's"},
	{regexp.MustCompile(`resource manager with ID \d+ not registered|must be (pre)?loaded`), fault.MissingTool, "install the package of the extension the server loads at its start, and restore to a server by hand: none is loaded here"},
	{regexp.MustCompile(`program "?pg_waldump"? (is needed|was not found)`), fault.MissingTool, "install the server's package of PostgreSQL whole"},
	{regexp.MustCompile(`unsupported version \(.*\) in file header`), fault.MissingTool, "install the PostgreSQL programs of the version the dump was made with"},
	{regexp.MustCompile(`server closed the connection unexpectedly|could not connect|connection to server .* failed|terminating connection`), fault.Unknown, "see the kernel's log; the machine may lack memory"},
}

// fault classes an error of one of PostgreSQL's programs; Unknown by default.
func (c *cluster) fault(op string, err error) error {
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", op, err)
	}
	if kind, hint, ok := environment(exit.Stderr); ok {
		return fault.New(kind, op, err, hint)
	}
	return fault.New(fault.Unknown, op, err, "")
}

func environment(text string) (fault.Kind, string, bool) {
	for _, e := range environmental {
		if e.text.MatchString(text) {
			return e.kind, e.hint, true
		}
	}
	return "", "", false
}
