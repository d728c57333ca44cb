package report

import (
	"fmt"
	"slices"
	"time"

	"saoluu/compliance"
)

// A Change is one version of a configuration that differs from the one before it. No
// name of a file is in it, and nothing of what it holds.
type Change struct {
	Job       string        `json:"job"`
	Run       string        `json:"run"`
	At        time.Time     `json:"at"`
	Added     int           `json:"added"`
	Removed   int           `json:"removed"`
	Changed   int           `json:"changed"`
	Unknown   string        `json:"unknown,omitempty"` // why it is not known what changed
	Open      int           `json:"unexplained"`       // files that nobody has explained
	Entry     string        `json:"entry"`
	Explained []Explanation `json:"explained"`
}

// An Explanation is why a change was made, as somebody has said.
type Explanation struct {
	Note  string    `json:"note"`
	Ref   string    `json:"ref,omitempty"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
	Whole bool      `json:"whole"` // it is about all that changed
	Entry string    `json:"entry"`
}

func changes(result compliance.Result) []Change {
	out := []Change{}
	for _, c := range result.Changes {
		row := Change{
			Job: c.Job, Run: c.Run, At: utc(c.At), Added: c.Added, Removed: c.Removed, Changed: c.Changed, Unknown: c.Unknown,
			Open: c.Open(), Entry: fmt.Sprintf("entry:%d", c.Seq), Explained: []Explanation{},
		}
		for _, d := range c.Explained {
			row.Explained = append(row.Explained, Explanation{
				Note: d.Event.Note, Ref: d.Event.Ref, By: d.Event.By, At: utc(d.At), Whole: len(d.Event.Paths) == 0, Entry: fmt.Sprintf("entry:%d", d.Seq),
			})
		}
		out = append(out, row)
	}
	return out
}

// A changeRow is a change as the page shows it.
type changeRow struct {
	Change
	Title string
}

// changed chooses the rows of changes: those that nobody has explained first, then the
// newest.
func (p *page) changed() {
	title := p.titles()
	var open, said []changeRow
	for _, c := range slices.Backward(p.Report.Changes) {
		row := changeRow{c, title[c.Job]}
		if c.Open > 0 {
			open = append(open, row)
		} else {
			said = append(said, row)
		}
	}
	p.OpenChanges = len(open)
	all := append(open, said...)
	p.ChangeRows = all[:min(len(all), maxChangeRows)]
	p.ChangesLeft = len(all) - len(p.ChangeRows)
}
