package compliance

import (
	"context"
	"iter"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"saoluu/catalog"
)

// A View is the catalog as an evaluation sees it. *catalog.Catalog is one. All
// reads are of the state as it was known at an instant, so that the same
// question gives the same answer later.
type View interface {
	inventories
	histories
	custody
	keyrings
	changes
	ledger
}

// inventories says what is to be protected and how its months went.
type inventories interface {
	Inventory(ctx context.Context, asOf time.Time) (catalog.InventoryAt, error)
	Months(ctx context.Context, from, to, asOf time.Time) ([]catalog.Month, error)
	GoodSpans(ctx context.Context, from, to, asOf time.Time) ([]catalog.Span, error)
	GoodTimes(ctx context.Context, job string, from, to, asOf time.Time) ([]time.Time, error)
}

// histories tells single runs and tests.
type histories interface {
	Runs(ctx context.Context, q catalog.RunQuery) iter.Seq2[catalog.Run, error]
	Tests(ctx context.Context, q catalog.TestQuery) iter.Seq2[catalog.Test, error]
	Controls(ctx context.Context, asOf time.Time) (map[string]catalog.Control, error)
}

// custody tells what became of stored copies and of the ledger's checkpoints.
type custody interface {
	Checks(ctx context.Context, target string, asOf time.Time) ([]catalog.Check, error)
	Anchors(ctx context.Context, asOf time.Time) ([]catalog.Anchor, error)
	Retentions(ctx context.Context, target string, asOf time.Time) ([]catalog.Retention, error)
	Compared(ctx context.Context, asOf time.Time) (catalog.Comparison, error)
	Media(ctx context.Context, asOf time.Time) (map[string]catalog.MediumState, []catalog.MediumRefusal, error)
	ProveInclusion(ctx context.Context, seq, size int64) ([]tlog.Hash, error)
}

// keyrings tells of keys, and of sets of offline media with the runs they hold.
type keyrings interface {
	KeyStates(ctx context.Context, asOf time.Time) (map[string]catalog.KeyState, error)
	Archives(ctx context.Context, asOf time.Time) ([]catalog.Dated[catalog.ArchiveWritten], error)
	Run(ctx context.Context, id string) (catalog.Run, error)
}

// changes tells how configurations changed, by job, oldest first.
type changes interface {
	ConfigChanges(ctx context.Context, asOf time.Time) (map[string][]catalog.ConfigChange, error)
}

// ledger is the append-only log itself.
type ledger interface {
	TreeSize(ctx context.Context) (int64, error)
	Root(ctx context.Context, size int64) (tlog.Hash, error)
	Entry(ctx context.Context, seq int64) (catalog.Entry, error)
	Entries(ctx context.Context, from int64, only ...string) iter.Seq2[catalog.Entry, error]
}
