package main

import (
	"errors"
	"fmt"
	"io"

	"saoluu/config"
	"saoluu/internal/fault"
)

// Exit codes (docs/reference/commands/exit-codes.md is generated from this table).
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitIncomplete   = 3
	exitUnknown      = 4
	exitVerification = 5
	exitRefused      = 6
	exitCancelled    = 130
)

// exitMeanings says what each code means, in the order of the manual.
var exitMeanings = []struct {
	Code int
	Text string
}{
	{exitDone, "done"},
	{exitFailed, "failed"},
	{exitUsage, "wrong command line or configuration, or no state yet"},
	{exitIncomplete, "incomplete: a part or a copy is missing"},
	{exitUnknown, "could not look, so nothing can be said"},
	{exitVerification, "looked and found damage or a mismatch"},
	{exitRefused, "refused by policy"},
	{exitCancelled, "cancelled"},
}

// exitCode is the one table from kinds of error to exit codes. "saoluu status"
// has four codes of its own.
func exitCode(err error) int {
	var own *exitError
	if errors.As(err, &own) {
		return own.code
	}
	switch fault.KindOf(err) {
	case "":
		return exitDone
	case fault.Usage, fault.MissingState:
		return exitUsage
	case fault.Incomplete:
		return exitIncomplete
	case fault.Unknown:
		return exitUnknown
	case fault.Verification, fault.Damaged:
		return exitVerification
	case fault.Refused:
		return exitRefused
	case fault.Cancelled:
		return exitCancelled
	default:
		return exitFailed
	}
}

// An exitError ends the program with a code of its own, silently when err is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// printError writes an error and its hint, once, for a person.
func printError(w io.Writer, err error) {
	var own *exitError
	if errors.As(err, &own) && own.err == nil {
		return
	}
	var problems config.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			printLines(w, []string{clip(safe(fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)))}, p.Hint)
		}
		return
	}
	printLines(w, errorLines(err), fault.HintOf(err))
}

// printLines writes the lines of one error and its hint.
func printLines(w io.Writer, lines []string, hint string) {
	for _, line := range lines {
		fmt.Fprintf(w, "saoluu: error: %s\n", line)
	}
	if hint != "" {
		fmt.Fprintf(w, "saoluu: hint: %s\n", clip(safe(hint)))
	}
}
