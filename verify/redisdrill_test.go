package verify

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

func (r *rig) redis(t *testing.T, s *sourcetest.RedisServer, mode string) Request {
	t.Helper()
	return r.backup(t, "redis", &sources.Redis{Host: s.Socket, FactsMode: mode, Now: backupTime})
}

func TestRedisDrill(t *testing.T) {
	t.Parallel()
	s := sourcetest.StartRedis(t)
	var seed [][]string
	for i := range 3000 {
		seed = append(seed, []string{"SET", "k" + strconv.Itoa(i), strconv.Itoa(i)})
	}
	s.Do(t, append(seed, []string{"SET", "tạm", "1", "PX", "300"}, []string{"SELECT", "3"}, []string{"SADD", "tập", "a", "b"}, []string{"SET", "lúc", "2026-05-04 01:00:00"})...)
	r := newRig(t)
	defer noServers(t, r)
	good := r.redis(t, s, sources.ModeSampled)
	t.Run("passes", func(t *testing.T) {
		q := good
		q.RTO, q.MaxAge = time.Hour, 2*time.Hour
		q.Checks = []Check{
			{Redis: []string{"SCARD", "tập"}, Index: 3, Min: ptr(2.0), Max: ptr(2.0)},
			{Redis: []string{"GET", "k7"}, Equals: ptr("7")},
			{Redis: []string{"GET", "lúc"}, Index: 3, NewerThan: time.Hour},
			{Redis: []string{"GET", "không"}, ExpectedEmpty: true},
			{Redis: []string{"EVAL_RO", "return #redis.call('KEYS', '*')", "0"}, Equals: ptr("3000")},
		}
		res := r.test(t, q)
		expect(t, res, Passed, LevelAsserted)
		if c := res.Control; c == nil || !c.Caught || !strings.HasPrefix(c.By, "facts: ") || c.Damage != "one key deleted" {
			t.Errorf("control = %+v", c)
		}
	})
	t.Run("server by its other name", func(t *testing.T) {
		checker, err := command.LookPath("redis-check-rdb")
		if err != nil {
			t.Fatal(err)
		}
		q := good
		q.Bin = t.TempDir()
		if err := os.Symlink(checker, filepath.Join(q.Bin, "redis-check-rdb")); err != nil {
			t.Fatal(err)
		}
		expect(t, r.test(t, q), Passed, LevelAsserted)
	})
	t.Run("passes by numbers, and by all values", func(t *testing.T) {
		for mode, by := range map[string]string{sources.ModeCounts: "facts: rows", sources.ModeFull: "facts: sha256"} {
			q := r.redis(t, s, mode)
			res := r.test(t, q)
			expect(t, res, Passed, LevelAsserted)
			if c := res.Control; c == nil || !c.Caught || !slices.Contains([]string{by, "facts: rows"}, c.By) {
				t.Errorf("%s: control = %+v", mode, c)
			}
		}
	})
	t.Run("passes by checks alone", func(t *testing.T) {
		q := good
		q.Facts, q.Checks = nil, []Check{{Redis: []string{"DBSIZE"}, Min: ptr(1.0)}}
		expect(t, r.test(t, q), Passed, LevelAsserted)
		q.Checks = []Check{{Redis: []string{"ECHO", "1"}, Equals: ptr("1")}}
		if _, err := r.tester.Test(t.Context(), q); fault.KindOf(err) != fault.Usage {
			t.Errorf("a check that reads nothing: %v", err)
		}
	})
	good.Control = false
	t.Run("damage", func(t *testing.T) { redisDamage(t, r, s, good) })
	t.Run("checks", func(t *testing.T) { redisChecks(t, r, good) })
}

func redisDamage(t *testing.T, r *rig, s *sourcetest.RedisServer, good Request) {
	s.Do(t, []string{"DEL", "k1", "k2"}, []string{"SELECT", "3"}, []string{"SADD", "tập", "c"})
	other := r.redis(t, s, sources.ModeSampled)
	flipped := r.mangled(t, good.Parts[0], func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
	truncated := r.mangled(t, good.Parts[0], func(b []byte) []byte { return b[:len(b)*2/3] })
	// Without a checksum the damage is found by the server.
	garbled := r.mangled(t, good.Parts[0], func(b []byte) []byte {
		i := strings.Index(string(b), "k1000") // before it are its length and the type of its value
		b[i-2] = 0x3f
		binary.LittleEndian.PutUint64(b[len(b)-8:], 0)
		return b
	})
	tests := []struct {
		name   string
		part   PartCopy
		level  string
		broken []string
	}{
		{"another state", other.Parts[0], LevelAsserted, []string{"facts: rows", "facts: sha256"}},
		{"a flipped bit", flipped, "", []string{"dump"}},
		{"cut off", truncated, "", []string{"dump"}},
		{"garbled", garbled, "", []string{"load"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := good
			q.Parts = []PartCopy{tt.part}
			expect(t, r.test(t, q), Failed, tt.level, tt.broken...)
		})
	}
	// What cannot be looked at here is no damage.
	replaced := func(old, new string) func(b []byte) []byte {
		return func(b []byte) []byte { return []byte(strings.Replace(string(b), old, new, 1)) }
	}
	unknown := map[string]func(b []byte) []byte{
		"a later format":  func(b []byte) []byte { copy(b[5:], "0099"); return b },
		"a later version": replaced("redis-ver\x067.", "redis-ver\x06\x39."),
		"another product": replaced("\x09redis-ver", "\x0avalkey-ver"),
	}
	for name, change := range unknown {
		t.Run(name, func(t *testing.T) {
			q := good
			q.Parts = []PartCopy{r.mangled(t, good.Parts[0], func(b []byte) []byte {
				binary.LittleEndian.PutUint64(b[len(b)-8:], 0)
				return change(b)
			})}
			res, err := r.tester.Test(t.Context(), q)
			if res.Verdict != Unknown || fault.KindOf(err) != fault.MissingTool || !strings.Contains(fault.HintOf(err), "install") {
				t.Errorf("%s, %v (%s), hint %q; want unknown, and what to install", res.Verdict, err, fault.KindOf(err), fault.HintOf(err))
			}
		})
	}
}

func redisChecks(t *testing.T, r *rig, good Request) {
	tests := []struct {
		name string
		c    Check
		kind fault.Kind // of the error; "" when the check is answered and not met
	}{
		{"too few", Check{Redis: []string{"DBSIZE"}, Min: ptr(1e6)}, ""},
		{"another type", Check{Redis: []string{"LLEN", "k1"}, Min: ptr(1.0)}, ""},
		{"nothing", Check{Redis: []string{"GET", "không"}, Equals: ptr("")}, ""},
		{"writes", Check{Redis: []string{"DEL", "k1"}, Min: ptr(1.0)}, fault.Usage},
		{"asks for settings", Check{Redis: []string{"CONFIG", "GET", "dir"}, Min: ptr(1.0)}, fault.Usage},
		{"no command", Check{Redis: []string{"LẤY", "k1"}, Min: ptr(1.0)}, fault.Usage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := good
			q.Checks = []Check{tt.c}
			res, err := r.tester.Test(t.Context(), q)
			if tt.kind != "" {
				if res.Verdict != Unknown || fault.KindOf(err) != tt.kind {
					t.Errorf("%s, %v (%s); want unknown, %s", res.Verdict, err, fault.KindOf(err), tt.kind)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			expect(t, res, Failed, LevelAsserted, "check 1")
		})
	}
}
