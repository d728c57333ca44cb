package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

const keyDrillHelp = `drill tries what a custodian would have to do when this machine is gone: the sealed
key is opened with the custodian's identity alone, and a fresh restic opens the
repository with it. Do it once a year for every target; the custodian brings the
file, and takes it away again. How it went is written to the ledger.`

const keyRotateHelp = `rotate gives a repository a new random key, sees that it opens it, seals it and
removes the old one: when somebody who could open it has left, or a key may have
been seen. When it is cut off, run it again: it goes on where it was. Data are not
written anew: restic protects them with a key inside the repository, which whoever
has had both a key and the repository may have taken out.

Storage that refuses to delete keeps the old key, and a bucket with versions keeps
what was deleted from it: that is told, with exit status 3, and shown by status until
an upkeep finds the old key gone.`

const keyShredHelp = `shred destroys all keys of a target's repository, so that nobody can ever read again
what is in it, and writes that down. Whoever knows another key of the repository
loses access as well. It cannot be undone. Held runs forbid it.

Where the storage refuses to delete, or keeps what was deleted, nothing is called
destroyed: exit status 3. Run it again when the locks end.

Afterwards take the target out of the configuration and destroy the sheets and
copies of its key that are elsewhere.`

func keyDrill(a *app) *cobra.Command {
	var identity string
	c := &cobra.Command{Use: "drill TARGET", Short: "try the sealed key with a custodian's identity", Long: keyDrillHelp, Args: cobra.ExactArgs(1)}
	c.Flags().StringVar(&identity, "identity", "", "`FILE` with the custodian's private key")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if identity == "" {
			return fault.New(fault.Usage, cmd.CommandPath(), errors.New("--identity is missing"), "name the file with the custodian's private key")
		}
		return a.withSite(cmd.Context(), func(s *site) error {
			who, err := s.DrillKey(cmd.Context(), args[0], identity)
			if err != nil {
				return err
			}
			fmt.Printf("custodian %s opened the repository of target %q with the sealed key\n", orDash(who), args[0])
			return nil
		})
	}
	return c
}

func keyRotate(a *app) *cobra.Command {
	c := &cobra.Command{Use: "rotate TARGET", Short: "give a repository a new key", Long: keyRotateHelp, Args: cobra.ExactArgs(1)}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withSite(cmd.Context(), func(s *site) error {
			done, secured, err := s.RotateKey(cmd.Context(), args[0], userName())
			if done.Added != "" {
				fmt.Printf("target %q has the new key %.8s; removed: %s\n", args[0], done.Added, orDash(shortKeys(done.Removed)))
				if len(done.Left) > 0 {
					fmt.Printf("  old keys that still open it: %s\n", shortKeys(done.Left))
				}
				if len(done.Kept) > 0 {
					fmt.Printf("  old keys that are deleted and kept by the storage: %s\n", keptUntil(done.Kept, s.Config.Site.Location))
				}
				printSecured(secured)
				fmt.Println("print its recovery sheet anew, and destroy the old one")
			}
			return err
		})
	}
	return c
}

func shortKeys(ids []string) string {
	short := make([]string, len(ids))
	for i, id := range ids {
		short[i] = fmt.Sprintf("%.8s", id)
	}
	return strings.Join(short, ", ")
}

// keptUntil names keys and until when the storage locks them.
func keptUntil(kept []catalog.KeptKey, loc *time.Location) string {
	var each []string
	for _, k := range kept {
		each = append(each, fmt.Sprintf("%.8s until %s", safe(k.Key), when(k.Until, loc)))
	}
	return strings.Join(each, ", ")
}

func keyShred(a *app) *cobra.Command {
	var reason, confirm string
	c := &cobra.Command{Use: "shred TARGET", Short: "destroy all keys of a repository", Long: keyShredHelp, Args: cobra.ExactArgs(1)}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record: `REASON`; must be said")
	c.Flags().StringVar(&confirm, "confirm", "", "the target's `NAME` once more; must be said")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if confirm != args[0] {
			return fault.New(fault.Refused, fmt.Sprintf("destroy the keys of target %q", args[0]), errors.New("it was not confirmed, and cannot be undone"),
				"say --confirm "+args[0]+" if nobody shall ever read again what is in it")
		}
		return a.withSite(cmd.Context(), func(s *site) error {
			if err := s.ShredKey(cmd.Context(), args[0], reason, userName()); err != nil {
				return err
			}
			fmt.Printf("destroyed the keys of target %q: nobody can read its repository again\n", args[0])
			if ref := s.Config.Targets[args[0]].Password; ref != "" {
				fmt.Printf("  the old key still lies in %s: delete it\n", safe(ref.String()))
			}
			fmt.Println("take the target out of the configuration, and destroy the sheets and copies of its key")
			return nil
		})
	}
	return c
}

// withSite opens the site for one piece of work.
func (a *app) withSite(ctx context.Context, do func(*site) error) (err error) {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return do(s)
}
