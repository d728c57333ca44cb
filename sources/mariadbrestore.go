package sources

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// A MariaDBRestore loads the dump of a database, a file, into a new database of a
// running server.
type MariaDBRestore struct {
	// Address is mariadb://user@host:port/database or mysql://…; ?socket=PATH names a
	// socket instead of a host, ?ca=FILE the authorities to trust, ?sslmode=MODE one of
	// MariaDB.SSLMode. It holds no password.
	Address  string
	Password string
	Dump     string // file
	Scratch  string // folder for a file with the password
	// Was is how the source's database encoded and sorted text; zero means as the server
	// does by itself.
	Was MariaDBServer
	// Overwrite replaces a database that is there, once the dump was loaded beside it.
	Overwrite bool
}

// Run refuses a database that is there unless it may be overwritten. On error what was
// there is still there, and nothing of ours; only a failure after the old database was
// given up leaves the whole new one, under the name the error tells. Users are not
// made: they belong to the whole server.
func (r *MariaDBRestore) Run(ctx context.Context) error {
	m, name, err := r.server()
	if err != nil {
		return err
	}
	op := fmt.Sprintf("restore to database %q", name)
	program, _, err := MariaDBProgram(ctx, "", "mariadb", "mysql")
	if err != nil {
		return err
	}
	options, err := m.optionFile(r.Scratch)
	if err != nil {
		return err
	}
	server, err := m.open()
	if err != nil {
		return errors.Join(err, removeAll(options))
	}
	l := &mariaLoader{source: m, server: server, op: op, program: program, options: options, dump: r.Dump, was: r.Was}
	err = l.restore(ctx, name, r.Overwrite)
	return errors.Join(err, server.Close(), removeAll(options))
}

// server reads the address.
func (r *MariaDBRestore) server() (*MariaDB, string, error) {
	refuse := func(text, hint string) error {
		return fault.New(fault.Usage, "restore to the server", errors.New(text), hint)
	}
	u, err := url.Parse(r.Address)
	if err != nil || u.User == nil || len(u.Path) < 2 {
		return nil, "", refuse("the address cannot be understood", "write mariadb://user@host/new_database")
	}
	if _, has := u.User.Password(); has {
		return nil, "", refuse("the address holds a password, which anybody on this machine can read", "leave it out and set MYSQL_PWD")
	}
	m := &MariaDB{Host: u.Hostname(), User: u.User.Username(), Password: r.Password, Database: strings.TrimPrefix(u.Path, "/")}
	for key, values := range u.Query() {
		switch value := values[0]; key {
		case "socket":
			m.Host = value
		case "ca":
			m.CA = value
		case "sslmode":
			m.SSLMode = value
		default:
			return nil, "", refuse(fmt.Sprintf("the address has an unknown setting %q", key), "use socket, ca or sslmode")
		}
	}
	if u.Port() != "" {
		if m.Port, err = strconv.Atoi(u.Port()); err != nil {
			return nil, "", refuse("the port is no number", "")
		}
	}
	return m, m.Database, m.check()
}

// A mariaLoader loads one dump.
type mariaLoader struct {
	source                     *MariaDB
	server                     *sql.DB
	op, program, options, dump string
	was                        MariaDBServer
}

func (l *mariaLoader) restore(ctx context.Context, name string, overwrite bool) error {
	there, err := l.exists(ctx, name)
	if err != nil {
		return err
	}
	if !there {
		return l.fresh(ctx, name)
	}
	if !overwrite {
		return fault.New(fault.Refused, l.op, errors.New("it is there already"), "choose a new name, or say --overwrite")
	}
	// Loaded under another name first: what is there is given up only for what is whole.
	// MariaDB cannot rename a database, so it is loaded once more.
	proof := "saoluu-restore-" + rand.Text()[:12]
	if err := l.fresh(ctx, proof); err != nil {
		return err
	}
	if err := l.exec(ctx, "DROP DATABASE "+quoteMaria(name)); err != nil {
		return errors.Join(err, l.exec(context.WithoutCancel(ctx), "DROP DATABASE "+quoteMaria(proof)))
	}
	if err := l.fresh(ctx, name); err != nil {
		return fault.New(fault.KindOf(err), "", err, fmt.Sprintf("the whole restored data lie in database %q: use them, and drop it afterwards", proof))
	}
	return l.exec(ctx, "DROP DATABASE "+quoteMaria(proof))
}

func (l *mariaLoader) exists(ctx context.Context, name string) (bool, error) {
	found, err := mariaStrings(ctx, l.server, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE BINARY SCHEMA_NAME = BINARY ?", name)
	if err != nil {
		return false, l.fault(err)
	}
	return len(found) > 0, nil
}

func (l *mariaLoader) exec(ctx context.Context, statement string) error {
	_, err := l.server.ExecContext(ctx, statement)
	return l.fault(err)
}

func (l *mariaLoader) fault(err error) error {
	if err == nil {
		return nil
	}
	kind, hint := MariaDBKind(err)
	if hint == "" && kind == fault.Denied {
		hint = "restore as a user that may make databases and all that is in them"
	}
	return fault.New(kind, l.op, errors.New(blanked(MariaDBText(err), l.source.Password)), hint)
}

// fresh makes a database and loads the dump into it; on error it is gone again.
func (l *mariaLoader) fresh(ctx context.Context, name string) error {
	statement := "CREATE DATABASE " + quoteMaria(name)
	if l.was.Charset != "" {
		statement += " CHARACTER SET " + quoteMaria(l.was.Charset) + " COLLATE " + quoteMaria(l.was.Collation)
	}
	if err := l.exec(ctx, statement); err != nil {
		return err
	}
	err := l.load(ctx, name)
	if err == nil {
		return nil
	}
	return errors.Join(err, l.exec(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+quoteMaria(name)))
}

// load hands the dump to the client program.
func (l *mariaLoader) load(ctx context.Context, name string) error {
	file, err := os.Open(l.dump)
	if err != nil {
		return err
	}
	defer file.Close()
	client := l.source.client(l.program, l.options, "--batch", "--binary-mode", "--max-allowed-packet=1G", "--default-character-set=utf8mb4", "--", name)
	client.Stdin = renamed(file, name)
	_, err = command.Run(ctx, client)
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	hint := ""
	switch {
	case strings.Contains(exit.Stderr, "ERROR 1227 "):
		hint = "restore as a user with SUPER, or SET USER: the dump makes things that belong to others"
	case strings.Contains(exit.Stderr, "ERROR 1153 "), strings.Contains(exit.Stderr, "ERROR 2006 "):
		hint = "raise the server's max_allowed_packet: a row may be longer"
	}
	return fault.New(fault.Failed, l.op, err, hint)
}

// renamed passes a dump on with the database's own name in the statements that set its
// character set around routines: they name the database they came from. They stand on
// lines of their own, and within data there are no line breaks.
func renamed(r io.Reader, name string) io.Reader {
	prefix := []byte("ALTER DATABASE `")
	lines := bufio.NewReaderSize(r, 1<<20)
	var pending []byte
	begins := true // of a line
	return readFunc(func(p []byte) (int, error) {
		for len(pending) == 0 {
			piece, err := lines.ReadSlice('\n')
			rest, found := bytes.CutPrefix(piece, prefix)
			if begins && found {
				if _, set, ok := bytes.Cut(rest, []byte("` CHARACTER SET ")); ok {
					piece = append([]byte("ALTER DATABASE "+quoteMaria(name)+" CHARACTER SET "), set...)
				}
			}
			pending, begins = piece, !errors.Is(err, bufio.ErrBufferFull)
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) && len(pending) == 0 {
				return 0, err
			}
		}
		n := copy(p, pending)
		pending = pending[n:]
		return n, nil
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
