package config

import (
	"fmt"
	"slices"
	"strings"
)

// vendor checks a source that is read by programs of the engine's maker, and gives
// it the defaults of its own.
func (c checker) vendor(j *Job, s *Source, n *node) {
	ports := map[string]int{"mongodb": 27017, "sqlserver": 1433, "oracle": 1521}
	if len(n.written("host")) == 0 {
		s.Host = "127.0.0.1"
	}
	if len(n.written("port")) == 0 {
		s.Port = ports[s.Type]
	}
	if n.good("host") && (s.Host == "" || strings.HasPrefix(s.Host, "/") || strings.ContainsAny(s.Host, " ,?&\\'\"")) {
		c.tell(n, "host", fmt.Sprintf("host %q cannot be used", s.Host), "write one host name or address")
	}
	if n.good("database") && s.Database == "" && len(n.written("database")) > 0 {
		c.tell(n, "database", `"database" is empty`, "write its name")
	}
	if n.good("folder") && len(n.written("folder")) > 0 {
		if !isCleanPath(s.Folder) {
			c.tell(n, "folder", fmt.Sprintf("path %q is not absolute and clean", s.Folder), "write the whole path from /, without .. and double slashes")
		} else {
			c.apart(j, n, "folder", s.Folder)
		}
	}
	switch s.Type {
	case "mongodb":
		c.mongodb(s, n)
	case "sqlserver":
		c.sqlserver(s, n)
	case "oracle":
		c.oracle(s, n)
	}
}

// secured gives sslmode its default, which is another on this machine, and checks
// that it is one of the kind's.
func (c checker) secured(s *Source, n *node, here string, modes ...string) {
	if n.good("sslmode") && len(n.written("sslmode")) > 0 && !slices.Contains(modes, s.SSLMode) {
		c.tell(n, "sslmode", fmt.Sprintf("a %s source has no sslmode %q", s.Type, s.SSLMode), "choose one of: "+strings.Join(modes, ", "))
	}
	switch {
	case s.SSLMode != "":
	case isThisMachine(s.Host):
		s.SSLMode = here
	default:
		s.SSLMode = "verify-full"
	}
}

// together reports a user without a password, and the other way round.
func (c checker) together(s *Source, n *node) {
	if !unusable(n, "user", "password") && (s.User == "") != (s.Password == "") {
		c.problem(n.at, "user and password belong together", "set both, or neither")
	}
}

func (c checker) mongodb(s *Source, n *node) {
	c.oneOf(s, n)
	c.together(s, n)
	c.absolute(n, "ca", s.CA)
	c.secured(s, n, "disable", "disable", "require", "verify-full")
	if n.good("oplog") && s.Oplog && !s.All {
		c.tell(n, "oplog", "oplog goes with all alone: it is that of the whole server", "set all, or remove it")
	}
}

func (c checker) sqlserver(s *Source, n *node) {
	c.oneOf(s, n)
	c.together(s, n)
	c.absolute(n, "ticket_cache", s.TicketCache)
	c.secured(s, n, "require", "require", "verify-full")
	if !unusable(n, "user", "ticket_cache") && (s.User == "") == (s.TicketCache == "") {
		c.problem(n.at, "it is not clear who connects", "set user and password, or ticket_cache alone")
	}
}

func (c checker) oracle(s *Source, n *node) {
	if s.Method == "" {
		s.Method = "datapump"
	}
	if n.good("method") && s.Method != "datapump" && s.Method != "rman" {
		c.tell(n, "method", fmt.Sprintf("an oracle source has no method %q", s.Method), "choose datapump or rman")
		return
	}
	if s.Method == "rman" {
		for _, key := range n.written("host", "port", "user", "password", "directory", "schemas") {
			c.tell(n, key, fmt.Sprintf("method \"rman\" runs on the server and saves the whole database: it has no %s", key), "remove it, or choose method datapump")
		}
		s.Host, s.Port = "", 0
		return
	}
	for _, key := range []string{"user", "password", "directory"} {
		value := map[string]string{"user": s.User, "password": string(s.Password), "directory": s.Directory}[key]
		if value == "" && !unusable(n, key) {
			c.problem(n.at, fmt.Sprintf("key %q is missing in %s", key, n), "\"saoluu config example\" shows it")
		}
	}
	if !unusable(n, "schemas", "all") && s.All == (len(s.Schemas) > 0) {
		c.problem(n.at, "it is not clear what is exported", "set schemas, or all")
	}
}

// unusable reports whether one of these keys was given a value that cannot be used,
// which has been told.
func unusable(n *node, keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return len(n.written(key)) > 0 && !n.good(key) })
}

// given checks what the program of a check may see beside what was restored.
func (c checker) given(k *Check, n *node) {
	for _, key := range n.written("read", "write", "network") {
		if len(k.Run) == 0 && !unusable(n, "run") {
			c.tell(n, key, fmt.Sprintf("%q goes with run", key), "remove it")
		}
	}
	for _, key := range []string{"read", "write"} {
		for _, path := range map[string][]string{"read": k.Read, "write": k.Write}[key] {
			if n.good(key) && !isCleanPath(path) {
				c.tell(n, key, fmt.Sprintf("path %q is not absolute and clean", path), "write the whole path from /, without .. and double slashes")
			}
		}
	}
}
