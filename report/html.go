package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/compliance"
	"saoluu/internal/calendar"
)

//go:embed page.html
var pageText string

// What fits a printed page. Beyond these a table shows the worst part and says
// how much is left out; the JSON form has everything.
const (
	maxGapRows     = 60  // of one rule
	maxDetailRows  = 600 // of all findings
	maxCopyRows    = 80
	maxTestRows    = 120
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
	PeriodText string
	LastDay    time.Time // of the period
	Closed     bool
	Binding    compliance.Totals
	Lines      []totalsLine
	Duties     []gapGroup // binding and advisory
	Policies   []gapGroup
	Picture    picture
	Front      picture // what the first pages show of it
	Quiet      int     // rows left out there
	TestRows   []testRow
	TestsLeft  int
	TestCount  map[string]int // by verdict
	CopyRows   []copyRow
	CopyTotals []copyTotal
	Detail     []gapGroup
	DetailLeft int

	FirstUntested []Untested
	MoreUntested  int
	Silent        []Month
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

// words are the functions of the template.
func words(loc *time.Location) template.FuncMap {
	if loc == nil {
		loc = time.UTC
	}
	return template.FuncMap{
		"day":     func(t time.Time) string { return stamp(t, loc, "02/01/2006") },
		"time":    func(t time.Time) string { return stamp(t, loc, "02/01/2006 15:04") },
		"result":  outcomeWord,
		"verdict": verdictWord,
		"level":   levelWord,
		"seconds": secondsText,
		"month":   monthText,
		"kind":    kindWord,
		"status":  statusWord,
		"refs":    func(all []string) string { return strings.Join(all, " ") },
		"short":   func(s string) string { return s[:min(len(s), 16)] },
		"period":  amountText,
		"type":    typeWord,
		"hours":   func(s int64) string { return secondsText(float64(s)) },
		"add":     func(a, b int) int { return a + b },
		"half":    func(a int) int { return a / 2 },
		"importance": func(s string) string {
			return map[string]string{"high": "rất quan trọng", "normal": "quan trọng", "low": "thường"}[s]
		},
	}
}

func stamp(t time.Time, loc *time.Location, layout string) string {
	if t.IsZero() {
		return "–"
	}
	return t.In(loc).Format(layout)
}

// outcomeWord is the fixed Vietnamese word of a result.
func outcomeWord(o compliance.Outcome) string {
	switch o {
	case compliance.Pass:
		return "đạt"
	case compliance.Warn:
		return "cần lưu ý"
	case compliance.Fail:
		return "không đạt"
	case compliance.Pending:
		return "chưa đến hạn"
	case compliance.NA:
		return "không áp dụng"
	case compliance.Waived:
		return "miễn, có xác nhận"
	case compliance.Unknown:
		return "thiếu dữ liệu"
	default:
		return string(o)
	}
}

func verdictWord(v string) string {
	switch v {
	case catalog.VerdictPassed:
		return "đạt"
	case catalog.VerdictFailed:
		return "không đạt"
	case catalog.VerdictUnknown:
		return "không kết luận được"
	case catalog.VerdictNotConfigured:
		return "chưa có phép so sánh"
	default:
		return v
	}
}

func levelWord(l string) string {
	switch l {
	case catalog.LevelListed:
		return "liệt kê"
	case catalog.LevelStructure:
		return "cấu trúc"
	case catalog.LevelReread:
		return "đọc lại"
	case catalog.LevelRestored:
		return "đã phục hồi"
	case catalog.LevelAsserted:
		return "đã so sánh"
	case catalog.LevelBooted:
		return "đã khởi động"
	case "":
		return "–"
	default:
		return l
	}
}

func kindWord(k compliance.Kind) string {
	switch k {
	case compliance.Binding:
		return "văn bản bắt buộc"
	case compliance.Advisory:
		return "văn bản khuyến nghị"
	default:
		return "chính sách, không phải yêu cầu pháp lý"
	}
}

func statusWord(s string) string {
	switch s {
	case "in_force":
		return "đang áp dụng"
	case "replaced":
		return "đã bị thay thế"
	default:
		return "cần kiểm tra hiệu lực"
	}
}

func typeWord(t string) string {
	switch t {
	case "local":
		return "thư mục, ổ đĩa"
	case "removable":
		return "phương tiện rời"
	case "s3":
		return "kho đối tượng S3"
	case "sftp":
		return "máy chủ SFTP"
	case "rest":
		return "máy chủ REST"
	default:
		return t
	}
}

// secondsText writes a measured time.
func secondsText(s float64) string {
	switch {
	case s < 60:
		return strings.Replace(fmt.Sprintf("%.1f giây", s), ".", ",", 1)
	case s < 3600:
		return fmt.Sprintf("%d phút %02d giây", int(s)/60, int(s)%60)
	default:
		return fmt.Sprintf("%d giờ %02d phút", int(s)/3600, int(s)%3600/60)
	}
}

// amountText writes an amount of calendar time such as "1y6mo".
func amountText(text string) string {
	var p calendar.Period
	if err := p.UnmarshalText([]byte(text)); err != nil {
		return text
	}
	var parts []string
	for _, part := range []struct {
		n    int
		unit string
	}{{p.Months / 12, "năm"}, {p.Months % 12, "tháng"}, {p.Days, "ngày"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.unit))
		}
	}
	return strings.Join(parts, " ")
}

// monthText writes "2026-05" as it is read in Việt Nam.
func monthText(text string) string {
	m, err := calendar.ParseMonth(text)
	if err != nil {
		return text
	}
	return fmt.Sprintf("%02d/%d", m.Month, m.Year)
}

func periodText(text string) string {
	p, err := calendar.ParseReportPeriod(text)
	if err != nil {
		return text
	}
	switch p.Count {
	case 1:
		return fmt.Sprintf("tháng %02d năm %d", p.First.Month, p.First.Year)
	case 3:
		return fmt.Sprintf("quý %d năm %d", (int(p.First.Month)+2)/3, p.First.Year)
	case 6:
		return fmt.Sprintf("sáu tháng %s năm %d", map[bool]string{true: "đầu", false: "cuối"}[p.First.Month == time.January], p.First.Year)
	default:
		return fmt.Sprintf("năm %d", p.First.Year)
	}
}
