package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const doctorHelp = `doctor looks at everything a night needs before the night comes: configuration,
secrets, restic, state, targets, sources, and the programs restore tests use. It
changes nothing. Each line is good, or says what to do.

Exit status: 0 all good, 1 something will fail, 4 something could not be looked at.`

func doctorCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "doctor", Short: "look at everything before the night comes", Long: doctorHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) }}
}

// examination collects what doctor found.
type examination struct{ results []error }

// say prints one line and remembers its error.
func (e *examination) say(what string, err error) bool {
	e.results = append(e.results, err)
	if err == nil {
		fmt.Printf("%s  %s\n", paint(os.Stdout, green, "good"), safe(what))
		return true
	}
	word, colour := "BAD ", red
	if fault.KindOf(err) == fault.Unknown {
		word, colour = "?   ", yellow
	}
	fmt.Printf("%s  %s: %s\n", paint(os.Stdout, colour, word), safe(what), strings.Join(errorLines(err), "; "))
	if hint := fault.HintOf(err); hint != "" {
		fmt.Printf("      %s\n", clip(safe(hint)))
	}
	return false
}

func (a *app) doctor(ctx context.Context) error {
	var e examination
	c, err := a.load()
	if !e.say("configuration "+a.configPath, err) {
		return worst(e.results)
	}
	engine, err := findEngine(ctx, c)
	if e.say("restic", err) {
		fmt.Printf("      %s, version %s, sha256 %.16s…\n", engine.Path, engine.Version, engine.SHA256)
	}
	made, err := writable(c.Paths.Scratch)
	e.say("scratch "+c.Paths.Scratch+made, err)
	if !e.say("state "+c.Paths.State, openable(ctx, c)) || engine == nil {
		half := &jobs.Runner{Config: c, Now: clockNow()}
		for _, r := range half.ExamineSources(ctx) {
			e.say(r.What, r.Err)
		}
		return worst(e.results)
	}
	if err := a.examineSite(ctx, c, &e); err != nil {
		return err
	}
	return worst(e.results)
}

// openable tries to open the catalog as work does.
func openable(ctx context.Context, c *config.Config) error {
	if err := ownState(c); err != nil {
		return err
	}
	cat, err := catalog.Open(ctx, catalogOptions(c))
	if err != nil {
		return lostState(c, err)
	}
	return cat.Close()
}

// examineSite looks at targets and jobs.
func (a *app) examineSite(ctx context.Context, c *config.Config, e *examination) (err error) {
	s, err := a.wire(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, r := range s.Examine(ctx) {
		e.say(r.What, r.Err)
	}
	for _, r := range s.ExamineKeys(ctx) {
		e.say(r.What, r.Err)
	}
	return nil
}

// writable tries to make a file in a folder. A folder that is not there is made
// when it is first needed, and note says so.
func writable(dir string) (note string, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if errors.Is(err, os.ErrNotExist) {
		return " (will be made)", nil
	}
	if err != nil {
		return "", fault.New(fault.Denied, "write a file", err, "correct the permissions of the folder")
	}
	return "", errors.Join(f.Close(), os.Remove(f.Name()))
}
