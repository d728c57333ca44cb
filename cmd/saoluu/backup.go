package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const backupHelp = `backup runs the named jobs now, outside their schedule, or all of them. Runs to
one target overlap up to the target's limit; their copies to other targets go
together while they wait for each other. Each run is one object with --json:
{job, run, state, parts, bytes, copies:[{target, snapshot}]}.

Exit status: 0 when every run is complete, 3 when one is incomplete or a copy is
owed to a target, 1 when one failed.`

func backupCommand(a *app) *cobra.Command {
	var all, asJSON bool
	c := &cobra.Command{Use: "backup [JOB...]", Short: "run jobs now", Long: backupHelp, ValidArgsFunction: a.completeJobs}
	c.Flags().BoolVar(&all, "all", false, "run every job")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per run")
	c.RunE = func(cmd *cobra.Command, names []string) error {
		return a.each(cmd.Context(), names, all, func(ctx context.Context, s *site, job config.Job, mine *place, out func(func(io.Writer))) error {
			saved := s.Save(ctx, job, jobs.Manual())
			if saved.CopiesOn() {
				mine.rest()
			}
			fin, err := saved.Finish(ctx)
			s.meter.done(job.Name)
			out(func(w io.Writer) { printRun(w, fin, asJSON) })
			return err
		})
	}
	return c
}

// each runs work for the chosen jobs, as many at once as the targets take.
// Errors are printed as they come, with the job they belong to; the returned
// error carries the worst exit code and nothing more to say.
func (a *app) each(ctx context.Context, names []string, all bool, work func(context.Context, *site, config.Job, *place, func(func(io.Writer))) error) (err error) {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	picked, err := chosen(s.Config, names, all)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := func(print func(io.Writer)) {
		mu.Lock()
		defer mu.Unlock()
		print(os.Stdout)
	}
	var results []error
	var group sync.WaitGroup
	free := newPlaces(s.Config)
	for _, job := range picked {
		mine := free.take()
		group.Go(func() {
			defer mine.leave()
			err := work(ctx, s, job, mine, out)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				printError(os.Stderr, fmt.Errorf("job %q: %w", job.Name, err))
			}
			results = append(results, err)
		})
	}
	group.Wait()
	return worst(results)
}

// worst returns a silent error with the gravest exit code of all: failed before
// verification, unknown, refused and incomplete.
func worst(results []error) error {
	order := []int{exitCancelled, exitFailed, exitUsage, exitVerification, exitUnknown, exitRefused, exitIncomplete}
	for _, code := range order {
		for _, err := range results {
			if err != nil && exitCode(err) == code {
				return &exitError{code: code}
			}
		}
	}
	return nil
}

// printedCopy and printedRun are the JSON of a run.
type printedCopy struct {
	Target    string            `json:"target"`
	State     string            `json:"state"`
	Snapshot  string            `json:"snapshot"` // of the first part
	Snapshots map[string]string `json:"snapshots"`
}

type printedRun struct {
	Job    string         `json:"job"`
	Run    string         `json:"run"`
	State  string         `json:"state"`
	Parts  []catalog.Part `json:"parts"`
	Bytes  int64          `json:"bytes"`
	Copies []printedCopy  `json:"copies"`
	Error  string         `json:"error,omitempty"`
	Hint   string         `json:"hint,omitempty"`
}

func printRun(w io.Writer, fin catalog.RunFinished, asJSON bool) {
	p := printedRun{Job: fin.Job, Run: fin.Run, State: fin.State, Parts: fin.Parts, Copies: []printedCopy{}, Error: fin.Error, Hint: fin.Hint}
	if p.Parts == nil {
		p.Parts = []catalog.Part{}
	}
	for _, part := range fin.Parts {
		p.Bytes += part.Bytes
	}
	for _, c := range fin.Copies {
		one := printedCopy{Target: c.Target, State: c.State, Snapshots: c.Snapshots}
		if len(fin.Parts) > 0 {
			one.Snapshot = c.Snapshots[fin.Parts[0].Name]
		}
		p.Copies = append(p.Copies, one)
	}
	if asJSON {
		_ = printJSON(w, p)
		return
	}
	fmt.Fprintf(w, "%s: %s, %s in %d part(s), run %s\n", p.Job, paint(w, stateColour(p.State), p.State), size(p.Bytes), len(p.Parts), p.Run)
	for _, c := range p.Copies {
		fmt.Fprintf(w, "  %s: %s %.12s\n", c.Target, c.State, c.Snapshot)
	}
}

// completeJobs offers the jobs' names to the shell.
func (a *app) completeJobs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	c, err := a.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for name := range c.Jobs {
		names = append(names, name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// oneJob returns the job a command is about.
func oneJob(c *config.Config, name string) (config.Job, error) {
	picked, err := chosen(c, []string{name}, false)
	if err != nil {
		return config.Job{}, err
	}
	if len(picked) != 1 {
		return config.Job{}, fault.New(fault.Usage, fmt.Sprintf("job %q", name), errors.New("not in the configuration"), "")
	}
	return picked[0], nil
}
