package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

const holdHelp = `hold stops the deletion of a run's copies, on every target, whatever its class
says: for an incident, an audit, a lawsuit. Who held it and why goes to the ledger,
and so does its release. "saoluu catalog list" shows what is held.`

func holdCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "hold", Short: "stop and resume the deletion of a run", Long: holdHelp}
	c.AddCommand(holdSet(a, "add", "stop the deletion of a run", true), holdSet(a, "release", "resume the deletion of a run", false))
	return c
}

func holdSet(a *app, name, short string, held bool) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: name + " RUN", Short: short, Args: cobra.ExactArgs(1)}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record: `REASON`; must be said")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		do, said := s.Release, "released"
		if held {
			do, said = s.Hold, "held"
		}
		if err := do(cmd.Context(), args[0], reason, userName()); err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", args[0], said)
		return nil
	}
	return c
}
