package jobs

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/calendar"
)

var hcm = time.FixedZone("ICT", 7*3600)

func period(t *testing.T, text string) calendar.Period {
	t.Helper()
	var p calendar.Period
	if err := p.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRotaOfPeriod(t *testing.T) {
	tests := []struct {
		period string
		want   rota
	}{
		{"1d", rota{groups: 1, nights: 1, most: 2}},
		{"2d", rota{groups: 1, nights: 1, most: 2}},
		{"7d", rota{groups: 6, nights: 6, most: 2}},
		{"31d", rota{groups: 28, nights: 28, most: 7}},
		{"1mo", rota{groups: 26, nights: 26, most: 7}}, // February
		{"92d", rota{groups: 83, nights: 83, most: 21}},
		{"3mo", rota{groups: 81, nights: 81, most: 21}},
		{"366d", rota{groups: 256, nights: 330, most: 64}},
	}
	for _, tt := range tests {
		if got := rotaOf(period(t, tt.period)); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.period, got, tt.want)
		}
	}
}

// A past is a list of re-reads: so many days ago, and "n/t" with a mark when it was
// not whole.
func past(now time.Time, reads ...[3]any) *catalog.Coverage {
	c := &catalog.Coverage{}
	for _, read := range reads {
		var n, of int
		fmt.Sscanf(read[1].(string), "%d/%d", &n, &of)
		c.Add(catalog.CheckFinished{N: n, Of: of, State: read[2].(string), FinishedAt: now.AddDate(0, 0, -read[0].(int))})
	}
	return c
}

func TestTurns(t *testing.T) {
	now := time.Date(2026, 12, 20, 5, 30, 0, 0, hcm)
	const good, bad, blind = catalog.RunComplete, catalog.RunFailed, catalog.RunSkipped
	week := []([3]any){{6, "1/6", good}, {5, "2/6", good}, {4, "3/6", good}, {3, "4/6", good}, {2, "5/6", good}, {1, "6/6", good}}
	later := func(reads [][3]any, days int) (all [][3]any) {
		for _, r := range reads {
			all = append(all, [3]any{r[0].(int) + days, r[1], r[2]})
		}
		return all
	}
	tests := []struct {
		name   string
		kind   string
		every  string
		reads  [][3]any
		groups []int
		of     int
	}{
		{"never", "local", "7d", nil, []int{1}, 6},
		{"in turn", "local", "7d", week, []int{1}, 6},
		{"one night missed", "local", "7d", later(week, 1), []int{1, 2}, 6},
		{"many nights missed", "local", "7d", later(week, 30), []int{1, 2}, 6},
		{"by hand on the same day", "local", "7d", later(week, -1), []int{1}, 6},
		{"damage is looked at again besides", "local", "7d", append(week[:5:5], [3]any{1, "6/6", bad}), []int{1, 6}, 6},
		{"so is what could not be read", "local", "7d", append(week[:6:6], [3]any{0, "6/6", blind}), []int{1, 6}, 6},
		{"what was tried in vain first was not read", "local", "7d", [][3]any{{1, "1/6", blind}}, []int{2, 1}, 6},
		{"read in other groups", "local", "7d", [][3]any{{3, "1/2", good}, {1, "2/2", good}}, []int{1}, 6},
		{"old re-reads in groups of 28", "local", "31d", [][3]any{{2, "1/28", good}, {1, "2/28", good}}, []int{3}, 28},
		{"medium never read", "removable", "31d", nil, []int{1}, 1},
		{"medium read long ago", "removable", "31d", [][3]any{{16, "1/1", good}}, []int{1}, 1},
		{"medium read lately", "removable", "31d", [][3]any{{15, "1/1", good}}, []int{1, 2}, 28},
		{"medium damaged lately", "removable", "31d", [][3]any{{15, "1/1", good}, {14, "5/28", bad}}, []int{1}, 1},
	}
	for _, tt := range tests {
		groups, of := turns(config.Target{Type: tt.kind}, period(t, tt.every), past(now, tt.reads...), now, hcm)
		if diff := cmp.Diff(tt.groups, groups); diff != "" || of != tt.of {
			t.Errorf("%s: of %d, want %d, (-want +got):\n%s", tt.name, of, tt.of, diff)
		}
	}
}

// A clock that was ahead cannot make a part seem to have been read for years.
func TestTurnsAfterAClockAhead(t *testing.T) {
	now := time.Date(2026, 12, 20, 5, 30, 0, 0, hcm)
	c := past(now, [3]any{-700, "3/28", catalog.RunComplete})
	groups, _ := turns(config.Target{}, calendar.Period{Days: 31}, c, now, hcm)
	if groups[0] != 3 && groups[0] != 1 {
		t.Errorf("got %v, want what the clock hides, or the first", groups)
	}
	seen := map[int]bool{}
	for range 28 {
		groups, of := turns(config.Target{}, calendar.Period{Days: 31}, c, now, hcm)
		for _, n := range groups {
			seen[n] = true
			c.Add(catalog.CheckFinished{N: n, Of: of, State: catalog.RunComplete, FinishedAt: now})
		}
		now = now.AddDate(0, 0, 1)
	}
	if len(seen) != 28 {
		t.Errorf("%d of 28 groups were read in 28 nights", len(seen))
	}
}

// In any history of nights, every part is read within its period as long as not
// more nights are missed than the rota leaves room for, whatever fails besides;
// and after any trouble everything is read again within the time it takes to catch
// up.
func TestRotaNeverStarves(t *testing.T) {
	histories := 60
	if testing.Short() {
		histories = 10
	}
	for seed := range histories {
		model(t, uint64(seed))
	}
}

// model plays a few hundred nights.
func model(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	periods := []int{1, 2, 3, 7, 14, 31, 92, 184, 366}
	days := periods[random.IntN(len(periods))]
	now := time.Date(2026, 1, 1, 5, 30, 0, 0, hcm)
	var c catalog.Coverage
	read := [catalog.PackValues]time.Time{} // the truth
	calm := now                             // since when nothing was out of order
	var missed []time.Time
	broken := map[int]bool{} // byte values that cannot be read
	for night := range 900 {
		now = now.AddDate(0, 0, 1)
		switch {
		case random.IntN(300) == 0:
			days, calm = periods[random.IntN(len(periods))], now
		case random.IntN(300) == 0:
			now = now.AddDate(0, 0, random.IntN(60))
			calm = now
		case random.IntN(200) == 0:
			broken[random.IntN(catalog.PackValues)] = true
		case random.IntN(100) == 0 && len(broken) > 0:
			clear(broken)
			calm = now
		}
		r := rotaOf(calendar.Period{Days: days})
		missed = since(missed, now.AddDate(0, 0, -days))
		if len(missed) < days-r.nights && random.IntN(20) == 0 {
			missed = append(missed, now)
			continue
		}
		groups, of := turns(config.Target{}, calendar.Period{Days: days}, &c, now, hcm)
		if len(groups) == 0 || len(groups) > 2*r.most {
			t.Fatalf("seed %d, night %d: %d groups", seed, night, len(groups))
		}
		for _, n := range groups {
			state := catalog.RunComplete
			for b := range catalog.PacksOf(n, of) {
				if broken[b] {
					state = []string{catalog.RunFailed, catalog.RunSkipped}[random.IntN(2)]
				}
			}
			if state == catalog.RunComplete {
				for b := range catalog.PacksOf(n, of) {
					read[b] = now
				}
			}
			c.Add(catalog.CheckFinished{N: n, Of: of, State: state, FinishedAt: now})
		}
		late(t, seed, now, read, broken, days, of, calm)
	}
}

// late reports byte values that were not read in time although nothing was in the
// way for long enough.
func late(t *testing.T, seed uint64, now time.Time, read [catalog.PackValues]time.Time, broken map[int]bool, days, of int, calm time.Time) {
	t.Helper()
	if calendar.AgeDays(calm, now, hcm) <= days {
		return
	}
	hit := map[int]bool{} // groups that hold something broken
	for b := range broken {
		hit[b%of] = true
	}
	for b, at := range read {
		if !hit[b%of] && calendar.AgeDays(at, now, hcm) > days {
			t.Fatalf("seed %d: on %s packs %02x were last read on %s, more than %d days ago",
				seed, now.Format(time.DateOnly), b, at.Format(time.DateOnly), days)
		}
	}
}

func since(all []time.Time, from time.Time) (left []time.Time) {
	for _, at := range all {
		if !at.Before(from) {
			left = append(left, at)
		}
	}
	return left
}
