package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/compliance"
	"saoluu/config"
	"saoluu/jobs"
)

const statusHelp = `status shows how things stand now: for every job the newest good backup, the
last restore test and what is due; beside that, how many changes of a configuration
nobody has explained and what could not be compared. It reads kept state only and may be run at any
time beside the daemon.

Exit status: 0 good, 1 warning, 2 failing, 3 unknown.`

func statusCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "status", Short: "how things stand now", Long: statusHelp, Args: cobra.NoArgs}
	c.Flags().BoolVar(&asJSON, "json", false, "print the posture as JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		debug.SetGCPercent(statusGC)
		c, cat, err := a.read(cmd.Context())
		if err != nil {
			return &exitError{code: statusUnknown, err: err}
		}
		defer func() { err = errors.Join(err, cat.Close()) }()
		s, err := compliance.Posture(cmd.Context(), living{cat, c}, clockNow()())
		if err != nil {
			return &exitError{code: statusUnknown, err: err}
		}
		if err := escrowed(cmd.Context(), c, cat, &s); err != nil {
			return &exitError{code: statusUnknown, err: err}
		}
		inForce(c, &s)
		if err := watched(c, &s); err != nil {
			return &exitError{code: statusUnknown, err: err}
		}
		if asJSON {
			if err := printJSON(os.Stdout, s); err != nil {
				return err
			}
		} else {
			printStatus(s, c.Site.Location)
		}
		if code := statusCode(s.Overall); code != 0 {
			return &exitError{code: code}
		}
		return nil
	}
	return c
}

// statusGC lets the heap grow to 16 MiB before the first collection: the status of
// a thousand jobs is over by then, and collecting took a fifth of its time.
const statusGC = 400

// watched takes the green off a site whose schedule nobody runs at this moment,
// however good things look: what is due next will not happen.
func watched(c *config.Config, s *compliance.Status) error {
	runs, err := jobs.DaemonRuns(c)
	if err != nil || runs {
		return err
	}
	besides(s, "no daemon is running: start it")
	return nil
}

// inForce says which jobs of the configuration nobody runs, because it was changed
// and not reloaded since: the lights below know nothing of them.
func inForce(c *config.Config, s *compliance.Status) {
	if len(s.Jobs) == 0 {
		return // nothing has ever been in force, and that is said
	}
	has := map[string]bool{}
	for _, j := range s.Jobs {
		has[j.Job] = true
		if _, still := c.Jobs[j.Job]; !still {
			besides(s, fmt.Sprintf("job %q is in force and no longer in the configuration: reload the daemon", j.Job))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Jobs)) {
		if !has[name] {
			besides(s, fmt.Sprintf("job %q of the configuration is not in force yet: reload the daemon", name))
		}
	}
}

// besides adds a warning of the whole site.
func besides(s *compliance.Status, why string) {
	s.Overall = graver(s.Overall, compliance.Warning)
	s.Why = strings.TrimPrefix(s.Why+"; "+why, "; ")
}

// escrowed adds what somebody has to do about keys and the copies of the state,
// which only the configuration can tell: who the custodians are now.
func escrowed(ctx context.Context, c *config.Config, cat *catalog.Catalog, s *compliance.Status) error {
	troubles, err := jobs.KeyTroubles(ctx, c, cat, clockNow()())
	if err != nil {
		return err
	}
	for i := range s.Targets {
		t := &s.Targets[i]
		for _, trouble := range troubles[t.Target] {
			state := compliance.Warning
			if trouble.Failing {
				state = compliance.Failing
			}
			t.Why = strings.TrimPrefix(t.Why+"; "+trouble.Why, "; ")
			t.State = graver(t.State, state)
			s.Overall = graver(s.Overall, state)
		}
	}
	return nil
}

// graver returns the worse of two states; unknown is worse than a warning.
func graver(a, b compliance.State) compliance.State {
	order := []compliance.State{compliance.Good, compliance.Warning, compliance.NoIdea, compliance.Failing}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// living is a catalog in which a run whose process is gone is not under way: it
// was interrupted, and the next start will write that down.
type living struct {
	*catalog.Catalog
	config *config.Config
}

// JobStates is the catalog's, put right.
func (l living) JobStates(ctx context.Context, now time.Time, grace time.Duration) ([]catalog.JobState, error) {
	states, err := l.Catalog.JobStates(ctx, now, grace)
	for i, s := range states {
		if s.Running == "" {
			continue
		}
		alive, problem := jobs.Alive(l.config, s.Running)
		err = errors.Join(err, problem)
		if !alive && problem == nil {
			states[i].Running, states[i].LastState, states[i].LastError = "", catalog.RunInterrupted, "its process is gone"
		}
	}
	return states, err
}

// statusUnknown is the exit code of status when it could not look.
const statusUnknown = 3

// statusCode maps the overall state to status's own exit codes.
func statusCode(s compliance.State) int {
	switch s {
	case compliance.Good:
		return 0
	case compliance.Warning:
		return 1
	case compliance.Failing:
		return 2
	default:
		return statusUnknown
	}
}

func printStatus(s compliance.Status, loc *time.Location) {
	fmt.Printf("%s", paint(os.Stdout, stateColour(string(s.Overall)), string(s.Overall)))
	if s.Why != "" {
		fmt.Printf(": %s", safe(s.Why))
	}
	fmt.Println()
	t := &table{}
	t.row("JOB", "STATE", "NEWEST GOOD", "LAST TEST", "VERDICT", "NEXT", "WHY")
	for _, j := range s.Jobs {
		verdict := strings.TrimSpace(j.Verdict + " " + j.Level)
		if j.Running != "" {
			verdict += " (running)"
		}
		t.row(j.Job, string(j.State), when(j.LastGood, loc), when(j.LastTest, loc), orDash(verdict), when(j.NextDue, loc), remarked(j))
		t.colour(1, stateColour(string(j.State)))
	}
	t.print(os.Stdout)
	t = &table{}
	t.row("TARGET", "STATE", "LAST COPY", "LAST RE-READ", "WHY")
	for _, x := range s.Targets {
		t.row(x.Target, string(x.State), when(x.LastCopy, loc), when(x.LastCheck, loc), x.Why)
		t.colour(1, stateColour(string(x.State)))
	}
	t.print(os.Stdout)
}

// remarked adds to why a light is not green what to know beside it.
func remarked(j compliance.JobStatus) string {
	var all []string
	if j.Why != "" {
		all = append(all, j.Why)
	}
	for _, one := range []struct {
		n    int
		text string
	}{
		{j.Unexplained, "%d changed file(s) not explained yet"},
		{j.Uncompared, "%d table(s) not compared in the last test"},
		{j.FactsLeftOut, "not all facts taken of %d table(s) or file(s)"},
	} {
		if one.n > 0 {
			all = append(all, fmt.Sprintf(one.text, one.n))
		}
	}
	return strings.Join(all, "; ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
