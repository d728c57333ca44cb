package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/jobs"
	"saoluu/retention"
)

const retentionHelp = `retention shows what the rules of a class lead to. What is deleted tonight is shown
by "saoluu upkeep --dry-run".`

const simulateHelp = `simulate plays the next days of a job, or of any job of a class: every backup
succeeds, every restore test passes, every night the class's rules are applied. It
prints for each month how many backups were made and deleted, how many there are at
its end and how old the oldest is, and how often a second person would have to
approve because too many would go at once. A job starts from what lies on its first
target, unless --fresh is said. Nothing is deleted.`

func retentionCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "retention", Short: "what the rules of a class lead to", Long: retentionHelp}
	c.AddCommand(simulateCommand(a))
	return c
}

// A simulated is what "retention simulate" is asked for.
type simulated struct {
	job, class, schedule string
	days                 int
	fresh, asJSON        bool
}

func simulateCommand(a *app) *cobra.Command {
	var q simulated
	c := &cobra.Command{Use: "simulate JOB | --class CLASS", Short: "how many backups there will be, month by month", Long: simulateHelp, Args: cobra.MaximumNArgs(1)}
	c.Flags().StringVar(&q.class, "class", "", "any job of this `CLASS`, from nothing")
	c.Flags().StringVar(&q.schedule, "schedule", "", "when backups are made: `SCHEDULE`; that of the job, or \"daily at 01:00\"")
	c.Flags().IntVar(&q.days, "days", 365, "how many `DAYS`")
	c.Flags().BoolVar(&q.fresh, "fresh", false, "start from nothing")
	c.Flags().BoolVar(&q.asJSON, "json", false, "print one JSON object per month")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			q.job = args[0]
		}
		if (q.job == "") == (q.class == "") {
			return fault.New(fault.Usage, cmd.CommandPath(), nil, "name a job, or a class with --class")
		}
		if q.days < 1 || q.days > maxSimulated {
			return fault.New(fault.Usage, cmd.CommandPath(), fmt.Errorf("%d days", q.days), fmt.Sprintf("say between 1 and %d", maxSimulated))
		}
		cfg, err := a.load()
		if err != nil {
			return err
		}
		s, err := a.simulation(cmd.Context(), cfg, q)
		if err != nil {
			return err
		}
		return printMonths(retention.Simulate(s), cfg.Site.Location, q.asJSON)
	}
	return c
}

// maxSimulated bounds a simulation: ten years.
const maxSimulated = 3660

// simulation is what was asked for, from what is there now.
func (a *app) simulation(ctx context.Context, cfg *config.Config, q simulated) (s retention.Simulation, err error) {
	text := "daily at 01:00"
	var tests calendar.Schedule
	job, known := cfg.Jobs[q.job]
	if q.job != "" {
		if !known {
			return s, fault.New(fault.Usage, fmt.Sprintf("job %q", q.job), errors.New("not in the configuration"), "run \"saoluu config show\" to see the jobs")
		}
		q.class, text, tests = job.Class, job.Schedule.String(), job.Test.Schedule
	}
	if _, ok := cfg.Classes[q.class]; !ok {
		return s, fault.New(fault.Usage, fmt.Sprintf("class %q", q.class), errors.New("not in the configuration"), "run \"saoluu config show\" to see the classes")
	}
	if q.schedule != "" {
		text = q.schedule
	}
	schedule, err := calendar.ParseSchedule(text)
	if err != nil {
		return s, err
	}
	s = jobs.Simulation(cfg, q.class, schedule, tests, clockNow()(), q.days)
	if q.job == "" || q.fresh {
		return s, nil
	}
	opened, err := a.wire(ctx, cfg)
	if err != nil {
		return s, err
	}
	s.Start, err = opened.Stored(ctx, q.job, job.Targets[0])
	return s, errors.Join(err, opened.close())
}

// monthRow is one month of a simulation.
type monthRow struct {
	Month     calendar.Month `json:"month"`
	Taken     int            `json:"taken"`
	Removed   int            `json:"removed"`
	Left      int            `json:"left"`
	Oldest    *time.Time     `json:"oldest"` // null: none is left
	Approvals int            `json:"approvals"`
}

func printMonths(months []retention.Month, loc *time.Location, asJSON bool) error {
	t := &table{}
	t.row("MONTH", "MADE", "DELETED", "LEFT", "OLDEST", "APPROVALS")
	for _, m := range months {
		if asJSON {
			row := monthRow{Month: m.Month, Taken: m.Taken, Removed: m.Removed, Left: m.Left, Approvals: m.Approvals}
			if !m.Oldest.IsZero() {
				oldest := m.Oldest.UTC()
				row.Oldest = &oldest
			}
			if err := printJSON(os.Stdout, row); err != nil {
				return err
			}
			continue
		}
		t.row(m.Month.String(), fmt.Sprint(m.Taken), fmt.Sprint(m.Removed), fmt.Sprint(m.Left), when(m.Oldest, loc), fmt.Sprint(m.Approvals))
	}
	if !asJSON {
		t.print(os.Stdout)
	}
	return nil
}
