package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"saoluu/jobs"
	"saoluu/retention"
)

// planRow is the retention plan of one target.
type planRow struct {
	Target  string         `json:"target"`
	Plans   []jobPlan      `json:"plans"`
	Left    map[string]int `json:"left,omitempty"`    // backups of jobs that are not in the configuration: left alone
	Unknown int            `json:"unknown,omitempty"` // snapshots the catalog does not know: left alone
	Error   string         `json:"error,omitempty"`   // the target could not be looked at
}

// jobPlan is the plan of one job on a target.
type jobPlan struct {
	Job      string       `json:"job"`
	Digest   string       `json:"digest,omitempty"` // what an approval names; empty: nothing would be deleted
	Share    int          `json:"share"`            // percent that would be deleted
	Limit    int          `json:"limit"`            // percent over which a second person approves
	Refusals []refusalRow `json:"refusals"`
	Backups  []backupRow  `json:"backups"`
}

type refusalRow struct {
	Rule string `json:"rule"`
	Text string `json:"text"`
	Hint string `json:"hint"`
}

// backupRow is what becomes of one backup.
type backupRow struct {
	Run       string            `json:"run"`
	TakenAt   time.Time         `json:"taken_at"`
	Action    string            `json:"action"` // keep, delete or wait
	Reasons   []reasonRow       `json:"reasons"`
	Snapshots map[string]string `json:"snapshots"`
	Archived  []string          `json:"archived,omitempty"` // sets of offline media that hold it; decides nothing
}

type reasonRow struct {
	Rule string `json:"rule"`
	Text string `json:"text"`
}

// dryRun prints what upkeep would delete now from the targets.
func (a *app) dryRun(ctx context.Context, names []string, asJSON bool) (err error) {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	s, err := a.wire(ctx, cfg) // and nothing of what "open" puts right: this only looks
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if names, err = targetNames(s, names); err != nil {
		return err
	}
	var results []error
	for _, name := range names {
		plan, err := s.PlanRetention(ctx, name)
		results = append(results, err)
		if asJSON {
			row := rowOf(plan)
			row.Target = name
			if err != nil {
				row.Error = err.Error()
			}
			if err := printJSON(os.Stdout, row); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			printError(os.Stderr, err)
		}
		printRetention(plan, cfg.Site.Location)
	}
	return worst(results)
}

func rowOf(r jobs.Retention) planRow {
	row := planRow{Plans: []jobPlan{}, Left: r.Left, Unknown: r.Unknown}
	for _, p := range r.Plans {
		plan := jobPlan{Job: p.Job, Digest: p.Digest, Share: p.Share, Limit: p.Limit, Refusals: []refusalRow{}, Backups: []backupRow{}}
		for _, no := range p.Refusals {
			plan.Refusals = append(plan.Refusals, refusalRow{string(no.Rule), no.Text, no.Hint})
		}
		for _, d := range p.Decisions {
			b := backupRow{Run: d.Run, TakenAt: d.At.UTC(), Action: action(d), Snapshots: d.Snapshots, Archived: r.Archived[d.Run]}
			for _, reason := range d.Reasons {
				b.Reasons = append(b.Reasons, reasonRow{string(reason.Rule), reason.Text()})
			}
			plan.Backups = append(plan.Backups, b)
		}
		row.Plans = append(row.Plans, plan)
	}
	return row
}

// action is what becomes of a backup.
func action(d retention.Decision) string {
	switch {
	case d.Waiting:
		return "wait"
	case d.Keep:
		return "keep"
	default:
		return "delete"
	}
}

func printRetention(r jobs.Retention, loc *time.Location) {
	t := &table{}
	t.row("TARGET", "JOB", "TAKEN", "ACTION", "WHY", "RUN")
	for _, p := range r.Plans {
		for _, d := range p.Decisions {
			why := ""
			for i, reason := range d.Reasons {
				if i > 0 {
					why += "; "
				}
				why += reason.Text()
			}
			if sets := r.Archived[d.Run]; len(sets) > 0 {
				why += "; archived in " + strings.Join(sets, ", ")
			}
			t.row(r.Target, p.Job, when(d.At, loc), action(d), why, d.Run)
			t.colour(3, map[string]string{"keep": green, "delete": red, "wait": yellow}[action(d)])
		}
	}
	t.print(os.Stdout)
	for _, p := range r.Plans {
		fmt.Printf("%s: %s: %d of %d would be deleted", r.Target, p.Job, len(p.Surplus()), len(p.Decisions))
		if p.Digest != "" {
			fmt.Printf(" (plan %s)", p.Digest)
		}
		fmt.Println()
		for _, no := range p.Refusals {
			fmt.Printf("%s: %s: %s: %s; %s\n", r.Target, p.Job, paint(os.Stdout, red, "refused"), safe(no.Text), safe(no.Hint))
		}
	}
	for _, job := range slices.Sorted(maps.Keys(r.Left)) {
		fmt.Printf("%s: %s: not in the configuration, its %d backups are left alone\n", r.Target, safe(job), r.Left[job])
	}
	if r.Unknown > 0 {
		fmt.Printf("%s: %d snapshots that the catalog does not know are left alone\n", r.Target, r.Unknown)
	}
}
