package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"saoluu/history"
	"saoluu/internal/calendar"
	"saoluu/jobs"
)

const changesHelp = `changes shows how a configuration came to be what it is: each time a backup found
another version, the files that were added, removed or changed, with the digests of
their contents before and after, and what differs line by line. Passwords, keys and the
like are masked in what is shown; the backups have them.

It reads the contents from the backups. --no-diff shows the files alone, from the
catalog. A change that nobody has explained is listed in reports: "saoluu changes
explain" says why it was made, and who answers for it.`

func changesCommand(a *app) *cobra.Command {
	var since string
	var noDiff, asJSON bool
	c := &cobra.Command{Use: "changes JOB", Short: "the history of a configuration", Long: changesHelp,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs}
	c.Flags().StringVar(&since, "since", "", "leave out what was saved before this `DATE` (YYYY-MM-DD)")
	c.Flags().BoolVar(&noDiff, "no-diff", false, "leave out what differs line by line, and read no backups")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per version")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		var day calendar.Date
		if err := parseDate(since, &day); err != nil {
			return err
		}
		s, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		job, err := oneJob(s.Config, args[0])
		if err != nil {
			return err
		}
		var from time.Time
		if !day.IsZero() {
			from = day.Start(s.Config.Site.Location)
		}
		return s.Changes(cmd.Context(), job, from, !noDiff, func(v jobs.Version) error {
			if asJSON {
				return printJSON(os.Stdout, shownVersion(v))
			}
			printVersion(os.Stdout, v, s.Config.Site.Location)
			return nil
		})
	}
	c.AddCommand(explainCommand(a))
	return c
}

const explainHelp = `explain records in the ledger why a configuration was changed: what RUN saved and
the run before it had not. With --path only that file is explained; it can be given
more than once.`

func explainCommand(a *app) *cobra.Command {
	var x jobs.Explanation
	c := &cobra.Command{Use: "explain JOB --run RUN --note TEXT --by PERSON", Short: "say why a configuration was changed", Long: explainHelp,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs}
	c.Flags().StringVar(&x.Run, "run", "", "the `RUN` that first saved the change")
	c.Flags().StringArrayVar(&x.Paths, "path", nil, "explain this `FILE` alone")
	c.Flags().StringVar(&x.Note, "note", "", "why it was changed: `TEXT`")
	c.Flags().StringVar(&x.Ref, "ref", "", "ticket, order or document: `NUMBER`")
	c.Flags().StringVar(&x.By, "by", "", "who answers for it: `PERSON`")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withSite(cmd.Context(), func(s *site) error {
			job, err := oneJob(s.Config, args[0])
			if err != nil {
				return err
			}
			x.Asked = userName()
			if err := s.Explain(cmd.Context(), job, x); err != nil {
				return err
			}
			fmt.Printf("%s: run %s is explained\n", job.Name, x.Run)
			return nil
		})
	}
	return c
}

// printedVersion is the JSON of one version.
type printedVersion struct {
	Job       string               `json:"job"`
	Run       string               `json:"run"`
	Before    string               `json:"before"`
	SavedAt   time.Time            `json:"saved_at"`
	Added     int                  `json:"added"`
	Removed   int                  `json:"removed"`
	Changed   int                  `json:"changed"`
	Open      int                  `json:"unexplained"`
	Trouble   string               `json:"trouble,omitempty"` // why the files are not known
	Files     []printedChange      `json:"files"`
	Explained []printedExplanation `json:"explained"`
}

type printedChange struct {
	Part      string   `json:"part"`
	Path      string   `json:"path"`
	Change    string   `json:"change"`
	What      []string `json:"what,omitempty"`
	How       []string `json:"how,omitempty"` // of mode, owner and link: what it was and is
	Before    string   `json:"before_sha256,omitempty"`
	After     string   `json:"after_sha256,omitempty"`
	Diff      string   `json:"diff,omitempty"`
	Explained bool     `json:"explained"`
}

type printedExplanation struct {
	Note  string    `json:"note"`
	Ref   string    `json:"ref,omitempty"`
	By    string    `json:"by"`
	Asked string    `json:"asked"`
	At    time.Time `json:"at"`
	Whole bool      `json:"whole"` // it is about all that changed
	Entry int64     `json:"entry"`
}

func shownVersion(v jobs.Version) printedVersion {
	p := printedVersion{
		Job: v.Job, Run: v.Run, Before: v.Before, SavedAt: v.SavedAt, Added: v.Added, Removed: v.Removed, Changed: v.Changed, Open: v.Open(),
		Files: []printedChange{}, Explained: []printedExplanation{},
	}
	if v.Trouble != nil {
		p.Trouble = v.Trouble.Error()
	}
	for _, f := range v.Files {
		p.Files = append(p.Files, printedChange{f.Part, f.Path, f.Kind, f.What, f.How, f.Before, f.After, f.Diff, f.Explained})
	}
	for _, d := range v.Explained {
		p.Explained = append(p.Explained, printedExplanation{d.Event.Note, d.Event.Ref, d.Event.By, d.Event.Asked, d.At, len(d.Event.Paths) == 0, d.Seq})
	}
	return p
}

func printVersion(w io.Writer, v jobs.Version, loc *time.Location) {
	fmt.Fprintf(w, "%s  run %s: %d added, %d removed, %d changed\n", when(v.SavedAt, loc), v.Run, v.Added, v.Removed, v.Changed)
	for _, d := range v.Explained {
		of := ""
		if n := len(d.Event.Paths); n > 0 {
			of = fmt.Sprintf(" (%d files)", n)
		}
		ref := ""
		if d.Event.Ref != "" {
			ref = ", " + safe(d.Event.Ref)
		}
		fmt.Fprintf(w, "  explained%s by %s on %s: %s%s\n", of, safe(d.Event.By), when(d.At, loc), safe(d.Event.Note), ref)
	}
	if n := v.Open(); n > 0 {
		fmt.Fprintf(w, "  %s: %d files\n", paint(w, yellow, "not explained"), n)
	}
	if v.Trouble != nil {
		fmt.Fprintf(w, "  what changed is not known: %s\n", clip(safe(flat(v.Trouble))))
	}
	for _, f := range v.Files {
		what := ""
		if all := shownParts(f.Change); len(all) > 0 {
			what = " (" + safe(strings.Join(all, ", ")) + ")"
		}
		fmt.Fprintf(w, "  %s %s%s\n", f.Kind, safe(f.Path), what)
		if f.Before != f.After {
			fmt.Fprintf(w, "    sha256 %s -> %s\n", digestOrNone(f.Before), digestOrNone(f.After))
		}
		for line := range strings.Lines(f.Diff) {
			fmt.Fprintf(w, "    %s\n", safe(strings.TrimSuffix(line, "\n")))
		}
	}
}

// shownParts says what of a file is another, and how where that is short.
func shownParts(c history.Change) []string {
	if c.Kind == history.Changed && c.Content() {
		return append([]string{"content"}, c.How...)
	}
	return c.How
}

func digestOrNone(sum string) string {
	if sum == "" {
		return "none"
	}
	return sum
}
