package report

import (
	"fmt"
	"slices"

	"saoluu/compliance"
)

// Measures of the grid in SVG units. The picture is scaled to the width of the
// page; with these a year of months fills A4.
const (
	nameWidth   = 268
	cellHeight  = 24
	headHeight  = 40
	fullWidth   = 688
	widestCell  = 150
	nameLetters = 40
)

// A picture is the grid as blocks that each fit a page.
type picture struct {
	Months []column
	Blocks []block
	Shade  bool // some months are not of the period, so those that are stand out
	Wide   bool // few months: there is room for words beside the symbol
	Cell   int  // width
	Width  int
}

// A column is one month of the picture.
type column struct {
	Month
	X, Middle int
	Label     string // month
	Year      string // shown under the first month of a year
}

// A block is a run of lines under one row of months, for one page.
type block struct {
	Rows   []pictureRow
	Height int
}

// A pictureRow is one line: a heading, or a job.
type pictureRow struct {
	Heading string
	Row
	Y, Middle int
	Short     string // title cut to what fits
	Removal   bool
	Cells     []pictureCell
}

type pictureCell struct {
	Cell
	X      int
	Symbol string // id of the symbol; empty: nothing to show
	Text   string
	Month  string
	Inside bool // the month belongs to the period
}

// newPicture lays the grid out: jobs with trouble first, then the others, each
// part cut into pages.
func newPicture(g Grid) picture {
	p := picture{Width: fullWidth, Cell: 20}
	if n := len(g.Months); n > 0 {
		p.Cell = min(widestCell, (fullWidth-nameWidth)/n)
	}
	p.Wide = p.Cell >= 100
	for i, m := range g.Months {
		c := column{Month: m, X: nameWidth + i*p.Cell}
		c.Middle, c.Label = c.X+p.Cell/2, m.Month[5:]
		if i == 0 || m.Month[5:] == "01" {
			c.Year = m.Month[:4]
		}
		p.Months = append(p.Months, c)
		p.Shade = p.Shade || !m.InPeriod
	}
	var trouble, quiet, outside []Row
	for _, row := range g.Rows {
		switch {
		case !row.Bound:
			outside = append(outside, row)
		case slices.ContainsFunc(row.Cells, troubled):
			trouble = append(trouble, row)
		default:
			quiet = append(quiet, row)
		}
	}
	var lines []pictureRow
	for _, part := range []struct {
		heading string
		rows    []Row
	}{{"Có tháng cần xử lý", trouble}, {"Không có tháng nào cần xử lý", quiet}, {"Ngoài phạm vi bắt buộc hằng tháng", outside}} {
		for i, row := range part.rows {
			if i == 0 || len(lines)%gridRowsOnPage == 0 {
				lines = append(lines, pictureRow{Heading: part.heading})
			}
			lines = append(lines, p.line(row))
		}
	}
	for chunk := range slices.Chunk(lines, gridRowsOnPage) {
		p.Blocks = append(p.Blocks, laidOut(chunk))
	}
	return p
}

func troubled(c Cell) bool {
	return c.Result == compliance.Fail || c.Result == compliance.Warn || c.Result == compliance.Unknown
}

// line draws one job.
func (p *picture) line(row Row) pictureRow {
	out := pictureRow{Row: row, Short: cut(row.Title), Removal: !row.Removed.IsZero()}
	for j, c := range row.Cells {
		m := p.Months[j]
		out.Cells = append(out.Cells, pictureCell{
			Cell: c, X: m.X, Symbol: symbol(c), Text: cellText(c), Month: m.Month.Month, Inside: m.InPeriod,
		})
	}
	return out
}

// laidOut gives the lines of a block their places.
func laidOut(lines []pictureRow) block {
	for i := range lines {
		lines[i].Y = headHeight + i*cellHeight
		lines[i].Middle = lines[i].Y + cellHeight/2 + 4
	}
	return block{Rows: lines, Height: headHeight + cellHeight*len(lines) + 2}
}

// symbol names the drawing of a cell. A month still to come shows nothing.
func symbol(c Cell) string {
	if c.Result == compliance.Pending && !c.Running {
		return ""
	}
	return string(c.Result)
}

// cellText is what stands beside the symbol when there is room.
func cellText(c Cell) string {
	switch {
	case c.Good > 0:
		return fmt.Sprintf("%d bản tốt", c.Good)
	case c.Result == compliance.NA:
		return "không áp dụng"
	case c.Result == compliance.Pending && !c.Running:
		return ""
	default:
		return outcomeWord(c.Result)
	}
}

// cut shortens a title to what fits the column of names.
func cut(title string) string {
	letters := []rune(title)
	if len(letters) <= nameLetters {
		return title
	}
	return string(letters[:nameLetters-1]) + "…"
}
