package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"saoluu/compliance"
	"saoluu/internal/fault"
)

const packsHelp = `packs shows the rule packs that ship with this program and checks packs of your
own. A pack is a legal document as data: rules with clause, check kind, parameters
and texts, and tests of its own that "lint" runs.`

func packsCommand() *cobra.Command {
	c := &cobra.Command{Use: "packs", Short: "the rules reports judge by", Long: packsHelp}
	c.AddCommand(
		&cobra.Command{Use: "list", Short: "packs of this program", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			all, err := compliance.Packs()
			if err != nil {
				return err
			}
			t := &table{}
			t.row("PACK", "VERSION", "KIND", "RULES", "DOCUMENT")
			for _, p := range all {
				t.row(p.ID, p.Version, string(p.Kind), fmt.Sprint(len(p.Rules)), p.Number)
			}
			t.print(os.Stdout)
			return nil
		}},
		&cobra.Command{Use: "lint FILE...", Short: "check packs and run their own tests", Args: cobra.MinimumNArgs(1), RunE: lintPacks},
	)
	return c
}

func lintPacks(cmd *cobra.Command, files []string) error {
	var results []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fault.New(fault.Usage, "read the pack", err, "")
		}
		err = compliance.Lint(cmd.Context(), file, text)
		if err != nil {
			printError(os.Stderr, err)
		} else {
			fmt.Printf("%s: good\n", safe(file))
		}
		results = append(results, err)
	}
	return worst(results)
}
