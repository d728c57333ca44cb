package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

// compareAgain is how old a good comparison of the tables may be before a
// scheduled upkeep makes another: one a night, however many targets there are.
const compareAgain = 12 * time.Hour

// mostWhere bounds how many tables and entries one comparison names.
const mostWhere = 5

// CompareTables hashes the whole ledger again, replays it and compares the tables
// with what it tells, and appends the outcome: status and reports are read from
// tables, and must not stay green when somebody changed these. It does nothing
// and returns nil when a good comparison is younger than unless; callers wait for
// each other. The error says what differs, or that nobody could look.
func (r *Runner) CompareTables(ctx context.Context, unless time.Duration) (done *catalog.CatalogCompared, err error) {
	turn := flock.New(StatePath(r.Config, "locks", "compare"))
	if err := turn.Lock(); err != nil {
		return nil, fault.New(fault.Unknown, "compare the tables", err, "check paths.state")
	}
	defer func() { err = errors.Join(err, turn.Unlock()) }()
	last, err := r.Catalog.Compared(ctx, r.Now())
	if err != nil || last.Good() && r.Now().Sub(last.At) < unless {
		return nil, err
	}
	compared, err := r.compareTables(ctx)
	return &compared, err
}

func (r *Runner) compareTables(ctx context.Context) (catalog.CatalogCompared, error) {
	r.show(Progress{Job: "catalog", Step: "compare the tables with the ledger"})
	var done catalog.CatalogCompared
	result, err := r.Catalog.Verify(ctx, func(p catalog.Problem) {
		if len(done.Where) < mostWhere && !slices.Contains(done.Where, p.Where) {
			done.Where = append(done.Where, p.Where)
		}
	})
	if ctx.Err() != nil {
		return done, context.Cause(ctx)
	}
	done.Entries, done.Problems = result.Entries, result.Problems
	switch {
	case err != nil:
		done.Error = err.Error()
		err = fault.New(fault.Unknown, "compare the tables", err, fault.HintOf(err))
	case done.Problems > 0:
		err = fault.New(fault.Verification, "compare the tables with the ledger",
			fmt.Errorf("%d difference(s): %s", done.Problems, strings.Join(done.Where, ", ")),
			"run \"saoluu catalog verify\" to see them; if only tables differ, \"saoluu catalog rebuild\" makes them anew; then find out who changed them, and run \"saoluu upkeep\"")
	}
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), done)
	return done, errors.Join(err, written)
}
