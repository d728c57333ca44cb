package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// module is the prefix of package paths that is left out of what is printed and
// of the list of required tests.
const module = "saoluu/"

// An event is one line of "go test -json" (see "go doc test2json").
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64 // seconds
}

// A test is one test of one package; subtests have their own.
type test struct{ pkg, name string }

// A summary collects events until close. The zero value is not usable.
type summary struct {
	passed, failed, skipped int
	output                  map[test]*bytes.Buffer // what each unfinished test printed
	ended                   map[test]string        // pass, fail or skip
	failures                map[string]int         // failed tests per package
	skips                   []string
}

func newSummary() *summary {
	return &summary{
		output:   map[test]*bytes.Buffer{},
		ended:    map[test]string{},
		failures: map[string]int{},
	}
}

// take adds one line and returns what is to be printed at once. A line that is
// not an event (a compiler's, a crash's) is printed as it is.
func (s *summary) take(line []byte) string {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return string(line)
	}
	if e.Action == "build-output" {
		return e.Output
	}
	t := test{strings.TrimPrefix(e.Package, module), e.Test}
	if e.Action == "output" {
		buf := s.output[t]
		if buf == nil {
			buf = new(bytes.Buffer)
			s.output[t] = buf
		}
		buf.WriteString(e.Output)
		return ""
	}
	switch e.Action {
	case "pass", "fail", "skip":
	default:
		return ""
	}
	printed := s.output[t]
	delete(s.output, t)
	if printed == nil {
		printed = new(bytes.Buffer)
	}
	if t.name == "" {
		return s.endPackage(t.pkg, e, printed.String())
	}
	return s.endTest(t, e.Action, printed.String())
}

func (s *summary) endTest(t test, action, printed string) string {
	s.ended[t] = action
	switch action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		s.skips = append(s.skips, fmt.Sprintf("skipped %s %s: %s", t.pkg, t.name, reason(printed)))
	case "fail":
		s.failed++
		s.failures[t.pkg]++
		return fmt.Sprintf("FAILED %s %s\n%s", t.pkg, t.name, printed)
	}
	return ""
}

// endPackage counts a package that failed outside any test (it did not build, it
// crashed, it ran out of time) as one failure.
func (s *summary) endPackage(pkg string, e event, printed string) string {
	switch {
	case e.Action == "skip":
		return ""
	case e.Action == "pass":
		return fmt.Sprintf("ok     %s %.1fs\n", pkg, e.Elapsed)
	case s.failures[pkg] == 0:
		s.failed++
		return fmt.Sprintf("FAILED %s outside any test\n%s", pkg, printed)
	}
	return fmt.Sprintf("FAILED %s %.1fs\n%s", pkg, e.Elapsed, printed)
}

// reason is the last thing a skipped test said, without the file and line.
func reason(printed string) string {
	last := "no reason given"
	for line := range strings.Lines(printed) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		last = line
	}
	return last
}

// close returns the skips, what required tests are missing, and the last line.
// Tests that never ended belong to packages already counted as failed.
func (s *summary) close(required []test) string {
	var b strings.Builder
	slices.Sort(s.skips)
	for _, line := range s.skips {
		fmt.Fprintln(&b, line)
	}
	for _, t := range required {
		switch s.ended[t] {
		case "pass", "fail":
		case "skip":
			s.failed++
			fmt.Fprintf(&b, "FAILED %s %s was skipped and must run\n", t.pkg, t.name)
		default:
			s.failed++
			fmt.Fprintf(&b, "FAILED %s %s did not run and must\n", t.pkg, t.name)
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return b.String()
}

// readRequired reads the list of tests that must have run. An empty list in an
// existing file is an error: it would require nothing and look like diligence.
func readRequired(path string) ([]test, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read required tests: %w", err)
	}
	var required []test
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("%s: %q is not \"package TestName\"", path, strings.TrimSpace(line))
		}
		required = append(required, test{fields[0], fields[1]})
	}
	if len(required) == 0 {
		return nil, fmt.Errorf("%s: names no test", path)
	}
	return required, nil
}
