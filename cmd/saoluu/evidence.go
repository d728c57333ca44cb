package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/evidence"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const evidenceHelp = `evidence hands out bundles about single ledger entries: the entry, a proof that it
is in the log, and a signature that sha256sum and ssh-keygen can check without
this program. "verify" needs no configuration and no network; it exits with 0
only if everything holds.`

func evidenceCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "evidence", Short: "bundles an inspector verifies himself", Long: evidenceHelp}
	c.AddCommand(evidenceList(a), evidenceExport(a), &cobra.Command{
		Use: "verify FILE", Short: "check a bundle, offline", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return verifyBundle(args[0]) },
	})
	return c
}

// evidenceRow is one entry that a bundle can be made of.
type evidenceRow struct {
	Entry  int64  `json:"entry"`
	At     string `json:"at"`
	Kind   string `json:"kind"`
	Job    string `json:"job"`
	Result string `json:"result"`
}

func evidenceList(a *app) *cobra.Command {
	var asJSON bool
	var job string
	c := &cobra.Command{Use: "list", Short: "restore tests, newest first", Args: cobra.NoArgs}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per entry")
	c.Flags().StringVar(&job, "job", "", "only this `JOB`")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		cfg, cat, err := a.read(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cat.Close()) }()
		t := &table{}
		t.row("ENTRY", "WHEN", "JOB", "VERDICT", "LEVEL", "RUN", "TARGET")
		for test, err := range cat.Tests(cmd.Context(), catalog.TestQuery{Job: job, Newest: true}) {
			if err != nil {
				return err
			}
			if asJSON {
				row := evidenceRow{test.Seq, test.FinishedAt.Format("2006-01-02T15:04:05Z"), test.Kind(), test.Job, test.Verdict}
				if err := printJSON(os.Stdout, row); err != nil {
					return err
				}
				continue
			}
			t.row(fmt.Sprint(test.Seq), when(test.FinishedAt, cfg.Site.Location), test.Job, test.Verdict, orDash(test.Level), orDash(test.Run), orDash(test.Target))
			t.colour(3, stateColour(test.Verdict))
		}
		if !asJSON {
			t.print(os.Stdout)
		}
		return nil
	}
	return c
}

func evidenceExport(a *app) *cobra.Command {
	var out string
	c := &cobra.Command{Use: "export ENTRY", Short: "write the bundle of a ledger entry", Args: cobra.ExactArgs(1)}
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write; default evidence-ENTRY.zip")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		seq, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return fault.New(fault.Usage, fmt.Sprintf("entry %q", args[0]), errors.New("not a number"), "run \"saoluu evidence list\"")
		}
		if out == "" {
			out = fmt.Sprintf("evidence-%d.zip", seq)
		}
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		bundle, err := s.Bundle(cmd.Context(), seq)
		if err != nil {
			return unlisted(err, "run \"saoluu evidence list\" to see the entries")
		}
		path, err := filepath.Abs(out)
		if err != nil {
			return err
		}
		if err := free(path); err != nil {
			return err
		}
		if err := jobs.WriteBundle(path, bundle); err != nil {
			return err
		}
		fmt.Printf("%s: evidence of ledger entry %d\n", safe(path), seq)
		return nil
	}
	return c
}

// free refuses a path where something is: evidence that was handed out is not
// written over.
func free(path string) error {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.New("the file is there already")
	}
	return fault.New(fault.Refused, fmt.Sprintf("write %q", path), err, "choose another name with -o")
}

func verifyBundle(file string) error {
	r, err := evidence.VerifyBundle(file)
	if err != nil {
		return err
	}
	fmt.Printf("good: entry %d (%s) of %s, at %s\nsigned by %s\n", r.Entry.Seq, safe(r.Entry.Kind), safe(r.Checkpoint.Origin), r.Entry.At.Format("2006-01-02T15:04:05Z"), safe(r.Signer))
	return nil
}
