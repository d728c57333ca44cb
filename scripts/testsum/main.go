// Testsum reads the output of "go test -json" and says what happened.
//
//	go test -json ./... | testsum [-must FILE] [-checks N]
//
// It prints what a failing test printed, one line per package, each skipped test
// with its reason, and as its last line, always,
//
//	N passed, N failed, N skipped
//
// N is how many checks before the tests failed; they count as failures, so that the
// last line tells of everything. FILE names the tests that must have run, one "package TestName" a line, the
// package relative to the module; "#" starts a comment. A test on that list that
// was skipped, or that did not run at all, counts as a failure: a suite that
// quietly skips its real servers proves nothing. The exit status is 0 only when
// something passed and nothing failed.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	must := flag.String("must", "", "file naming the tests that must have run")
	checks := flag.Int("checks", 0, "checks before the tests that failed")
	flag.Parse()
	ok, err := run(os.Stdin, os.Stdout, *must, *checks)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum: error:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run is main with its inputs as parameters; it reports whether all is well.
func run(in io.Reader, out io.Writer, mustFile string, checks int) (bool, error) {
	required, err := readRequired(mustFile)
	if err != nil {
		return false, err
	}
	s := newSummary()
	s.failed = checks
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if text := s.take(line); text != "" {
				fmt.Fprint(out, text)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, fmt.Errorf("read test output: %w", err)
		}
	}
	fmt.Fprint(out, s.close(required))
	return s.failed == 0 && s.passed > 0, nil
}
