package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteJSON writes the report for machines: indented, keys in a fixed order,
// Vietnamese as it is.
func WriteJSON(w io.Writer, r Report) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write the report as JSON: %w", err)
	}
	return nil
}

// WriteCSV writes the findings as a table. It begins with a byte order mark, so
// that spreadsheets show the Vietnamese letters.
func WriteCSV(w io.Writer, r Report) error {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return fmt.Errorf("write the report as CSV: %w", err)
	}
	out := csv.NewWriter(w)
	rows := [][]string{{"pack", "kind", "rule", "clause", "title", "subject", "name", "result", "counted", "posture", "period", "why", "remedy", "evidence"}}
	for _, f := range r.Findings {
		rows = append(rows, []string{
			f.Pack, string(f.Kind), f.Rule, f.Clause, f.Title, f.Subject, f.Name, string(f.Result), string(f.Counted),
			string(f.Posture), string(f.Over), f.Why, f.Remedy, strings.Join(f.Evidence, " "),
		})
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = inert(cell)
		}
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("write the report as CSV: %w", err)
	}
	return nil
}

// inert keeps a spreadsheet from taking a text for a formula.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
