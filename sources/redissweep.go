package sources

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// redisSweepMost is Redis.SweepMost when that is 0.
const redisSweepMost = 4 << 20

// A redisSweep is the digests of all values of a database. Keys are sorted into 65,536
// buckets by the hash of their name; a bucket of which a key may have changed, or cannot
// be read, is left out as a whole, so that it need not be told which keys those are.
type redisSweep struct {
	of    string
	found []redisSwept
	out   buckets
}

type redisSwept struct {
	hash  uint64 // of the key
	value [16]byte
}

// buckets are some of the 65,536, one bit each.
type buckets [1 << 16 / 8]byte

func (b *buckets) add(n uint16)      { b[n/8] |= 1 << (n % 8) }
func (b *buckets) has(n uint16) bool { return b[n/8]&(1<<(n%8)) != 0 }

// sweptMark stands before buckets in the fact that says which were left out.
const sweptMark = "without buckets "

// text shows buckets, packed.
func (b *buckets) text() string {
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestCompression) // the level is a valid one, and memory takes all
	_, _ = w.Write(b[:])
	_ = w.Close()
	return sweptMark + base64.StdEncoding.EncodeToString(packed.Bytes())
}

// readBuckets reads what text shows.
func readBuckets(text string) (buckets, error) {
	var b buckets
	packed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, sweptMark))
	if err == nil {
		_, err = io.ReadFull(flate.NewReader(bytes.NewReader(packed)), b[:])
	}
	return b, err
}

// sweep reads all values of a database.
func (c *RedisConn) sweep(ctx context.Context, s redisSpace) (*redisSweep, error) {
	if err := c.choose(s.of()); err != nil {
		return nil, err
	}
	sweep := &redisSweep{of: s.of()}
	err := c.scan(ctx, func(keys []string) error {
		for batch := range slices.Chunk(keys, redisBatch) {
			digests, unread, err := c.values(batch, s.skips)
			if err != nil {
				return err
			}
			for key := range unread {
				sweep.out.add(redisBucket(redisHash(key)))
			}
			for key, digest := range digests {
				sum, err := hex.DecodeString(digest)
				if err != nil {
					return err
				}
				sweep.found = append(sweep.found, redisSwept{redisHash(key), [16]byte(sum)})
			}
			if err := breathe(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return sweep, err
}

// facts are the number and the digest of the keys in the buckets that count. A scan may
// show a key twice, and a key that changed in between with two values: its bucket is
// out then.
func (s *redisSweep) facts() []Fact {
	slices.SortFunc(s.found, func(a, b redisSwept) int {
		if a.hash != b.hash {
			return compareUint(a.hash, b.hash)
		}
		return bytes.Compare(a.value[:], b.value[:])
	})
	h, n := sha256.New(), 0
	for _, one := range slices.Compact(s.found) {
		if s.out.has(redisBucket(one.hash)) {
			continue
		}
		h.Write(binary.BigEndian.AppendUint64(one.value[:], one.hash))
		n++
	}
	if n == 0 {
		return []Fact{{Kind: FactSkipped, Of: s.of, Value: "no key that does not expire stayed as it was during the backup"}}
	}
	return []Fact{
		{Kind: FactSHA256, Of: s.of, Value: fmt.Sprintf("%d %x", n, h.Sum(nil))},
		{Kind: FactSample, Of: s.of, Value: s.out.text()},
	}
}

func compareUint(a, b uint64) int {
	if a < b {
		return -1
	}
	return 1
}

// sweptAgain sweeps a database of restored data as the facts say that it was swept.
func (c *RedisConn) sweptAgain(ctx context.Context, of string, want []Fact) (Fact, error) {
	var number int
	if _, err := fmt.Sscanf(of, "db%d", &number); err != nil {
		return Fact{}, err
	}
	sweep, err := c.sweep(ctx, redisSpace{number: number})
	if err != nil {
		return Fact{}, err
	}
	for _, f := range want {
		if f.Kind == FactSample && f.Of == of {
			out, err := readBuckets(f.Value)
			if err != nil {
				return Fact{}, err
			}
			for i := range out {
				sweep.out[i] |= out[i]
			}
		}
	}
	return sweep.facts()[0], nil
}
