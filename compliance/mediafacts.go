package compliance

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"saoluu/catalog"
)

// medium returns what is known of the medium a target lies on; is is false for a
// target that lies on none.
func (e *evaluation) medium(ctx context.Context, target string) (state catalog.MediumState, is bool, err error) {
	row := e.targetRow(target)
	if row.Medium == "" {
		return catalog.MediumState{}, false, nil
	}
	if e.media == nil {
		if e.media, e.refused, err = e.view.Media(ctx, e.now); err != nil {
			return catalog.MediumState{}, true, fmt.Errorf("read the register of media: %w", err)
		}
	}
	return e.media[row.Medium], true, nil
}

// onMedium judges a copy by the medium it lies on. One that was seen to be pulled
// out is out of reach: whatever is on it was written before, because a medium is
// recorded as plugged in before anything is written to it. One that stays plugged in
// keeps the distance that was measured. Nothing on a medium that is lost or
// withdrawn counts.
func (a *asset) onMedium(ctx context.Context, e *evaluation, c catalog.Copy) (catalog.Copy, bool, error) {
	m, is, err := e.medium(ctx, c.Target)
	if err != nil || !is {
		return c, err == nil, err
	}
	if !m.Usable() {
		if !a.has(c.Target) {
			a.destroyed = append(a.destroyed, destroyedCopy{target: c.Target, at: m.Staged.At, seq: m.Staged.Seq, stage: m.Stage()})
		}
		return c, false, nil
	}
	if !m.Seen.At.IsZero() && !m.Seen.Event.Plugged {
		c.Separation = &catalog.Separation{Level: levelOutOfReach, How: fmt.Sprintf("medium %q unplugged, entry %d", m.Medium, m.Seen.Seq), Domain: "medium " + m.Medium}
	}
	return c, true, nil
}

// A MediumFacts is one line of the register of media at Result.At.
type MediumFacts struct {
	catalog.MediumState
	Copies int // of jobs of the inventory, that count
}

// register lists the media, by name, and how many disks were refused in the period.
func (e *evaluation) register(ctx context.Context, copies []CopyState) ([]MediumFacts, int, error) {
	all, refusals, err := e.view.Media(ctx, e.now)
	if err != nil {
		return nil, 0, fmt.Errorf("read the register of media: %w", err)
	}
	var list []MediumFacts
	for _, m := range all {
		if m.Registered.At.IsZero() {
			continue
		}
		f := MediumFacts{MediumState: m}
		for _, c := range copies {
			if e.targetRow(c.Target).Medium == m.Medium {
				f.Copies++
			}
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b MediumFacts) int { return strings.Compare(a.Medium, b.Medium) })
	refused := 0
	for _, r := range refusals {
		if !r.At.Before(e.from) && r.At.Before(e.to) {
			refused++
		}
	}
	return list, refused, nil
}

// stageWord is a stage of a medium's life in Vietnamese.
func stageWord(stage string) string {
	switch stage {
	case catalog.StageNew:
		return "mới đăng ký"
	case catalog.StageInUse:
		return "đang dùng"
	case catalog.StageToSanitise:
		return "chờ xóa dữ liệu"
	case catalog.StageSanitised:
		return "đã xóa dữ liệu"
	case catalog.StageReused:
		return "đã chuyển dùng lại"
	case catalog.StageTransferred:
		return "đã điều chuyển"
	case catalog.StageDisposed:
		return "đã thanh lý"
	case catalog.StageLost:
		return "bị mất"
	}
	return stage
}

// StageWord is the medium's stage in Vietnamese.
func (m MediumFacts) StageWord() string { return stageWord(m.Stage()) }
