package verify

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
)

// A mariaDrill is a MariaDB copy, loaded into a server of its own. Its databases have
// the names they had: statements in them may name each other.
type mariaDrill struct {
	*examination
	instance  *instance
	databases []loadedDatabase
}

// startMariaDrill loads a copy. Damage is a *finding: the dump ends too early, or the
// server refuses what is in it.
func startMariaDrill(ctx context.Context, x *examination, parts []restoredPart) (loaded subject, err error) {
	dumps, users, err := drillParts(parts)
	if err != nil {
		return nil, err
	}
	d := &mariaDrill{examination: x}
	heads := make([]mariaHead, len(dumps))
	for i, p := range dumps {
		if heads[i], err = headOf(p); err != nil {
			return nil, err
		}
		d.databases = append(d.databases, loadedDatabase{p.Part, heads[i].database})
	}
	if d.instance, err = d.server(ctx, heads[0].version); err != nil {
		return nil, err
	}
	x.result.Tools = append(x.result.Tools, Tool{Name: "mariadb", Version: d.instance.version})
	defer func() {
		if err != nil {
			loaded, err = nil, errors.Join(err, d.instance.stop())
		}
	}()
	var rights io.Reader
	if users != nil {
		if rights, err = d.users(ctx, *users); err != nil {
			return nil, err
		}
	}
	for i, p := range dumps {
		if err := d.create(ctx, d.databases[i]); err != nil {
			return nil, err
		}
		if err := d.load(ctx, p, d.databases[i].name); err != nil {
			return nil, err
		}
	}
	if rights != nil {
		if err := d.rights(ctx, rights); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// server returns the throwaway server.
func (d *mariaDrill) server(ctx context.Context, version string) (*instance, error) {
	if d.warm != nil {
		w := <-d.warm
		d.warm = nil
		return w.instance, w.err
	}
	return startInstance(ctx, d.examination, version)
}

// A mariaHead is what a dump says of itself.
type mariaHead struct{ database, version string }

// headEnd is how much of a dump's two ends is looked at.
const headEnd = 4096

var (
	dumpDatabase = regexp.MustCompile(`(?m)^-- Host: .*    Database: (.+)$`)
	dumpVersion  = regexp.MustCompile(`(?m)^-- Server version\s+(\S+)`)
)

// headOf reads both ends of a dump: one that is not whole is damaged.
func headOf(p restoredPart) (mariaHead, error) {
	file, err := os.Open(p.file)
	if err != nil {
		return mariaHead{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return mariaHead{}, err
	}
	head, tail := make([]byte, min(headEnd, info.Size())), make([]byte, min(headEnd, info.Size()))
	if _, err := file.ReadAt(head, 0); err != nil {
		return mariaHead{}, err
	}
	if _, err := file.ReadAt(tail, info.Size()-int64(len(tail))); err != nil {
		return mariaHead{}, err
	}
	if !bytes.Contains(tail, []byte("\n-- Dump completed")) {
		return mariaHead{}, &finding{"dump", "it is whole", "cut off", nil}
	}
	var h mariaHead
	if m := dumpVersion.FindSubmatch(head); m != nil {
		h.version = sources.MariaDBVersion(string(m[1]))
	}
	if m := dumpDatabase.FindSubmatch(head); m != nil {
		h.database = string(m[1])
	}
	if _, escaped, several := strings.Cut(p.Part, ":"); several {
		if name, err := url.PathUnescape(escaped); err == nil {
			h.database = name
		}
	}
	h.database = cmp.Or(h.database, drillDatabase)
	return h, nil
}

// create makes the empty database, with the character set of the source.
func (d *mariaDrill) create(ctx context.Context, db loadedDatabase) error {
	statement := "CREATE DATABASE " + quoteBacktick(db.name)
	for _, f := range d.request.Facts {
		var s sources.MariaDBServer
		if f.Kind != sources.FactCollation || f.Part != db.part {
			continue
		}
		if err := json.Unmarshal([]byte(f.Value), &s); err != nil {
			return fault.New(fault.Unknown, "read the fact on collation", err, "")
		}
		statement += " CHARACTER SET " + quoteBacktick(s.Charset) + " COLLATE " + quoteBacktick(s.Collation)
	}
	conn, err := d.instance.connect(ctx, drillUser, "")
	if err != nil {
		return d.serverError(ctx, "prepare", err)
	}
	defer conn.close()
	if _, err := conn.ExecContext(ctx, statement); err != nil {
		return d.serverError(ctx, "create a database in", err)
	}
	return nil
}

// load hands a dump to the client program.
func (d *mariaDrill) load(ctx context.Context, p restoredPart, name string) error {
	file, err := os.Open(p.file)
	if err != nil {
		return err
	}
	defer file.Close()
	client := d.instance.load("--", name)
	client.Stdin = file
	if _, err := command.Run(ctx, client); err != nil {
		return d.loadError("load", "the server takes the dump", err)
	}
	return os.Remove(p.file) // its space is wanted, its content is in the tables
}

func (d *mariaDrill) loadError(name, expected string, err error) error {
	var exit *command.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("load the dump: %w", err)
	}
	if kind, hint, ok := instanceTrouble(exit.Stderr); ok {
		return fault.New(kind, "load the dump", err, hint)
	}
	if exit.Signal != 0 {
		return fault.New(fault.Unknown, "load the dump", err, "see in the kernel's log whether memory ran out")
	}
	return &finding{name, expected, "refused", fmt.Errorf("%w: %s", err, exit.Stderr)}
}

// users makes users and roles, and returns the statements that give them their rights:
// those can be run once what they speak of is there.
func (d *mariaDrill) users(ctx context.Context, p restoredPart) (io.Reader, error) {
	text, err := os.ReadFile(p.file)
	if err != nil {
		return nil, err
	}
	made, rights, ok := bytes.Cut(text, []byte("\n"+sources.MariaDBRights))
	if !ok {
		return nil, &finding{"roles", "the part is whole", "cut off", nil}
	}
	client := d.instance.load()
	client.Stdin = bytes.NewReader(append(made, '\n'))
	if _, err := command.Run(ctx, client); err != nil {
		return nil, d.loadError("roles", "the server takes them", err)
	}
	// A right must not make the user it is given to.
	return bytes.NewReader(slices.Concat([]byte("SET NAMES utf8mb4;\nSET sql_mode = 'NO_AUTO_CREATE_USER';\n"), rights)), nil
}

// absent is the list of benign errors: a right on a table, column or routine of a
// database that this copy does not hold (MariaDB manual, "Error Codes").
var absent = regexp.MustCompile(`^ERROR (1146|1305|1054|1049|1356) `)

// rights gives users their rights. The client's exit status says nothing: every error
// it shows must be on the short list of benign ones.
func (d *mariaDrill) rights(ctx context.Context, statements io.Reader) error {
	var refused []string
	client := d.instance.load("--force")
	client.Stdin = statements
	client.StderrLine = func(line []byte) {
		if text := string(line); strings.HasPrefix(text, "ERROR ") && !absent.MatchString(text) {
			refused = append(refused, text)
		}
	}
	_, err := command.Run(ctx, client)
	var exit *command.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return fmt.Errorf("load the rights: %w", err)
	case len(refused) > 0:
		text := strings.Join(refused[:min(len(refused), detailLimit)], "; ")
		if kind, hint, ok := instanceTrouble(text); ok {
			return fault.New(kind, "load the rights", errors.New(text), hint)
		}
		return &finding{"roles", "the server takes their rights", "refused", errors.New(text)}
	}
	return nil
}

func (d *mariaDrill) close() error { return d.instance.stop() }

// serverError classes what the drill's own server says where none of the copy has been
// looked at.
func (d *mariaDrill) serverError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if kind, hint, ok := instanceTrouble(err.Error()); ok {
		return fault.New(kind, what, err, hint)
	}
	return fault.New(fault.Unknown, what+" the throwaway MariaDB server", err, "")
}

// damaged reports whether the server found its own tables broken.
func damaged(err error) bool {
	kind, _ := sources.MariaDBKind(err)
	return kind == fault.Damaged
}

// facts takes what is now true of the loaded databases, by the code that took the
// facts of the source, and has the server check each table.
func (d *mariaDrill) facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error) {
	var all []sources.Fact
	for i, db := range d.databases {
		conn, err := d.instance.connect(ctx, drillUser, db.name)
		if err != nil {
			return nil, d.serverError(ctx, "connect to", err)
		}
		got, users, err := sources.MariaDBFacts(ctx, conn.Conn, db.name, sources.PlanFor(want, db.part))
		if err == nil {
			err = d.sound(ctx, conn.Conn, got)
		}
		if err := d.readError(ctx, errors.Join(err, conn.close())); err != nil {
			return nil, err
		}
		all = append(all, withPart(got, db.part)...)
		if i == 0 {
			all = append(all, withPart(users, "globals")...)
		}
	}
	return all, nil
}

// readError tells damage from a failure to look.
func (d *mariaDrill) readError(ctx context.Context, err error) error {
	var found *finding
	switch {
	case err == nil:
		return nil
	case errors.As(err, &found):
		return found
	case damaged(err):
		return &finding{"database", "it can be read", "damaged", err}
	}
	return d.serverError(ctx, "read", err)
}

func withPart(facts []sources.Fact, part string) []sources.Fact {
	for i := range facts {
		facts[i].Part = part
	}
	return facts
}

// sound has the server check the tables that have facts.
func (d *mariaDrill) sound(ctx context.Context, conn *sql.Conn, facts []sources.Fact) error {
	for _, f := range facts {
		if f.Kind != sources.FactRows {
			continue
		}
		rows, err := conn.QueryContext(ctx, "CHECK TABLE "+f.Of)
		if err != nil {
			return err
		}
		for rows.Next() {
			var table, op, kind, text string
			if err := rows.Scan(&table, &op, &kind, &text); err != nil {
				return errors.Join(err, rows.Close())
			}
			if strings.EqualFold(kind, "error") || kind == "status" && text != "OK" && text != "Table is already up to date" {
				return errors.Join(&finding{"database", "CHECK TABLE finds no fault", "damaged", fmt.Errorf("%s: %s", f.Of, text)}, rows.Close())
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
	}
	return nil
}

// damage deletes one row of one table that had rows or, when there is none, drops a
// table, in the first database that has something to damage. Foreign keys sleep
// meanwhile. Without facts it deletes all rows.
func (d *mariaDrill) damage(ctx context.Context, seed string, want []sources.Fact) (string, error) {
	return damageFirst(d.databases, want, func() ([]sources.Fact, error) { return d.facts(ctx, nil) },
		func(db loadedDatabase, want []sources.Fact, all bool) (string, error) {
			return d.damageOne(ctx, db, seed, want, all)
		})
}

func (d *mariaDrill) damageOne(ctx context.Context, db loadedDatabase, seed string, want []sources.Fact, all bool) (string, error) {
	conn, err := d.instance.connect(ctx, drillUser, db.name)
	if err != nil {
		return "", d.serverError(ctx, "connect to", err)
	}
	defer conn.close()
	for _, set := range []string{"SET foreign_key_checks = 0", "SET sql_mode = ''"} {
		if _, err := conn.ExecContext(ctx, set); err != nil {
			return "", d.serverError(ctx, "damage", err)
		}
	}
	exec := func(statement, table string) (bool, error) {
		done, err := conn.ExecContext(ctx, strings.ReplaceAll(statement, "TABLE_NAME", table))
		if err != nil {
			return false, context.Cause(ctx) // a trigger forbids it: another one will do
		}
		n, err := done.RowsAffected()
		return n > 0 || strings.HasPrefix(statement, "DROP"), err
	}
	t := tablesOf(want, db.part, seed)
	if all {
		return strip(t, exec, "DELETE FROM TABLE_NAME", "DROP TABLE TABLE_NAME")
	}
	return spoil(t, exec, "DELETE FROM TABLE_NAME LIMIT 1", "DROP TABLE TABLE_NAME")
}
