package sources_test

import (
	"testing"
	"time"

	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

func TestRedisSuite(t *testing.T) {
	const password = "p\"a#s's $ x"
	s := sourcetest.StartRedis(t)
	s.Do(t, []string{"ACL", "SETUSER", "saoluu", "on", ">" + password, "~*", "&*", "+@read", "+select", "+ping", "+info", "+psync", "+replconf", "+function|list"},
		[]string{"ACL", "SETUSER", "hep", "on", "nopass", "~app:*", "+@read", "+select", "+ping", "+info", "+psync", "+replconf"},
		[]string{"ACL", "SETUSER", "doc", "on", "nopass", "~*", "+@read", "+select", "+ping", "+info"},
		[]string{"SET", "khoá", "giá trị"}, []string{"SET", "tạm", "1", "EX", "1000"})
	with := func(change func(r *sources.Redis)) func(*testing.T) sources.Source {
		return func(*testing.T) sources.Source {
			r := &sources.Redis{Host: s.Socket, User: "saoluu", Password: password, Now: time.Now}
			change(r)
			return r
		}
	}
	cluster := sourcetest.StartRedis(t, "--cluster-enabled", "yes")
	other := sourcetest.StartMariaDB(t)
	sourcetest.Run(t, sourcetest.Subject{
		New:     with(func(*sources.Redis) {}),
		Secrets: []string{password},
		Broken: map[string]func(*testing.T) sources.Source{
			"wrong password":   with(func(r *sources.Redis) { r.Password += "x" }),
			"no server":        with(func(r *sources.Redis) { r.Host += "x" }),
			"no host":          with(func(r *sources.Redis) { r.Host = "127.0.0.1"; r.Port = 1 }),
			"not all keys":     with(func(r *sources.Redis) { r.User = "hep" }),
			"no replication":   with(func(r *sources.Redis) { r.User = "doc" }),
			"cluster":          with(func(r *sources.Redis) { r.Host, r.User, r.Password = cluster.Socket, "", "" }),
			"not redis":        with(func(r *sources.Redis) { r.Host, r.User, r.Password = other.Socket, "", "" }),
			"bad sslmode":      with(func(r *sources.Redis) { r.SSLMode = "some" }),
			"unknown facts":    with(func(r *sources.Redis) { r.FactsMode = "some" }),
			"default, no auth": with(func(r *sources.Redis) { r.User = "default" }),
		},
	})
}
