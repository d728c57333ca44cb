package retention

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/calendar"
)

func hanoi(t *testing.T) *time.Location {
	t.Helper()
	loc, err := calendar.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// at reads "2006-01-02 15:04" at the site.
func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.ParseInLocation("2006-01-02 15:04", text, hanoi(t))
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// good returns good backups taken at these times, called by them.
func good(t *testing.T, times ...string) []Backup {
	t.Helper()
	var all []Backup
	for _, text := range times {
		all = append(all, Backup{Run: text, At: at(t, text), Good: true, Snapshots: map[string]string{"tree": "id of " + text}})
	}
	return all
}

// each changes a copy of the backups.
func each(all []Backup, change func(i int, b *Backup)) []Backup {
	out := append([]Backup{}, all...)
	for i := range out {
		change(i, &out[i])
	}
	return out
}

// nightly returns a good backup at 01:00 of each of n days up to the given one.
func nightly(t *testing.T, n int, last string) []Backup {
	t.Helper()
	var all []Backup
	for i := range n {
		when := at(t, last+" 01:00").AddDate(0, 0, i+1-n)
		all = append(all, good(t, when.Format("2006-01-02 15:04"))...)
	}
	return all
}

// spelled returns a plan as "run: keep rule,rule" lines.
func spelled(p Plan) string {
	var b strings.Builder
	for _, d := range p.Decisions {
		word := "forget"
		if d.Keep {
			word = "keep"
		}
		if d.Waiting {
			word = "wait"
		}
		fmt.Fprintf(&b, "%s: %s", d.Run, word)
		for i, r := range d.Reasons {
			b.WriteString(map[bool]string{true: " ", false: ","}[i == 0] + string(r.Rule))
		}
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func years(n int) calendar.Period { return calendar.Period{Months: 12 * n} }
func days(n int) calendar.Period  { return calendar.Period{Days: n} }

func TestRules(t *testing.T) {
	three := good(t, "2026-05-01 01:00", "2026-05-02 01:00", "2026-05-03 01:00")
	tests := []struct {
		name    string
		backups []Backup
		rules   Rules
		now     string // default 2026-05-03 05:30
		want    string
	}{
		{name: "an empty history"},
		{name: "no rules", backups: three, want: `2026-05-01 01:00: keep keep-all
2026-05-02 01:00: keep keep-all
2026-05-03 01:00: keep newest-good`},
		{name: "last", backups: three, rules: Rules{Last: 2}, want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: keep last
2026-05-03 01:00: keep newest-good,last`},
		{name: "the last good one", backups: three[:1], rules: Rules{Last: 1, KeepMax: days(1)}, now: "2030-01-01 00:00",
			want: `2026-05-01 01:00: keep last-good,newest-good,last`},
		{name: "hourly, many in the same minute", backups: each(good(t, "2026-05-01 01:00", "2026-05-01 01:59", "2026-05-01 01:59", "2026-05-01 02:00"), func(i int, b *Backup) { b.Run += fmt.Sprint(" ", i) }),
			rules: Rules{Hourly: 5}, want: `2026-05-01 01:00 0: forget surplus
2026-05-01 01:59 1: forget surplus
2026-05-01 01:59 2: keep hourly
2026-05-01 02:00 3: keep newest-good,hourly`},
		{name: "daily counts days that have one", backups: good(t, "2026-04-01 01:00", "2026-04-20 01:00", "2026-04-20 23:00", "2026-05-03 01:00"), rules: Rules{Daily: 2}, want: `2026-04-01 01:00: forget surplus
2026-04-20 01:00: forget surplus
2026-04-20 23:00: keep daily
2026-05-03 01:00: keep newest-good,daily`},
		// 2026-05-01 at 06:00 in Hà Nội is still 30 April in UTC.
		{name: "days of the site", backups: good(t, "2026-04-30 23:00", "2026-05-01 06:00", "2026-05-01 08:00"), rules: Rules{Daily: 9}, want: `2026-04-30 23:00: keep daily
2026-05-01 06:00: forget surplus
2026-05-01 08:00: keep newest-good,daily`},
		// 2026-05-03 is a Sunday, 2026-05-04 a Monday.
		{name: "weeks begin on Monday", backups: good(t, "2026-04-26 01:00", "2026-04-27 01:00", "2026-05-03 01:00", "2026-05-04 01:00"), rules: Rules{Weekly: 9}, now: "2026-05-04 05:30", want: `2026-04-26 01:00: keep weekly
2026-04-27 01:00: forget surplus
2026-05-03 01:00: keep weekly
2026-05-04 01:00: keep newest-good,weekly`},
		{name: "the week across the year", backups: good(t, "2025-12-29 01:00", "2026-01-04 01:00", "2026-01-05 01:00"), rules: Rules{Weekly: 9}, want: `2025-12-29 01:00: forget surplus
2026-01-04 01:00: keep weekly
2026-01-05 01:00: keep newest-good,weekly`},
		{name: "monthly", backups: good(t, "2026-02-28 01:00", "2026-03-01 01:00", "2026-03-31 23:59", "2026-04-01 00:00"), rules: Rules{Monthly: 2}, want: `2026-02-28 01:00: forget surplus
2026-03-01 01:00: forget surplus
2026-03-31 23:59: keep monthly
2026-04-01 00:00: keep newest-good,monthly`},
		{name: "yearly", backups: good(t, "2024-12-31 23:59", "2025-01-01 00:00", "2025-12-31 01:00", "2026-05-01 01:00"), rules: Rules{Yearly: 2}, want: `2024-12-31 23:59: forget surplus
2025-01-01 00:00: forget surplus
2025-12-31 01:00: keep yearly
2026-05-01 01:00: keep newest-good,yearly`},
		{name: "keep_min", backups: three, rules: Rules{Last: 1, KeepMin: days(2)}, now: "2026-05-03 01:00", want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: keep keep-min
2026-05-03 01:00: keep newest-good,keep-min,last`},
		{name: "keep_min, a minute before its end", backups: three, rules: Rules{Last: 1, KeepMin: days(2)}, now: "2026-05-03 00:59", want: `2026-05-01 01:00: keep keep-min
2026-05-02 01:00: keep keep-min
2026-05-03 01:00: keep newest-good,keep-min,last`},
		{name: "one year after a leap day is 28 February", backups: good(t, "2028-02-29 01:00", "2028-03-01 01:00"), rules: Rules{Last: 1, KeepMin: years(1)}, now: "2029-02-28 01:00", want: `2028-02-29 01:00: forget surplus
2028-03-01 01:00: keep newest-good,keep-min,last`},
		{name: "and not before", backups: good(t, "2028-02-29 01:00", "2028-03-01 01:00"), rules: Rules{Last: 1, KeepMin: years(1)}, now: "2029-02-28 00:59", want: `2028-02-29 01:00: keep keep-min
2028-03-01 01:00: keep newest-good,keep-min,last`},
		{name: "what another class promised", backups: each(three, func(i int, b *Backup) { b.Promised = map[int]calendar.Period{0: years(1)}[i] }), rules: Rules{Last: 1}, want: `2026-05-01 01:00: keep keep-min
2026-05-02 01:00: forget surplus
2026-05-03 01:00: keep newest-good,last`},
		{name: "keep_max takes what counts keep", backups: three, rules: Rules{Last: 9, KeepMax: days(2)}, want: `2026-05-01 01:00: forget keep-max
2026-05-02 01:00: keep last
2026-05-03 01:00: keep newest-good,last`},
		{name: "versions of a configuration", backups: each(nightly(t, 5, "2026-05-01"), func(i int, b *Backup) { b.Version, b.Good = i < 3, i != 1 }), rules: Rules{Last: 1, KeepMax: days(5), BadAfter: days(1)}, want: `2026-04-27 01:00: forget keep-max,surplus
2026-04-28 01:00: forget keep-max,bad
2026-04-29 01:00: keep version
2026-04-30 01:00: forget surplus
2026-05-01 01:00: keep newest-good,last`},
		{name: "keep_max alone", backups: three, rules: Rules{KeepMax: days(2)}, want: `2026-05-01 01:00: forget keep-max
2026-05-02 01:00: keep keep-all
2026-05-03 01:00: keep newest-good`},
		{name: "no never yields to keep_max", backups: each(nightly(t, 6, "2026-05-01"), func(i int, b *Backup) {
			b.Held, b.Tested, b.InUse = i == 0, i == 2, i == 3
			if i == 4 {
				b.Wanted, b.Elsewhere = true, 1
			}
		}), rules: Rules{Last: 9, KeepMax: days(1), Copies: 2}, now: "2030-01-01 00:00", want: `2026-04-26 01:00: keep held,last
2026-04-27 01:00: forget keep-max
2026-04-28 01:00: keep newest-tested,last
2026-04-29 01:00: keep in-use,last
2026-04-30 01:00: keep copies,last
2026-05-01 01:00: keep newest-good,last`},
		{name: "the newest tested, not older ones", backups: each(three, func(i int, b *Backup) { b.Tested = i < 2 }), rules: Rules{Last: 1}, want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: keep newest-tested
2026-05-03 01:00: keep newest-good,last`},
		{name: "enough copies are left", backups: each(three, func(_ int, b *Backup) { b.Wanted, b.Elsewhere = true, 2 }), rules: Rules{Last: 1, Copies: 2}, want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: forget surplus
2026-05-03 01:00: keep newest-good,last`},
		{name: "no other target keeps it", backups: each(three, func(_ int, b *Backup) { b.Elsewhere = 1 }), rules: Rules{Last: 1, Copies: 2}, want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: forget surplus
2026-05-03 01:00: keep newest-good,last`},
		{name: "only good ones count", backups: each(three, func(i int, b *Backup) { b.Good = i != 2 }), rules: Rules{Last: 2}, want: `2026-05-01 01:00: keep last
2026-05-02 01:00: keep newest-good,last
2026-05-03 01:00: keep bad-recent,bad-alone`},
		{name: "bad ones go late, and only after a newer good one", backups: each(three, func(i int, b *Backup) { b.Good = i == 1 }), rules: Rules{Last: 9, BadAfter: days(1)}, now: "2026-05-20 00:00", want: `2026-05-01 01:00: forget bad
2026-05-02 01:00: keep last-good,newest-good,last
2026-05-03 01:00: keep bad-alone`},
		{name: "bad ones stay two weeks", backups: each(three, func(i int, b *Backup) { b.Good = i == 2 }), rules: Rules{Last: 9}, now: "2026-05-15 01:00", want: `2026-05-01 01:00: forget bad
2026-05-02 01:00: keep bad-recent
2026-05-03 01:00: keep last-good,newest-good,last`},
		{name: "what was invalidated has its keep_min", backups: each(three, func(i int, b *Backup) { b.Good, b.Invalidated = i == 2, i == 0 }), rules: Rules{Last: 9, KeepMin: days(30), BadAfter: days(1)}, now: "2026-05-15 01:00", want: `2026-05-01 01:00: keep keep-min
2026-05-02 01:00: forget bad
2026-05-03 01:00: keep last-good,newest-good,keep-min,last`},
		{name: "nothing good at all", backups: each(three, func(_ int, b *Backup) { b.Good = false }), rules: Rules{Last: 1, KeepMax: days(1)}, now: "2030-01-01 00:00", want: `2026-05-01 01:00: keep bad-alone
2026-05-02 01:00: keep bad-alone
2026-05-03 01:00: keep bad-alone`},
		{name: "a clock that was ahead counts for nothing", backups: append(good(t, "2031-01-01 00:00"), three...), rules: Rules{Last: 1}, want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: forget surplus
2026-05-03 01:00: keep newest-good,last
2031-01-01 00:00: keep future`},
		{name: "a clock far behind deletes nothing", backups: three, rules: Rules{Last: 1, KeepMax: days(1)}, now: "2020-01-01 00:00", want: `2026-05-01 01:00: keep future
2026-05-02 01:00: keep future
2026-05-03 01:00: keep future`},
		{name: "a clock that ticks a little slower is no future", backups: three, rules: Rules{Last: 1}, now: "2026-05-03 00:55", want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: forget surplus
2026-05-03 01:00: keep newest-good,keep-min,last`},
		{name: "one minute more is", backups: three, rules: Rules{Last: 1}, now: "2026-05-03 00:54", want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: keep newest-good,last
2026-05-03 01:00: keep future`},
		{name: "without a date", backups: append([]Backup{{Run: "strange", Good: true}}, three...), rules: Rules{Last: 1}, want: `strange: keep future
2026-05-01 01:00: forget surplus
2026-05-02 01:00: forget surplus
2026-05-03 01:00: keep newest-good,last`},
		{name: "locked by the storage", backups: each(three, func(i int, b *Backup) { b.LockedUntil = at(t, "2026-05-03 05:30").Add(time.Duration(i) * time.Hour) }), rules: Rules{Last: 1}, want: `2026-05-01 01:00: forget surplus
2026-05-02 01:00: wait locked,surplus
2026-05-03 01:00: keep newest-good,last`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.now == "" {
				tt.now = "2026-05-03 05:30"
			}
			p := Make(Request{Target: "disk", Job: "db", Backups: tt.backups, Rules: tt.rules, Now: at(t, tt.now), Location: hanoi(t)})
			if diff := cmp.Diff(tt.want, spelled(p)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStops(t *testing.T) {
	base := Request{Target: "disk", Job: "db", Backups: nightly(t, 20, "2026-05-03"), Rules: Rules{Last: 14}, Now: at(t, "2026-05-03 05:30"), Location: hanoi(t)}
	digest := Make(base).Digest
	tests := []struct {
		name   string
		change func(*Request)
		want   []Rule
		gone   int
	}{
		{"30 in a hundred may go", func(q *Request) {}, nil, 6},
		{"one more may not", func(q *Request) { q.Rules.Last = 13 }, []Rule{Share}, 0},
		{"the class allows more", func(q *Request) { q.Rules.Last, q.Rules.Share = 13, 35 }, nil, 7},
		{"the class allows less", func(q *Request) { q.Rules.Share = 29 }, []Rule{Share}, 0},
		{"approved", func(q *Request) { q.Rules.Share, q.Approved = 1, digest }, nil, 6},
		{"another plan approved", func(q *Request) { q.Rules.Share, q.Rules.Last, q.Approved = 1, 13, digest }, []Rule{Share}, 0},
		{"failing", func(q *Request) { q.Failing = "the last run failed" }, []Rule{Failing}, 0},
		{"approval does not help a failing job", func(q *Request) { q.Failing, q.Approved = "the last run failed", digest }, []Rule{Failing}, 0},
		{"clock", func(q *Request) { q.ClockSuspect = "it jumped" }, []Rule{Clock}, 0},
		{"storage", func(q *Request) { q.Storage = "3 snapshots are missing" }, []Rule{Storage}, 0},
		{"everything", func(q *Request) {
			q.Failing, q.ClockSuspect, q.Storage, q.Rules.Share = "a", "b", "c", 1
		}, []Rule{Failing, Clock, Storage, Share}, 0},
		{"with nothing to delete nothing is refused", func(q *Request) { q.Rules.Last, q.Failing, q.Storage = 20, "a", "b" }, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := base
			tt.change(&q)
			p := Make(q)
			var got []Rule
			for _, r := range p.Refusals {
				got = append(got, r.Rule)
				if r.Text == "" || r.Hint == "" {
					t.Errorf("refusal %q has text %q and hint %q", r.Rule, r.Text, r.Hint)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("refusals (-want +got):\n%s", diff)
			}
			if n := len(p.Removals()); n != tt.gone {
				t.Errorf("%d removals, want %d", n, tt.gone)
			}
		})
	}
}

// Storage that only takes keeps all, and what should go is named.
func TestAppendOnly(t *testing.T) {
	p := Make(Request{
		Target: "disk", Job: "db", Backups: nightly(t, 3, "2026-05-03"), Rules: Rules{Last: 2}, Now: at(t, "2026-05-03 05:30"), Location: hanoi(t),
		AppendOnly: true, Failing: "it fails",
	})
	want := `2026-05-01 01:00: wait append-only,surplus
2026-05-02 01:00: keep last
2026-05-03 01:00: keep newest-good,last`
	if diff := cmp.Diff(want, spelled(p)); diff != "" || len(p.Refusals) > 0 || p.Digest != "" {
		t.Errorf("plan %+v (-want +got):\n%s", p, diff)
	}
}

// A digest is of what would go, not of when it is looked at.
func TestDigest(t *testing.T) {
	base := Request{Target: "disk", Job: "db", Backups: nightly(t, 20, "2026-05-03"), Rules: Rules{Last: 14}, Now: at(t, "2026-05-03 05:30"), Location: hanoi(t)}
	digest := Make(base).Digest
	tests := []struct {
		name   string
		change func(*Request)
		same   bool
	}{
		{"an hour later", func(q *Request) { q.Now = q.Now.Add(time.Hour) }, true},
		{"what stops it", func(q *Request) { q.Failing = "x" }, true},
		{"the limit", func(q *Request) { q.Rules.Share = 1 }, true},
		{"another target", func(q *Request) { q.Target = "far" }, false},
		{"another job", func(q *Request) { q.Job = "other" }, false},
		{"another rule with the same effect", func(q *Request) { q.Rules.Daily = 14 }, false},
		{"a hold", func(q *Request) { q.Backups = each(q.Backups, func(i int, b *Backup) { b.Held = i == 0 }) }, false},
		{"another snapshot", func(q *Request) {
			q.Backups = each(q.Backups, func(i int, b *Backup) { b.Snapshots = map[string]string{"tree": fmt.Sprint(i)} })
		}, false},
		{"a newer backup", func(q *Request) {
			q.Now = at(t, "2026-05-04 05:30")
			q.Backups = append(good(t, "2026-05-04 01:00"), q.Backups...)
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := base
			tt.change(&q)
			if got := Make(q).Digest; (got == digest) != tt.same {
				t.Errorf("digest %s, before %s, want the same: %v", got, digest, tt.same)
			}
		})
	}
	if nothing := Make(Request{Location: hanoi(t)}); nothing.Digest != "" {
		t.Errorf("digest %q of a plan that deletes nothing", nothing.Digest)
	}
}

// Every reason can be said in words, and the last moment of a minimum is the one
// that KeepUntil names.
func TestWords(t *testing.T) {
	all := []Rule{
		Last, Hourly, Daily, Weekly, Monthly, Yearly, KeepAll, Version, Held, LastGood, NewestGood, NewestTested, Young, Future, InUse, Copies,
		Locked, AppendOnly, BadRecent, BadAlone, Surplus, OverAge, Bad,
	}
	said := map[string]Rule{}
	for _, rule := range all {
		text := Reason{Rule: rule, N: 1, Of: 2, Until: at(t, "2026-05-01 01:00")}.Text()
		if text == "" || text == string(rule) {
			t.Errorf("rule %q has no words", rule)
		}
		if other, twice := said[text]; twice {
			t.Errorf("rules %q and %q say the same", rule, other)
		}
		said[text] = rule
	}
	r := Rules{Last: 1, KeepMin: years(1)}
	backups := good(t, "2028-02-29 01:00", "2028-03-01 01:00")
	until := r.KeepUntil(backups[0].At, hanoi(t))
	for _, tt := range []struct {
		now  time.Time
		keep bool
	}{{until.Add(-time.Second), true}, {until, false}} {
		p := Make(Request{Backups: backups, Rules: r, Now: tt.now, Location: hanoi(t)})
		if p.Decisions[0].Keep != tt.keep {
			t.Errorf("at %s kept %v, want %v", tt.now, p.Decisions[0].Keep, tt.keep)
		}
	}
}
