package jobs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/catalog"
	"saoluu/config"
)

// A slowCopy copies in a given time, and writes down what went together.
type slowCopy struct {
	takes time.Duration
	every int // so many calls take a hundred times as long; 0 for none
	mu    sync.Mutex
	calls [][]string
	ended []error // why calls ended before their time
}

func (s *slowCopy) do(ctx context.Context, all []copyAsked) (map[string]string, error) {
	made := map[string]string{}
	var names []string
	for _, asked := range all {
		names = append(names, asked.job)
		made[asked.job] = "copy of " + asked.job
	}
	slices.Sort(names)
	s.mu.Lock()
	s.calls = append(s.calls, names)
	takes := s.takes
	if s.every > 0 && len(s.calls)%s.every == 0 {
		takes *= 100
	}
	s.mu.Unlock()
	select {
	case <-time.After(takes):
		return made, nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended = append(s.ended, context.Cause(ctx))
		return nil, context.Cause(ctx)
	}
}

// ask has a run copied that some time later is done with its first copy.
func (s *slowCopy) ask(t *testing.T, c *copier, conf *config.Config, job string, after time.Duration) {
	time.Sleep(after)
	c.expect()
	made, _, err := c.copy(t.Context(), conf, copyAsked{job, catalog.Copy{}}, s.do)
	if err != nil || made[job] != "copy of "+job {
		t.Errorf("%s: %q, %v", job, made[job], err)
	}
}

// empty tells when something is left of which everybody has its result.
func (c *copier) empty(t *testing.T) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil || len(c.next) > 0 || c.expected != 0 {
		t.Error("something is left in the copier")
	}
}

func TestCopiesThatWaitGoTogether(t *testing.T) {
	day, night := &config.Config{}, &config.Config{}
	many := func(from, to int) (jobs []string) {
		for i := from; i < to; i++ {
			jobs = append(jobs, fmt.Sprintf("%03d", i))
		}
		return jobs
	}
	for _, tt := range []struct {
		name  string
		takes time.Duration
		asked map[time.Duration][]string // by the time that the first copy is there
		other []string                   // by a second after the start, by another configuration
		want  [][]string
	}{
		{"one goes at once", time.Second, map[time.Duration][]string{0: {"a"}}, nil, [][]string{{"a"}}},
		{"those that wait go in the next", 10 * time.Second,
			map[time.Duration][]string{0: {"a"}, 1 * time.Second: {"b"}, 9 * time.Second: {"c", "d"}, 11 * time.Second: {"e"}}, nil,
			[][]string{{"a"}, {"b", "c", "d"}, {"e"}}},
		{"a copy that takes hours keeps nobody waiting", 5 * time.Hour,
			map[time.Duration][]string{0: {"a"}, 10 * time.Second: {"b"}, 30 * time.Second: {"c"}, 70 * time.Second: {"d"}}, nil,
			[][]string{{"a"}, {"b", "c"}, {"d"}}},
		{"another configuration goes by itself", 10 * time.Second,
			map[time.Duration][]string{0: {"a"}, 500 * time.Millisecond: {"b"}, 2 * time.Second: {"d"}}, []string{"c"},
			[][]string{{"a"}, {"b"}, {"c"}, {"d"}}},
		{"not too many at once", 10 * time.Second,
			map[time.Duration][]string{0: {"a"}, time.Second: many(0, copyBatch), 2 * time.Second: many(copyBatch, copyBatch+3)}, nil,
			[][]string{{"a"}, many(0, copyBatch), many(copyBatch, copyBatch+3)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := &slowCopy{takes: tt.takes}, &copier{}
				var wg sync.WaitGroup
				for after, jobs := range tt.asked {
					for _, job := range jobs {
						wg.Go(func() { s.ask(t, c, night, job, after) })
					}
				}
				for _, job := range tt.other {
					wg.Go(func() { s.ask(t, c, day, job, time.Second) })
				}
				wg.Wait()
				if diff := cmp.Diff(tt.want, s.calls); diff != "" {
					t.Errorf("what went together (-want +got):\n%s", diff)
				}
				c.empty(t)
			})
		})
	}
}

// Runs that are being saved are waited for, a while, and until the last has come or
// will not come.
func TestCopiesWaitForThoseThatAreExpected(t *testing.T) {
	for _, tt := range []struct {
		name  string
		saved map[string]time.Duration // after how long each is; all began at once
		fails map[string]bool
		want  [][]string
		took  time.Duration
	}{
		{"alone", map[string]time.Duration{"a": 2 * time.Second}, nil, [][]string{{"a"}}, 3 * time.Second},
		{"all come soon", map[string]time.Duration{"a": time.Second, "b": 2 * time.Second, "c": 5 * time.Second}, nil, [][]string{{"a", "b", "c"}}, 6 * time.Second},
		{"one takes hours", map[string]time.Duration{"a": time.Second, "b": 2 * time.Second, "c": 3 * time.Hour}, nil, [][]string{{"a", "b"}, {"c"}}, 3*time.Hour + time.Second},
		{"one fails", map[string]time.Duration{"a": time.Second, "b": 2 * time.Second, "c": 4 * time.Second}, map[string]bool{"c": true}, [][]string{{"a", "b"}}, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c, begin := &slowCopy{takes: time.Second}, &copier{}, time.Now()
				var wg sync.WaitGroup
				for job, saved := range tt.saved {
					c.expect()
					wg.Go(func() {
						time.Sleep(saved)
						if tt.fails[job] {
							c.dismiss()
							return
						}
						if made, _, err := c.copy(t.Context(), nil, copyAsked{job: job}, s.do); err != nil || made[job] == "" {
							t.Errorf("%s: %v, %v", job, made, err)
						}
					})
				}
				wg.Wait()
				if diff := cmp.Diff(tt.want, s.calls); diff != "" {
					t.Errorf("what went together (-want +got):\n%s", diff)
				}
				if took := time.Since(begin); took != tt.took {
					t.Errorf("it took %s, want %s", took, tt.took)
				}
				c.empty(t)
			})
		})
	}
}

// One that is told to stop does not take the others with it; the last one does.
func TestCopyThatIsLeft(t *testing.T) {
	stop := errors.New("stop")
	for _, tt := range []struct {
		name   string
		leaves map[string]time.Duration // by when each is told to stop; 0 for never
		want   [][]string
		ended  []error
	}{
		{"one of those that wait", map[string]time.Duration{"a": 0, "b": 0, "c": 5 * time.Second}, [][]string{{"a"}, {"b"}}, nil},
		{"all that wait", map[string]time.Duration{"a": 0, "b": 4 * time.Second, "c": 5 * time.Second}, [][]string{{"a"}}, nil},
		{"the one whose copy waits for others", map[string]time.Duration{"a": 5 * time.Second, "b": 0, "c": 0}, [][]string{{"a"}, {"b", "c"}}, []error{stop}},
		{"one of those under way", map[string]time.Duration{"a": 0, "b": 12 * time.Second, "c": 0}, [][]string{{"a"}, {"b", "c"}}, nil},
		{"all under way", map[string]time.Duration{"a": 0, "b": 12 * time.Second, "c": 13 * time.Second}, [][]string{{"a"}, {"b", "c"}}, []error{stop}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c, begin := &slowCopy{takes: 10 * time.Second}, &copier{}, time.Now()
				var wg sync.WaitGroup
				for job, leaves := range tt.leaves {
					wg.Go(func() {
						ctx, cancel := context.WithCancelCause(t.Context())
						defer cancel(nil)
						if job != "a" {
							time.Sleep(time.Second)
						}
						if leaves > 0 {
							time.AfterFunc(leaves-time.Since(begin), func() { cancel(stop) })
						}
						c.expect()
						made, _, err := c.copy(ctx, nil, copyAsked{job: job}, s.do)
						switch {
						case leaves == 0 && (err != nil || made[job] == ""):
							t.Errorf("%s: %v, %v", job, made, err)
						case leaves > 0 && (!errors.Is(err, stop) || time.Since(begin) != leaves):
							t.Errorf("%s after %s: %v, %v", job, time.Since(begin), made, err)
						}
					})
				}
				wg.Wait()
				if diff := cmp.Diff(tt.want, s.calls); diff != "" {
					t.Errorf("what went together (-want +got):\n%s", diff)
				}
				c.empty(t)
				if len(s.ended) != len(tt.ended) || len(s.ended) > 0 && !errors.Is(s.ended[0], stop) {
					t.Errorf("ended early: %v", s.ended)
				}
			})
		})
	}
}

// Thousands that come and go at random: each that stays has its own copy, made once,
// and nobody waits for ever (synctest fails when all are blocked).
func TestCopierUnderStress(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0))
		s, c := &slowCopy{takes: time.Second, every: 10}, &copier{}
		confs := []*config.Config{{}, {}}
		copied := make([]string, 5000)
		var wg sync.WaitGroup
		for i := range copied {
			after := time.Duration(random.Int64N(int64(100 * time.Second)))
			patience := time.Duration(random.Int64N(int64(6 * time.Second)))
			if i%10 == 0 {
				patience = time.Hour
			}
			saving := time.Duration(random.Int64N(int64(time.Second)))
			wg.Go(func() {
				time.Sleep(after)
				c.expect()
				time.Sleep(saving)
				if i%7 == 0 {
					c.dismiss()
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				job := fmt.Sprint(i)
				made, together, err := c.copy(ctx, confs[i*len(confs)/len(copied)], copyAsked{job: job}, s.do)
				if together > copyBatch || err == nil && together < 1 {
					t.Errorf("%d went together", together)
				}
				if err == nil && made[job] != "copy of "+job {
					t.Errorf("%s has %q", job, made[job])
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", job, err)
				}
				copied[i] = made[job]
			})
		}
		wg.Wait()
		times, done := map[string]int{}, 0
		for _, jobs := range s.calls {
			for _, job := range jobs {
				times[job]++
			}
		}
		for i, id := range copied {
			if n := times[fmt.Sprint(i)]; n > 1 || id != "" && n != 1 {
				t.Errorf("%d was copied %d times", i, n)
			}
			if id != "" {
				done++
			}
		}
		if done == 0 || len(s.calls) > len(copied)/4 {
			t.Errorf("%d copies in %d calls", done, len(s.calls))
		}
		c.empty(t)
	})
}
