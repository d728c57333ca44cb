package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"saoluu/internal/fault"
)

const docsHelp = `docs writes the manual pages (man) or the reference in Markdown (markdown) from the
help texts of the commands, so that manual and program cannot disagree.`

func docsCommand(root *cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: "docs man|markdown DIR", Short: "write manual pages from the help texts", Long: docsHelp, Args: cobra.ExactArgs(2), Hidden: true}
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := os.MkdirAll(args[1], 0o755); err != nil {
			return fault.New(fault.Failed, "write the manual", err, "")
		}
		root.DisableAutoGenTag = true
		switch args[0] {
		case "man":
			return doc.GenManTree(root, &doc.GenManHeader{Title: "SAOLUU", Section: "1", Source: "saoluu"}, args[1])
		case "markdown":
			if err := doc.GenMarkdownTree(root, args[1]); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(args[1], "exit-codes.md"), []byte(exitCodesPage()), 0o644)
		}
		return fault.New(fault.Usage, fmt.Sprintf("docs %q", args[0]), nil, "say man or markdown")
	}
	return c
}

// exitCodesPage is the reference of exit codes, from the one table.
func exitCodesPage() string {
	var b strings.Builder
	b.WriteString("# Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, m := range exitMeanings {
		fmt.Fprintf(&b, "| %d | %s |\n", m.Code, m.Text)
	}
	b.WriteString("\n`saoluu status` has its own: 0 good, 1 warning, 2 failing, 3 unknown.\n")
	return b.String()
}
