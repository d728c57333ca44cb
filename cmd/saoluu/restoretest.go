package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const testHelp = `test restores a copy of the named jobs, or of all of them, into a sandbox and
checks it: against what was true of the source when the backup was made, and
against the job's own checks. Without options it takes the newest good run, from
the target whose copies were tested least recently.

Only a verdict of "passed" is good. Exit status: 0 passed, 5 failed, 4 unknown
(could not look) or nothing to assert.`

func testCommand(a *app) *cobra.Command {
	var all, asJSON bool
	var date string
	var pick jobs.Pick
	c := &cobra.Command{Use: "test [JOB...]", Short: "prove that backups come back", Long: testHelp, ValidArgsFunction: a.completeJobs}
	c.Flags().BoolVar(&all, "all", false, "test every job")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per test")
	c.Flags().StringVar(&pick.Target, "target", "", "take the copy on this `TARGET`")
	c.Flags().StringVar(&date, "date", "", "take the newest good run up to this `DATE` (YYYY-MM-DD)")
	c.Flags().StringVar(&pick.Seed, "seed", "", "choose among all good runs by this `TEXT`")
	c.RunE = func(cmd *cobra.Command, names []string) error {
		if err := parseDate(date, &pick.Date); err != nil {
			return err
		}
		return a.each(cmd.Context(), names, all, func(ctx context.Context, s *site, job config.Job, _ *place, out func(func(io.Writer))) error {
			fin, err := s.Test(ctx, job, pick, jobs.Manual())
			s.meter.done(job.Name)
			out(func(w io.Writer) { printTest(w, s, fin, asJSON) })
			return err
		})
	}
	return c
}

func parseDate(text string, date *calendar.Date) error {
	if text == "" {
		return nil
	}
	d, err := calendar.ParseDate(text)
	*date = d
	if err != nil {
		return fault.New(fault.Usage, "--date", err, fault.HintOf(err))
	}
	return nil
}

// printedTest is the JSON of a restore test.
type printedTest struct {
	Job            string              `json:"job"`
	Test           string              `json:"test"`
	Run            string              `json:"run"`
	Target         string              `json:"target"`
	Snapshot       string              `json:"snapshot"` // of the first part
	Snapshots      []string            `json:"snapshots"`
	Verdict        string              `json:"verdict"`
	Level          string              `json:"level"`
	Assertions     []catalog.Assertion `json:"assertions"`
	Beyond         string              `json:"beyond,omitempty"` // why the test of an image went no further
	RestoreSeconds float64             `json:"restore_seconds"`
	BootSeconds    float64             `json:"boot_seconds,omitempty"`
	Artifacts      []catalog.Artifact  `json:"artifacts,omitempty"` // what the bundle of the entry holds beside it
	Entry          int64               `json:"entry"`               // of the ledger
	Error          string              `json:"error,omitempty"`
	Hint           string              `json:"hint,omitempty"`
}

func printTest(w io.Writer, s *site, done jobs.TestDone, asJSON bool) {
	fin := done.TestFinished
	p := printedTest{
		Job: fin.Job, Test: fin.Test, Run: fin.Run, Target: fin.Target, Snapshots: fin.Snapshots, Verdict: fin.Verdict, Level: fin.Level,
		Assertions: fin.Assertions, RestoreSeconds: fin.RestoreSeconds, Beyond: fin.Beyond, BootSeconds: fin.BootSeconds, Artifacts: fin.Artifacts, Entry: done.Entry, Error: fin.Error, Hint: fin.Hint,
	}
	if len(fin.Snapshots) > 0 {
		p.Snapshot = fin.Snapshots[0]
	}
	if p.Assertions == nil {
		p.Assertions = []catalog.Assertion{}
	}
	if p.Snapshots == nil {
		p.Snapshots = []string{}
	}
	if asJSON {
		_ = printJSON(w, p)
		return
	}
	if p.Level == "" {
		fmt.Fprintf(w, "%s: %s, nothing was restored, ledger entry %d\n", p.Job, paint(w, stateColour(p.Verdict), p.Verdict), p.Entry)
		return
	}
	fmt.Fprintf(w, "%s: %s at level %q, run %s from %s, restored in %.1f s, ledger entry %d\n",
		p.Job, paint(w, stateColour(p.Verdict), p.Verdict), p.Level, p.Run, p.Target, p.RestoreSeconds, p.Entry)
	if p.Beyond != "" {
		fmt.Fprintf(w, "  no further: %s\n", safe(p.Beyond))
	}
	for _, x := range p.Assertions {
		mark, colour := "ok", green
		if !x.OK {
			mark, colour = "NO", red
		}
		fmt.Fprintf(w, "  %s  %s: expected %s, found %s\n", paint(w, colour, mark), safe(x.Name), clip(safe(x.Expected)), clip(safe(x.Actual)))
	}
}
