package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/report"
)

const mediumShowHelp = `show prints a medium's entry in the register, its custody log and life so far, and
what lies on it: from the catalog alone, so that nobody has to fetch it to know.`

// A mediumView is "medium show --json".
type mediumView struct {
	catalog.MediumRegistered
	Stage    string          `json:"stage"`
	Log      []mediumLogLine `json:"log"`
	Contents []mediumContent `json:"contents"`
}

type mediumLogLine struct {
	Entry int64         `json:"entry"`
	At    time.Time     `json:"at"`
	Kind  string        `json:"kind"`
	Event catalog.Event `json:"event"`
}

// A mediumContent is one run on a medium.
type mediumContent struct {
	Run     string    `json:"run"`
	Job     string    `json:"job"`
	TakenAt time.Time `json:"taken_at"`
	Class   string    `json:"class"`
	Label   string    `json:"label,omitempty"`
	State   string    `json:"state"`
}

func mediumShow(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "show MEDIUM", Short: "a medium's entry, custody log and contents", Long: mediumShowHelp, Args: cobra.ExactArgs(1)}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		c, cat, err := a.read(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cat.Close()) }()
		v, err := viewMedium(cmd.Context(), cat, args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(os.Stdout, v)
		}
		printMedium(os.Stdout, v, c.Site.Location)
		return nil
	}
	return c
}

func viewMedium(ctx context.Context, cat *catalog.Catalog, name string) (mediumView, error) {
	now := clockNow()()
	register, _, err := cat.Media(ctx, now)
	if err != nil {
		return mediumView{}, err
	}
	m, is := register[name]
	if !is || m.Registered.At.IsZero() {
		return mediumView{}, fault.New(fault.Usage, fmt.Sprintf("medium %q", name), errors.New("it is not in the register"), "run \"saoluu medium list\" to see the register")
	}
	v := mediumView{MediumRegistered: m.Registered.Event, Stage: m.Stage(), Log: []mediumLogLine{}, Contents: []mediumContent{}}
	log, err := cat.MediumLog(ctx, name, now)
	if err != nil {
		return v, err
	}
	for _, d := range log {
		v.Log = append(v.Log, mediumLogLine{d.Seq, d.At, d.Event.Kind(), d.Event})
	}
	rows, err := cat.SnapshotsOf(ctx, m.Registered.Event.Target)
	if err != nil {
		return v, err
	}
	seen := map[string]bool{}
	for _, row := range rows {
		if seen[row.Run] {
			continue
		}
		seen[row.Run] = true
		run, err := cat.Run(ctx, row.Run)
		if err != nil {
			return v, err
		}
		v.Contents = append(v.Contents, mediumContent{run.Run, run.Job, run.ConsistentAt, run.Class, m.Registered.Event.Label, row.State})
	}
	slices.SortFunc(v.Contents, func(a, b mediumContent) int { return b.TakenAt.Compare(a.TakenAt) })
	return v, nil
}

func printMedium(w io.Writer, v mediumView, loc *time.Location) {
	for _, line := range [][2]string{
		{"medium", v.Medium}, {"target", v.Target}, {"stage", v.Stage}, {"type", v.Type}, {"model", v.Model}, {"serial", v.Serial},
		{"capacity", size(v.Bytes)}, {"file system", v.Format + " " + v.Filesystem}, {"label", v.Label}, {"secrecy", v.Secrecy}, {"owner", v.Owner},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%-12s %s\n", line[0], safe(line[1]))
		}
	}
	fmt.Fprintln(w)
	t := &table{}
	t.row("WHEN", "WHAT", "BY", "ENTRY")
	for _, l := range v.Log {
		what, by := mediumWords(l.Event)
		t.row(when(l.At, loc), what, by, fmt.Sprint(l.Entry))
	}
	t.print(w)
	fmt.Fprintln(w)
	t = &table{}
	t.row("TAKEN", "JOB", "CLASS", "RUN", "STATE")
	for _, c := range v.Contents {
		t.row(when(c.TakenAt, loc), c.Job, c.Class, c.Run, c.State)
	}
	t.print(w)
}

// mediumWords tells an event of a medium's log in a line, and who caused it.
func mediumWords(e catalog.Event) (what, by string) {
	switch e := e.(type) {
	case catalog.MediumRegistered:
		return "entered into the register", e.By
	case catalog.MediumSeen:
		if e.Plugged {
			return "plugged in at " + e.Host, ""
		}
		return "unplugged from " + e.Host, ""
	case catalog.MediumRefused:
		return "refused: " + e.Reason, ""
	case catalog.MediumHanded:
		return sentence(e.To+", "+e.Place, "seal "+e.Seal, e.Seal, "back by "+e.DueBack, e.DueBack, e.Note, e.Note), e.By
	case catalog.MediumInspected:
		word := "inspected, whole"
		if !e.Intact {
			word = "inspected, NOT whole"
		}
		return sentence(word, "at "+e.Place, e.Place, "seal "+e.Seal, e.Seal, e.Note, e.Note), e.By
	case catalog.MediumStaged:
		word := e.Stage
		if s := e.Sanitisation; s != nil {
			word = fmt.Sprintf("%s: %s by %s; %s; witness %s, %s; %d runs were on it", e.Stage, s.Method, s.Technique, s.Verification, s.Witness, s.Place, len(s.Runs))
		}
		return sentence(word, e.Note, e.Note), e.By
	}
	return e.Kind(), ""
}

// sentence joins a beginning and those of the pairs (text, given) that were given.
func sentence(begin string, pairs ...string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			begin += "; " + pairs[i]
		}
	}
	return begin
}

func mediumLabel(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "label MEDIUM", Short: "write a medium's label with its QR code, to be printed", Args: cobra.ExactArgs(1)}
	c.Flags().StringVarP(&file, "output", "o", "", "`FILE` for the page; - for standard output (default MEDIUM-label.html)")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		c, cat, err := a.read(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cat.Close()) }()
		v, err := viewMedium(cmd.Context(), cat, args[0])
		if err != nil {
			return err
		}
		var page bytes.Buffer
		if err := report.WriteLabel(&page, report.Label{Agency: c.Site.Name, Site: c.Site.Code, Medium: v.MediumRegistered, Day: v.Log[0].At.In(c.Site.Location)}); err != nil {
			return err
		}
		if file == "-" {
			_, err = page.WriteTo(os.Stdout)
			return err
		}
		file = cmp.Or(file, args[0]+"-label.html")
		if err := durable.WriteFile(file, page.Bytes(), 0o644); err != nil {
			return fault.New(fault.Failed, "write the label", err, "name a folder that can be written with -o")
		}
		fmt.Printf("wrote %s\n", safe(file))
		return nil
	}
	return c
}
