package jobs

import (
	"context"
	"errors"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/verify"
)

// vouched returns the control that vouches for a test, or "" when one is made with it.
// Where there was no time for facts the checks are tried each time: what another job's
// notice says nothing of them. The files of a whole server are vouched for by their
// manifest.
func (r *Runner) vouched(ctx context.Context, kind *string, facts []sources.Fact, whole bool) (string, error) {
	switch {
	case len(facts) == 0:
		*kind += withoutFacts
	case !whole && verify.OnlyChecks(facts):
		*kind += withoutFacts
		return "", nil
	}
	return r.control(ctx, *kind)
}

// withoutFacts marks the control of a test that had only the job's own checks: it
// says nothing about other tests of the same kind of source.
const withoutFacts = " without facts"

// control returns the id of the negative control that vouches for a kind of
// source now, or "" when a new one is due.
func (r *Runner) control(ctx context.Context, kind string) (string, error) {
	all, err := r.Catalog.Controls(ctx, r.Now())
	if err != nil {
		return "", err
	}
	c, ok := all[kind]
	if !ok || !c.Caught || r.Now().Sub(c.At) > controlEvery {
		return "", nil
	}
	return c.Control, nil
}

// vouch writes down a control that was made and withholds the pass when the
// checks did not catch it: a check that cannot fail proves nothing.
func (r *Runner) vouch(ctx context.Context, job, kind string, result verify.Result, vouched string, fin *catalog.TestFinished) error {
	fin.Control = vouched
	if c := result.Control; c != nil {
		event := catalog.ControlFinished{
			Control: "control-" + fin.Test, Source: kind, Job: job,
			Damage: c.Damage, Caught: c.Caught, By: c.By,
		}
		if _, err := r.Catalog.Append(context.WithoutCancel(ctx), event); err != nil {
			return err
		}
		if c.Caught {
			fin.Control = event.Control
		}
	}
	if fin.Verdict == catalog.VerdictPassed && fin.Control == "" {
		return fault.New(fault.Unknown, "negative control", errors.New("a copy damaged on purpose was not noticed by the checks"),
			"add checks that read the data, or let the job keep facts")
	}
	return nil
}
