package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/compliance"
)

//go:embed page.html
var pageText string

// What fits a printed page. Beyond these a table shows the worst part and says
// how much is left out; the JSON form has everything.
const (
	maxGapRows     = 60  // of one rule
	maxDetailRows  = 600 // of all findings
	maxCopyRows    = 80
	maxArchiveRows = 40
	maxArchiveJobs = 4 // named of one set
	maxTestRows    = 120
	maxChangeRows  = 60
	maxRemedies    = 3  // different things to do, of one rule
	maxFrontRows   = 14 // of the grid on the first pages
	maxUntested    = 6  // named on the first pages
	gridRowsOnPage = 36
)

// WriteHTML writes one self-contained page: no scripts, no outside references.
func WriteHTML(w io.Writer, r Report) error {
	t, err := template.New("page").Funcs(words(r.loc)).Parse(pageText)
	if err != nil {
		return fmt.Errorf("read the report's template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, newPage(r)); err != nil {
		return fmt.Errorf("write the report as HTML: %w", err)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write the report as HTML: %w", err)
	}
	return nil
}

// A page is a report prepared for the template.
type page struct {
	Report
	PeriodText   string
	LastDay      time.Time // of the period
	Closed       bool
	Binding      compliance.Totals
	Lines        []totalsLine
	Duties       []gapGroup // binding and advisory
	Policies     []gapGroup
	Picture      picture
	Front        picture // what the first pages show of it
	Quiet        int     // rows left out there
	TestRows     []testRow
	TestsLeft    int
	Screens      []screen
	TestCount    map[string]int // by verdict
	CopyRows     []copyRow
	CopyTotals   []copyTotal
	ArchiveRows  []archiveRow
	ArchivesLeft int
	ChangeRows   []changeRow
	ChangesLeft  int
	OpenChanges  int // that nobody has explained
	Detail       []gapGroup
	DetailLeft   int

	FirstUntested []Untested
	MoreUntested  int
	Silent        []Month
}

// Annex is the number an annex has on this page: the second is left out when the
// first pages show all of it.
func (p page) Annex(n int) int {
	if n > 2 && p.Quiet == 0 {
		return n - 1
	}
	return n
}

// A totalsLine is one kind of pack in the summary.
type totalsLine struct {
	Kind   compliance.Kind
	Label  string
	Note   string
	Totals compliance.Totals
}

// A gapGroup is one rule with its open findings, worst first.
type gapGroup struct {
	Finding // the worst of them
	Rows    []Finding
	Left    int
	Fail    int
	Other   int      // warn, unknown, waived
	Unsure  bool     // one of those is unknown
	Waiting int      // pending
	Todo    []string // what to do: the different remedies, worst first
}

type testRow struct {
	Test
	Title string
	Slow  bool // longer than the RTO
}

type copyRow struct {
	Copy
	Title string
}

// A copyTotal counts the copies on one target by level of separation.
type copyTotal struct {
	Target
	Levels [7]int // L0 to L5, unknown
}

func newPage(r Report) page {
	p := page{Report: r, PeriodText: periodText(r.Period), LastDay: r.To.Add(-time.Second), Closed: !r.AsOf.Before(r.To)}
	p.Binding = r.Totals[compliance.Binding]
	for _, line := range []totalsLine{
		{compliance.Binding, "Văn bản bắt buộc", "", compliance.Totals{}},
		{compliance.Advisory, "Văn bản khuyến nghị", "", compliance.Totals{}},
		{compliance.Policy, "Chính sách", "không phải yêu cầu pháp lý", compliance.Totals{}},
	} {
		if line.Totals = r.Totals[line.Kind]; hasKind(r, line.Kind) {
			p.Lines = append(p.Lines, line)
		}
	}
	for _, g := range gapGroups(r.Gaps) {
		if g.Kind == compliance.Policy {
			p.Policies = append(p.Policies, g)
		} else {
			p.Duties = append(p.Duties, g)
		}
	}
	p.Picture = newPicture(r.Grid)
	p.front()
	p.FirstUntested = r.Untested[:min(len(r.Untested), maxUntested)]
	p.MoreUntested = len(r.Untested) - len(p.FirstUntested)
	p.tests()
	p.copies()
	p.custody()
	p.changed()
	p.detail()
	for _, m := range r.Grid.Months {
		if m.InPeriod && m.SilentHours > 0 {
			p.Silent = append(p.Silent, m)
		}
	}
	return p
}

// gapGroups gathers the gaps, which are worst first, by rule.
func gapGroups(gaps []Finding) []gapGroup {
	var groups []gapGroup
	for _, f := range gaps {
		i := slices.IndexFunc(groups, func(g gapGroup) bool { return g.Finding.Rule == f.Rule && g.Finding.Pack == f.Pack })
		if i < 0 {
			groups = append(groups, gapGroup{Finding: f})
			i = len(groups) - 1
		}
		g := &groups[i]
		switch f.Counted {
		case compliance.Fail:
			g.Fail++
		case compliance.Pending:
			g.Waiting++
		default:
			g.Other++
			g.Unsure = g.Unsure || f.Counted == compliance.Unknown
		}
		if f.Remedy != "" && f.Counted != compliance.Pending && len(g.Todo) < maxRemedies && !slices.Contains(g.Todo, f.Remedy) {
			g.Todo = append(g.Todo, f.Remedy)
		}
		if len(g.Rows) < maxGapRows {
			g.Rows = append(g.Rows, f)
		} else {
			g.Left++
		}
	}
	return groups
}

// tests chooses the rows of the table of restore tests: everything that did not
// pass, and as many passes as fit, newest first.
func (p *page) tests() {
	title := p.titles()
	p.TestCount = map[string]int{}
	var bad, good []testRow
	for _, t := range p.Report.Tests {
		p.TestCount[t.Verdict]++
		row := testRow{t, title[t.Job], t.RTOSeconds > 0 && t.Seconds > float64(t.RTOSeconds)}
		if t.Verdict == catalog.VerdictPassed {
			good = append(good, row)
		} else {
			bad = append(bad, row)
		}
	}
	slices.Reverse(bad)
	slices.Reverse(good)
	all := append(bad, good...)
	shown := min(len(all), max(maxTestRows, min(len(bad), 4*maxTestRows)))
	p.TestRows, p.TestsLeft = all[:shown], len(all)-shown
	for _, s := range p.Report.screens {
		s.Title = cmp.Or(title[s.Test.Job], s.Test.Job)
		p.Screens = append(p.Screens, s)
	}
}

func (p *page) titles() map[string]string {
	titles := map[string]string{}
	for _, row := range p.Grid.Rows {
		titles[row.Job] = row.Title
	}
	return titles
}

func (p *page) copies() {
	title := p.titles()
	for _, t := range p.Report.Targets {
		row := copyTotal{Target: t}
		for _, c := range p.Report.Copies {
			if c.Target == t.Name {
				row.Levels[level(c.Separation)]++
			}
		}
		p.CopyTotals = append(p.CopyTotals, row)
	}
	if len(p.Report.Copies) <= maxCopyRows {
		for _, c := range p.Report.Copies {
			p.CopyRows = append(p.CopyRows, copyRow{c, title[c.Job]})
		}
	}
}

// level turns "L0" to "L5" into 0 to 5 and anything else into 6.
func level(text string) int {
	if len(text) == 2 && text[0] == 'L' && text[1] >= '0' && text[1] <= '5' {
		return int(text[1] - '0')
	}
	return 6
}

// front chooses what the first pages show of the grid: all of a small one, the
// rows with trouble of a large one.
func (p *page) front() {
	rows := p.Grid.Rows
	if len(rows) > maxFrontRows {
		rows = slices.DeleteFunc(slices.Clone(rows), func(row Row) bool {
			return !row.Bound || !slices.ContainsFunc(row.Cells, troubled)
		})
		rows = rows[:min(len(rows), maxFrontRows)]
	}
	p.Quiet = len(p.Grid.Rows) - len(rows)
	p.Front = newPicture(Grid{Months: p.Grid.Months, Rows: rows})
}

// detail chooses the rows of the last annex: all findings, or the open ones when
// all are too many.
func (p *page) detail() {
	rows := p.Report.Findings
	if len(rows) > maxDetailRows {
		rows = p.Report.Gaps[:min(len(p.Report.Gaps), maxDetailRows)]
	}
	p.DetailLeft = len(p.Report.Findings) - len(rows)
	for _, f := range rows {
		i := slices.IndexFunc(p.Detail, func(g gapGroup) bool { return g.Finding.Rule == f.Rule && g.Pack == f.Pack })
		if i < 0 {
			p.Detail = append(p.Detail, gapGroup{Finding: f})
			i = len(p.Detail) - 1
		}
		p.Detail[i].Rows = append(p.Detail[i].Rows, f)
	}
}
