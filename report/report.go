// Package report makes the documents that people sign and inspectors read, from
// the catalog and the findings. A report is a pure function of what the catalog
// held at an instant: the same inputs give the same bytes.
package report

import (
	"context"
	"errors"
	"io"
	"time"

	"saoluu/compliance"
	"saoluu/internal/calendar"
)

// A Source is the catalog as a report sees it. *catalog.Catalog is one.
type Source interface {
	compliance.View
}

// A Request says what a report is about.
type Request struct {
	Packs   []*compliance.Pack
	Period  calendar.ReportPeriod
	AsOf    time.Time
	Version string // of saoluu, printed in the annex
}

// A Report is the data of one report, ready to be written in any format.
type Report struct{}

// Build evaluates the packs and gathers what the documents show.
func Build(ctx context.Context, source Source, req Request) (Report, error) {
	return Report{}, errors.New("being built")
}

// WriteJSON writes the report for machines.
func WriteJSON(w io.Writer, r Report) error { return errors.New("being built") }

// WriteHTML writes one self-contained page that prints on A4.
func WriteHTML(w io.Writer, r Report) error { return errors.New("being built") }

// WriteCSV writes the findings as a table.
func WriteCSV(w io.Writer, r Report) error { return errors.New("being built") }
