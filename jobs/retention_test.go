package jobs

import (
	"slices"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/restic"
	"saoluu/retention"
)

// What the catalog's list calls "keep until" is the instant at which retention may
// delete the run, not a second earlier or later.
func TestKeepUntil(t *testing.T) {
	loc, err := calendar.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		t.Fatal(err)
	}
	year, month := calendar.Period{Months: 12}, calendar.Period{Months: 1}
	c := &config.Config{
		Site:    config.Site{Location: loc},
		Classes: map[string]config.Class{"long": {KeepMin: year, Keep: config.Keep{Last: 1}}, "short": {KeepMin: month, Keep: config.Keep{Last: 1}}, "none": {Keep: config.Keep{Last: 1}}},
		Jobs:    map[string]config.Job{"a": {Class: "long"}, "b": {Class: "short"}, "c": {Class: "none"}},
	}
	leap := time.Date(2028, 2, 29, 1, 0, 0, 0, loc)
	for _, tt := range []struct{ job, class, want string }{
		{"a", "long", "2029-02-28T01:00:00+07:00"},
		{"a", "short", "2029-02-28T01:00:00+07:00"},
		{"b", "short", "2028-03-29T01:00:00+07:00"},
		{"b", "long", "2029-02-28T01:00:00+07:00"},
		{"b", "left", "2028-03-29T01:00:00+07:00"},
		{"c", "none", ""},
	} {
		run := catalog.Run{RunFinished: catalog.RunFinished{Job: tt.job, Class: tt.class, State: catalog.RunComplete, ConsistentAt: leap}}
		until, ok := KeepUntil(c, run)
		if ok != (tt.want != "") || ok && until.In(loc).Format(time.RFC3339) != tt.want {
			t.Errorf("%+v: kept until %s, %v", tt, until.In(loc).Format(time.RFC3339), ok)
		}
		if !ok {
			continue
		}
		b := retention.Backup{Run: "old", At: leap, Good: true}
		if was, known := c.Classes[tt.class]; known && tt.class != c.Jobs[tt.job].Class {
			b.Promised = was.KeepMin
		}
		newer := retention.Backup{Run: "new", At: leap.Add(time.Hour), Good: true}
		for _, at := range []struct {
			now  time.Time
			keep bool
		}{{until.Add(-time.Second), true}, {until, false}} {
			p := retention.Make(retention.Request{Backups: []retention.Backup{b, newer}, Rules: Rules(c.Classes[c.Jobs[tt.job].Class]), Now: at.now, Location: loc})
			if p.Decisions[0].Keep != at.keep {
				t.Errorf("%+v: at %s kept %v", tt, at.now, p.Decisions[0].Keep)
			}
		}
	}
}

// What a target no longer lists is what was deleted, part by part.
func TestApplied(t *testing.T) {
	plan := catalog.RetentionPlanned{Target: "disk", Removed: []catalog.RemovedRow{
		{Run: "all", Snapshots: []string{"a1", "a2"}}, {Run: "half", Snapshots: []string{"b1", "b2"}}, {Run: "none", Snapshots: []string{"c1"}},
	}}
	done := applied(plan, []restic.Snapshot{{ID: "b2"}, {ID: "c1"}, {ID: "other"}})
	var got []string
	for _, row := range done.Removed {
		got = append(got, row.Run)
		got = append(got, row.Snapshots...)
	}
	if want := []string{"all", "a1", "a2", "half", "b1"}; !slices.Equal(got, want) {
		t.Errorf("removed %q, want %q", got, want)
	}
	if !slices.Equal(plan.Removed[1].Snapshots, []string{"b1", "b2"}) {
		t.Errorf("the plan was changed: %v", plan.Removed)
	}
}

// Doctor tells before the first night when a class would ask for approval every
// night.
func TestExamineRetention(t *testing.T) {
	loc, err := calendar.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		schedule string
		class    config.Class
		bad      bool
	}{
		{"daily at 01:00", config.Class{}, false},
		{"daily at 01:00", config.Class{Keep: config.Keep{Daily: 14, Weekly: 8, Monthly: 13, Yearly: 5}, ApproveOver: 30}, false},
		{"daily at 01:00", config.Class{Keep: config.Keep{Last: 2}, ApproveOver: 30}, true},
		{"daily at 01:00", config.Class{Keep: config.Keep{Last: 2}, ApproveOver: 50}, false},
		{"hourly", config.Class{Keep: config.Keep{Daily: 7}, ApproveOver: 30}, true},
		{"hourly", config.Class{Keep: config.Keep{Daily: 7}, ApproveOver: 90}, false},
		{"monthly on 31 at 02:00", config.Class{Keep: config.Keep{Monthly: 2}, ApproveOver: 30}, false},
	} {
		schedule, err := calendar.ParseSchedule(tt.schedule)
		if err != nil {
			t.Fatal(err)
		}
		r := &Runner{
			Config: &config.Config{Site: config.Site{Location: loc}, Classes: map[string]config.Class{"c": tt.class}},
			Now:    func() time.Time { return time.Date(2026, 1, 1, 9, 0, 0, 0, loc) },
		}
		if err := r.examineRetention(config.Job{Name: "a", Class: "c", Schedule: schedule}); (err != nil) != tt.bad {
			t.Errorf("%s with %+v: %v, want an error: %v", tt.schedule, tt.class.Keep, err, tt.bad)
		}
	}
}
