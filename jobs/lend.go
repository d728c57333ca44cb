package jobs

import (
	"context"
	"errors"
	"fmt"

	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// withBoth does something with two repositories that one restic has to open. Where
// each needs its own value of one setting, such as an access key, the first is lent:
// restic reads it through us (docs/decisions, "A repository is lent").
func (r *Runner) withBoth(ctx context.Context, from, to place, do func(from, to restic.Repo) error) (err error) {
	source, destination := from.target.Repo(), to.target.Repo()
	lender, can := from.target.(targets.Lender)
	if !can || !restic.Clash(source, destination) {
		return do(source, destination)
	}
	id := "lend-" + newID(r.Now())
	gone, err := r.enliven(id)
	if err != nil {
		return err
	}
	defer gone()
	dir, clean, err := r.scratch(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	lent, takeBack, err := lender.Lend(ctx, dir)
	if err != nil {
		return err
	}
	err = do(lent, destination)
	if trouble := takeBack(); err != nil && trouble != nil {
		return lendFailed(from.name, err, trouble)
	}
	return err // what restic asked for again was well in the end
}

// lendFailed adds what went wrong between us and the storage to what restic made of
// it: a server that does not answer well.
func lendFailed(from string, err, trouble error) error {
	cause := err
	if kind := fault.KindOf(err); kind == fault.Absent || kind == fault.TimedOut || kind == fault.Failed {
		cause = trouble
	}
	return fault.New(fault.KindOf(cause), "", fmt.Errorf("%w; %q was read through saoluu: %w", err, from, trouble), fault.HintOf(cause))
}
