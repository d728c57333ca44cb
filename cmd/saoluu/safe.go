package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// safe makes text that came from data fit for a terminal: whatever does not show
// as a character (escape sequences, line ends, marks that turn the direction of
// writing) is spelled as in a Go string. Letters of every language stay.
func safe(text string) string {
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// longestLine is how many characters of one error are shown; the record keeps
// the rest.
const longestLine = 600

// clip shortens what is longer than a person reads.
func clip(text string) string {
	if r := []rune(text); len(r) > longestLine {
		return string(r[:longestLine-1]) + "…"
	}
	return text
}

// errorLines are the lines an error is shown as: one for each of those joined.
func errorLines(err error) []string {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var lines []string
		for _, one := range many.Unwrap() {
			lines = append(lines, errorLines(one)...)
		}
		return lines
	}
	return []string{clip(safe(flat(err)))}
}

// flat is the text of an error with the errors joined inside it in one line.
func flat(err error) string {
	text := err.Error()
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		if many, ok := inner.(interface{ Unwrap() []error }); ok {
			var parts []string
			for _, one := range many.Unwrap() {
				parts = append(parts, flat(one))
			}
			return strings.Replace(text, inner.Error(), strings.Join(parts, "; "), 1)
		}
	}
	return text
}
