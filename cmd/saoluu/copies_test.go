package main

import (
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/calendar"
)

// Every copy shows what tests of itself found, never what they found of another.
func TestRowsAreOfTheCopy(t *testing.T) {
	var keep calendar.Period
	if err := keep.UnmarshalText([]byte("1y")); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Classes: map[string]config.Class{"c": {KeepMin: keep}}}
	cfg.Site.Location = time.UTC
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	run := catalog.Run{Gone: map[string]time.Time{"bad": at, "old": at}}
	run.Run, run.Class, run.State, run.StartedAt = "r", "c", catalog.RunComplete, at
	for _, target := range []string{"tested", "untested", "bad", "old", "lost", "owed", "again"} {
		c := catalog.Copy{Target: target, State: catalog.RunComplete, Snapshots: map[string]string{"p": target}}
		if target == "owed" {
			c.State = catalog.RunFailed
		}
		run.Copies = append(run.Copies, c)
	}
	record := newCopyRecord()
	for _, test := range []catalog.TestFinished{
		{Target: "tested", Verdict: catalog.VerdictPassed, Level: catalog.LevelAsserted},
		{Target: "tested", Verdict: catalog.VerdictPassed, Level: catalog.LevelRestored},
		{Target: "tested", Verdict: catalog.VerdictUnknown},
		{Target: "bad", Verdict: catalog.VerdictPassed, Level: catalog.LevelAsserted},
		{Target: "bad", Verdict: catalog.VerdictFailed, Blames: catalog.BlamesCopy, Level: catalog.LevelReread},
		{Target: "again", Verdict: catalog.VerdictFailed, Blames: catalog.BlamesNothing},
		{Target: "again", Verdict: catalog.VerdictPassed, Level: catalog.LevelRestored},
	} {
		test.Run = "r"
		record.add(test)
	}
	record.missing[copyKey{"lost", "lost"}] = true
	want := map[string][2]string{
		"tested": {"complete", "asserted"}, "untested": {"complete", ""}, "bad": {"damaged", "failed"}, "old": {"removed", ""},
		"lost": {"damaged", ""}, "owed": {"failed", ""}, "again": {"complete", "restored"},
	}
	for _, row := range rowsOf(cfg, run, record, nil) {
		if got := [2]string{row.State, row.Level}; got != want[row.Target] {
			t.Errorf("%s: %v, not %v", row.Target, got, want[row.Target])
		}
		if (row.KeepUntil != nil) != (row.State == catalog.RunComplete) {
			t.Errorf("%s is %s and kept until %v", row.Target, row.State, row.KeepUntil)
		}
	}
}
