package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"saoluu/internal/fault"
	"saoluu/jobs"
)

const keyHelp = `key looks after the keys of the repositories: who could open them when this
machine is gone, whether that was tried, and their change and destruction.`

const keySealHelp = `seal seals the keys of the named targets, or of all of them, to the custodians of
the configuration, keeps them in state/keys/sealed and puts each beside its
repository. Run it again whenever a custodian comes, leaves or has a new key.
Without custodians it writes recovery sheets that show the keys.

A custodian who left may have kept an old sealed key: rotate the keys then.`

const keySheetHelp = `sheet writes the recovery sheet of a target, as text and as a page to be printed:
where the repository is, how to restore with restic alone, and the sealed key.
With --with-key it shows the key itself: for those who have no custodians.`

func keyCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "seal, try, change and destroy the keys of repositories", Long: keyHelp}
	c.AddCommand(keyList(a), keySeal(a), keySheet(a), keyDrill(a), keyRotate(a), keyShred(a))
	return c
}

// keyRow is one line of "key list --json".
type keyRow struct {
	Target     string   `json:"target"`
	Repository string   `json:"repository"`
	Key        string   `json:"key,omitempty"`
	Custodians []string `json:"custodians"`
	Sheet      bool     `json:"sheet"`
	SealedAt   string   `json:"sealed_at,omitempty"`
	DrilledAt  string   `json:"drilled_at,omitempty"`
	DrilledBy  string   `json:"drilled_by,omitempty"`
	Troubles   []string `json:"troubles"`
}

func keyList(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "list", Short: "who can open which repository", Args: cobra.NoArgs}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per target")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		c, cat, err := a.read(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cat.Close()) }()
		now := clockNow()()
		keys, err := cat.KeyStates(cmd.Context(), now)
		if err != nil {
			return err
		}
		troubles, err := jobs.KeyTroubles(cmd.Context(), c, cat, now)
		if err != nil {
			return err
		}
		t := &table{}
		t.row("TARGET", "REPOSITORY", "SEALED TO", "SEALED", "LAST DRILL", "WHY")
		for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
			state, err := cat.TargetState(cmd.Context(), name)
			if err != nil {
				return err
			}
			k := keys[name]
			row := keyRow{Target: name, Repository: state.Repository, Key: k.Sealed.Event.Key, Custodians: []string{}, Sheet: k.Sealed.Event.Sheet,
				DrilledBy: k.Drilled.Event.Custodian, Troubles: []string{}}
			for _, to := range k.Sealed.Event.Recipients {
				row.Custodians = append(row.Custodians, to.Custodian)
			}
			for _, x := range troubles[name] {
				row.Troubles = append(row.Troubles, x.Why)
			}
			if asJSON {
				row.SealedAt, row.DrilledAt = stamp(k.Sealed.At), stamp(k.Drilled.At)
				if err := printJSON(os.Stdout, row); err != nil {
					return err
				}
				continue
			}
			to := strings.Join(row.Custodians, ", ")
			if row.Sheet {
				to = "(sheet)"
			}
			t.row(name, fmt.Sprintf("%.10s", row.Repository), orDash(to), when(k.Sealed.At, c.Site.Location), when(k.Drilled.At, c.Site.Location), strings.Join(row.Troubles, "; "))
		}
		if !asJSON {
			t.print(os.Stdout)
		}
		return nil
	}
	return c
}

func keySeal(a *app) *cobra.Command {
	c := &cobra.Command{Use: "seal [TARGET...]", Short: "seal keys to the custodians", Long: keySealHelp}
	c.RunE = func(cmd *cobra.Command, names []string) (err error) {
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if len(names) == 0 {
			names = slices.Sorted(maps.Keys(s.Config.Targets))
		}
		var problems []error
		for _, name := range names {
			done, err := s.SecureKey(cmd.Context(), name)
			if err != nil {
				problems = append(problems, err)
				continue
			}
			printSecured(done)
		}
		return errors.Join(problems...)
	}
	return c
}

func keySheet(a *app) *cobra.Command {
	var withKey bool
	var dir string
	c := &cobra.Command{Use: "sheet TARGET", Short: "write a recovery sheet to be printed", Long: keySheetHelp, Args: cobra.ExactArgs(1)}
	c.Flags().BoolVar(&withKey, "with-key", false, "show the key itself")
	c.Flags().StringVarP(&dir, "output", "o", ".", "`FOLDER` for the sheet")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if _, sealed := os.Stat(jobs.StatePath(s.Config, "keys", "sealed", args[0]+".age")); sealed != nil && !withKey && s.Config.Targets[args[0]].Type != "" {
			return fault.New(fault.Refused, fmt.Sprintf("write the recovery sheet of %q", args[0]), errors.New("the key is not sealed, and without it the sheet opens nothing"),
				"run \"saoluu key seal\" with custodians in the configuration, or say --with-key")
		}
		folder, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		text, page, err := s.WriteSheets(cmd.Context(), args[0], withKey, folder)
		if err != nil {
			return err
		}
		fmt.Printf("wrote %s and %s\n", safe(text), safe(page))
		if withKey {
			fmt.Println("they show the key: print them, lock them away from this machine, and delete the files")
		}
		return nil
	}
	return c
}

// printSecured says to whom a key was sealed.
func printSecured(s jobs.Secured) {
	if s.Sheet != "" {
		fmt.Printf("recovery sheet of target %q: %s\n", s.Target, safe(s.Sheet))
		return
	}
	fmt.Printf("sealed the key of target %q to %s\n", s.Target, safe(strings.Join(s.To, ", ")))
	switch {
	case s.Beside != nil:
		fmt.Fprintf(os.Stderr, "saoluu: warning: the sealed key could not be put beside the repository of %q: %s\n", s.Target, clip(safe(s.Beside.Error())))
	case !s.Roomy:
		fmt.Printf("  this kind of target has no room for it: print it with \"saoluu key sheet %s\"\n", s.Target)
	}
}

// stamp shows an instant for machines, or nothing.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
