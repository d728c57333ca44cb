package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"saoluu/config"
)

const configHelp = `config checks and shows the configuration: one TOML file and conf.d/*.toml beside
it. All problems are told at once, each with its place and a hint.`

func configCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "check and show the configuration", Long: configHelp}
	c.AddCommand(
		&cobra.Command{Use: "check", Short: "find every problem", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			fmt.Printf("%s: good: %d job(s), %d target(s), %d class(es)\n", a.configPath, len(c.Jobs), len(c.Targets), len(c.Classes))
			return nil
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
