package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
)

// pickRestore chooses what to restore: a good run, or the one that was asked for
// by its id, whatever became of it. Half a backup is better than none when there
// is no other, as long as whoever takes it knows.
func (r *Runner) pickRestore(ctx context.Context, job config.Job, pick Pick) (catalog.Run, catalog.Copy, error) {
	if pick.Run == "" {
		var chosen catalog.TestFinished
		run, err := r.pickRun(ctx, job, pick, &chosen)
		var copied catalog.Copy
		if err == nil {
			copied, err = r.proven(ctx, job, run, pick.Target)
		}
		if fault.KindOf(err) == fault.Absent {
			err = fault.New(fault.Absent, "", err, fault.HintOf(err)+
				fmt.Sprintf(`, or take a run that is not good: "saoluu catalog list --job %[1]s" shows them, "saoluu restore %[1]s --run RUN" restores one`, job.Name))
		}
		return run, copied, err
	}
	hint := fmt.Sprintf(`run "saoluu catalog list --job %s" to see the runs`, job.Name)
	run, err := r.Catalog.Run(ctx, pick.Run)
	switch {
	case errors.Is(err, catalog.ErrMissing), err == nil && run.Job != job.Name:
		return run, catalog.Copy{}, fault.New(fault.Usage, "", fmt.Errorf("job %q has no run %q", job.Name, pick.Run), hint)
	case err != nil:
		return run, catalog.Copy{}, err
	}
	for _, good := range []bool{true, false} {
		for _, c := range run.Copies {
			asked := c.Target == pick.Target
			gone := !run.Gone[c.Target].IsZero()
			if (asked || pick.Target == "" && !gone) && len(c.Snapshots) > 0 && (!good || c.State == catalog.RunComplete) {
				return run, c, nil
			}
		}
	}
	return run, catalog.Copy{}, fault.New(fault.Absent, fmt.Sprintf("run %s of %q", run.Run, job.Name),
		fmt.Errorf("nothing of it lies on %s", cmp.Or(pick.Target, "any target")), hint)
}

// proven chooses the copy to restore when it matters, which is not the one to test:
// first one of this very run that a restore test has passed, then one on a target
// whose last test passed, then an untried one, and last one on a target whose last
// test did not pass. Among equals it is the job's preferred target.
func (r *Runner) proven(ctx context.Context, job config.Job, run catalog.Run, target string) (catalog.Copy, error) {
	passed := map[string]bool{} // tests of this run, by target
	last := map[string]string{} // verdict of the newest test of the job, by target
	for t, err := range r.Catalog.Tests(ctx, catalog.TestQuery{Job: job.Name}) {
		if err != nil {
			return catalog.Copy{}, err
		}
		last[t.Target] = t.Verdict
		if t.Run == run.Run {
			passed[t.Target] = t.Verdict == catalog.VerdictPassed
		}
	}
	rank := func(c catalog.Copy) int {
		switch verdict, tried := last[c.Target]; {
		case passed[c.Target]:
			return 0
		case verdict == catalog.VerdictPassed:
			return 1
		case !tried:
			return 2
		}
		return 3
	}
	prefers := func(c catalog.Copy) int {
		if i := slices.Index(job.Targets, c.Target); i >= 0 {
			return i
		}
		return len(job.Targets)
	}
	candidates := slices.DeleteFunc(slices.Clone(run.Copies), func(c catalog.Copy) bool {
		return c.State != catalog.RunComplete || !run.Gone[c.Target].IsZero() || target != "" && c.Target != target
	})
	if len(candidates) == 0 {
		return catalog.Copy{}, noCopy(job, run, target)
	}
	candidates, err := r.reachable(ctx, candidates)
	if err != nil {
		return catalog.Copy{}, err
	}
	return slices.MinFunc(candidates, func(a, b catalog.Copy) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(prefers(a), prefers(b)))
	}), nil
}

// noCopy is the error of a run with no good copy on a target, "" for any.
func noCopy(job config.Job, run catalog.Run, target string) error {
	return fault.New(fault.Unknown, fmt.Sprintf("run %s of %q", run.Run, job.Name), fmt.Errorf("no good copy on %s", cmp.Or(target, "any target")),
		fmt.Sprintf(`run "saoluu catalog list --job %s" to see what lies where`, job.Name))
}

// otherCopies names the targets that hold good copies of a run besides one.
func otherCopies(run catalog.Run, besides string) []string {
	var names []string
	for _, c := range run.Copies {
		if c.Target != besides && c.State == catalog.RunComplete && run.Gone[c.Target].IsZero() {
			names = append(names, c.Target)
		}
	}
	return names
}

// shortfall says why a run is not good, and what of it will not come back.
func shortfall(run catalog.Run, copied catalog.Copy) []string {
	var said []string
	if run.State != catalog.RunComplete {
		said = append(said, strings.TrimSuffix(fmt.Sprintf("run %s is %s, not everything comes back: %s", run.Run, run.State, firstLine(run.Error)), ": "))
	}
	if !run.Invalidated.IsZero() {
		said = append(said, fmt.Sprintf("run %s was found bad by a restore test or a re-read", run.Run))
	}
	if !run.Gone[copied.Target].IsZero() {
		said = append(said, fmt.Sprintf("the copy on %q was found damaged or missing", copied.Target))
	}
	for _, part := range run.Parts {
		if copied.Snapshots[part.Name] == "" {
			said = append(said, fmt.Sprintf("part %q is not there", part.Name))
		}
	}
	return said
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// elsewhere adds to an error of damage where else the run lies.
func elsewhere(p RestorePlan, err error) error {
	if kind := fault.KindOf(err); kind != fault.Damaged && kind != fault.NoRepository && kind != fault.Absent {
		return err
	}
	if len(p.Others) == 0 {
		return err
	}
	return fault.New(fault.KindOf(err), "", err, fmt.Sprintf("take the copy of the same run on another target: --target %s", strings.Join(p.Others, ", or --target ")))
}
