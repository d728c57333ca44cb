package jobs

import (
	"context"

	"saoluu/internal/fault"
	"saoluu/targets"
)

// lookForMedia takes up media that were plugged in, and announces those that may
// be taken away.
func (d *Daemon) lookForMedia(ctx context.Context) error {
	r := d.runner()
	if len(r.removables()) == 0 {
		return nil
	}
	drives, err := targets.DrivesChanged()
	if err != nil {
		return err
	}
	if seen := d.drives.Load(); seen == nil || *seen != drives {
		arrived, err := r.LookForMedia(ctx, true)
		if fault.KindOf(err) == fault.Unknown {
			d.drives.Store(&drives) // what cannot be looked at now cannot be before something changes
		}
		if err != nil {
			return err
		}
		for _, name := range arrived {
			r.Log.Info().Str("medium", r.Config.Targets[name].Medium).Str("target", name).Msg("plugged in")
		}
		d.drives.Store(&drives)
	}
	done, err := r.EjectIdle(ctx)
	for _, e := range done {
		if len(e.Still) == 0 {
			r.Log.Info().Str("medium", e.Medium).Str("target", e.Target).Msg("unmounted: safe to remove")
		}
	}
	return err
}
