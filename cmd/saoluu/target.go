package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"saoluu/internal/fault"
	"saoluu/jobs"
)

const targetHelp = `target looks at one target by itself.`

const probeHelp = `probe tries out a target's storage beside the repository: it makes a place of its
own there, a repository in it, saves and reads back, deletes, measures how far it
is from the jobs that use it, and says what it found. What it made is taken away
again where the storage allows it. Run it before a target is relied upon.`

const targetRecoverHelp = `recover brings a target with object lock back after somebody deleted or overwrote
what is in it: the storage kept the versions. What was there when saoluu last wrote
to the target or read it comes back, or what was there at the instant of --at.
Afterwards the repository is opened and compared with the catalog; then test it
with "saoluu test --all --target NAME".`

func targetCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "target", Short: "try out a target, or bring it back after a deletion", Long: targetHelp}
	c.AddCommand(targetProbeCommand(a), targetRecoverCommand(a))
	return c
}

func targetProbeCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "probe NAME", Short: "try out a target's storage", Long: probeHelp, Args: cobra.ExactArgs(1)}
	asJSON := c.Flags().Bool("json", false, "print one JSON object per finding")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.probe(cmd.Context(), args[0], *asJSON) }
	return c
}

func (a *app) probe(ctx context.Context, name string, asJSON bool) (err error) {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return s.Probe(ctx, name, func(f jobs.Finding) error {
		s.meter.done(name)
		if asJSON {
			return printJSON(os.Stdout, f)
		}
		mark, colour := "good", green
		switch {
		case f.Problem != "" && f.Fatal:
			mark, colour = "bad", red
		case f.Problem != "":
			mark, colour = "note", yellow
		}
		text := f.Found
		if f.Problem != "" {
			text = f.Problem
		}
		_, err := fmt.Printf("%-4s  %-12s %s\n", paint(os.Stdout, colour, mark), f.Step, safe(text))
		return err
	})
}

func targetRecoverCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "recover NAME", Short: "bring a target back from locked versions after a deletion", Long: targetRecoverHelp, Args: cobra.ExactArgs(1)}
	at := c.Flags().String("at", "", "bring back what was there at this `INSTANT` (RFC 3339)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var instant time.Time
		if *at != "" {
			var err error
			if instant, err = time.Parse(time.RFC3339, *at); err != nil {
				return fault.New(fault.Usage, cmd.CommandPath(), fmt.Errorf("--at %q is not an instant", *at), "write it as 2026-05-31T01:00:00+07:00")
			}
		}
		return a.recoverTarget(cmd.Context(), args[0], instant)
	}
	return c
}

func (a *app) recoverTarget(ctx context.Context, name string, at time.Time) (err error) {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	done, err := s.RecoverTarget(ctx, name, at)
	s.meter.done(name)
	if !done.To.IsZero() {
		fmt.Printf("%s: as of %s: %d objects undeleted, %d restored, %d untouched\n", name,
			done.To.In(s.Config.Site.Location).Format(time.DateTime), done.Undeleted, done.Restored, done.Kept)
	}
	if err == nil {
		fmt.Printf("next: \"saoluu test --all --target %s\"\n", name)
	}
	return err
}
