package report_test

import (
	"io"
	"path/filepath"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/catalog/catalogtest"
	"saoluu/compliance"
	"saoluu/internal/calendar"
	"saoluu/report"
)

// big fills a catalog with a year of daily runs of 1,000 jobs.
func big(b *testing.B) (*catalog.Catalog, time.Time) {
	b.Helper()
	loc := zone(b)
	end := time.Date(2026, time.December, 31, 8, 0, 0, 0, loc)
	clock := catalogtest.NewClock(end)
	c, err := catalog.Create(b.Context(), catalog.Options{Path: filepath.Join(b.TempDir(), "catalog.db"), Now: clock.Now, Location: loc, Site: "STP-HD"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	if err := catalogtest.Fill(b.Context(), c, clock, 1000, 365_000); err != nil {
		b.Fatal(err)
	}
	return c, clock.Now()
}

// A year of 1,000 jobs, evaluated and written. The reads of the catalog are part
// of it; the goal is 2 s for the whole report of a year (issue goals).
func BenchmarkYear(b *testing.B) {
	source, now := big(b)
	packs, err := compliance.Packs()
	if err != nil {
		b.Fatal(err)
	}
	period := calendar.ReportPeriod{First: calendar.Month{Year: 2026, Month: time.January}, Count: 12}
	b.Run("evaluate", func(b *testing.B) {
		for b.Loop() {
			if _, err := compliance.Evaluate(b.Context(), source, packs, period, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, form := range []struct {
		name  string
		write func(io.Writer, report.Report) error
	}{{"json", report.WriteJSON}, {"html", report.WriteHTML}} {
		b.Run(form.name, func(b *testing.B) {
			for b.Loop() {
				r, err := report.Build(b.Context(), source, report.Request{Packs: packs, Period: period, AsOf: now, Version: "1"})
				if err != nil {
					b.Fatal(err)
				}
				if err := form.write(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("posture", func(b *testing.B) {
		for b.Loop() {
			if _, err := compliance.Posture(b.Context(), source, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
