package sources

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"slices"
	"strconv"
)

const (
	// redisPiece is how many bytes of a text, and redisElements how many elements of a
	// collection, are asked for at a time: a server serves nobody else meanwhile.
	redisPiece    = 1 << 20
	redisElements = 200
	// redisLargest bounds the elements, and redisHeaviest the bytes, of a value that is
	// read at all.
	redisLargest  = 1_000_000
	redisHeaviest = 256 << 20
	// redisBatch is how many values are read at the same time.
	redisBatch = 32
)

// A redisValue reads one value piece by piece and makes its digest: of its type, and of
// its elements, in their order where they have one. Numbers of sorted sets are compared
// as numbers, for versions show them differently.
type redisValue struct {
	key, kind string
	sum       hash.Hash
	elements  [][16]byte // digests of the elements of a collection without order
	cursor    string     // of a scan, or the id of a stream's last entry
	at        int        // elements or bytes read so far, of those with an order
	bytes     int
	groups    bool // of a stream, which come after its entries
}

// redisTypes are those that a server has without modules.
var redisTypes = []string{"string", "list", "set", "hash", "zset", "stream"}

// newRedisValue returns nil for a type that cannot be read by commands of the server's
// own.
func newRedisValue(key, kind string) *redisValue {
	if !slices.Contains(redisTypes, kind) {
		return nil
	}
	v := &redisValue{key: key, kind: kind, sum: sha256.New(), cursor: "0"}
	v.add(kind)
	return v
}

// next is the command that asks for the next piece.
func (v *redisValue) next() []string {
	count := strconv.Itoa(redisElements)
	switch v.kind {
	case "string":
		return []string{"GETRANGE", v.key, strconv.Itoa(v.at), strconv.Itoa(v.at + redisPiece - 1)}
	case "list":
		return []string{"LRANGE", v.key, strconv.Itoa(v.at), strconv.Itoa(v.at + redisElements - 1)}
	case "set":
		return []string{"SSCAN", v.key, v.cursor, "COUNT", count}
	case "hash":
		return []string{"HSCAN", v.key, v.cursor, "COUNT", count}
	case "zset":
		return []string{"ZSCAN", v.key, v.cursor, "COUNT", count}
	}
	if v.groups {
		return []string{"XINFO", "GROUPS", v.key}
	}
	from := "-"
	if v.at > 0 {
		from = v.cursor // once more: what follows it is asked for by it in all versions
	}
	return []string{"XRANGE", v.key, from, "+", "COUNT", count}
}

// errRedisValue is a value that cannot have a fact; why, it says.
type errRedisValue string

func (e errRedisValue) Error() string { return string(e) }

// take takes a piece and reports whether it was the last one.
func (v *redisValue) take(answer any) (last bool, err error) {
	if refused, is := answer.(RedisError); is {
		return false, errRedisValue(refused.Error()) // it has another type by now, or may not be read
	}
	switch v.kind {
	case "string":
		text, _ := answer.(string)
		v.write(text)
		v.at += len(text)
		last = len(text) < redisPiece
	case "list":
		all := redisStrings(answer)
		for _, one := range all {
			v.add(one)
		}
		v.at += len(all)
		last = len(all) < redisElements
	case "stream":
		last = v.stream(answer)
	default:
		last = v.scanned(answer)
	}
	if v.at > redisLargest && v.kind != "string" || len(v.elements) > 2*redisLargest || v.bytes > redisHeaviest {
		return false, errRedisValue("it is too large")
	}
	return last, nil
}

// write adds bytes to the digest.
func (v *redisValue) write(text string) {
	v.sum.Write([]byte(text))
	v.bytes += len(text)
}

// add adds a text with its length, so that two of them are not one.
func (v *redisValue) add(text string) {
	fmt.Fprintf(v.sum, "%d:", len(text))
	v.write(text)
}

// scanned takes a piece of a collection without order. A scan may show an element
// twice, never leaves one out of those that stay.
func (v *redisValue) scanned(answer any) bool {
	pair, _ := answer.([]any)
	if len(pair) != 2 {
		return true
	}
	v.cursor, _ = pair[0].(string)
	all := redisStrings(pair[1])
	step := 1
	if v.kind != "set" {
		step = 2
	}
	for i := 0; i+step <= len(all); i += step {
		h := sha256.New()
		for j, one := range all[i : i+step] {
			if v.kind == "zset" && j == 1 {
				one = canonicalScore(one)
			}
			fmt.Fprintf(h, "%d:%s", len(one), one)
			v.bytes += len(one)
		}
		v.elements = append(v.elements, [16]byte(h.Sum(nil)))
	}
	return v.cursor == "0"
}

// canonicalScore is a number as its bits.
func canonicalScore(text string) string {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	return strconv.FormatUint(math.Float64bits(n), 16)
}

// stream takes entries or, after them, the groups that read them.
func (v *redisValue) stream(answer any) bool {
	list, _ := answer.([]any)
	if v.groups {
		for _, group := range list {
			fields := redisPairs(group)
			v.add(fields["name"] + "\x00" + fields["last-delivered-id"] + "\x00" + fields["pending"])
		}
		return true
	}
	for _, entry := range list {
		pair, _ := entry.([]any)
		if len(pair) != 2 {
			continue
		}
		id, _ := pair[0].(string)
		if id == v.cursor {
			continue
		}
		v.add(id)
		for _, one := range redisStrings(pair[1]) {
			v.add(one)
		}
		v.cursor = id
		v.at++
	}
	v.groups = len(list) < redisElements
	return false
}

// redisPairs reads a list of names and values.
func redisPairs(answer any) map[string]string {
	list, _ := answer.([]any)
	pairs := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		pairs[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return pairs
}

// digest is that of the whole value.
func (v *redisValue) digest() string {
	slices.SortFunc(v.elements, func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
	for _, one := range slices.Compact(v.elements) {
		v.sum.Write(one[:])
	}
	return hex.EncodeToString(v.sum.Sum(nil))
}

// values reads values and returns the digests of those that can be read, by key. Keys
// that expire or are not there have none.
func (c *RedisConn) values(keys []string, skip func(kind string) bool) (digests map[string]string, unread map[string]string, err error) {
	digests, unread = map[string]string{}, map[string]string{}
	var open []*redisValue
	commands := make([][]string, 0, 2*len(keys))
	for _, key := range keys {
		commands = append(commands, []string{"PTTL", key}, []string{"TYPE", key})
	}
	answers, err := c.Pipe(commands)
	if err != nil {
		return nil, nil, err
	}
	for i, key := range keys {
		if left, _ := answers[2*i].(int64); left != -1 {
			continue
		}
		kind, _ := answers[2*i+1].(string)
		v := newRedisValue(key, kind)
		if v == nil || skip(kind) {
			unread[key] = kind
			continue
		}
		open = append(open, v)
	}
	for len(open) > 0 {
		commands = commands[:0]
		for _, v := range open {
			commands = append(commands, v.next())
		}
		if answers, err = c.Pipe(commands); err != nil {
			return nil, nil, err
		}
		still := open[:0]
		for i, v := range open {
			last, err := v.take(answers[i])
			switch {
			case err != nil:
				unread[v.key] = v.kind
			case last:
				digests[v.key] = v.digest()
			default:
				still = append(still, v)
			}
		}
		open = still
	}
	return digests, unread, nil
}
