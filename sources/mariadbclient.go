package sources

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// systemCA is where Debian keeps the authorities that the system trusts; the client
// programs do not all look there by themselves.
const systemCA = "/etc/ssl/certs/ca-certificates.crt"

// open makes the handle that sessions are taken from. Nothing of our environment
// takes part, and nothing is connected yet.
func (m *MariaDB) open() (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd = m.User, m.Password
	c.Net, c.Addr = "tcp", net.JoinHostPort(m.host(), strconv.Itoa(m.port()))
	if m.onSocket() {
		c.Net, c.Addr = "unix", m.host()
	}
	c.Timeout, c.InterpolateParams, c.Logger = connectLimit, true, &mysql.NopLogger{}
	var err error
	if c.TLS, err = m.tls(); err != nil {
		return nil, err
	}
	return OpenMariaDB(c)
}

// OpenMariaDB makes a handle of settings.
func OpenMariaDB(c *mysql.Config) (*sql.DB, error) {
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fault.New(fault.Usage, "connect to MariaDB", err, "check host, port and sslmode")
	}
	return sql.OpenDB(connector), nil
}

func (m *MariaDB) tls() (*tls.Config, error) {
	c := &tls.Config{ServerName: m.host(), MinVersion: tls.VersionTLS12}
	switch m.sslMode() {
	case "disable":
		return nil, nil
	case "require":
		c.InsecureSkipVerify = true //nolint:gosec // asked for by this name, as with libpq
		return c, nil
	}
	if m.CA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(m.CA)
	if err != nil {
		return nil, fault.New(fault.Usage, m.op("connect"), err, "correct ca")
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Usage, m.op("connect"), fmt.Errorf("no certificate in %q", m.CA), "correct ca")
	}
	return c, nil
}

// optionFile writes what the client programs need to connect, for our eyes alone.
func (m *MariaDB) optionFile(scratch string) (string, error) {
	lines := []string{"[client]", option("user", m.User), option("password", m.Password)}
	if m.onSocket() {
		lines = append(lines, "protocol=socket", option("socket", m.host()))
	} else {
		lines = append(lines, "protocol=tcp", option("host", m.host()), fmt.Sprintf("port=%d", m.port()))
	}
	switch m.sslMode() {
	case "disable":
		lines = append(lines, "skip-ssl")
	case "require":
		lines = append(lines, "ssl", "skip-ssl-verify-server-cert")
	default:
		ca := m.CA
		if ca == "" {
			ca = systemCA
		}
		lines = append(lines, "ssl", "ssl-verify-server-cert", option("ssl-ca", ca))
	}
	file := filepath.Join(scratch, "client.cnf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return "", scratchError(scratch, err)
	}
	return file, nil
}

// option is a line of an option file, its value quoted (MariaDB manual,
// "Configuring MariaDB with Option Files").
func option(key, value string) string {
	return key + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

// mariaClient tells the programs of MariaDB from those of MySQL, which take other
// options, and how they tell their version: "Distrib" until 11.0, "from" since.
var mariaClient = regexp.MustCompile(`(?:Distrib|from) (\S*-MariaDB\S*)`)

// program finds mariadb-dump. One older than the server is refused: what is new in the
// server it would leave out, or write as something else, without a word.
func (m *MariaDB) program(ctx context.Context, server *sql.DB) (string, error) {
	conn, err := m.session(ctx, server)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	version, err := mariaVersion(ctx, conn)
	if err != nil {
		return "", m.fault("ask for the version", err)
	}
	path, tool, err := MariaDBProgram(ctx, m.Bin, "mariadb-dump", "mysqldump")
	if err != nil {
		return "", err
	}
	if newer(version[0].Value, tool) {
		return "", fault.New(fault.MissingTool, m.op("dump"), fmt.Errorf("the server is %s, and %s is older: %s", version[0].Value, filepath.Base(path), tool), "install the mariadb-client of the server's version, and name its folder in bin")
	}
	return path, nil
}

// newer reports whether a server of MariaDB is of a later major version than a program.
func newer(server, program string) bool {
	var s, p struct{ major, minor int }
	if n, err := fmt.Sscanf(server, "mariadb %d.%d", &s.major, &s.minor); n != 2 || err != nil {
		return false // MySQL counts in its own way
	}
	if n, err := fmt.Sscanf(program, "mariadb %d.%d", &p.major, &p.minor); n != 2 || err != nil {
		return true
	}
	return cmp.Or(cmp.Compare(s.major, p.major), cmp.Compare(s.minor, p.minor)) > 0
}

// MariaDBProgram returns the path of the first of MariaDB's programs that is there, and
// its version as MariaDBVersion gives it. bin is the only folder looked in, unless it is
// empty. The error is fault.MissingTool, with the name of the package.
func MariaDBProgram(ctx context.Context, bin string, names ...string) (path, version string, err error) {
	for _, name := range names {
		path := filepath.Join(bin, name)
		if bin == "" {
			if path, err = command.LookPath(name); err != nil {
				continue
			}
		}
		out, err := command.Output(ctx, command.Cmd{Argv: []string{path, "--no-defaults", "--version"}, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}}, 4096)
		if ctx.Err() != nil {
			return "", "", context.Cause(ctx)
		}
		if found := mariaClient.FindSubmatch(out); err == nil && found != nil {
			return path, MariaDBVersion(string(found[1])), nil
		}
	}
	return "", "", fault.New(fault.MissingTool, fmt.Sprintf("find %s of MariaDB", names[0]), errors.New("not installed"), "install mariadb-client")
}

// mariaSettings make text come out the same on every server of one major version,
// and keep the server from ending a session that reads for long. A setting that the
// server does not know is left out.
var mariaSettings = []string{
	"NAMES utf8mb4", "sql_mode = ''", "time_zone = '+00:00'", "wait_timeout = 2147483", "net_write_timeout = 86400", "net_read_timeout = 86400",
	"lock_wait_timeout = 300", "max_statement_time = 0", "max_execution_time = 0", "information_schema_stats_expiry = 0",
	"group_concat_max_len = 1048576", "SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
}

const unknownVariable = 1193 // ER_UNKNOWN_SYSTEM_VARIABLE

// settleMariaDB applies the settings to a session.
func settleMariaDB(ctx context.Context, conn *sql.Conn) error {
	for _, s := range mariaSettings {
		_, err := conn.ExecContext(ctx, "SET "+s)
		var me *mysql.MySQLError
		if err != nil && (!errors.As(err, &me) || me.Number != unknownVariable) {
			return fmt.Errorf("set %s: %w", s, err)
		}
	}
	return nil
}

// session opens a settled session.
func (m *MariaDB) session(ctx context.Context, server *sql.DB) (*sql.Conn, error) {
	conn, err := server.Conn(ctx)
	if err != nil {
		return nil, m.fault("connect", err)
	}
	if err := settleMariaDB(ctx, conn); err != nil {
		return nil, errors.Join(m.fault("prepare the session", err), conn.Close())
	}
	return conn, nil
}

// fault classes an error of the server's or of reaching it. The password is never
// in it.
func (m *MariaDB) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", m.op(what), err)
	}
	kind, hint := MariaDBKind(err)
	if hint == "" && kind == fault.Denied {
		hint = m.grant()
	}
	return fault.New(kind, m.op(what), errors.New(blanked(MariaDBText(err), m.Password)), hint)
}

// grant is the remedy for a right that is missing.
func (m *MariaDB) grant() string {
	return fmt.Sprintf("GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD ON *.* to the user %q", m.User)
}

// MariaDBText is what the server or the system said.
func MariaDBText(err error) string {
	var me *mysql.MySQLError
	if errors.As(err, &me) {
		return fmt.Sprintf("%s (%d)", me.Message, me.Number)
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

// MariaDBKind classes by the server's error number (MariaDB manual, "Error Codes")
// or by errno.
func MariaDBKind(err error) (fault.Kind, string) {
	var me *mysql.MySQLError
	if errors.As(err, &me) {
		switch n := me.Number; {
		case slices.Contains([]uint16{1044, 1142, 1143, 1227, 1370}, n):
			return fault.Denied, ""
		case n == 1045 || n == 1698:
			return fault.Denied, "correct user and password"
		case n == 1049:
			return fault.Absent, "correct the database's name"
		case n == 1040 || n == 1053 || n == 1203 || n == 1226:
			return fault.Absent, "wait until the server takes connections"
		case n == 1205:
			return fault.Locked, ""
		case n == 1021 || n == 1114:
			return fault.NoSpace, "see the server's log"
		case slices.Contains([]uint16{1034, 1194, 1195, 1712, 1877}, n):
			return fault.Damaged, "see the server's log; restore an older copy if its storage is damaged"
		}
		return fault.Failed, ""
	}
	var ne *net.OpError
	var dns *net.DNSError
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unverified):
		return fault.Denied, "set ca to the authority of the server's certificate, and host to a name in it"
	case errors.Is(err, mysql.ErrNoTLS):
		return fault.Denied, "let the server speak TLS"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EACCES):
		return fault.Denied, "let the user that runs saoluu reach the socket"
	case errors.As(err, &ne), errors.As(err, &dns), errors.Is(err, context.DeadlineExceeded):
		return fault.Absent, "start the server, or correct host and port"
	}
	return fault.Failed, ""
}

// A querier is a server or one of its sessions.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// mariaStrings returns the first column of a query as text.
func mariaStrings(ctx context.Context, q querier, query string, args ...any) ([]string, error) {
	var all []string
	err := mariaRows(ctx, q, query, args, func(values []sql.NullString) { all = append(all, values[0].String) })
	return all, err
}

// mariaRows hands each row of a query on as text.
func mariaRows(ctx context.Context, q querier, query string, args []any, take func(values []sql.NullString)) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		take(values)
	}
	return rows.Err()
}
