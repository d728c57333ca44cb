package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/targets"
)

// ways are the stages that a medium may come to from each (29/2020/QĐ-UBND Bình
// Phước, Điều 6 khoản 4: nothing is reused or given away before what was on it is
// irrecoverable). A lost medium stays lost.
var ways = map[string][]string{
	catalog.StageNew:        {catalog.StageInUse, catalog.StageToSanitise, catalog.StageLost},
	catalog.StageInUse:      {catalog.StageToSanitise, catalog.StageLost},
	catalog.StageToSanitise: {catalog.StageInUse, catalog.StageSanitised, catalog.StageLost},
	catalog.StageSanitised:  {catalog.StageReused, catalog.StageTransferred, catalog.StageDisposed},
}

// ended reports whether nothing comes after a stage.
func ended(stage string) bool { return len(ways[stage]) == 0 }

// StageMedium brings a medium to another stage of its life.
func (r *Runner) StageMedium(ctx context.Context, e catalog.MediumStaged) error {
	op := fmt.Sprintf("medium %q", e.Medium)
	m, err := r.registered(ctx, "medium", e.Medium)
	if err != nil {
		return err
	}
	if !slices.Contains(ways[m.Stage()], e.Stage) {
		hint := "run \"saoluu medium show " + e.Medium + "\" to see its life so far"
		if slices.Contains(ways[catalog.StageSanitised], e.Stage) {
			hint = "sanitise it first, and record that with \"saoluu medium sanitise\""
		}
		return fault.New(fault.Refused, op, fmt.Errorf("it is %s, and cannot become %s from there", m.Stage(), e.Stage), hint)
	}
	texts := []string{e.Note}
	if s := e.Sanitisation; s != nil {
		texts = append(texts, s.Technique, s.Tool, s.Verification, s.Witness, s.Place, s.Decision)
	}
	if err := inOneLine(op, texts...); err != nil {
		return err
	}
	if e.Sanitisation != nil {
		s := *e.Sanitisation
		if s.Runs, err = r.contents(ctx, m); err != nil {
			return err
		}
		e.Sanitisation = &s
		if err := r.sanitised(ctx, op, m, s); err != nil {
			return err
		}
	}
	_, err = r.Catalog.Append(ctx, e)
	return err
}

// contents lists the runs that lie on a medium.
func (r *Runner) contents(ctx context.Context, m catalog.MediumState) ([]string, error) {
	rows, err := r.Catalog.SnapshotsOf(ctx, m.Registered.Event.Target)
	var runs []string
	for _, row := range rows {
		runs = append(runs, row.Run)
	}
	slices.Sort(runs)
	return slices.Compact(runs), err
}

// sanitised checks a sanitisation record against what is known.
func (r *Runner) sanitised(ctx context.Context, op string, m catalog.MediumState, s catalog.Sanitisation) error {
	e := m.Registered.Event
	if e.Secrecy != "none" && (s.Method != "destroy" || s.Decision == "") {
		return fault.New(fault.Refused, op, fmt.Errorf("it held data of secrecy %q: only destruction by a numbered decision will do", e.Secrecy), "say --method destroy and --decision")
	}
	if s.Method == "destroy" {
		return nil
	}
	if s.Technique == "crypto-erase" {
		keys, err := r.Catalog.KeyStates(ctx, r.Now())
		if err != nil {
			return err
		}
		if shredded := keys[e.Target].Shredded; shredded.Event.State != catalog.RunComplete || len(shredded.Event.Left) > 0 {
			return fault.New(fault.Refused, op, errors.New("its key has not been destroyed"), fmt.Sprintf("run \"saoluu key shred %s\" first", e.Target))
		}
		return nil
	}
	drives, err := targets.Drives(ctx)
	if err != nil {
		return err
	}
	for _, d := range drives {
		if d.Filesystem == e.Filesystem {
			return fault.New(fault.Verification, op, fmt.Errorf("its file system is still on %s", d.Device), "erase the disk, then record it")
		}
	}
	return nil
}
