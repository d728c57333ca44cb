package sources

import (
	"cmp"
	"context"
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
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// connectLimit bounds the wait for a server that does not answer.
const connectLimit = 30 * time.Second

// plainPostgres makes a session work through poolers too: no statement is prepared
// under a name.
func plainPostgres(config *pgx.ConnConfig) *pgx.ConnConfig {
	config.ConnectTimeout = connectLimit
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.StatementCacheCapacity, config.DescriptionCacheCapacity = 0, 0
	config.RuntimeParams = map[string]string{"application_name": "saoluu"}
	return config
}

// settings of a session that reads facts. Text must come out the same on every
// server of one major version, and nothing may end a session that waits for a
// long dump. A setting that the server does not know is left out.
var sessionSettings = [][2]string{
	{"extra_float_digits", "3"}, {"datestyle", "ISO, YMD"}, {"intervalstyle", "iso_8601"}, {"timezone", "UTC"},
	{"bytea_output", "hex"}, {"lc_monetary", "C"}, {"lc_numeric", "C"}, {"lc_time", "C"},
	{"xmlbinary", "base64"}, {"xmloption", "content"}, {"search_path", ""}, {"array_nulls", "on"},
	{"row_security", "off"}, {"statement_timeout", "0"}, {"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"}, {"idle_session_timeout", "0"}, {"transaction_timeout", "0"},
	{"jit", "off"},
}

// settle applies the settings to a session.
func settle(ctx context.Context, conn *pgx.Conn) error {
	for _, s := range sessionSettings {
		_, err := conn.Exec(ctx, "SELECT set_config(name, $2, false) FROM pg_settings WHERE lower(name) = $1", s[0], s[1])
		if err != nil {
			return fmt.Errorf("set %s: %w", s[0], err)
		}
	}
	return nil
}

// fault classes an error of the server's or of reaching it. The password is
// never in it.
func (p *Postgres) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", p.op(what), err)
	}
	kind, hint := pgKind(err, p.grantFor(err))
	return fault.New(kind, p.op(what), errors.New(p.blank(pgText(err))), hint)
}

func (p *Postgres) grant() string {
	return fmt.Sprintf("grant pg_read_all_data to %s, or SELECT on it", quoteName(p.User))
}

// grantFor is what mends an error about rights: reading is not entering, and neither
// is seeing all rows.
func (p *Postgres) grantFor(err error) string {
	text := pgText(err)
	switch {
	case strings.Contains(text, "permission denied for database"):
		return fmt.Sprintf("run GRANT CONNECT ON DATABASE %s TO %s", quoteName(p.Database), quoteName(p.User))
	case strings.Contains(text, "row-level security"):
		return fmt.Sprintf("run ALTER ROLE %s BYPASSRLS, or let a superuser make the dump", quoteName(p.User))
	}
	return p.grant()
}

// advise is what mends an error that pg_dump tells of.
func (p *Postgres) advise(said string) string {
	if strings.Contains(said, "permission denied") || strings.Contains(said, "row-level security") {
		return p.grantFor(errors.New(said))
	}
	return ""
}

func (p *Postgres) blank(text string) string {
	if p.Password == "" {
		return text
	}
	return strings.ReplaceAll(text, p.Password, "***")
}

// pgText is what the server or the system said, without pgx's frame around it.
func pgText(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Message
	}
	var ne *net.OpError
	if errors.As(err, &ne) {
		return ne.Error()
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

// pgKind classes by SQLSTATE (PostgreSQL manual, appendix A) or by errno.
func pgKind(err error, grant string) (fault.Kind, string) {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch {
		case pe.Code == "42501":
			return fault.Denied, grant
		case pe.Code == "28P01":
			return fault.Denied, "correct user and password"
		case strings.HasPrefix(pe.Code, "28"):
			return fault.Denied, "correct user and password, or let the user in by pg_hba.conf"
		case pe.Code == "3D000":
			return fault.Absent, "correct the database's name"
		case strings.HasPrefix(pe.Code, "57P"), pe.Code == "53300":
			return fault.Absent, "wait until the server takes connections"
		case pe.Code == "53200":
			return fault.Failed, "raise max_locks_per_transaction when there are many tables, or give the server more memory"
		case strings.HasPrefix(pe.Code, "53"):
			return fault.NoSpace, "see the server's log"
		case strings.HasPrefix(pe.Code, "XX"):
			return fault.Damaged, "see the server's log; restore an older copy if its storage is damaged"
		case pe.Code == "55000" && strings.Contains(pe.Message, "recovery"):
			return fault.Failed, "point the job at the primary server"
		}
		return fault.Failed, ""
	}
	var ne *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EACCES):
		return fault.Denied, "let the user that runs saoluu reach the socket"
	case errors.As(err, &ne), errors.As(err, &dns), errors.Is(err, context.DeadlineExceeded):
		return fault.Absent, "start the server, or correct host and port"
	}
	return fault.Failed, ""
}

// versionText is how PostgreSQL's programs tell their version.
var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// PostgresProgram returns the path of one of PostgreSQL's programs of a major
// version or, where there is none, of the next later one. bin is the only folder
// looked in, unless it is empty. The error is fault.MissingTool, with the name of
// the package.
func PostgresProgram(ctx context.Context, bin, name string, major int) (string, error) {
	oldest := ""
	for _, path := range pgCandidates(bin, name, major) {
		out, err := command.Output(ctx, command.Cmd{Argv: []string{path, "--version"}, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}}, 4096)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		m := versionText.FindSubmatch(out)
		if err != nil || m == nil {
			continue
		}
		if v, _ := strconv.Atoi(string(m[1])); v >= major {
			return path, nil
		}
		oldest = fmt.Sprintf("; %s is of version %s", path, m[1])
	}
	return "", fault.New(fault.MissingTool, fmt.Sprintf("find %s of PostgreSQL %d or later", name, major),
		errors.New("not installed"+oldest), fmt.Sprintf("install postgresql-client-%d", major))
}

// pgCandidates lists where a program may be, best first: the same major version
// where Debian and Red Hat put it, later ones in their order, then PATH.
func pgCandidates(bin, name string, major int) []string {
	if bin != "" {
		return []string{filepath.Join(bin, name)}
	}
	type candidate struct {
		version int
		path    string
	}
	var found []candidate
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/pgsql-*/bin/"} {
		paths, _ := filepath.Glob(pattern + name) // the pattern is well formed
		for _, path := range paths {
			dir := filepath.Base(filepath.Dir(filepath.Dir(path)))
			if v, err := strconv.Atoi(strings.TrimPrefix(dir, "pgsql-")); err == nil && v >= major {
				found = append(found, candidate{v, path})
			}
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(a.version, b.version) })
	var all []string
	for _, c := range found {
		all = append(all, c.path)
	}
	if path, err := command.LookPath(name); err == nil {
		all = append(all, path)
	}
	return slices.DeleteFunc(all, func(p string) bool {
		st, err := os.Stat(p)
		return err != nil || st.IsDir()
	})
}
