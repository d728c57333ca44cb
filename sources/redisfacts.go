package sources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// redisSample is how many keys of a server have the digest of their value taken.
	redisSample = 1000
	// redisBreath is a pause after every batch of values, in which the server is left
	// to others alone. Between any two commands others get their turn anyway.
	redisBreath = time.Millisecond
)

// A redisSpace is a database that holds keys, as INFO tells.
type redisSpace struct {
	number                  int
	keys, expires, fieldTTL int64 // fieldTTL: of them, hashes of which fields expire
}

func (s redisSpace) of() string { return redisOf(s.number) }

// redisOf is how facts name a database.
func redisOf(number int) string { return "db" + strconv.Itoa(number) }

// steady is how many keys do not expire: their number is the same tomorrow.
func (s redisSpace) steady() int64 { return s.keys - s.expires }

// spaces lists the databases that hold keys, in order.
func (i redisInfo) spaces() []redisSpace {
	var all []redisSpace
	for key, value := range i {
		number, err := strconv.Atoi(strings.TrimPrefix(key, "db"))
		if err != nil || !strings.HasPrefix(key, "db") {
			continue
		}
		said := redisInfo{}
		for pair := range strings.SplitSeq(value, ",") {
			name, text, _ := strings.Cut(pair, "=")
			said[name] = text
		}
		all = append(all, redisSpace{number, said.number("keys"), said.number("expires"), said.number("subexpiry")})
	}
	slices.SortFunc(all, func(a, b redisSpace) int { return a.number - b.number })
	return all
}

// RedisFacts returns what is now true of a server, for every fact in want that it knows
// about but the version; without any, how many keys its databases hold.
func RedisFacts(ctx context.Context, conn *RedisConn, want []Fact) ([]Fact, error) {
	info, err := conn.info()
	if err != nil {
		return nil, err
	}
	spaces := map[string]redisSpace{}
	var all []Fact
	for _, s := range info.spaces() {
		spaces[s.of()] = s
		if len(want) == 0 {
			all = append(all, Fact{Kind: FactRows, Of: s.of(), Value: strconv.FormatInt(s.keys, 10)})
		}
	}
	wanted := map[string][]string{} // keys, by database
	for _, f := range want {
		switch database, key, single := strings.Cut(f.Of, " "); {
		case f.Kind == FactRows || f.Kind == FactLeast:
			all = append(all, Fact{Kind: f.Kind, Of: f.Of, Value: strconv.FormatInt(spaces[f.Of].steady(), 10)})
		case f.Kind == FactSchema:
			digest, err := conn.functions()
			if err != nil {
				return nil, err
			}
			all = append(all, Fact{Kind: FactSchema, Value: digest})
		case f.Kind == FactSHA256 && single:
			if key, err := strconv.Unquote(key); err == nil {
				wanted[database] = append(wanted[database], key)
			}
		case f.Kind == FactSHA256:
			swept, err := conn.sweptAgain(ctx, f.Of, want)
			if err != nil {
				return nil, err
			}
			all = append(all, swept)
		}
	}
	for database, keys := range wanted {
		facts, err := conn.valuesOf(ctx, database, keys)
		if err != nil {
			return nil, err
		}
		all = append(all, facts...)
	}
	return ofPart(partDatabase, all), nil
}

// RedisFactKey returns the database and the key that a fact about one value speaks of.
func RedisFactKey(f Fact) (database int, key string, ok bool) {
	name, quoted, single := strings.Cut(f.Of, " ")
	key, err := strconv.Unquote(quoted)
	database, nerr := strconv.Atoi(strings.TrimPrefix(name, "db"))
	return database, key, single && f.Kind == FactSHA256 && err == nil && nerr == nil
}

// choose makes a database, by its name in facts, the one that is asked.
func (c *RedisConn) choose(database string) error {
	_, err := c.Do("SELECT", strings.TrimPrefix(database, "db"))
	return err
}

// valuesOf takes the digests of single values.
func (c *RedisConn) valuesOf(ctx context.Context, database string, keys []string) ([]Fact, error) {
	if err := c.choose(database); err != nil {
		return nil, err
	}
	var all []Fact
	for batch := range slices.Chunk(keys, redisBatch) {
		digests, _, err := c.values(batch, func(string) bool { return false })
		if err != nil {
			return nil, err
		}
		for key, digest := range digests {
			all = append(all, Fact{Kind: FactSHA256, Of: database + " " + strconv.Quote(key), Value: digest})
		}
		if err := breathe(ctx); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func breathe(ctx context.Context) error {
	select {
	case <-time.After(redisBreath):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sample draws the digests of some values of a database.
func (c *RedisConn) sample(ctx context.Context, s redisSpace, most int) ([]Fact, error) {
	if err := c.choose(s.of()); err != nil {
		return nil, err
	}
	keys, err := c.draw(ctx, s, most)
	if err != nil {
		return nil, err
	}
	var all []Fact
	for batch := range slices.Chunk(keys, redisBatch) {
		digests, _, err := c.values(batch, s.skips)
		if err != nil {
			return nil, err
		}
		for _, key := range batch {
			if digest := digests[key]; digest != "" {
				all = append(all, Fact{Kind: FactSHA256, Of: s.of() + " " + strconv.Quote(key), Value: digest})
			}
		}
		if err := breathe(ctx); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// skips reports whether values of a type may lose a part by themselves. Which hashes
// have fields that expire is not told by number, so none of them is taken.
func (s redisSpace) skips(kind string) bool { return kind == "hash" && s.fieldTTL > 0 }

// draw returns names of keys, each once: all of a small database, some of a large one.
func (c *RedisConn) draw(ctx context.Context, s redisSpace, most int) ([]string, error) {
	var keys []string
	if s.keys <= int64(most) {
		err := c.scan(ctx, func(found []string) error {
			keys = append(keys, found...)
			return nil
		})
		slices.Sort(keys)
		keys = slices.Compact(keys)
		return keys[:min(len(keys), most)], err
	}
	commands := slices.Repeat([][]string{{"RANDOMKEY"}}, redisBatch)
	for len(keys) < most {
		answers, err := c.Pipe(commands)
		if err != nil {
			return nil, err
		}
		drawn := redisStrings(answers)
		if len(drawn) < len(commands) {
			break // the keys are gone by now
		}
		keys = append(keys, drawn...)
		if err := breathe(ctx); err != nil {
			return nil, err
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// scan shows the names of all keys of a database, some perhaps more than once.
func (c *RedisConn) scan(ctx context.Context, take func(keys []string) error) error {
	for cursor := "0"; ; {
		answer, err := c.Do("SCAN", cursor, "COUNT", strconv.Itoa(redisElements))
		if err != nil {
			return err
		}
		pair, _ := answer.([]any)
		if len(pair) != 2 {
			return errNoRedis
		}
		if err := errors.Join(take(redisStrings(pair[1])), breathe(ctx)); err != nil {
			return err
		}
		if cursor, _ = pair[0].(string); cursor == "0" {
			return nil
		}
	}
}

// functions is a digest of the functions that a server keeps with its data; "" before
// version 7.0, which has none.
func (c *RedisConn) functions() (string, error) {
	answer, err := c.Do("FUNCTION", "LIST", "WITHCODE")
	var refused RedisError
	if errors.As(err, &refused) && strings.Contains(refused.Error(), "unknown command") {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var lines []string
	list, _ := answer.([]any)
	for _, library := range list {
		said := redisPairs(library)
		lines = append(lines, fmt.Sprintf("%q %q", said["library_name"], said["library_code"]))
	}
	return digestLines(lines), nil
}
