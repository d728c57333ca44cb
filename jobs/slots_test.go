package jobs

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

func schedule(t *testing.T, text string) calendar.Schedule {
	t.Helper()
	s, err := calendar.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func zone(t *testing.T) *time.Location {
	t.Helper()
	loc, err := calendar.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	instant, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return instant.UTC()
}

func TestPlanClampsTheMonth(t *testing.T) {
	all := []duty{{"qlvb", catalog.ActionBackup, schedule(t, "monthly on 31 at 02:00")}}
	slots := plan(all, at(t, "2026-01-31T12:00:00+07:00"), at(t, "2026-04-30T23:00:00+07:00"), zone(t))
	var got []string
	for _, s := range slots {
		got = append(got, s.Due.In(zone(t)).Format("2006-01-02 15:04"))
	}
	if diff := cmp.Diff([]string{"2026-02-28 02:00", "2026-03-31 02:00", "2026-04-30 02:00"}, got); diff != "" {
		t.Error(diff)
	}
}

// However the time is cut into plannings, the same slots are made, each once.
func TestPlanIsTheSameHoweverItIsCut(t *testing.T) {
	loc := zone(t)
	all := []duty{
		{"a", catalog.ActionBackup, schedule(t, "daily at 01:00")},
		{"a", catalog.ActionTest, schedule(t, "weekly on sun at 03:00")},
		{"b", catalog.ActionBackup, schedule(t, "every 15m")},
		{"nas", catalog.ActionUpkeep, nightly()},
	}
	from := at(t, "2026-01-01T00:00:00Z")
	rapid.Check(t, func(t *rapid.T) {
		end := from.Add(time.Duration(rapid.IntRange(1, 20*24*60).Draw(t, "minutes")) * time.Minute)
		whole := plan(all, from, end, loc)
		var pieces []catalog.Slot
		for cut := from; cut.Before(end); {
			next := cut.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "step")) * time.Minute)
			if next.After(end) {
				next = end
			}
			pieces = append(pieces, plan(all, cut, next, loc)...)
			cut = next
		}
		count := map[catalog.Slot]int{}
		for _, s := range whole {
			count[s]++
		}
		for _, s := range pieces {
			count[s]--
		}
		for s, n := range count {
			if n != 0 {
				t.Fatalf("slot %v: %d more in the whole than in the pieces", s, n)
			}
		}
	})
}

func TestGatherCatchesUpOnce(t *testing.T) {
	row := func(job, due string) catalog.SlotRow {
		return catalog.SlotRow{Slot: catalog.Slot{Job: job, Action: catalog.ActionBackup, Due: at(t, due)}}
	}
	got := gather([]catalog.SlotRow{
		row("a", "2026-05-01T18:00:00Z"), row("b", "2026-05-01T19:00:00Z"),
		row("a", "2026-05-02T18:00:00Z"), row("a", "2026-05-03T18:00:00Z"),
	})
	if len(got) != 2 {
		t.Fatalf("%d pieces of work for two jobs", len(got))
	}
	a := got[0]
	if a.slot.Job != "a" || !a.slot.Due.Equal(at(t, "2026-05-03T18:00:00Z")) || len(a.covers) != 2 {
		t.Errorf("the newest slot is done and the others are covered; got %+v", a)
	}
	if len(got[1].covers) != 0 {
		t.Errorf("job b covers %v", got[1].covers)
	}
}

func TestClock(t *testing.T) {
	wall, mono := at(t, "2026-05-01T00:00:00Z"), time.Duration(0)
	c := &Clock{Wall: func() time.Time { return wall }, Mono: func() time.Duration { return mono }}
	move := func(w, m time.Duration) bool {
		wall, mono = wall.Add(w), mono+m
		_, _, jumped := c.Look()
		return jumped
	}
	c.Look()
	tests := []struct {
		name       string
		wall, mono time.Duration
		want       bool
	}{
		{"both move on", time.Hour, time.Hour, false},
		{"slewed a little", time.Minute + time.Second, time.Minute, false},
		{"set back a second", time.Minute - time.Second, time.Minute, false},
		{"set back", time.Minute - 10*time.Second, time.Minute, true},
		{"goes on", time.Minute, time.Minute, false},
		{"jumps ahead", time.Hour, time.Minute, true},
	}
	for _, tt := range tests {
		mark := c.Mark()
		if got := move(tt.wall, tt.mono); got != tt.want {
			t.Errorf("%s: jumped %v, want %v", tt.name, got, tt.want)
		}
		if got := c.JumpedSince(mark); got != tt.want {
			t.Errorf("%s: jumped since the mark %v, want %v", tt.name, got, tt.want)
		}
		if got := len(c.Jumps()) > 0; got != tt.want {
			t.Errorf("%s: told a jump that was seen by another look: %v, want %v", tt.name, got, tt.want)
		}
		if got := c.Jumps(); len(got) > 0 {
			t.Errorf("%s: told twice: %v", tt.name, got)
		}
	}
}
