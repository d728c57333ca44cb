package verify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// Users of a throwaway MariaDB server. They have no password: its socket lies where
// only its user may look. Nobody has a user of such a name by accident.
const (
	drillUser = "saoluu: restore test" // may do everything
	checkUser = "saoluu: check"        // puts the job's checks: may read everything and change nothing
)

// instanceSettings make a server that is thrown away after use: nothing is synced,
// nothing is reachable but by the socket, nothing starts by itself, and memory stays
// modest. What the source's server took must be taken here, whatever its own limits.
var instanceSettings = []string{
	"--skip-networking", "--skip-log-bin", "--skip-slave-start", "--event-scheduler=OFF", "--local-infile=0",
	"--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=256M", "--innodb-log-file-size=256M",
	"--innodb-strict-mode=OFF", "--performance-schema=OFF", "--max-allowed-packet=1G", "--max-connections=20",
	"--character-set-server=utf8mb4", "--log-warnings=1", "--sync-frm=OFF",
}

// An instance is a throwaway MariaDB server.
type instance struct {
	*tenant
	version string
	client  string // path of the client program
	install string // path of the program that makes the server's own tables
}

// instanceVersion is how the server's program tells its version.
var instanceVersion = regexp.MustCompile(`Ver (\S+)`)

// findInstance looks for the programs of exactly one major version: a later one would
// store and hash differently.
func findInstance(ctx context.Context, bin, want string) (*instance, error) {
	op := fmt.Sprintf("find a %s server for the restore test", want)
	if !strings.HasPrefix(want, "mariadb ") {
		return nil, fault.New(fault.MissingTool, op, errors.New("only MariaDB can be started for a test"), "restore to a server of that version by hand, and look at it")
	}
	dirs := []string{}
	if bin != "" {
		dirs = []string{bin}
	}
	server, err := command.LookPath("mariadbd", dirs...)
	if err != nil {
		return nil, err
	}
	out, err := command.Output(ctx, command.Cmd{Argv: []string{server, "--no-defaults", "--version"}, Env: plainEnv}, 4096)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m := instanceVersion.FindStringSubmatch(string(out))
	if err != nil || m == nil || sources.MariaDBVersion(m[1]) != want {
		seen := "it does not tell its version"
		if m != nil {
			seen = fmt.Sprintf("%q has version %s", server, m[1])
		}
		return nil, fault.New(fault.MissingTool, op, errors.New(seen), "install the mariadb-server-core of that version, and name its folder in restore_test.bin")
	}
	i := &instance{version: m[1], tenant: &tenant{bin: filepath.Dir(server)}}
	if i.install, err = command.LookPath("mariadb-install-db", dirs...); err != nil {
		return nil, err
	}
	i.client, _, err = sources.MariaDBProgram(ctx, bin, "mariadb", "mysql")
	if err != nil {
		i.client, _, err = sources.MariaDBProgram(ctx, "", "mariadb", "mysql")
	}
	return i, err
}

// startInstance makes a server of one major version in the sandbox and starts it.
func startInstance(ctx context.Context, x *examination, version string) (_ *instance, err error) {
	i, err := findInstance(ctx, x.request.Bin, version)
	if err != nil {
		return nil, err
	}
	if i.tenant, err = x.settle(i.bin); err != nil {
		return nil, err
	}
	limit, cancel := context.WithTimeoutCause(ctx, startLimit, fault.New(fault.TimedOut, "start a throwaway MariaDB server", nil, "see whether the machine is overloaded"))
	defer cancel()
	if err := i.folder(i.temporary()); err != nil {
		return nil, err
	}
	temporary := i.temporary()
	install := i.command(i.install, "--no-defaults", "--datadir="+i.data(), "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
		"--innodb-flush-method=nosync", "--tmpdir="+temporary)
	names := namesOfFiles(x.request.Facts)
	install.Argv = append(install.Argv, names...)
	install.Env = append([]string{"TMPDIR=" + temporary, "PATH=" + i.bin + ":/usr/sbin:/usr/bin:/sbin:/bin"}, plainEnv[1:]...)
	if _, err := command.Run(limit, install); err != nil {
		return nil, i.fault("make a throwaway MariaDB server", err)
	}
	if err := i.run(ctx, append(names, "--skip-name-resolve")...); err != nil {
		return nil, err
	}
	// Our users are made the only ones: those it comes with must not be taken for the
	// source's.
	if err := i.ready(limit, "root", i.people); err != nil {
		return nil, errors.Join(err, i.stop())
	}
	return i, nil
}

// lowerCase is lower_case_table_names in the fact on collation.
var lowerCase = regexp.MustCompile(`"lower_case":"([012])"`)

// namesOfFiles is the option that says how names become names of files, as at the
// source: it is for ever, from the making of a data folder on.
func namesOfFiles(facts []sources.Fact) []string {
	for _, f := range facts {
		if found := lowerCase.FindStringSubmatch(f.Value); f.Kind == sources.FactCollation && found != nil {
			return []string{"--lower-case-table-names=" + found[1]}
		}
	}
	return nil
}

// folder makes a folder of the server's own.
func (i *instance) folder(path string) error {
	return errors.Join(os.Mkdir(path, 0o700), i.give(path))
}

// run starts the server on its data.
func (i *instance) run(ctx context.Context, options ...string) (err error) {
	args := slices.Concat([]string{
		"--no-defaults", "--datadir=" + i.data(), "--socket=" + i.socket(), "--pid-file=" + filepath.Join(i.dir, "pid"), "--tmpdir=" + i.temporary(), "--secure-file-priv=" + i.temporary(),
	}, instanceSettings, options)
	server := i.command(filepath.Join(i.bin, "mariadbd"), args...)
	// There is nothing worth a clean shutdown.
	server.Interrupt, server.Grace, server.Dir = syscall.SIGKILL, stopGrace, i.data()
	i.process, err = command.Start(ctx, server)
	return err
}

func (i *instance) data() string      { return filepath.Join(i.dir, "data") }
func (i *instance) temporary() string { return filepath.Join(i.dir, "tmp") }
func (i *instance) socket() string    { return filepath.Join(i.sockets, "s") }

// ready waits until the server takes connections of user, and hands the first on.
func (i *instance) ready(ctx context.Context, user string, then func(context.Context, *mariaSession) error) error {
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		conn, err := i.connect(ctx, user, "")
		if err == nil {
			return errors.Join(then(ctx, conn), conn.close())
		}
		var me *mysql.MySQLError
		if errors.As(err, &me) && me.Number == 1045 { // ER_ACCESS_DENIED_ERROR
			return err
		}
		select {
		case <-i.process.Done():
			_, err := i.process.Wait()
			return i.fault("start a throwaway MariaDB server", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (i *instance) people(ctx context.Context, conn *mariaSession) error {
	rows, err := conn.QueryContext(ctx, "SELECT User, Host FROM mysql.user WHERE Host <> ''")
	if err != nil {
		return err
	}
	defer rows.Close()
	statements := append(ourUsers(), "GRANT PROXY ON ''@'%' TO "+quoteBacktick(drillUser)+"@localhost WITH GRANT OPTION")
	for rows.Next() {
		var user, host string
		if err := rows.Scan(&user, &host); err != nil {
			return err
		}
		statements = append(statements, "DROP USER "+quoteBacktick(user)+"@"+quoteBacktick(host))
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fault.New(fault.Unknown, "prepare the throwaway MariaDB server", err, "")
		}
	}
	return nil
}

// ourUsers are the statements that make our users.
func ourUsers() []string {
	admin, checker := quoteBacktick(drillUser)+"@localhost", quoteBacktick(checkUser)+"@localhost"
	return []string{
		"CREATE USER " + admin, "GRANT ALL PRIVILEGES ON *.* TO " + admin + " WITH GRANT OPTION",
		"CREATE USER " + checker, "GRANT SELECT, SHOW VIEW, EXECUTE ON *.* TO " + checker,
	}
}

func quoteBacktick(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// A mariaSession is one session, and the handle it came from.
type mariaSession struct {
	*sql.Conn
	pool *sql.DB
}

func (s *mariaSession) close() error { return errors.Join(s.Conn.Close(), s.pool.Close()) }

// connect opens a session. Nothing of our environment takes part.
func (i *instance) connect(ctx context.Context, user, database string) (*mariaSession, error) {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName, c.Logger = user, "unix", i.socket(), database, &mysql.NopLogger{}
	pool, err := sources.OpenMariaDB(c)
	if err != nil {
		return nil, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return &mariaSession{conn, pool}, nil
}

// load is the client program that takes statements from its input.
func (i *instance) load(args ...string) command.Cmd {
	c := i.command(i.client, append([]string{
		"--no-defaults", "--socket=" + i.socket(), "--user=" + drillUser, "--batch", "--binary-mode", "--max-allowed-packet=1G", "--default-character-set=utf8mb4",
	}, args...)...)
	return c
}

// instanceTroubles are words by which the system, not the data, makes MariaDB's
// programs fail.
var instanceTroubles = []struct {
	text *regexp.Regexp
	kind fault.Kind
	hint string
}{
	{regexp.MustCompile(`No space left on device|Disk quota exceeded|errno: 28|[Ee]rror 28\b|ERROR (1021|1114) `), fault.NoSpace, "free some space, or move paths.scratch"},
	{regexp.MustCompile(`[Oo]ut of memory|Cannot allocate memory|ERROR (1037|1038|1041) `), fault.Unknown, "give the machine more memory, or raise limits.test_memory"},
	{regexp.MustCompile(`Plugin '[^']*' is not loaded|ERROR 1524 |Unknown storage engine|ERROR 1286 `), fault.MissingTool, "install the package of the plugin or engine that the database uses"},
	{regexp.MustCompile(`Unknown (collation|character set)|ERROR (1115|1273) `), fault.MissingTool, "install a mariadb-server as new as the source's"},
	{regexp.MustCompile(`Can't connect to|Lost connection|server has gone away|ERROR (2002|2003|2006|2013) `), fault.Unknown, "see the kernel's log; the machine may lack memory"},
}

func instanceTrouble(text string) (fault.Kind, string, bool) {
	for _, e := range instanceTroubles {
		if e.text.MatchString(text) {
			return e.kind, e.hint, true
		}
	}
	return "", "", false
}

// fault classes an error of one of MariaDB's programs; Unknown by default.
func (i *instance) fault(op string, err error) error {
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", op, err)
	}
	if kind, hint, ok := instanceTrouble(exit.Stderr); ok {
		return fault.New(kind, op, err, hint)
	}
	return fault.New(fault.Unknown, op, err, "")
}
