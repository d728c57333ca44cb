package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// A redisDrill is a Redis copy, loaded into a server of its own.
type redisDrill struct {
	*examination
	server  *redisServer
	version string // of the server that made the dump, as the dump says
}

// startRedisDrill loads a copy.
func startRedisDrill(ctx context.Context, x *examination, parts []restoredPart) (subject, error) {
	if len(parts) != 1 {
		return nil, fault.New(fault.Unknown, "restore test", fmt.Errorf("a copy of %d parts, not of one dump", len(parts)), "")
	}
	dump, err := lookAtDump(parts[0].file)
	if err != nil {
		return nil, err
	}
	d := &redisDrill{examination: x, version: cmp.Or(dump.Version(), recordedVersion(x.request.Facts))}
	if d.server, err = startRedis(ctx, x, parts[0].file, dump); err != nil {
		return nil, err
	}
	x.result.Tools = append(x.result.Tools, Tool{Name: "redis", Version: d.server.version})
	return d, nil
}

func (d *redisDrill) close() error { return d.server.stop() }

// serverError classes what the drill's own server says where none of the copy has been
// looked at.
func (d *redisDrill) serverError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fault.New(fault.Unknown, what+" the throwaway Redis server", err, "see the kernel's log; the machine may lack memory")
}

// facts takes what is now true, by the code that took the facts of the source. The
// version is that of the dump: a later server loads it too.
func (d *redisDrill) facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error) {
	conn, err := d.server.connect(ctx, "")
	if err != nil {
		return nil, d.serverError(ctx, "connect to", err)
	}
	defer conn.Close()
	got, err := sources.RedisFacts(ctx, conn, want)
	if err != nil {
		return nil, d.serverError(ctx, "read", err)
	}
	for _, f := range want {
		if f.Kind == sources.FactVersion {
			got = append(got, sources.Fact{Part: f.Part, Kind: f.Kind, Of: f.Of, Value: d.version})
		}
	}
	return got, nil
}

// damage deletes one key that a fact speaks of or, where facts speak of numbers alone,
// all keys of one database; without facts, all keys.
func (d *redisDrill) damage(ctx context.Context, seed string, want []sources.Fact) (string, error) {
	conn, err := d.server.connect(ctx, "")
	if err != nil {
		return "", d.serverError(ctx, "connect to", err)
	}
	defer conn.Close()
	how, commands := d.spoiling(conn, seed, want)
	for _, command := range commands {
		if _, err := conn.Do(command...); err != nil {
			return "", d.serverError(ctx, "damage", err)
		}
	}
	return how, nil
}

// spoiling says what to do.
func (d *redisDrill) spoiling(conn *sources.RedisConn, seed string, want []sources.Fact) (string, [][]string) {
	if len(want) == 0 {
		if found, err := conn.Do("INFO", "keyspace"); err == nil && !strings.Contains(fmt.Sprint(found), "keys=") {
			return "", nil
		}
		return "all keys deleted", [][]string{{"FLUSHALL", "SYNC"}}
	}
	var keys, databases []sources.Fact
	for _, f := range want {
		_, _, single := sources.RedisFactKey(f)
		switch {
		case single:
			keys = append(keys, f)
		case f.Kind == sources.FactSHA256, (f.Kind == sources.FactRows || f.Kind == sources.FactLeast) && f.Value != "0":
			databases = append(databases, f)
		}
	}
	h := fnv.New32a()
	h.Write([]byte(seed))
	switch n := int(h.Sum32() >> 1); {
	case len(keys) > 0:
		number, key, _ := sources.RedisFactKey(keys[n%len(keys)])
		return "one key deleted", [][]string{{"SELECT", strconv.Itoa(number)}, {"DEL", key}}
	case len(databases) > 0:
		number := strings.TrimPrefix(databases[n%len(databases)].Of, "db")
		return "all keys of one database deleted", [][]string{{"SELECT", number}, {"FLUSHDB", "SYNC"}}
	}
	return "", nil
}

// query puts one command as a user that may read everything and change nothing.
func (d *redisDrill) query(ctx context.Context, c Check) (answer, error) {
	conn, err := d.server.connect(ctx, redisChecker)
	if err != nil {
		return answer{}, d.serverError(ctx, "connect to", err)
	}
	defer conn.Close()
	if _, err := conn.Do("SELECT", strconv.Itoa(c.Index)); err != nil {
		return answer{}, fault.New(fault.Usage, "check", err, "name a database of the source by its number")
	}
	got, err := conn.Do(c.Redis...)
	if err != nil {
		return d.refusal(ctx, err)
	}
	return redisAnswer(got), nil
}

// redisAnswer is the first value of a reply.
func redisAnswer(got any) answer {
	switch got := got.(type) {
	case nil:
		return answer{null: true}
	case []any:
		if len(got) == 0 {
			return answer{none: true}
		}
		return redisAnswer(got[0])
	default:
		return answer{text: fmt.Sprint(got)}
	}
}

// refusal tells a command that these data cannot answer from one that is wrong and from
// a failure to look.
func (d *redisDrill) refusal(ctx context.Context, err error) (answer, error) {
	var refused sources.RedisError
	if ctx.Err() != nil || !errors.As(err, &refused) {
		return answer{}, d.serverError(ctx, "put a check to", err)
	}
	text := refused.Error()
	wrong := []string{"unknown command", "unknown subcommand", "wrong number of arguments", "syntax error", "compiling script", "value is not an integer", "must be"}
	switch {
	case refused.Code() == "WRONGTYPE":
		return answer{refused: "the key holds a value of another type"}, nil
	case strings.Contains(text, "no such key"):
		return answer{refused: "the key is not there"}, nil
	case refused.Code() == "NOPERM", strings.Contains(text, "Write commands are not allowed"):
		return answer{}, fault.New(fault.Usage, "check", refused, "correct the check's redis; it may only read")
	case slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(text, w) }):
		return answer{}, fault.New(fault.Usage, "check", refused, "correct the check's redis")
	}
	return answer{refused: "the command fails on these data"}, nil
}
