package sources

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"saoluu/internal/fault"
)

// A RedisRestore copies all that a loaded dump holds into a running server.
type RedisRestore struct {
	// Address is redis://user@host:port, or rediss:// for TLS on this machine too, where
	// it is not the default; ?socket=PATH names a socket instead of a host, ?ca=FILE the authorities to
	// trust, ?sslmode=MODE one of Redis.SSLMode. It holds no password.
	Address  string
	Password string
	// Overwrite makes the server hold what the dump holds, whatever it held before.
	Overwrite bool
}

// Target reads the address and refuses a server that cannot take the data: one that
// holds some already unless they may be overwritten, a replica, a node of a cluster.
func (r *RedisRestore) Target(ctx context.Context) (*Redis, error) {
	to, err := r.server()
	if err != nil {
		return nil, err
	}
	info, err := to.state(ctx)
	if err != nil {
		return nil, err
	}
	held := int64(0)
	for _, s := range info.spaces() {
		held += s.keys
	}
	switch {
	case info["role"] != "master":
		return nil, fault.New(fault.Usage, to.op("restore"), errors.New("it is a replica, which takes no data but its master's"), "restore to the master")
	case held > 0 && !r.Overwrite:
		return nil, fault.New(fault.Refused, to.op("restore"), fmt.Errorf("it holds %d keys already", held), "choose an empty server, or say --overwrite to replace all that it holds")
	}
	return to, to.sane(info)
}

// server reads the address.
func (r *RedisRestore) server() (*Redis, error) {
	refuse := func(text, hint string) (*Redis, error) {
		return nil, fault.New(fault.Usage, "restore to the server", errors.New(text), hint)
	}
	u, err := url.Parse(r.Address)
	if err != nil || strings.Trim(u.Path, "/") != "" {
		return refuse("the address cannot be understood", "write redis://user@host:port: all databases are restored, so none is named")
	}
	if _, has := u.User.Password(); has {
		return refuse("the address holds a password, which anybody on this machine can read", "leave it out and set REDISCLI_AUTH")
	}
	to := &Redis{Host: u.Hostname(), User: u.User.Username(), Password: r.Password}
	if u.Scheme == "rediss" {
		to.SSLMode = "verify-full"
	}
	for key, values := range u.Query() {
		switch value := values[0]; key {
		case "socket":
			to.Host = value
		case "ca":
			to.CA = value
		case "sslmode":
			to.SSLMode = value
		default:
			return refuse(fmt.Sprintf("the address has an unknown setting %q", key), "use socket, ca or sslmode")
		}
	}
	if u.Port() != "" {
		if to.Port, err = strconv.Atoi(u.Port()); err != nil {
			return refuse("the port is no number", "")
		}
	}
	return to, to.check()
}

// Run copies everything from the server that has loaded the dump. On error, what was
// copied until then is there. Keys that have expired since the backup do not come back.
func (r *RedisRestore) Run(ctx context.Context, from *Redis) error {
	to, err := r.Target(ctx)
	if err != nil {
		return err
	}
	source, err := from.Connect(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := to.Connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	c := &redisCopier{from: source, to: target, overwrite: r.Overwrite}
	if err := c.run(ctx); err != nil {
		err = to.fault("restore", c.half(err))
		return fault.New(fault.KindOf(err), "", err, redisRestoreHint(err))
	}
	return nil
}

// redisRestoreHint says what can be done where a server refuses what it is given.
func redisRestoreHint(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "payload version or checksum"):
		return "restore to a server as new as the one that the backup is of"
	case strings.Contains(text, "DB index is out of range"):
		return "raise the server's number of databases"
	case strings.Contains(text, "OOM "):
		return "raise the server's maxmemory"
	case strings.Contains(text, "BUSYKEY"):
		return "somebody writes to the server: stop them, and say --overwrite"
	}
	return fault.HintOf(err)
}

// A redisCopier copies keys from one server to another.
type redisCopier struct {
	from, to  *RedisConn
	overwrite bool

	copied, removed int // keys, so far
}

// half adds to why it failed what is no longer as it was.
func (c *redisCopier) half(err error) error {
	switch {
	case c.copied == 0:
		return err
	case c.removed == 0:
		return fmt.Errorf("%w; %d keys were copied before that and are on the server now", err, c.copied)
	}
	return fmt.Errorf("%w; %d keys were copied and %d removed before that, and the server is so now", err, c.copied, c.removed)
}

func (c *redisCopier) run(ctx context.Context) error {
	info, err := c.from.info()
	if err != nil {
		return err
	}
	there, err := c.to.info()
	if err != nil {
		return err
	}
	for _, s := range info.spaces() {
		if err := c.each(ctx, s, c.from, c.copy); err != nil {
			return err
		}
	}
	if c.overwrite {
		for _, s := range there.spaces() {
			if err := c.each(ctx, s, c.to, c.prune); err != nil {
				return err
			}
		}
	}
	if err := c.functions(); err != nil {
		return err
	}
	return c.compare()
}

// each shows the keys of one database, which both servers are at.
func (c *redisCopier) each(ctx context.Context, s redisSpace, of *RedisConn, do func(keys []string) error) error {
	if err := errors.Join(c.from.choose(s.of()), c.to.choose(s.of())); err != nil {
		return err
	}
	return of.scan(ctx, func(keys []string) error {
		for batch := range slices.Chunk(keys, redisBatch) {
			if err := do(batch); err != nil {
				return err
			}
		}
		return nil
	})
}

// copy takes keys over as they are, with the time they have left.
func (c *redisCopier) copy(keys []string) error {
	var asked [][]string
	for _, key := range keys {
		asked = append(asked, []string{"PTTL", key}, []string{"DUMP", key})
	}
	answers, err := done(c.from.Pipe(asked))
	if err != nil {
		return err
	}
	var given [][]string
	for i, key := range keys {
		left, _ := answers[2*i].(int64)
		value, there := answers[2*i+1].(string)
		if !there || left == -2 || left == 0 {
			continue // it has expired
		}
		restore := []string{"RESTORE", key, strconv.FormatInt(max(left, 0), 10), value}
		if c.overwrite {
			restore = append(restore, "REPLACE")
		}
		given = append(given, restore)
	}
	answers, err = done(c.to.Pipe(given))
	c.copied += taken(answers)
	return err
}

// prune removes keys that the dump does not hold.
func (c *redisCopier) prune(keys []string) error {
	var asked, gone [][]string
	for _, key := range keys {
		asked = append(asked, []string{"EXISTS", key})
	}
	answers, err := done(c.from.Pipe(asked))
	if err != nil {
		return err
	}
	for i, key := range keys {
		if answers[i] == int64(0) {
			gone = append(gone, []string{"DEL", key})
		}
	}
	answers, err = done(c.to.Pipe(gone))
	c.removed += taken(answers)
	return err
}

// taken counts the commands that a server took.
func taken(answers []any) int {
	n := 0
	for _, answer := range answers {
		if _, refused := answer.(RedisError); !refused && answer != nil {
			n++
		}
	}
	return n
}

// functions takes over the functions, if there are any.
func (c *redisCopier) functions() error {
	digest, err := c.from.functions()
	if err != nil || digest == "" {
		return err
	}
	all, err := c.from.Do("FUNCTION", "DUMP")
	if err != nil {
		return err
	}
	payload, _ := all.(string)
	policy := "APPEND"
	if c.overwrite {
		policy = "FLUSH"
	}
	_, err = c.to.Do("FUNCTION", "RESTORE", payload, policy)
	var refused RedisError
	if errors.As(err, &refused) && digest == digestLines(nil) {
		return nil // an older server has none, and none are needed
	}
	return err
}

// compare counts what does not expire on both sides.
func (c *redisCopier) compare() error {
	want, err := c.from.info()
	if err != nil {
		return err
	}
	got, err := c.to.info()
	if err != nil {
		return err
	}
	found := map[int]int64{}
	for _, s := range got.spaces() {
		found[s.number] = s.steady()
	}
	for _, s := range want.spaces() {
		if found[s.number] != s.steady() {
			return fmt.Errorf("%s has %d keys that do not expire, %d were restored: somebody else writes to the server", s.of(), found[s.number], s.steady())
		}
	}
	return nil
}

// done makes the first refusal among answers an error.
func done(answers []any, err error) ([]any, error) {
	for _, answer := range answers {
		if refused, is := answer.(RedisError); is && err == nil {
			err = refused
		}
	}
	return answers, err
}
