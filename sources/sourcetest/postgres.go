package sourcetest

import (
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A Server is a throwaway PostgreSQL server to be a source. It asks everybody
// but its superuser for a password.
type Server struct {
	Sockets   string // folder of its socket; the port is 5432
	Superuser string
	Bin       string // folder of its programs
	Data      string
	Major     int
}

// StartPostgres starts a server that ends with the test. Without the programs
// the test is skipped, unless SAOLUU_MUST_RUN is set.
func StartPostgres(t *testing.T) *Server {
	t.Helper()
	bin, major := serverPrograms(t)
	base, err := os.MkdirTemp("", "pg-") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	s := &Server{Sockets: base, Superuser: "postgres", Bin: bin, Data: filepath.Join(base, "data"), Major: major}
	credential := s.user(t, base)
	env := []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	_, err = command.Run(t.Context(), command.Cmd{Argv: []string{
		filepath.Join(bin, "initdb"), "-D", s.Data, "-U", s.Superuser, "-A", "trust", "-N", "--locale=C.UTF-8", "-E", "UTF8",
	}, Env: env, Dir: base, Credential: credential})
	if err != nil {
		t.Fatal(err)
	}
	hba := "local all " + s.Superuser + " trust\nlocal all all scram-sha-256\n" +
		"local replication " + s.Superuser + " trust\nlocal replication all scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(s.Data, "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context()) // the server outlives the test's context until cleanup
	p, err := command.Start(ctx, command.Cmd{Argv: []string{
		filepath.Join(bin, "postgres"), "-D", s.Data, "-k", s.Sockets,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "port=5432", "-c", "shared_buffers=64MB", "-c", "jit=off",
		"-c", "autovacuum=off", // which would write when nobody does
	}, Env: env, Dir: base, Credential: credential, Interrupt: syscall.SIGQUIT, Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(0) })
	s.await(t, p)
	return s
}

// serverPrograms finds the newest server installed.
func serverPrograms(t *testing.T) (string, int) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	var majors []int
	for _, path := range found {
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))); err == nil {
			majors = append(majors, n)
		}
	}
	if len(majors) == 0 {
		Missing(t, fault.New(fault.MissingTool, "find a PostgreSQL server", errors.New("not installed"), "install postgresql"))
	}
	major := slices.Max(majors)
	return filepath.Join("/usr/lib/postgresql", strconv.Itoa(major), "bin"), major
}

// Missing skips a test for want of a program; with SAOLUU_MUST_RUN it fails.
func Missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("SAOLUU_MUST_RUN") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// user gives the folder to a user the server may run as.
func (s *Server) user(t *testing.T, base string) *command.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	return giveTo(t, base, "postgres", "nobody")
}

// giveTo gives a folder to the first of these users that there is.
func giveTo(t *testing.T, base string, names ...string) *command.Credential {
	t.Helper()
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(base, uid, gid); err != nil {
			t.Fatal(err)
		}
		return &command.Credential{UID: uint32(uid), GID: uint32(gid)}
	}
	t.Fatalf("none of the users %v is there", names)
	return nil
}

func (s *Server) await(t *testing.T, p *command.Process) {
	t.Helper()
	for range 600 {
		conn, err := pgx.Connect(t.Context(), s.url(s.Superuser, "postgres"))
		if err == nil {
			_ = conn.Close(t.Context())
			return
		}
		select {
		case <-p.Done():
			res, err := p.Wait()
			t.Fatalf("the server ended: %v\n%s", err, res.Stderr)
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatal("the server does not take connections")
}

func (s *Server) url(role, database string) string {
	return "host=" + s.Sockets + " port=5432 user=" + role + " dbname='" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(database) + "'"
}

// Connect opens a session of the superuser that ends with the test.
func (s *Server) Connect(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.url(s.Superuser, database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// Exec runs statements as the superuser.
func (s *Server) Exec(t *testing.T, database string, statements ...string) {
	t.Helper()
	conn := s.Connect(t, database)
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
