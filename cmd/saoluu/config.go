package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const configHelp = `config checks and shows the configuration: one TOML file and conf.d/*.toml beside
it. All problems are told at once, each with its place and a hint.`

func configCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "check and show the configuration", Long: configHelp}
	c.AddCommand(
		&cobra.Command{Use: "check", Short: "find every problem", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			fmt.Printf("%s: good: %d job(s), %d target(s), %d class(es)\n", a.configPath, len(c.Jobs), len(c.Targets), len(c.Classes))
			return a.budgets(cmd.Context(), c)
		}},
		&cobra.Command{Use: "show", Short: "print the configuration in force, defaults filled in", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			text, err := config.Show(c)
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(text)
			return err
		}},
		&cobra.Command{Use: "schema", Short: "print the JSON Schema for editors", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(config.Schema())
			return err
		}},
		configExample(),
	)
	return c
}

func configExample() *cobra.Command {
	var minimal bool
	c := &cobra.Command{Use: "example", Short: "print a commented example", Args: cobra.NoArgs}
	c.Flags().BoolVar(&minimal, "minimal", false, "print the smallest file that works, not one with every key")
	c.RunE = func(*cobra.Command, []string) error {
		text := config.Example()
		if minimal {
			text = config.Minimal()
		}
		_, err := os.Stdout.Write(text)
		return err
	}
	return c
}

// budgets warns of egress budgets that are too small for what has been measured:
// where there is no state yet, or it cannot be read, nothing has been.
func (a *app) budgets(ctx context.Context, c *config.Config) (err error) {
	if !slices.ContainsFunc(slices.Collect(maps.Values(c.Targets)), func(t config.Target) bool { return t.EgressPerMonth > 0 }) {
		return nil
	}
	_, cat, err := a.read(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "saoluu: warning: whether egress_per_month is enough is not known: %s\n", fault.Public(err))
		return nil
	}
	defer func() { err = errors.Join(err, cat.Close()) }()
	troubles, err := jobs.BudgetTroubles(ctx, c, cat, clockNow()())
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(troubles)) {
		fmt.Fprintf(os.Stderr, "saoluu: warning: target %q: %s\n", name, troubles[name])
	}
	return nil
}
