package main

// House rules for what this program prints:
//
//   - results go to standard output; everything else to standard error, prefixed
//     with "saoluu: ";
//   - no capital first letter, no final period, never a secret;
//   - what came from data goes through "safe", table cells by themselves;
//   - colour and moving progress only on a terminal, never when NO_COLOR is set;
//   - --json gives one JSON object per line, or one document, and nothing else.

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"

	"saoluu/jobs"
)

// printJSON writes one value as a line of JSON.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// isTerminal reports whether f is a terminal that may be coloured.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Colours of states.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

// paint colours text for w when w is a terminal.
func paint(w io.Writer, colour, text string) string {
	if !coloured(w) {
		return text
	}
	return inColour(colour, text)
}

// coloured reports whether w is a terminal whose user wants colours.
func coloured(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f) && os.Getenv("NO_COLOR") == ""
}

func inColour(colour, text string) string {
	if colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// stateColour gives the colour of a state, verdict or result.
func stateColour(state string) string {
	switch state {
	case "complete", "passed", "good", "pass":
		return green
	case "failed", "failing", "fail":
		return red
	default:
		return yellow
	}
}

// A table prints aligned columns. Cells may be coloured after alignment.
type table struct {
	rows    [][]string
	colours [][]string
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = safe(cell)
	}
	t.rows = append(t.rows, cells)
	t.colours = append(t.colours, make([]string, len(cells)))
}

// colour sets the colour of a cell of the last row.
func (t *table) colour(column int, colour string) { t.colours[len(t.colours)-1][column] = colour }

func (t *table) print(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	colour := coloured(w)
	var text strings.Builder
	for r, row := range t.rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if colour {
				cell = inColour(t.colours[r][i], cell)
			}
			text.WriteString(cell)
			if i < len(row)-1 {
				text.WriteString(pad + "  ")
			}
		}
		text.WriteByte('\n')
	}
	fmt.Fprint(w, text.String())
}

// when shows an instant in the site's time zone, or a dash.
func when(t time.Time, loc *time.Location) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(loc).Format("2006-01-02 15:04")
}

// size shows bytes for people.
func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// A meter shows the progress of long work: one moving line on a terminal, a log
// line now and then elsewhere.
type meter struct {
	w    *os.File
	live bool
	now  func() time.Time

	mu    sync.Mutex
	steps map[string]jobs.Progress
	last  time.Time
	drawn bool
}

// Intervals between two showings of progress.
const (
	meterLive = 200 * time.Millisecond
	meterLog  = 30 * time.Second
)

func newMeter(w *os.File, now func() time.Time) *meter {
	return &meter{w: w, live: isTerminal(w), now: now, steps: map[string]jobs.Progress{}, last: now()}
}

// show takes one report of progress.
func (m *meter) show(p jobs.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps[p.Job] = p
	pause := meterLog
	if m.live {
		pause = meterLive
	}
	if m.now().Sub(m.last) < pause {
		return
	}
	m.last = m.now()
	m.draw()
}

func (m *meter) draw() {
	var texts []string
	for _, p := range m.steps {
		texts = append(texts, safe(progressText(p)))
	}
	slices.Sort(texts)
	if m.live {
		line := strings.Join(texts, "; ")
		if width, _, err := term.GetSize(int(m.w.Fd())); err == nil && len([]rune(line)) >= width {
			line = string([]rune(line)[:max(width-1, 0)])
		}
		fmt.Fprintf(m.w, "\r\x1b[K%s", line)
		m.drawn = true
		return
	}
	for _, t := range texts {
		fmt.Fprintf(m.w, "saoluu: %s\n", t)
	}
}

// done removes a job from the line.
func (m *meter) done(job string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.steps, job)
	if m.drawn {
		fmt.Fprint(m.w, "\r\x1b[K")
		m.drawn = false
	}
}

func progressText(p jobs.Progress) string {
	text := p.Job + ": " + p.Step
	switch {
	case p.Total > 0:
		text += fmt.Sprintf(" %d%% of %s", min(100, 100*p.Done/p.Total), size(p.Total))
	case p.Done > 0:
		text += " " + size(p.Done)
	}
	if p.Remaining > 0 {
		text += fmt.Sprintf(", %s left", p.Remaining.Round(time.Second))
	}
	return text
}
