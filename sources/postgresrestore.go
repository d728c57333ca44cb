package sources

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// IsDatabaseDump reports whether a part of a backup of a server is what a restore to a
// server loads: the dump of a database.
func IsDatabaseDump(part string) bool {
	return part == partDatabase || strings.HasPrefix(part, partDatabase+":")
}

// RestorePostgres loads the dump of a database, a file, into a new database of a
// running server. address is a postgresql:// URI
// that names the database; its password, when not in it, comes from PGPASSWORD
// or the password file, as with PostgreSQL's own programs. A database that is
// there is refused, or with overwrite replaced once the new one is whole. On
// error what was there is still there, and nothing of ours. Roles are not made:
// they belong to the whole server.
func RestorePostgres(ctx context.Context, address, dump string, overwrite bool) error {
	op := "restore to the server"
	settings, err := pgx.ParseConfig(address)
	if err != nil || settings.Database == "" {
		return fault.New(fault.Usage, op, errors.New("the address cannot be understood"), "write postgresql://user@host/new_database")
	}
	if u, err := url.Parse(address); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return fault.New(fault.Usage, op, errors.New("the address holds a password, which anybody on this machine can read"), "leave it out and set PGPASSWORD or use a password file")
		}
	}
	name := settings.Database
	op = fmt.Sprintf("restore to database %q", name)
	settings.Database = "postgres"
	conn, err := pgx.ConnectConfig(ctx, plainPostgres(settings))
	if err != nil {
		kind, hint := pgKind(err, "")
		return fault.New(kind, op, errors.New(blanked(pgText(err), settings.Password)), hint)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	exists, err := databaseExists(ctx, conn, op, name)
	if err != nil {
		return err
	}
	if exists && !overwrite {
		return fault.New(fault.Refused, op, errors.New("it is there already"), "choose a new name, or say --overwrite")
	}
	// Loaded under another name first: what is there is given up only for what is whole.
	// The name is our own whatever theirs is: PostgreSQL cuts long ones.
	return replaceDatabase(ctx, conn, op, name, "saoluu-restore-"+rand.Text()[:12], dump)
}

// replaceDatabase makes and loads the database fresh and gives it the name.
func replaceDatabase(ctx context.Context, conn *pgx.Conn, op, name, fresh, dump string) error {
	quoted, temporary := pgx.Identifier{name}.Sanitize(), pgx.Identifier{fresh}.Sanitize()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+temporary+" TEMPLATE template0"); err != nil {
		kind, _ := pgKind(err, "")
		return fault.New(kind, op, errors.New(pgText(err)), "restore as a user that may make databases")
	}
	err := loadDump(ctx, conn, op, fresh, dump)
	if err == nil {
		_, err = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quoted)
		err = swapError(op, err)
	}
	if err == nil {
		_, err = conn.Exec(ctx, "ALTER DATABASE "+temporary+" RENAME TO "+quoted)
		return swapError(op, err)
	}
	_, dropped := conn.Exec(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+temporary)
	return errors.Join(err, dropped)
}

func swapError(op string, err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Failed, op, errors.New(pgText(err)), "end the sessions that use the database")
}

func databaseExists(ctx context.Context, conn *pgx.Conn, op, name string) (exists bool, err error) {
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
		return false, fault.New(fault.Failed, op, errors.New(pgText(err)), "")
	}
	return exists, nil
}

// loadDump runs pg_restore. It does so in many transactions, since one would hold a lock
// on every table there is, and the server has room for some thousands; that they are on
// its disk is seen to by the one that gives the database its name. The password travels
// in the environment of the child alone.
func loadDump(ctx context.Context, conn *pgx.Conn, op, name, dump string) error {
	c := conn.Config()
	major, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	version, err := strconv.Atoi(major)
	if err != nil {
		return fault.New(fault.Failed, op, fmt.Errorf("server version %q", major), "")
	}
	program, err := PostgresProgram(ctx, "", "pg_restore", version)
	if err != nil {
		return err
	}
	_, err = command.Run(ctx, command.Cmd{
		Argv: []string{program, "--exit-on-error", "--no-password", "--dbname=" + connString(map[string]string{"dbname": name}), dump},
		Env: []string{
			"PATH=/usr/bin:/bin", "LC_ALL=C", "PGHOST=" + c.Host, "PGPORT=" + strconv.Itoa(int(c.Port)), "PGUSER=" + c.User, "PGPASSWORD=" + c.Password,
			"PGOPTIONS=-c synchronous_commit=off",
		},
		Secrets: []string{c.Password},
	})
	var exit *command.ExitError
	if errors.As(err, &exit) && strings.Contains(exit.Stderr, "role ") && strings.Contains(exit.Stderr, "does not exist") {
		return fault.New(fault.Failed, op, err, "make the missing role first: \"saoluu restore JOB --to DIR\" gives globals.sql with all roles")
	}
	if err != nil {
		return fault.New(fault.KindOf(err), op, err, fault.HintOf(err))
	}
	return nil
}

// blanked removes a password from a text.
func blanked(text, password string) string {
	if password == "" {
		return text
	}
	return strings.ReplaceAll(text, password, "***")
}
