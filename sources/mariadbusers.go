package sources

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// A mariaAccount is a user or a role.
type mariaAccount struct {
	of     string   // as SQL names it
	create string   // the statement that makes it; "" where there is none to make
	grants []string // statements
	hidden bool     // in the tables, and not known to the server
}

type mariaAccounts []mariaAccount

// readAccounts reads all users and roles. The server does not know those whose host is
// a name when it runs with skip_name_resolve, though they stand in its tables.
func readAccounts(ctx context.Context, conn *sql.Conn) (mariaAccounts, error) {
	var all mariaAccounts
	err := mariaRows(ctx, conn, "SELECT User, Host FROM mysql.user ORDER BY BINARY User, BINARY Host", nil, func(v []sql.NullString) {
		a := mariaAccount{of: quoteMaria(v[0].String)}
		switch {
		case v[1].String != "":
			a.of += "@" + quoteMaria(v[1].String)
		case strings.EqualFold(v[0].String, "PUBLIC"): // everybody; always there
			a.of = "PUBLIC"
		default: // only roles have no host
			a.create = "CREATE ROLE IF NOT EXISTS " + a.of
		}
		all = append(all, a)
	})
	if err != nil {
		return nil, err
	}
	for i := range all {
		if err := all[i].read(ctx, conn); err != nil {
			return nil, fmt.Errorf("grants of %s: %w", all[i].of, err)
		}
	}
	return all, nil
}

func (a *mariaAccount) read(ctx context.Context, conn *sql.Conn) (err error) {
	a.grants, err = mariaStrings(ctx, conn, "SHOW GRANTS FOR "+a.of)
	if err == nil && strings.Contains(a.of, "`@`") {
		var made []string
		if made, err = mariaStrings(ctx, conn, "SHOW CREATE USER "+a.of); err == nil {
			a.create = "CREATE USER IF NOT EXISTS " + strings.TrimPrefix(made[0], "CREATE USER ")
		}
	}
	var me *mysql.MySQLError
	if errors.As(err, &me) && (me.Number == 1141 || me.Number == 1133) { // ER_NONEXISTING_GRANT, ER_PASSWORD_NO_MATCH
		a.hidden, err = true, nil
	}
	return err
}

// MariaDBRights is the line that stands in the part of users between those and their
// rights: a right on a single table or routine can be given only once that is there.
const MariaDBRights = "-- Rights. Load the databases first.\n"

// script makes users and roles and then grants them their rights.
func (all mariaAccounts) script() string {
	var b strings.Builder
	b.WriteString("-- Users, roles and grants of the server. What is there already is not made again.\nSET NAMES utf8mb4;\nSET sql_mode = '';\n")
	for _, a := range all {
		switch {
		case a.hidden:
			fmt.Fprintf(&b, "-- %s stands in the tables, and the server does not know it (skip_name_resolve).\n", strings.ReplaceAll(a.of, "\n", " "))
		case a.create != "":
			b.WriteString(a.create + ";\n")
		}
	}
	b.WriteString(MariaDBRights)
	for _, a := range all {
		for _, grant := range a.grants {
			b.WriteString(grant + ";\n")
		}
	}
	b.WriteString("-- End of users, roles and grants.\n")
	return b.String()
}

// password is where in a line of SHOW GRANTS a password begins.
var password = regexp.MustCompile(` IDENTIFIED .*$`)

// onObject is a right on a single table, column or routine.
var onObject = regexp.MustCompile("^GRANT .+ ON ((PROCEDURE|FUNCTION|PACKAGE|PACKAGE BODY) )?`(?:[^`]|``)*`\\.`")

// facts are users and roles with a digest of their general rights, without passwords.
// Rights on single tables and routines are restored with the rest and not compared:
// a copy need not hold every database they speak of.
func (all mariaAccounts) facts() []Fact {
	var facts []Fact
	for _, a := range all {
		if a.hidden {
			facts = append(facts, Fact{Kind: FactSkipped, Of: a.of, Value: "stands in the tables of users, and the server does not know it (skip_name_resolve)"})
			continue
		}
		grants := slices.DeleteFunc(slices.Clone(a.grants), onObject.MatchString)
		for i := range grants {
			grants[i] = password.ReplaceAllString(grants[i], "")
		}
		facts = append(facts, Fact{Kind: FactRole, Of: a.of, Value: digestLines(grants)})
	}
	return facts
}
