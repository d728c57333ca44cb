package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"saoluu/catalog"
	"saoluu/compliance"
	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/report"
)

const reportHelp = `report judges a period against the rule packs of the configuration and writes what
it found: gaps first, then every rule with its clause, why, what to do, and the
ledger entries to look at. The same catalog, period and instant give the same
bytes. Without --period it takes the current month, without --as-of this moment.`

func reportCommand(a *app) *cobra.Command {
	var period, asOf, format, out string
	c := &cobra.Command{Use: "report", Short: "judge a period against the rules", Long: reportHelp, Args: cobra.NoArgs}
	c.Flags().StringVar(&period, "period", "", "`PERIOD`: 2026-05, 2026-Q4, 2026-H1 or 2026")
	c.Flags().StringVar(&asOf, "as-of", "", "what was known at this `TIME` (RFC 3339)")
	c.Flags().StringVar(&format, "format", "", "html, json or csv (default as the name of FILE ends, else html)")
	c.Flags().StringVarP(&out, "output", "o", "", "write to `FILE` instead of standard output")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if ending := strings.TrimPrefix(filepath.Ext(out), "."); format == "" && slices.Contains(reportFormats, ending) {
			format = ending
		}
		text, err := a.report(cmd.Context(), period, asOf, cmp.Or(format, "html"))
		if err != nil {
			return err
		}
		if out == "" {
			_, err := os.Stdout.Write(text)
			return err
		}
		path, err := filepath.Abs(out)
		if err == nil {
			err = durable.WriteFile(path, text, 0o644)
		}
		if err != nil {
			return fault.New(fault.Failed, "write the report", err, "choose a folder that exists and can be written")
		}
		fmt.Fprintf(os.Stderr, "saoluu: report written to %s\n", safe(path))
		return nil
	}
	return c
}

// reportFormats are the formats that can be asked for.
var reportFormats = []string{"html", "json", "csv"}

func (a *app) report(ctx context.Context, period, asOf, format string) (text []byte, err error) {
	c, cat, err := a.read(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cat.Close()) }()
	request, err := reportRequest(c, period, asOf)
	if err != nil {
		return nil, err
	}
	built, err := report.Build(ctx, cat, request)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := writeReport(&b, built, format); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeReport(w io.Writer, r report.Report, format string) error {
	switch format {
	case "html":
		return report.WriteHTML(w, r)
	case "json":
		return report.WriteJSON(w, r)
	case "csv":
		return report.WriteCSV(w, r)
	}
	return fault.New(fault.Usage, fmt.Sprintf("format %q", format), errors.New("unknown"), fmt.Sprintf("choose one of %v", reportFormats))
}

func reportRequest(c *config.Config, period, asOf string) (report.Request, error) {
	now := clockNow()().UTC().Truncate(time.Second)
	request := report.Request{AsOf: now, Version: version}
	if asOf != "" {
		t, err := time.Parse(time.RFC3339, asOf)
		if err != nil {
			return request, fault.New(fault.Usage, "--as-of", err, "write it like 2026-05-31T17:00:00+07:00")
		}
		request.AsOf = t.UTC()
	}
	if period == "" {
		period = calendar.MonthOf(request.AsOf, c.Site.Location).String()
	}
	p, err := calendar.ParseReportPeriod(period)
	if err != nil {
		return request, err
	}
	request.Period = p
	request.Packs, err = compliance.Packs(c.Site.Packs...)
	return request, err
}

var _ report.Source = (*catalog.Catalog)(nil)
