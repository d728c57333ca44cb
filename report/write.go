package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
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

// inert keeps a spreadsheet from taking a text for a formula, by an apostrophe
// before one that begins like it: some look behind white space, and take the wide
// forms of the signs too. Control characters become spaces.
func inert(cell string) string {
	cell = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, cell)
	if first, _ := utf8.DecodeRuneInString(strings.TrimSpace(cell)); strings.ContainsRune("=+-@＝＋－＠", first) {
		return "'" + cell
	}
	return cell
}
