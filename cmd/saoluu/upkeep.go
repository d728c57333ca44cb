package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"saoluu/internal/fault"
	"saoluu/jobs"
)

const upkeepHelp = `upkeep compares the catalog's tables with the ledger and looks after the named
targets, or all of them: it pays copy debts, compares what a target holds with what
the catalog says should be there, re-reads the next group of packs in a fixed
rotation, and puts a signed checkpoint of the ledger on the target. The daemon does
the same every night.`

func upkeepCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "upkeep [TARGET...]", Short: "pay copy debts, re-read, anchor the ledger", Long: upkeepHelp}
	c.RunE = func(cmd *cobra.Command, names []string) (err error) {
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if len(names) == 0 {
			names = slices.Sorted(maps.Keys(s.Config.Targets))
		}
		for _, name := range names {
			if _, ok := s.Config.Targets[name]; !ok {
				return fault.New(fault.Usage, fmt.Sprintf("target %q", name), errors.New("not in the configuration"), "run \"saoluu config show\" to see the targets")
			}
		}
		var results []error
		compared, err := s.CompareTables(cmd.Context(), 0)
		s.meter.done("catalog")
		if err != nil {
			printError(os.Stderr, err)
		}
		if compared != nil {
			fmt.Printf("catalog: %s\n", jobs.Compared(*compared))
		}
		results = append(results, err)
		for _, name := range names {
			done, err := s.Upkeep(cmd.Context(), name, jobs.Manual())
			s.meter.done(name)
			said, colour := "looked after", green
			if err != nil {
				said, colour = "not right", red
				printError(os.Stderr, err)
			}
			fmt.Printf("%s: %s: %s\n", name, paint(os.Stdout, colour, said), done)
			results = append(results, err)
		}
		return worst(results)
	}
	return c
}
