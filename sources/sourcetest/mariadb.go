package sourcetest

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"saoluu/internal/command"
	"saoluu/sources"
)

// A MariaDBServer is a throwaway MariaDB server to be a source. Its user root has no
// password.
type MariaDBServer struct {
	Socket string
	Dir    string // holds its data
}

// StartMariaDB starts a server that ends with the test, with options beside its own.
// Without the programs the test is skipped, unless SAOLUU_MUST_RUN is set.
func StartMariaDB(t *testing.T, options ...string) *MariaDBServer {
	t.Helper()
	program := func(name string) string {
		path, err := command.LookPath(name)
		if err != nil {
			Missing(t, err)
		}
		return path
	}
	install, server := program("mariadb-install-db"), program("mariadbd")
	base, err := os.MkdirTemp("", "my-") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	s := &MariaDBServer{Socket: filepath.Join(base, "s"), Dir: base}
	credential := mariaUser(t, base)
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TMPDIR=" + base}
	data := filepath.Join(base, "data")
	argv := []string{install, "--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--tmpdir=" + base}
	for _, option := range options { // those that say how files are made
		if strings.HasPrefix(option, "--innodb-") || strings.HasPrefix(option, "--lower-case") {
			argv = append(argv, option)
		}
	}
	_, err = command.Run(t.Context(), command.Cmd{Argv: argv, Env: env, Dir: base, Credential: credential})
	if err != nil {
		t.Fatal(err)
	}
	if len(options) == 0 {
		options = []string{"--skip-networking"}
	}
	ctx := context.WithoutCancel(t.Context()) // the server outlives the test's context until cleanup
	p, err := command.Start(ctx, command.Cmd{Argv: append([]string{
		server, "--no-defaults", "--datadir=" + data, "--socket=" + s.Socket, "--tmpdir=" + base, "--pid-file=" + filepath.Join(base, "pid"),
		"--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--performance-schema=OFF",
	}, options...), Env: env, Dir: base, Credential: credential, Interrupt: syscall.SIGKILL, Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(0) })
	s.await(t, p)
	return s
}

// mariaUser gives the folder to a user the server may run as.
func mariaUser(t *testing.T, base string) *command.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	return giveTo(t, base, "nobody")
}

func (s *MariaDBServer) await(t *testing.T, p *command.Process) {
	t.Helper()
	for range 600 {
		if s.try(t, "", "SELECT 1") == nil {
			return
		}
		select {
		case <-p.Done():
			_, err := p.Wait()
			t.Fatal("the server does not start: ", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatal("the server does not start")
}

// Exec runs statements as root.
func (s *MariaDBServer) Exec(t *testing.T, database string, statements ...string) {
	t.Helper()
	if err := s.try(t, database, statements...); err != nil {
		t.Fatal(err)
	}
}

func (s *MariaDBServer) open(database string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName, c.Logger = "root", "unix", s.Socket, database, &mysql.NopLogger{}
	return sources.OpenMariaDB(c)
}

// Conn opens a session of root that ends with the test.
func (s *MariaDBServer) Conn(t *testing.T, database string) *sql.Conn {
	t.Helper()
	db, err := s.open(database)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), db.Close() })
	return conn
}

func (s *MariaDBServer) try(t *testing.T, database string, statements ...string) error {
	t.Helper()
	db, err := s.open(database)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			return err
		}
	}
	return nil
}
