package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/jobs"
)

const catalogHelp = `catalog shows and mends the record of what was saved. The tables are an index of
the ledger: "rebuild" makes them anew from it, and "rebuild --from-repositories"
makes a new ledger from the tags of the repositories' snapshots when even the
ledger is lost. "verify" recomputes the ledger's tree and compares everything
derived from it.`

func catalogCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "catalog", Short: "the record of what was saved", Long: catalogHelp}
	c.AddCommand(catalogList(a), catalogShow(a), catalogRebuild(a), catalogVerify(a))
	return c
}

// catalogRow is one copy of one run.
type catalogRow struct {
	Job        string     `json:"job"`
	Class      string     `json:"class"`
	Category   string     `json:"category"`
	Run        string     `json:"run"`
	TakenAt    time.Time  `json:"taken_at"`
	State      string     `json:"state"`
	Target     string     `json:"target"`
	Snapshot   string     `json:"snapshot"`
	Separation *int       `json:"separation"`         // null: not measured
	Level      string     `json:"level"`              // highest level that tests of this copy passed, "failed" when its newest one did; empty: untested
	KeepUntil  *time.Time `json:"keep_until"`         // null: the class names no minimum, or there is no good copy
	Held       bool       `json:"held,omitempty"`     // somebody stopped its deletion
	Archives   []string   `json:"archives,omitempty"` // sets of offline media that hold the run and were read back
}

func catalogList(a *app) *cobra.Command {
	var asJSON bool
	var job, class string
	var limit int
	c := &cobra.Command{Use: "list", Short: "copies by class, newest first", Args: cobra.NoArgs}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per copy")
	c.Flags().StringVar(&job, "job", "", "only this `JOB`")
	c.Flags().StringVar(&class, "class", "", "only this `CLASS`")
	c.Flags().IntVar(&limit, "limit", 0, "at most `N` runs of each job; 0 for all")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		cfg, cat, err := a.read(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cat.Close()) }()
		rows, err := listRows(cmd.Context(), cfg, cat, job, class, limit)
		if err != nil {
			return err
		}
		if asJSON {
			for _, r := range rows {
				if err := printJSON(os.Stdout, r); err != nil {
					return err
				}
			}
			return nil
		}
		printRows(rows, cfg.Site.Location)
		return nil
	}
	return c
}

func printRows(rows []catalogRow, loc *time.Location) {
	t := &table{}
	t.row("CLASS", "JOB", "TAKEN", "STATE", "TARGET", "SNAPSHOT", "APART", "TESTED", "KEEP UNTIL", "ARCHIVED", "RUN")
	for _, r := range rows {
		apart, keep := "?", "-"
		if r.Separation != nil {
			apart = fmt.Sprintf("L%d", *r.Separation)
		}
		if r.KeepUntil != nil {
			keep = r.KeepUntil.In(loc).Format(time.DateOnly)
		}
		if r.Held {
			keep = "held"
		}
		t.row(r.Class, r.Job, when(r.TakenAt, loc), r.State, orDash(r.Target), orDash(fmt.Sprintf("%.10s", r.Snapshot)), apart, orDash(r.Level), keep, orDash(strings.Join(r.Archives, " ")), r.Run)
		t.colour(3, stateColour(r.State))
	}
	t.print(os.Stdout)
}

func catalogShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show RUN", Short: "everything known of a run, as JSON", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			_, cat, err := a.read(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cat.Close()) }()
			run, err := cat.Run(cmd.Context(), args[0])
			if err != nil {
				return unlisted(err, "run \"saoluu catalog list\" to see the runs")
			}
			shown := shownRun{
				RunFinished: run.RunFinished, Entry: run.Seq, Invalidated: run.Invalidated, Pruned: run.Pruned, Held: run.Held, Gone: run.Gone,
			}
			if hold, err := cat.HoldOf(cmd.Context(), run.Run); err != nil {
				return err
			} else if hold.Run != "" {
				shown.Hold = &shownHold{hold.HoldSet, hold.At}
			}
			archives, err := cat.ArchivesOf(cmd.Context(), run.Run, clockNow()())
			if err != nil {
				return err
			}
			for _, one := range archives {
				shown.Archives = append(shown.Archives, shownArchive{one.Event, one.At})
			}
			said, err := withoutZero(shown)
			if err != nil {
				return err
			}
			return printJSON(os.Stdout, said)
		}}
}

// unlisted adds where to look to the error of a run or entry that is not there.
func unlisted(err error, hint string) error {
	if errors.Is(err, catalog.ErrMissing) {
		return fault.New(fault.Usage, "", err, hint)
	}
	return err
}

func catalogRebuild(a *app) *cobra.Command {
	var bare bool
	c := &cobra.Command{Use: "rebuild", Short: "make the tables anew from the ledger", Args: cobra.NoArgs}
	c.Flags().BoolVar(&bare, "from-repositories", false, "the ledger is lost: start a new one from the repositories' tags")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.load()
		if err != nil {
			return err
		}
		if bare {
			return a.rebuildBare(cmd.Context(), cfg)
		}
		done, err := catalog.RebuildFile(cmd.Context(), catalogOptions(cfg), nil)
		if err != nil {
			return err
		}
		fmt.Printf("rebuilt the tables from %d ledger entries\n", done.Entries)
		if done.Damaged != "" {
			fmt.Printf("the file was damaged and lies in %s now\n", done.Damaged)
		}
		if !done.Whole {
			return fault.New(fault.Incomplete, "rebuild the catalog",
				fmt.Errorf("what followed entry %d of the ledger is lost, at least %d entries", done.Entries-1, done.Lost),
				"put back a newer copy of the file if there is one")
		}
		return nil
	}
	return c
}

// rebuildBare makes new state around repositories that still exist.
func (a *app) rebuildBare(ctx context.Context, cfg *config.Config) error {
	if err := jobs.CreateState(ctx, cfg, catalogOptions(cfg), version); err != nil {
		return err
	}
	s, err := a.wire(ctx, cfg)
	if err != nil {
		return errors.Join(err, dropCatalog(cfg))
	}
	n, media, err := s.Adopt(ctx)
	if n > 0 || err == nil {
		fmt.Printf("made a new ledger with %d runs found in the repositories\n", n)
	}
	err = errors.Join(err, s.close())
	if n == 0 && err != nil {
		return errors.Join(err, dropCatalog(cfg)) // so that it can be tried again
	}
	if err == nil && len(media) > 0 {
		err = fault.New(fault.Incomplete, "rebuild the catalog", fmt.Errorf("what lies on media is not in it yet: %s", strings.Join(media, ", ")),
			"plug each of them in and run \"saoluu medium add\": what lies on it is taken up")
	}
	return err
}

// dropCatalog removes a catalog that this process has just made and that holds
// nothing. The keys stay.
func dropCatalog(cfg *config.Config) error {
	var results []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(jobs.CatalogPath(cfg) + suffix); !errors.Is(err, fs.ErrNotExist) {
			results = append(results, err)
		}
	}
	return errors.Join(results...)
}

func catalogVerify(a *app) *cobra.Command {
	return &cobra.Command{Use: "verify", Short: "recompute the ledger and compare what is derived from it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) { return a.verifyCatalog(cmd.Context()) }}
}

// verifyCatalog recomputes everything; "ledger verify" is the same check.
func (a *app) verifyCatalog(ctx context.Context) (err error) {
	_, cat, err := a.read(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cat.Close()) }()
	v, err := cat.Verify(ctx, func(p catalog.Problem) { fmt.Fprintf(os.Stderr, "saoluu: %s: %s\n", safe(p.Where), clip(safe(p.What))) })
	if err != nil {
		return err
	}
	if v.Problems > 0 {
		return fault.New(fault.Verification, "verify the catalog", fmt.Errorf("%d problem(s) found", v.Problems), "if only tables differ, run \"saoluu catalog rebuild\"")
	}
	fmt.Printf("%d ledger entries, %d checkpoints: all good; root %s\n", v.Entries, v.Checkpoints, v.Root)
	return nil
}
