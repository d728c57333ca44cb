package sources_test

import (
	"testing"
	"time"

	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// mariaPassword has all that option files treat in a way of their own.
const mariaPassword = `p"a#s's\ $ ;x`

func TestMariaDBSuite(t *testing.T) {
	s := sourcetest.StartMariaDB(t)
	s.Exec(t, "", "CREATE DATABASE `vän thư` CHARACTER SET utf8mb4", "CREATE USER saoluu@localhost IDENTIFIED BY 'p\"a#s''s\\\\ $ ;x'",
		"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD ON *.* TO saoluu@localhost")
	s.Exec(t, "vän thư", "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
	with := func(change func(m *sources.MariaDB)) func(*testing.T) sources.Source {
		return func(*testing.T) sources.Source {
			m := &sources.MariaDB{Host: s.Socket, User: "saoluu", Password: mariaPassword, Database: "vän thư", Now: time.Now}
			change(m)
			return m
		}
	}
	sourcetest.Run(t, sourcetest.Subject{
		New:     with(func(*sources.MariaDB) {}),
		Secrets: []string{mariaPassword},
		Broken: map[string]func(*testing.T) sources.Source{
			"wrong password":  with(func(m *sources.MariaDB) { m.Password += "x" }),
			"no server":       with(func(m *sources.MariaDB) { m.Host += "x" }),
			"no host":         with(func(m *sources.MariaDB) { m.Host = "127.0.0.1"; m.Port = 1 }),
			"no database":     with(func(m *sources.MariaDB) { m.Database = "none" }),
			"system database": with(func(m *sources.MariaDB) { m.Database = "mysql" }),
			"no programs":     with(func(m *sources.MariaDB) { m.Bin = "/nonexistent" }),
			"bad sslmode":     with(func(m *sources.MariaDB) { m.SSLMode = "some" }),
		},
	})
}

// The whole server as files; what is different from a dump alone.
func TestMariabackupSuite(t *testing.T) {
	s := sourcetest.StartMariaDB(t)
	s.Exec(t, "", "CREATE DATABASE `vän thư` CHARACTER SET utf8mb4", "CREATE USER saoluu@localhost IDENTIFIED BY 'p\"a#s''s\\\\ $ ;x'", "CREATE USER ít@localhost",
		"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO saoluu@localhost",
		"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD ON *.* TO ít@localhost")
	s.Exec(t, "vän thư", "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
	with := func(change func(m *sources.MariaDB)) func(*testing.T) sources.Source {
		return func(*testing.T) sources.Source {
			m := &sources.MariaDB{Method: sources.MethodMariabackup, Host: s.Socket, User: "saoluu", Password: mariaPassword, Now: time.Now}
			change(m)
			return m
		}
	}
	if _, _, err := sources.Mariabackup(t.Context(), ""); err != nil {
		sourcetest.Missing(t, err)
	}
	sourcetest.Run(t, sourcetest.Subject{
		New:     with(func(*sources.MariaDB) {}),
		Secrets: []string{mariaPassword},
		Broken: map[string]func(*testing.T) sources.Source{
			"wrong password": with(func(m *sources.MariaDB) { m.Password += "x" }),
			"no server":      with(func(m *sources.MariaDB) { m.Host += "x" }),
			"one database":   with(func(m *sources.MariaDB) { m.Database = "vän thư" }),
			"few rights":     with(func(m *sources.MariaDB) { m.User, m.Password = "ít", "" }),
			"no programs":    with(func(m *sources.MariaDB) { m.Bin = "/nonexistent" }),
			"another host":   with(func(m *sources.MariaDB) { m.Host = "192.0.2.1"; m.CA = "/nonexistent" }),
		},
	})
}
