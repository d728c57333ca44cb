package sources_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/sources"
	"saoluu/sources/sourcetest"
)

// saveRedis makes a dump and its facts.
func saveRedis(t *testing.T, r *sources.Redis) ([]byte, []sources.Fact) {
	t.Helper()
	r.Now = time.Now
	p, err := r.Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if _, err := sourcetest.Read(t.Context(), p.Parts[0], &dump); err != nil {
		t.Fatal(err)
	}
	facts, err := p.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
	return dump.Bytes(), facts
}

// loadRedis starts a server from a dump.
func loadRedis(t *testing.T, dump []byte) *sources.RedisConn {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dump.rdb"), dump, 0o644); err != nil {
		t.Fatal(err)
	}
	return sourcetest.StartRedis(t, "--dir", dir, "--databases", "64").Connect(t)
}

// held fails when a fact does not hold on restored data.
func held(t *testing.T, conn *sources.RedisConn, facts []sources.Fact) {
	t.Helper()
	got, err := sources.RedisFacts(t.Context(), conn, facts)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(facts), func(f sources.Fact) bool { return f.Kind == sources.FactVersion })
	for _, tally := range sources.Compare(want, got) {
		for _, d := range tally.Broken {
			t.Errorf("%+v does not hold: found %q", d.Fact, d.Found)
		}
	}
}

func number(facts []sources.Fact, kind string) int { return len(sourcetest.Kept(facts, kind)) }

// kinds are values of all types in several databases, of which some expire.
func kinds() [][]string {
	all := [][]string{
		{"SET", "chữ", "giá trị"}, {"SET", "nhị\x00phân\xff\n", string([]byte{0, 1, 255})}, {"SET", "", "tên trống"}, {"SETRANGE", "dài", "3000000", "x"},
		{"RPUSH", "hàng đợi", "a", "b", "a"}, {"SADD", "số", "1", "2", "3"}, {"ZADD", "điểm", "0.1", "a", "-inf", "b", "3e300", "c"},
		{"HSET", "bảng", "a", "1", "b", ""}, {"PFADD", "đếm", "a", "b"}, {"SETBIT", "bit", "100", "1"}, {"GEOADD", "nơi", "105.8", "21.0", "Hà Nội"},
		{"XADD", "luồng", "*", "a", "1"}, {"XADD", "luồng", "*", "b", "2"}, {"XGROUP", "CREATE", "luồng", "nhóm", "0"}, {"XREADGROUP", "GROUP", "nhóm", "ai", "COUNT", "1", "STREAMS", "luồng", ">"},
		{"SET", "sắp hết", "1", "PX", "1500"}, {"HSET", "hết sau", "a", "1"}, {"EXPIRE", "hết sau", "1000"},
		{"FUNCTION", "LOAD", "#!lua name=ham\nredis.register_function('f', function() return 1 end)"},
	}
	for i := range 3000 {
		n := strconv.Itoa(i)
		all = append(all, []string{"SADD", "lớn", n}, []string{"HSET", "bảng lớn", n, n}, []string{"ZADD", "xếp lớn", n, n}, []string{"RPUSH", "dãy lớn", n}, []string{"XADD", "luồng lớn", n + "-1", "n", n})
	}
	all = append(all, []string{"SELECT", "9"})
	for i := range 2500 {
		all = append(all, []string{"SET", "k" + strconv.Itoa(i), strconv.Itoa(i)})
	}
	return append(all, []string{"SELECT", "12"}, []string{"SET", "chỉ tạm", "1", "EX", "1000"})
}

// Values of every type and size are the same after a restore; what expires meanwhile
// makes no difference; one change anywhere does.
func TestRedisFacts(t *testing.T) {
	s := sourcetest.StartRedis(t)
	s.Do(t, kinds()...)
	for mode, want := range map[string]int{sources.ModeCounts: 0, sources.ModeSampled: 300, sources.ModeFull: 2} {
		t.Run(mode, func(t *testing.T) {
			dump, facts := saveRedis(t, &sources.Redis{Host: s.Socket, FactsMode: mode})
			if n := number(facts, sources.FactSHA256); n < want || mode != sources.ModeSampled && n != want {
				t.Errorf("%d digests, want %d", n, want)
			}
			if n := number(facts, sources.FactSkipped); n > 0 {
				t.Errorf("skipped: %v", sourcetest.Kept(facts, sources.FactSkipped))
			}
			rows := sourcetest.Kept(facts, sources.FactRows)
			if diff := cmp.Diff(map[string]string{"db0": "17", "db9": "2500", "db12": "0"}, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			conn := loadRedis(t, dump)
			time.Sleep(1600 * time.Millisecond) // one key expires
			held(t, conn, facts)
			if mode == sources.ModeCounts {
				return
			}
			for i, change := range [][]string{
				{"HSET", "bảng lớn", "2999", "khác"}, {"SETRANGE", "dài", "1500000", "y"}, {"ZADD", "điểm", "0.10000000000000002", "a"}, {"LSET", "dãy lớn", "2500", "x"},
				{"XDEL", "luồng lớn", "2000-1"}, {"XGROUP", "SETID", "luồng", "nhóm", "0"}, {"SREM", "lớn", "2999"},
			} {
				if _, err := conn.Do("SELECT", "0"); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Do(change...); err != nil {
					t.Fatal(err)
				}
				got, err := sources.RedisFacts(t.Context(), conn, facts)
				if err != nil {
					t.Fatal(err)
				}
				broken := 0
				for _, tally := range sources.Compare(facts, got) {
					if tally.Kind == sources.FactSHA256 {
						broken = len(tally.Broken)
					}
				}
				if want := map[string]int{sources.ModeSampled: i + 1, sources.ModeFull: 1}[mode]; broken != want {
					t.Errorf("after %q %d digests differ, want %d", change, broken, want)
				}
			}
		})
	}
}

// A database that is too large to be read whole has a sample, and that is said.
func TestRedisTooManyKeys(t *testing.T) {
	s := sourcetest.StartRedis(t)
	s.Do(t, kinds()...)
	dump, facts := saveRedis(t, &sources.Redis{Host: s.Socket, FactsMode: sources.ModeFull, SweepMost: 100})
	unread := sourcetest.Kept(facts, sources.FactUnread)
	if len(unread) != 1 || !strings.Contains(unread["db9"], "2500 keys, more than the 100") || sources.Unread(facts) != 1 {
		t.Errorf("unread %q", unread)
	}
	if n := number(facts, sources.FactSHA256); n < 100 {
		t.Errorf("%d digests of a sample", n)
	}
	held(t, loadRedis(t, dump), facts)
}

// transfer moves money between accounts until it is told to stop: by transaction, by
// script, and back and forth, so that a value may be what it was although it changed.
func transfer(t *testing.T, conn *sources.RedisConn, stop <-chan struct{}) {
	const script = `redis.call('DECR', KEYS[1]) redis.call('INCR', KEYS[2]) redis.call('RPUSH', 'sổ', KEYS[1])`
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		from, to := fmt.Sprintf("tk:%d", rand.IntN(500)), fmt.Sprintf("tk:%d", rand.IntN(500))
		commands := [][]string{{"MULTI"}, {"DECR", from}, {"INCR", to}, {"EXEC"}}
		switch i % 4 {
		case 1:
			commands = [][]string{{"EVAL", script, "2", from, to}}
		case 2:
			commands = [][]string{{"SET", "tạm:" + from, "1"}, {"DEL", "tạm:" + to}, {"SET", "hết:" + from, "1", "PX", "5"}}
		}
		if _, err := conn.Pipe(commands); err != nil {
			t.Error(err)
			return
		}
	}
}

// While money moves between accounts the dump has the sum of one instant, and every
// fact holds on what is restored.
func TestRedisUnderLoad(t *testing.T) {
	s := sourcetest.StartRedis(t)
	var seed [][]string
	accounts := []string{"MGET"}
	for i := range 5000 {
		accounts = append(accounts, fmt.Sprintf("tk:%d", i))
		seed = append(seed, []string{"SET", fmt.Sprintf("tk:%d", i), "100"}, []string{"SET", fmt.Sprintf("yên:%d", i), strings.Repeat("x", 1000)})
	}
	s.Do(t, seed...)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for range 3 {
		conn := s.Connect(t)
		busy.Go(func() { transfer(t, conn, stop) })
	}
	t.Cleanup(busy.Wait)
	defer close(stop)
	for _, mode := range []string{sources.ModeSampled, sources.ModeFull, sources.ModeSampled} {
		dump, facts := saveRedis(t, &sources.Redis{Host: s.Socket, FactsMode: mode})
		if number(facts, sources.FactSHA256) == 0 || number(facts, sources.FactRows)+number(facts, sources.FactLeast) == 0 {
			t.Errorf("%s: nothing is known of unchanged values or of keys: %v", mode, facts)
		}
		t.Logf("%s: %d digests", mode, number(facts, sources.FactSHA256))
		conn := loadRedis(t, dump)
		held(t, conn, facts)
		answer, err := conn.Do(accounts...)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, balance := range answer.([]any) {
			n, _ := strconv.Atoi(fmt.Sprint(balance))
			sum += n
		}
		if sum != 500_000 {
			t.Errorf("the sum is %d, want 500000", sum)
		}
	}
}

// A server that writes its dump to a file first sends it in another way; one that was
// making a dump for others may hand out that one, with facts of its instant or none.
func TestRedisFromDisk(t *testing.T) {
	s := sourcetest.StartRedis(t, "--repl-diskless-sync", "no")
	s.Do(t, kinds()[:20]...)
	dump, facts := saveRedis(t, &sources.Redis{Host: s.Socket})
	if number(facts, sources.FactSHA256) < 10 || number(facts, sources.FactSkipped) > 0 {
		t.Errorf("facts: %v", facts)
	}
	held(t, loadRedis(t, dump), facts)
	s.Do(t, []string{"CONFIG", "SET", "rdb-key-save-delay", "50000"}, []string{"BGSAVE"}, []string{"DEL", "chữ"})
	dump, facts = saveRedis(t, &sources.Redis{Host: s.Socket})
	held(t, loadRedis(t, dump), facts)
}

// A dump that is not whole fails the part, whoever cuts it off.
func TestRedisServerDies(t *testing.T) {
	s := sourcetest.StartRedis(t, "--rdb-key-save-delay", "100000")
	var seed [][]string
	for i := range 200 {
		seed = append(seed, []string{"SET", strconv.Itoa(i), strings.Repeat("x", 100_000)})
	}
	s.Do(t, seed...)
	p, err := (&sources.Redis{Host: s.Socket, Now: time.Now}).Prepare(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dies := writerFunc(func(b []byte) (int, error) {
		if conn, err := (&sources.Redis{Host: s.Socket}).Connect(context.WithoutCancel(t.Context())); err == nil {
			_, _ = conn.Do("SHUTDOWN", "NOSAVE")
			_ = conn.Close()
		}
		return len(b), nil
	})
	if _, err := sourcetest.Read(t.Context(), p.Parts[0], dies); err == nil || !strings.Contains(err.Error(), "read the dump") {
		t.Errorf("error %v, want that the dump ended", err)
	}
	facts, err := p.Facts(t.Context())
	if err != nil || len(facts) != 1 || facts[0].Kind != sources.FactVersion {
		t.Errorf("facts %v, error %v; want the version alone", facts, err)
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A dump is whole only if every byte is as it was and none is missing.
func TestRedisDumpCheck(t *testing.T) {
	s := sourcetest.StartRedis(t)
	s.Do(t, kinds()[:20]...)
	good, _ := saveRedis(t, &sources.Redis{Host: s.Socket})
	check := func(b []byte) (*sources.RedisDump, error) {
		d := sources.NewRedisDump()
		for piece := range slices.Chunk(b, 1+rand.IntN(len(b)+1)) {
			if _, err := d.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		return d, d.Check()
	}
	if d, err := check(good); err != nil || !strings.HasPrefix(d.Version(), "redis ") {
		t.Errorf("a whole dump of %q: %v", d.Version(), err)
	}
	for range 300 {
		bad := slices.Clone(good)
		bad[rand.IntN(len(bad))] ^= byte(1 << rand.IntN(8))
		if _, err := check(bad); err == nil {
			t.Error("a flipped bit was not noticed")
		}
		if _, err := check(good[:rand.IntN(len(good))]); err == nil {
			t.Error("a dump that was cut off was not noticed")
		}
	}
	if _, err := check(append(slices.Clone(good), 'x')); err == nil {
		t.Error("a byte too many was not noticed")
	}
	if _, err := check(nil); err == nil {
		t.Error("nothing passes for a dump")
	}
}
