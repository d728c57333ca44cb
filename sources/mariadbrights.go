package sources

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// mariaRights are what a user may do, as the server tells it. They are asked for
// beforehand because the server hides what a user may not see: without TRIGGER, for
// one, a dump has no triggers and no error.
type mariaRights struct {
	grants  []mariaGrant
	revoked []string // databases that a general grant does not reach
}

// A mariaGrant is some rights on everything or on databases.
type mariaGrant struct {
	rights []string
	on     *regexp.Regexp // nil: everything
}

// wanted are the rights without which a dump of a database would lack something.
// RELOAD, for the moment in which the server holds still, is general.
var wanted = []string{"SELECT", "SHOW VIEW", "TRIGGER", "EVENT"}

// grantLine is a line of SHOW GRANTS; those on single tables do not count.
var grantLine = regexp.MustCompile("^(GRANT|REVOKE) (.+?) ON (\\*\\.\\*|`(?:[^`]|``)*`\\.\\*) (?:TO|FROM) ")

func (m *MariaDB) rights(ctx context.Context, server *sql.DB) (mariaRights, error) {
	lines, err := mariaStrings(ctx, server, "SHOW GRANTS")
	if err != nil {
		return mariaRights{}, m.fault("ask for the rights", err)
	}
	return parseRights(lines), nil
}

// parseRights reads the lines of SHOW GRANTS.
func parseRights(lines []string) mariaRights {
	var r mariaRights
	for _, line := range lines {
		match := grantLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		on := strings.TrimSuffix(match[3], ".*")
		if match[1] == "REVOKE" {
			r.revoked = append(r.revoked, strings.ReplaceAll(strings.Trim(on, "`"), "``", "`"))
			continue
		}
		g := mariaGrant{rights: strings.Split(match[2], ", ")}
		if on != "*" {
			g.on = databasePattern(strings.ReplaceAll(on[1:len(on)-1], "``", "`"))
		}
		r.grants = append(r.grants, g)
	}
	return r
}

// databasePattern matches what a pattern in a grant does: % any text, _ one
// character, unless a backslash stands before them (MariaDB manual, "GRANT").
func databasePattern(pattern string) *regexp.Regexp {
	var b strings.Builder
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\':
			escaped = true
		case r == '%':
			b.WriteString(".*")
		case r == '_':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return regexp.MustCompile("(?s)^" + b.String() + "$")
}

// general reports whether a right is given on everything.
func (r mariaRights) general(right string) bool {
	return slices.ContainsFunc(r.grants, func(g mariaGrant) bool { return g.on == nil && g.gives(right) })
}

// seesAll reports whether the server shows the user all databases. It does to whom it
// gives a right on everything (MariaDB manual, "SHOW DATABASES"); RELOAD, which is on
// no database, is none of those.
func (r mariaRights) seesAll() bool {
	return slices.ContainsFunc(append([]string{"SHOW DATABASES"}, wanted...), r.general)
}

// lacking returns the first right that is missing on a whole database, or "".
func (r mariaRights) lacking(database string) string {
	if !r.general("RELOAD") {
		return "RELOAD, which is given on *.* only,"
	}
	for _, right := range wanted {
		near := slices.ContainsFunc(r.grants, func(g mariaGrant) bool { return g.on != nil && g.gives(right) && g.on.MatchString(database) })
		if !near && (!r.general(right) || slices.Contains(r.revoked, database)) {
			return right
		}
	}
	return ""
}

func (g mariaGrant) gives(right string) bool {
	return slices.Contains(g.rights, right) || slices.Contains(g.rights, "ALL PRIVILEGES") || slices.Contains(g.rights, "ALL")
}

// quoteMaria quotes a name for MariaDB.
func quoteMaria(name string) string { return fmt.Sprintf("`%s`", strings.ReplaceAll(name, "`", "``")) }
