package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oneOf checks that exactly one key says which databases are saved.
func (c checker) oneOf(s *Source, n *node) {
	said := n.written("database", "databases", "all")
	if n.good("all") && !s.All {
		said = slices.DeleteFunc(said, func(key string) bool { return key == "all" })
	}
	if len(said) != 1 {
		c.problem(n.at, "which databases are saved must be said by one key, not "+strconv.Itoa(len(said)), "set exactly one of: database, databases, all")
	}
	seen := map[string]bool{}
	for _, name := range s.Databases {
		if name == "" || seen[name] {
			c.tell(n, "databases", fmt.Sprintf("database %q is empty or named twice", name), "name each database once")
		}
		seen[name] = true
	}
	if len(n.written("databases")) > 0 && n.good("databases") && len(s.Databases) == 0 {
		c.tell(n, "databases", "there are no databases", "name at least one")
	}
}

// method checks that a method is one of the server's, and that with it is said which
// databases are saved: one of the whole server takes them all.
func (c checker) method(s *Source, n *node) {
	if !whole(*s) {
		c.oneOf(s, n)
		return
	}
	methods := map[string]string{"postgres": "basebackup", "mariadb": "mariabackup"}
	if own := methods[s.Type]; n.good("method") && s.Method != own {
		c.tell(n, "method", fmt.Sprintf("a %s source has no method %q", s.Type, s.Method), "choose dump or "+own)
	}
	for _, key := range n.written("database", "databases", "all") {
		if key != "all" || n.good("all") && !s.All {
			c.tell(n, key, fmt.Sprintf("method %q saves the whole server, and %q would leave something out", s.Method, key), "remove it, or choose method dump")
		}
	}
}

// whole reports whether a source saves a whole server, whatever databases it has.
func whole(s Source) bool { return s.Method == "basebackup" || s.Method == "mariabackup" }

// canary checks the table that a canary is planted in.
func (c checker) canary(s *Source, n *node) {
	if !n.good("canary") {
		return
	}
	database, table, _ := strings.Cut(s.Canary, ".")
	named := s.Databases
	if s.Database != "" {
		named = []string{s.Database}
	}
	switch {
	case database == "" || table == "" || strings.Contains(table, "."):
		c.tell(n, "canary", fmt.Sprintf("table %q cannot be used", s.Canary), "write it with its schema, or its database of mariadb, and one point between")
	case whole(*s):
		c.tell(n, "canary", fmt.Sprintf("nothing is planted for method %q", s.Method), "remove it, or choose method dump")
	case s.Type == "mariadb" && len(named) > 0 && !slices.Contains(named, database):
		c.tell(n, "canary", fmt.Sprintf("the source does not save database %q", database), "name a table of a database that is saved")
	}
}

// mariadb gives what it shares with postgres the defaults of its own.
func (c checker) mariadb(s *Source, n *node) {
	if len(n.written("host")) == 0 {
		s.Host = "/run/mysqld/mysqld.sock"
	}
	if len(n.written("port")) == 0 {
		s.Port = 3306
	}
	c.absolute(n, "ca", s.CA)
	c.threeModes(s, n)
	c.server(s, n)
	if s.Method == "mariabackup" && n.good("host") && !strings.HasPrefix(s.Host, "/") && !isThisMachine(s.Host) {
		c.tell(n, "host", "mariabackup reads the files of a server on this machine alone", `choose method "dump", or run saoluu on the server's machine`)
	}
	if s.SSLMode == "prefer" {
		s.SSLMode = "disable"
	}
}

// redis gives what it shares with postgres the defaults of its own. The dump of a
// server holds all of its databases.
func (c checker) redis(s *Source, n *node) {
	if len(n.written("host")) == 0 {
		s.Host = "127.0.0.1"
	}
	if len(n.written("port")) == 0 {
		s.Port = 6379
	}
	c.absolute(n, "ca", s.CA)
	c.threeModes(s, n)
	c.reached(s, n)
	if s.SSLMode == "prefer" {
		s.SSLMode = "disable"
	}
}

// threeModes checks the sslmode of a kind that knows three of them.
func (c checker) threeModes(s *Source, n *node) {
	modes := []string{"disable", "require", "verify-full"}
	if n.good("sslmode") && !slices.Contains(modes, s.SSLMode) {
		c.tell(n, "sslmode", fmt.Sprintf("a %s source has no sslmode %q", s.Type, s.SSLMode), "choose one of: "+strings.Join(modes, ", "))
	}
}

// server checks which databases of a server are saved and how it is reached.
func (c checker) server(s *Source, n *node) {
	c.canary(s, n)
	c.method(s, n)
	c.reached(s, n)
}

// reached checks how a database server is reached. A password must not travel over
// the network in the clear because nobody said otherwise.
func (c checker) reached(s *Source, n *node) {
	for _, key := range []string{"user", "database"} {
		if n.good(key) && (key == "user" || len(n.written(key)) > 0) && n.value.Field(n.layout.fields[n.layout.lookup([]byte(key))].index).String() == "" {
			c.tell(n, key, fmt.Sprintf("%q is empty", key), "write its name")
		}
	}
	socket := strings.HasPrefix(s.Host, "/")
	if n.good("host") && (s.Host == "" || strings.ContainsAny(s.Host, " ,?&") || (socket && !isCleanPath(s.Host))) {
		c.tell(n, "host", fmt.Sprintf("host %q cannot be used", s.Host), "write the path of the socket (for postgres, of its folder), or one host name or address")
	}
	if socket && n.good("sslmode") {
		c.tell(n, "sslmode", "a connection over a socket has no sslmode", "remove it, or write a host name in host")
	}
	switch {
	case socket || s.SSLMode != "":
	case isThisMachine(s.Host):
		s.SSLMode = "prefer"
	default:
		s.SSLMode = "verify-full"
	}
}

// variable is what an environment variable may be called (POSIX, "Environment
// Variable Definition").
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// command checks what a program is given.
func (c checker) command(j *Job, s *Source, n *node) {
	if n.good("argv") && (len(s.Argv) == 0 || s.Argv[0] == "") {
		c.tell(n, "argv", "no program is named to run", "write the program, then its arguments")
	}
	if n.good("filename") && (s.Filename == "" || s.Filename == "." || s.Filename == ".." || strings.ContainsAny(s.Filename, "/\n\x00")) {
		c.tell(n, "filename", fmt.Sprintf("filename %q cannot be used", s.Filename), "write a name without a folder")
	}
	if n.good("folder") {
		if !isCleanPath(s.Folder) {
			c.tell(n, "folder", fmt.Sprintf("path %q is not absolute and clean", s.Folder), "write the whole path from /, without .. and double slashes")
		} else {
			c.apart(j, n, "folder", s.Folder)
		}
	}
	if n.good("password_env") && !variable.MatchString(s.PasswordEnv) {
		c.tell(n, "password_env", fmt.Sprintf("%q is not the name of a variable", s.PasswordEnv), "use letters, digits and _")
	}
	if (s.Password == "") != (s.PasswordEnv == "") {
		c.problem(n.at, "password and password_env belong together", "say in which variable the program finds its password")
	}
}
