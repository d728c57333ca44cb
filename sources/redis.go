package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"saoluu/internal/fault"
)

// Redis is a source of all databases of one Redis server. The server sends its dump as
// it would to a replica, all of one instant, and keeps nothing of it. Facts are read
// while the dump is on its way; a fact is kept only when the server's own account of
// changes since that instant says that nothing touched what it speaks of.
type Redis struct {
	// Host is the server's socket, or an address. Empty means 127.0.0.1.
	Host string
	// Port is 6379 when 0; it does not matter on a socket.
	Port int
	// User is the ACL user; empty means the server's default one.
	User string
	// Password is optional. It is said to the server and nowhere else.
	Password string
	// SSLMode is disable, require (which believes any certificate) or verify-full;
	// empty means disable on a socket or this machine, else verify-full.
	SSLMode string
	// CA is the file of the authorities to trust; empty means the system's.
	CA string
	// FactsMode is ModeSampled (the default: the number of keys, and some values),
	// ModeFull (all values) or ModeCounts (no values).
	FactsMode string
	// SweepMost is how many keys of a database ModeFull reads at most, which needs 24 bytes
	// of memory for each; 0 means 4,194,304. Of a larger one a sample is read.
	SweepMost int64
	// Now is the wall clock.
	Now func() time.Time
}

var (
	_ Source  = (*Redis)(nil)
	_ Locator = (*Redis)(nil)
)

// redisFile is the name of the dump in the backup, and the one a server looks for.
const redisFile = "dump.rdb"

// Prepare makes sure that the server is one that can be saved and waits for the dump
// to be asked for. The errors are fault.Absent for a server that is not there or not
// ready, fault.Denied for a wrong password or a right that is missing, and fault.Usage
// for one that holds no data of its own or only a part of them.
func (r *Redis) Prepare(ctx context.Context, scratch string) (Payload, error) {
	if err := r.check(); err != nil {
		return Payload{}, err
	}
	if _, err := os.Stat(scratch); err != nil {
		return Payload{}, scratchError(scratch, err)
	}
	info, err := r.survey(ctx)
	if err != nil {
		return Payload{}, err
	}
	// A dump that is being made for others may be handed to us too, and is as old as it is.
	at := r.Now().Add(-info.dumping())
	feed, err := newFeed(scratch, filepath.Join(scratch, redisFile))
	if err != nil {
		return Payload{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream := &redisStream{source: r, feed: feed, version: info.product()}
	go stream.serve(ctx)
	release := sync.OnceValue(func() error {
		cancel()
		feed.nudge()
		<-feed.done
		return feed.remove()
	})
	part := Part{Name: partDatabase, Dump: feed.dump(r.Password), Filename: redisFile}
	return Payload{At: at, Parts: []Part{part}, Facts: stream.facts, FactsLast: true, Release: release}, nil
}

// Locations returns the folder of the server's data when it runs on this host.
func (r *Redis) Locations(ctx context.Context) ([]string, error) {
	conn, err := r.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if !r.local() {
		return nil, nil
	}
	const what = "find the data of the server"
	var dir string
	answer, err := conn.Do("CONFIG", "GET", "dir")
	if pair := redisStrings(answer); err == nil && len(pair) == 2 {
		dir = pair[1]
	} else if info, ierr := conn.info(); ierr == nil {
		// Few may ask for settings, among which are passwords. A server works in that folder.
		dir, _ = os.Readlink(filepath.Join("/proc", info["process_id"], "cwd"))
	}
	if dir == "" {
		return nil, fault.New(fault.Unknown, r.op(what), cmp.Or(err, errors.New("it does not tell")), "")
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Unknown, r.op(what), fmt.Errorf("%q is not on this host, as in a container", dir), "")
	}
	return []string{filepath.Clean(dir)}, nil
}

func (r *Redis) check() error {
	refuse := func(text, hint string) error { return fault.New(fault.Usage, "redis", errors.New(text), hint) }
	switch {
	case r.SSLMode != "" && !slices.Contains([]string{"disable", "require", "verify-full"}, r.SSLMode):
		return refuse(fmt.Sprintf("unknown sslmode %q", r.SSLMode), "use disable, require or verify-full")
	case !slices.Contains([]string{"", ModeSampled, ModeFull, ModeCounts}, r.FactsMode):
		return refuse(fmt.Sprintf("unknown way %q to take facts", r.FactsMode), "use sampled, full or counts")
	}
	return nil
}

func (r *Redis) host() string   { return cmp.Or(r.Host, "127.0.0.1") }
func (r *Redis) onSocket() bool { return filepath.IsAbs(r.host()) }
func (r *Redis) port() string   { return strconv.Itoa(cmp.Or(r.Port, 6379)) }

func (r *Redis) local() bool {
	return r.onSocket() || r.host() == "localhost" || net.ParseIP(r.host()).IsLoopback()
}

func (r *Redis) sslMode() string {
	if r.local() {
		return cmp.Or(r.SSLMode, "disable")
	}
	return cmp.Or(r.SSLMode, "verify-full")
}

func (r *Redis) op(what string) string { return fmt.Sprintf("%s: Redis at %q", what, r.host()) }

// survey refuses a server whose data would not be all of them, or not of now.
func (r *Redis) survey(ctx context.Context) (redisInfo, error) {
	conn, err := r.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	info, err := conn.info()
	if err != nil {
		return nil, r.fault("look at the server", err)
	}
	if err := r.sane(info); err != nil {
		return nil, err
	}
	return info, r.allowed(conn)
}

// sane refuses servers by what they tell of themselves.
func (r *Redis) sane(info redisInfo) error {
	refuse := func(kind fault.Kind, text, hint string) error {
		return fault.New(kind, r.op("look at the server"), errors.New(text), hint)
	}
	switch {
	case info["redis_version"] == "":
		return refuse(fault.Failed, "it does not tell its version", "correct host and port")
	case info["redis_mode"] == "sentinel":
		return refuse(fault.Usage, "it is a Sentinel, which holds no data", "give host and port of a server that it watches")
	case info["redis_mode"] == "cluster" || info["cluster_enabled"] == "1":
		return refuse(fault.Usage, "it is a node of a Redis Cluster and holds only a part of the data", "a cluster cannot be saved by this version")
	case info["loading"] == "1" || info["async_loading"] == "1":
		return refuse(fault.Absent, "it is loading its data", "wait until it has loaded them")
	case info["role"] == "slave" && info["master_link_status"] != "up":
		return refuse(fault.Absent, "it is a replica that has lost its master, so its data are old", "repair the replication, or save the master")
	}
	return nil
}

// allowed tries what will be needed, on a key that need not be there: a right that is
// missing shows now, and not as facts that are missing.
func (r *Redis) allowed(conn *RedisConn) error {
	const key = "saoluu"
	needed := [][]string{{"REPLCONF", "capa", "eof"}}
	if r.FactsMode != ModeCounts {
		needed = append(needed, []string{"SELECT", "0"}, []string{"SCAN", "0", "COUNT", "1"}, []string{"RANDOMKEY"}, []string{"PTTL", key}, []string{"TYPE", key})
		for _, kind := range redisTypes {
			needed = append(needed, newRedisValue(key, kind).next())
		}
	}
	answers, err := conn.Pipe(needed)
	if err != nil {
		return r.fault("ask for a dump", err)
	}
	for i, answer := range answers {
		// That a key is of another type says that it may be read.
		if refused, is := answer.(RedisError); is && refused.Code() != "WRONGTYPE" && !strings.Contains(refused.Error(), "no such key") {
			return r.fault("try "+needed[i][0], refused)
		}
	}
	return nil
}

// A redisInfo is what INFO tells, by name.
type redisInfo map[string]string

// info asks for it.
func (c *RedisConn) info() (redisInfo, error) {
	answer, err := c.Do("INFO")
	if err != nil {
		return nil, err
	}
	text, _ := answer.(string)
	info := redisInfo{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			info[key] = value
		}
	}
	return info, nil
}

// number returns a whole number; 0 when it is not told.
func (i redisInfo) number(key string) int64 {
	n, _ := strconv.ParseInt(i[key], 10, 64)
	return n
}

// dumping is for how long the server has been making a dump; 0 when it is not.
func (i redisInfo) dumping() time.Duration {
	if i["rdb_bgsave_in_progress"] != "1" {
		return 0
	}
	// Its seconds are whole ones.
	return time.Duration(max(0, i.number("rdb_current_bgsave_time_sec"))+1) * time.Second
}

// product is name and version of the server, such as "redis 7.0".
func (i redisInfo) product() string {
	if i["valkey_version"] != "" {
		return RedisVersion("valkey", i["valkey_version"])
	}
	return RedisVersion("redis", i["redis_version"])
}

// RedisVersion is a product and the first two numbers of its version, such as "redis
// 7.0": releases that share them write the same dumps.
func RedisVersion(product, version string) string {
	numbers := strings.SplitN(version, ".", 3)
	return product + " " + strings.Join(numbers[:min(2, len(numbers))], ".")
}
