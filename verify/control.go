package verify

import (
	"context"
	"errors"
)

// control damages the restored data on purpose and makes the same comparison
// again, with facts and checks. It must fail: a comparison that cannot is no
// proof, and its pass is withheld.
func (x *examination) control(ctx context.Context) error {
	how, err := x.subject.damage(ctx, x.request.Seed, x.request.Facts)
	if err != nil {
		return err
	}
	x.result.Control = &ControlResult{Damage: how}
	if how == "" {
		x.result.Control.Damage = "none: there is nothing to damage"
		x.result.Verdict = Unknown
		x.detail("negative control: neither facts nor checks name anything that could be damaged")
		return nil
	}
	again := *x
	again.result = Result{}
	if err := again.examine(ctx); err != nil {
		return err
	}
	for _, a := range again.result.Assertions {
		if !a.OK {
			x.result.Control.Caught, x.result.Control.By = true, a.Name
			return nil
		}
	}
	x.result.Verdict = Unknown
	x.detail("negative control: the damage (%s) was not noticed", how)
	return nil
}

// examine compares once more; damage found on the way is what is hoped for.
func (x *examination) examine(ctx context.Context) error {
	for _, step := range []func(context.Context) error{x.digestsAgain, x.compare, x.checks} {
		err := step(ctx)
		var found *finding
		if errors.As(err, &found) {
			x.fail(*found)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// digestsAgain holds the streams of a source without facts against their digests.
func (x *examination) digestsAgain(ctx context.Context) error {
	f, ok := x.subject.(*files)
	if !ok {
		return nil
	}
	return x.digests(ctx, f.parts)
}
