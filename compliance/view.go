package compliance

import (
	"context"
	"iter"
	"time"

	"saoluu/catalog"
)

// A View is the catalog as an evaluation sees it. *catalog.Catalog is one. All
// reads are of the state as it was known at an instant, so that the same
// question gives the same answer later.
type View interface {
	inventories
	histories
	custody
}

type inventories interface {
	Inventory(ctx context.Context, asOf time.Time) (catalog.InventoryAt, error)
	Months(ctx context.Context, from, to, asOf time.Time) ([]catalog.Month, error)
	GoodTimes(ctx context.Context, job string, from, to, asOf time.Time) ([]time.Time, error)
}

type histories interface {
	Runs(ctx context.Context, q catalog.RunQuery) iter.Seq2[catalog.Run, error]
	Tests(ctx context.Context, q catalog.TestQuery) iter.Seq2[catalog.Test, error]
	Controls(ctx context.Context, asOf time.Time) (map[string]catalog.Control, error)
}

type custody interface{}
