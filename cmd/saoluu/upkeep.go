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

const upkeepHelp = `upkeep looks after the named targets, or all of them: it pays copy debts, compares
what a target holds with what the catalog says should be there, re-reads the next
group of packs in a fixed rotation, and puts a signed checkpoint of the ledger on
the target. The daemon does the same every night.`

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
		var results []error
		for _, name := range names {
			if _, ok := s.Config.Targets[name]; !ok {
				return fault.New(fault.Usage, fmt.Sprintf("target %q", name), errors.New("not in the configuration"), "run \"saoluu config show\" to see the targets")
			}
			err := s.Upkeep(cmd.Context(), name, jobs.Manual())
			s.meter.done(name)
			if err != nil {
				printError(os.Stderr, err)
			} else {
				fmt.Printf("%s: %s\n", name, paint(os.Stdout, green, "looked after"))
			}
			results = append(results, err)
		}
		return worst(results)
	}
	return c
}
