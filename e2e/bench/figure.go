package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// A figure is one line of the table.
type figure struct {
	name   string // of the measurement
	what   string
	unit   string // "x" for a ratio
	values []float64
	goal   *goal // nil: shown for comparison only
}

// A goal is what the median should be.
type goal struct {
	bound float64
	least bool // the median should be no less; else no more
}

func atMost(bound float64) *goal  { return &goal{bound: bound} }
func atLeast(bound float64) *goal { return &goal{bound: bound, least: true} }

// add puts a line into the table.
func (b *bench) add(what, unit string, g *goal, values ...float64) {
	f := figure{name: b.name, what: what, unit: unit, values: values, goal: g}
	b.figures = append(b.figures, f)
	b.say("%s: %s (%s) %s", what, f.value(), f.span(), f.verdict())
}

func (f figure) value() string { return number(median(f.values)) + " " + f.unit }

func (f figure) span() string {
	if len(f.values) < 2 {
		return "once"
	}
	return fmt.Sprintf("%s-%s, n=%d", number(slices.Min(f.values)), number(slices.Max(f.values)), len(f.values))
}

func (f figure) goalText() string {
	switch {
	case f.goal == nil:
		return ""
	case f.goal.least:
		return ">= " + number(f.goal.bound)
	default:
		return "<= " + number(f.goal.bound)
	}
}

func (f figure) verdict() string {
	if f.goal == nil {
		return ""
	}
	m := median(f.values)
	if f.goal.least == (m >= f.goal.bound) || m == f.goal.bound {
		return "met"
	}
	return "MISSED"
}

// number writes three significant digits, or all of a whole number.
func number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// printTable writes all lines.
func printTable(w io.Writer, figures []figure, machine string) {
	rows := [][]string{{"MEASUREMENT", "WHAT", "MEDIAN", "SPAN", "GOAL", ""}}
	for _, f := range figures {
		rows = append(rows, []string{f.name, f.what, f.value(), f.span(), f.goalText(), f.verdict()})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	fmt.Fprintln(w, machine)
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// machine says on what and how busy it was.
func machine(quick bool) string {
	text := fmt.Sprintf("%d cores (%s), %s", runtime.NumCPU(), lineOf("/proc/cpuinfo", "model name"), runtime.Version())
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		text += ", load now " + strings.Join(strings.Fields(string(load))[:3], " ")
	}
	if quick {
		text += "; quick: small data, few rounds, no more than an order of magnitude"
	}
	return text
}

// lineOf returns the value of a "key : value" line of a file below /proc.
func lineOf(file, key string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
