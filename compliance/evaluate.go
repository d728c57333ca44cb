package compliance

import (
	"context"
	"errors"
	"time"

	"saoluu/internal/calendar"
)

// Evaluate applies packs to the catalog for a period, with what was known at
// asOf. It returns an error only when the catalog could not be read or the
// period begins after asOf; everything that can be said about the duties is in
// the findings.
func Evaluate(ctx context.Context, view View, packs []*Pack, period calendar.ReportPeriod, asOf time.Time) (Result, error) {
	return Result{}, errors.New("being built")
}
