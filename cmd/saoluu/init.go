package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"saoluu/internal/fault"
	"saoluu/jobs"
)

const initHelp = `init makes what the other commands need: the state folder with the catalog and
the ledger's key, and a repository with a random key on every target. Targets
added to the configuration later are prepared by running it again. It never
overwrites: state, keys and repositories that are there stay as they are.

A key that only this machine has is lost with it. init seals every key to the
custodians of the configuration; without any it writes a recovery sheet that shows
the key, to be printed and locked away. It has not succeeded before that is done.`

func initCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "init", Short: "make state, keys and repositories", Long: initHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.init(cmd.Context()) }}
}

func (a *app) init(ctx context.Context) (err error) {
	c, err := a.load()
	if err != nil {
		return err
	}
	if err := ownState(c); err != nil {
		return err
	}
	// The engine first: without it nothing could be finished.
	engine, err := findEngine(ctx, c)
	if err != nil {
		return err
	}
	if _, err := os.Stat(jobs.CatalogPath(c)); errors.Is(err, os.ErrNotExist) {
		bare := jobs.Runner{Config: c, Engine: engine, Shared: &jobs.Shared{}}
		if err := bare.KeysLost(ctx); err != nil {
			return err
		}
		if err := jobs.CreateState(ctx, c, catalogOptions(c), version); err != nil {
			return err
		}
		fmt.Printf("made state in %s\n", safe(c.Paths.State))
	}
	s, err := a.wire(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	made, err := s.Init(ctx)
	for _, e := range made {
		printEnrolled(e)
	}
	secured, unsecured := s.SecureKeys(ctx)
	for _, e := range secured {
		printSecured(e)
	}
	if len(secured) > 0 && fault.KindOf(err) == fault.Refused {
		err = nil // what an earlier call left undone is done now
	}
	if err := errors.Join(err, unsecured); err != nil {
		return err
	}
	if err := printKey(c); err != nil {
		return err
	}
	fmt.Println("write the fingerprint down outside this machine: inspectors compare it")
	switch len(c.Custodians) {
	case 0:
		fmt.Println("print the recovery sheets, lock them away from this machine, and delete the files: they show the keys")
		fmt.Println("better: name two custodians in the configuration and run \"saoluu key seal\"")
	case 1:
		fmt.Fprintln(os.Stderr, "saoluu: warning: one custodian only: when that key is lost, so are the backups; name a second one and run \"saoluu key seal\"")
	}
	fmt.Println(`next: "saoluu backup --all", then "saoluu test --all"`)
	return nil
}

func printEnrolled(e jobs.Enrolled) {
	word := "made"
	if e.Adopted {
		word = "adopted"
	}
	fmt.Printf("%s repository %.10s on target %q in %s\n", word, e.Repository, e.Target, safe(e.Place))
	if e.KeyFile != "" {
		fmt.Printf("  key: %s\n  without saoluu: restic -r %s --password-file %s snapshots\n", safe(e.KeyFile), safe(e.Address), safe(e.KeyFile))
	}
}
