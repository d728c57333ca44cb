package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"saoluu/internal/fault"
	"saoluu/jobs"
)

const upkeepHelp = `upkeep compares the catalog's tables with the ledger and looks after the named
targets, or all of them: it pays copy debts, compares what a target holds with what
the catalog says should be there, reads back the packs whose turn it is in a fixed
rotation, deletes what the classes no longer keep, frees the space of what was
deleted when that is due, and puts a signed checkpoint of the ledger on the target,
and with it catalog, configuration and sealed keys, which it brings back once a
week to see that they can be.
The daemon does the same every night.

--dry-run only prints what would be deleted, and why each backup stays or goes.
When more of a job would go at once than its class allows, nothing of it goes and
the exit status is 6; a second person approves exactly that plan with --approve.`

func upkeepCommand(a *app) *cobra.Command {
	var dry, asJSON bool
	var approval jobs.Approval
	c := &cobra.Command{Use: "upkeep [TARGET...]", Short: "pay copy debts, re-read, delete what is no longer kept, anchor the ledger", Long: upkeepHelp}
	c.Flags().BoolVar(&dry, "dry-run", false, "only print what would be deleted")
	c.Flags().BoolVar(&asJSON, "json", false, "with --dry-run: print one JSON object per target")
	c.Flags().StringVar(&approval.Digest, "approve", "", "approve the plan with this `DIGEST`, of one target")
	c.Flags().StringVar(&approval.By, "by", "", "`NAME` of the second person, who approves")
	c.RunE = func(cmd *cobra.Command, names []string) error {
		if dry {
			return a.dryRun(cmd.Context(), names, asJSON)
		}
		approval.Asked = userName()
		if err := checkApproval(cmd, approval, names); err != nil {
			return err
		}
		if asJSON {
			return fault.New(fault.Usage, cmd.CommandPath(), errors.New("--json goes with --dry-run"), "")
		}
		return a.upkeep(cmd.Context(), names, approval)
	}
	return c
}

// checkApproval refuses an approval that nobody gave, or that who asks gives to
// himself.
func checkApproval(cmd *cobra.Command, approval jobs.Approval, names []string) error {
	by := strings.TrimSpace(approval.By)
	switch {
	case approval.Digest == "" && by == "":
		return nil
	case approval.Digest == "" || by == "" || len(names) != 1:
		return fault.New(fault.Usage, cmd.CommandPath(), errors.New("an approval is of one target, and by somebody"), "say TARGET --approve DIGEST --by NAME")
	case strings.EqualFold(by, approval.Asked):
		return fault.New(fault.Refused, "approve plan "+approval.Digest, fmt.Errorf("%s runs this command", approval.Asked), "let a second person approve, and name that person with --by")
	}
	return nil
}

// targetNames are the names that were given, or all there are.
func targetNames(s *site, names []string) ([]string, error) {
	if len(names) == 0 {
		return slices.Sorted(maps.Keys(s.Config.Targets)), nil
	}
	for _, name := range names {
		if _, ok := s.Config.Targets[name]; !ok {
			return nil, fault.New(fault.Usage, fmt.Sprintf("target %q", name), errors.New("not in the configuration"), "run \"saoluu config show\" to see the targets")
		}
	}
	return names, nil
}

func (a *app) upkeep(ctx context.Context, names []string, approval jobs.Approval) (err error) {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	asked := len(names) > 0
	if names, err = targetNames(s, names); err != nil {
		return err
	}
	var results []error
	compared, err := s.CompareTables(ctx, 0)
	s.meter.done("catalog")
	if err != nil {
		printError(os.Stderr, err)
	}
	if compared != nil {
		fmt.Printf("catalog: %s\n", jobs.Compared(*compared))
	}
	results = append(results, err)
	trigger := jobs.Manual()
	trigger.Approval = approval
	for _, name := range names {
		done, err := s.Upkeep(ctx, name, trigger)
		s.meter.done(name)
		said, colour := "looked after", green
		switch {
		case err != nil:
			said, colour = "not right", red
			printError(os.Stderr, err)
		case done.Away != "":
			said, colour = "away", yellow
			if asked {
				err = fault.New(fault.Absent, "", errors.New(done.Away), "")
			}
		}
		fmt.Printf("%s: %s: %s\n", name, paint(os.Stdout, colour, said), done)
		results = append(results, err)
	}
	return worst(results)
}
