package report_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"saoluu/compliance"
	"saoluu/internal/calendar"
	"saoluu/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

func build(t testing.TB, source report.Source, period string, asOf time.Time) report.Report {
	t.Helper()
	packs, err := compliance.Packs("HD39", "policy")
	if err != nil {
		t.Fatal(err)
	}
	p, err := calendar.ParseReportPeriod(period)
	if err != nil {
		t.Fatal(err)
	}
	r, err := report.Build(t.Context(), source, report.Request{Packs: packs, Period: p, AsOf: asOf, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The documents are compared byte by byte: what changes in them is to be seen in
// a review.
func TestGolden(t *testing.T) {
	loc := zone(t)
	source := site(t, time.Date(2026, time.June, 3, 0, 0, 0, 0, loc))
	for _, tt := range []struct {
		name, period string
		asOf         time.Time
	}{
		{"month", "2026-05", time.Date(2026, time.June, 2, 9, 0, 0, 0, loc)},
		{"year", "2026", time.Date(2026, time.May, 28, 16, 30, 0, 0, loc)},
	} {
		r := build(t, source, tt.period, tt.asOf)
		r.Ledger.Root, r.Ledger.Code = "(root)", fmt.Sprintf("%d-0123-4567", r.Ledger.Size) // the bytes of entries are the catalog's business
		for _, form := range []struct {
			ext   string
			write func(io.Writer, report.Report) error
		}{{"json", report.WriteJSON}, {"html", report.WriteHTML}, {"csv", report.WriteCSV}} {
			t.Run(tt.name+"."+form.ext, func(t *testing.T) {
				var got bytes.Buffer
				if err := form.write(&got, r); err != nil {
					t.Fatal(err)
				}
				golden(t, tt.name+"."+form.ext, got.Bytes())
			})
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the golden file; look at the difference, then run go test ./report -update", name)
	}
}
