package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"saoluu/config"
	"saoluu/evidence"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const ledgerHelp = `ledger speaks of the append-only Merkle log that everything else is derived from.
"checkpoint" signs its size and root: print it, or give it to an auditor, and any
entry removed or changed later contradicts it. "prove" prints a proof that an
entry is in the log. "verify" recomputes the whole log. "key" prints the public key
and its fingerprint, which whoever verifies evidence compares with what he was
given on another way.`

func ledgerCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "ledger", Short: "the signed, append-only log", Long: ledgerHelp}
	c.AddCommand(
		&cobra.Command{Use: "checkpoint", Short: "sign the log as it stands", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close()) }()
			note, _, err := s.Checkpoint(cmd.Context())
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(note)
			return err
		}},
		&cobra.Command{Use: "verify", Short: "recompute the whole log", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.verifyCatalog(cmd.Context()) }},
		&cobra.Command{Use: "key", Short: "print the public key and its fingerprint", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			return printKey(c)
		}},
		&cobra.Command{Use: "prove ENTRY", Short: "print an entry and the proof that it is in the log", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return a.prove(cmd, args[0]) }},
	)
	return c
}

// printKey prints what evidence is signed with, for those who verify it.
func printKey(c *config.Config) error {
	if err := ownState(c); err != nil {
		return err
	}
	signer, err := evidence.LoadSigner(jobs.LedgerKeyPath(c))
	if err != nil {
		return err
	}
	fmt.Printf("public key of evidence: %sfingerprint: %s\n", signer.PublicLine(), signer.Fingerprint())
	return nil
}

func (a *app) prove(cmd *cobra.Command, text string) (err error) {
	seq, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fault.New(fault.Usage, fmt.Sprintf("entry %q", text), errors.New("not a number"), "take the number from \"saoluu test\" or a report")
	}
	s, err := a.open(cmd.Context())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	entry, err := s.Catalog.Entry(cmd.Context(), seq)
	if err != nil {
		return unlisted(err, "take the number from \"saoluu test\" or a report")
	}
	note, point, err := s.Checkpoint(cmd.Context())
	if err != nil {
		return err
	}
	hashes, err := s.Catalog.ProveInclusion(cmd.Context(), seq, point.Size)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", entry.JSON)
	_, err = os.Stdout.Write(evidence.FormatProof(evidence.Proof{Index: seq, Hashes: hashes, Checkpoint: note}))
	return err
}
