package report_test

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"saoluu/compliance"
	"saoluu/report"
)

func html(t testing.TB, r report.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The same catalog at the same instant gives the same bytes, in every format.
func TestSameBytes(t *testing.T) {
	loc := zone(t)
	source := site(t, time.Date(2025, time.November, 3, 0, 0, 0, 0, loc))
	asOf := time.Date(2025, time.October, 20, 9, 0, 0, 0, loc)
	for _, write := range []func(io.Writer, report.Report) error{report.WriteJSON, report.WriteHTML, report.WriteCSV} {
		var first bytes.Buffer
		for i := range 3 {
			var b bytes.Buffer
			if err := write(&b, build(t, source, "2025-10", asOf)); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = b
			} else if !bytes.Equal(first.Bytes(), b.Bytes()) {
				t.Errorf("run %d differs", i)
			}
		}
	}
}

// The page stands alone: no scripts, and nothing is fetched from anywhere.
func TestPageStandsAlone(t *testing.T) {
	loc := zone(t)
	page := html(t, build(t, site(t, time.Date(2025, time.September, 3, 0, 0, 0, 0, loc)), "2025-08", time.Date(2025, time.September, 2, 9, 0, 0, 0, loc)))
	for _, pattern := range []string{`(?i)<script`, `(?i)https?://`, `(?i)url\(`, `(?i)@import`, `(?i)<link`, `(?i)<img`, `(?i)\son\w+=`, `(?i)<iframe`} {
		if found := regexp.MustCompile(pattern).FindString(page); found != "" {
			t.Errorf("%s: %q", pattern, found)
		}
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template put a value where it is not safe")
	}
	if !strings.Contains(page, "<nội bộ>") && !strings.Contains(page, "&lt;nội bộ&gt;") {
		t.Error("a title with angle brackets is not there")
	}
	if strings.Contains(page, "<nội bộ>") {
		t.Error("a title is taken for markup")
	}
}

// Names are written by people; none of them becomes markup, script or style.
func TestPageEscapes(t *testing.T) {
	evil := `</style><script>alert(1)</script>"'><svg onload=x>`
	r := report.Report{Site: report.Site{Name: evil, Code: evil}, Period: evil, Verdict: evil}
	f := report.Finding{Rule: evil, Clause: evil, Subject: evil, Name: evil, Title: evil, Why: evil, Remedy: evil, Evidence: []string{evil},
		Result: compliance.Fail, Counted: compliance.Fail, Kind: compliance.Binding}
	r.Findings, r.Gaps = []report.Finding{f}, []report.Finding{f}
	r.Grid = report.Grid{Months: []report.Month{{Month: "2026-05", InPeriod: true}}, Rows: []report.Row{{Job: evil, Title: evil, Bound: true, Cells: []report.Cell{{Result: compliance.Fail, Why: evil}}}}}
	r.Tests = []report.Test{{Job: evil, Target: evil, Verdict: evil, Level: evil, Error: evil}}
	r.Untested = []report.Untested{{Job: evil, Title: evil, Why: evil}}
	r.Targets = []report.Target{{Name: evil, Type: evil, Site: evil}}
	r.Copies = []report.Copy{{Job: evil, Target: evil, Encryption: evil, How: evil}}
	r.Classes = []report.Class{{Name: evil, Title: evil, KeepMin: evil, KeepMax: evil}}
	r.Packs = []report.Pack{{ID: evil, Title: evil, Number: evil, Issuer: evil, StatusNote: evil, Kind: compliance.Binding, Rules: []report.Rule{{ID: evil, Text: evil, Note: evil}}}}
	r.Ledger.Code, r.Version = evil, evil
	page := html(t, r)
	if strings.Contains(page, "<script") || strings.Contains(page, "<svg onload") {
		t.Error("a name became markup")
	}
	if n := strings.Count(page, "</style>"); n != 1 {
		t.Errorf("the style sheet ends %d times", n)
	}
}

// A spreadsheet takes a cell that begins with these signs for a formula.
func TestCSVIsInert(t *testing.T) {
	var b bytes.Buffer
	r := report.Report{Findings: []report.Finding{{Rule: "X-1", Name: "=HYPERLINK(1)", Why: "@cmd", Remedy: "+1", Subject: "-2", Title: " \t=1", Clause: "＝1", Counted: "a\x1bb"}}}
	if err := report.WriteCSV(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"'=HYPERLINK", "'@cmd", "'+1", "'-2", "'  =1", "'＝1", "a b", "\ufeffpack,"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

// The keys that other programs read.
func TestJSONKeys(t *testing.T) {
	loc := zone(t)
	var b bytes.Buffer
	if err := report.WriteJSON(&b, build(t, site(t, time.Date(2025, time.September, 3, 0, 0, 0, 0, loc)), "2025-08", time.Date(2025, time.September, 2, 9, 0, 0, 0, loc))); err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"site", "period", "as_of", "packs", "totals", "gaps", "findings", "grid", "tests", "targets", "ledger", "untested", "not_checkable"} {
		if _, ok := doc[key]; !ok {
			t.Errorf("no key %q", key)
		}
	}
	findings, _ := doc["findings"].([]any)
	if len(findings) == 0 {
		t.Fatal("no findings")
	}
	first, _ := findings[0].(map[string]any)
	for _, key := range []string{"rule", "clause", "subject", "result", "why", "remedy", "evidence"} {
		if _, ok := first[key]; !ok {
			t.Errorf("a finding has no key %q", key)
		}
	}
	if totals, _ := doc["totals"].(map[string]any); len(totals) != 3 {
		t.Errorf("totals %v: binding, advisory and policy are counted apart", doc["totals"])
	}
}

// Whoever checks a bundle compares its key with the one on the paper.
func TestSignerOnPaper(t *testing.T) {
	loc := zone(t)
	r := build(t, site(t, time.Date(2025, time.August, 3, 0, 0, 0, 0, loc)), "2025-07", time.Date(2025, time.August, 2, 9, 0, 0, 0, loc))
	if r.Ledger.VerifierKey != signerKey || r.Ledger.Fingerprint != signerPrint {
		t.Errorf("%q, %q", r.Ledger.VerifierKey, r.Ledger.Fingerprint)
	}
	page := strings.ReplaceAll(html(t, r), "&#43;", "+")
	if n := strings.Count(page, signerPrint); n != 2 || !strings.Contains(page, signerKey) {
		t.Errorf("the fingerprint stands on the page %d times", n)
	}
}

// A test that failed is named, with the day the job passed again.
func TestFailedTestStays(t *testing.T) {
	loc := zone(t)
	r := build(t, site(t, time.Date(2026, time.May, 3, 0, 0, 0, 0, loc)), "2026-04", time.Date(2026, time.May, 2, 9, 0, 0, 0, loc))
	for _, test := range r.Tests {
		if test.Verdict == "failed" {
			if got := test.MadeGood.In(loc).Format(time.DateOnly); got != "2026-04-23" {
				t.Errorf("made good %s", got)
			}
			if page := html(t, r); !strings.Contains(page, "đạt lại 23/04/2026") {
				t.Error("the page does not say so")
			}
			return
		}
	}
	t.Error("the failed test is not in the report")
}

// The sentence the head of the agency signs is never better than the findings.
func TestVerdict(t *testing.T) {
	loc := zone(t)
	source := site(t, time.Date(2025, time.September, 3, 0, 0, 0, 0, loc))
	r := build(t, source, "2025-08", time.Date(2025, time.September, 2, 9, 0, 0, 0, loc))
	if r.Totals[compliance.Binding].Fail == 0 || !strings.HasPrefix(r.Verdict, "Còn ") {
		t.Errorf("%+v: %s", r.Totals[compliance.Binding], r.Verdict)
	}
	for _, f := range r.Findings {
		if f.Kind == compliance.Policy && strings.Contains(r.Verdict, f.Title) {
			t.Error("policy in the verdict")
		}
	}
}
