package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

// Hold forbids retention to delete a run's copies, until Release. Who did it and
// why goes to the ledger.
func (r *Runner) Hold(ctx context.Context, run, reason, by string) error {
	return r.setHold(ctx, catalog.HoldSet{Run: run, Held: true, Reason: reason, By: by})
}

// Release ends a hold: the rules of the class decide again.
func (r *Runner) Release(ctx context.Context, run, reason, by string) error {
	return r.setHold(ctx, catalog.HoldSet{Run: run, Reason: reason, By: by})
}

func (r *Runner) setHold(ctx context.Context, h catalog.HoldSet) (err error) {
	op := fmt.Sprintf("hold run %s", h.Run)
	if !h.Held {
		op = fmt.Sprintf("release run %s", h.Run)
	}
	if strings.TrimSpace(h.Reason) == "" {
		return fault.New(fault.Usage, op, errors.New("no reason is given"), "say why with --reason")
	}
	// A deletion under way ends first: a hold that comes back as done must hold.
	release, err := r.alone(ctx, everyPlan)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	run, err := r.Catalog.Run(ctx, h.Run)
	if errors.Is(err, catalog.ErrMissing) {
		return fault.New(fault.Usage, op, err, "run \"saoluu catalog list\" to see the runs")
	}
	if err != nil {
		return err
	}
	last, err := r.Catalog.HoldOf(ctx, h.Run)
	switch {
	case err != nil:
		return err
	case h.Held && !run.Pruned.IsZero():
		return fault.New(fault.Refused, op, errors.New("its last copy has been deleted already"), "hold a newer run")
	case h.Held && run.Held:
		return fault.New(fault.Refused, op, fmt.Errorf("%s holds it already: %s", last.By, last.Reason), "release it first to change the reason")
	case !h.Held && !run.Held:
		return fault.New(fault.Refused, op, errors.New("it is not held"), "run \"saoluu catalog list\" to see the runs that are")
	}
	_, err = r.Catalog.Append(ctx, h)
	return err
}
