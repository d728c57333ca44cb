package compliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

const (
	inspectionDays = 92             // since somebody last looked where a medium lies (media, requirement on custody)
	sanitiseDays   = 31             // that a medium may wait to be sanitised
	custodyGrace   = 24 * time.Hour // after it was unplugged, for somebody to say where it went
)

// A MediumStatus is one medium of the register, as things stand. Times are zero,
// and absent from JSON, when there is none.
type MediumStatus struct {
	Medium    string    `json:"medium"`
	Target    string    `json:"target"`
	Stage     string    `json:"stage"`
	Plugged   bool      `json:"plugged"`
	Since     time.Time `json:"since,omitzero"`     // it was plugged in or pulled out
	Holder    string    `json:"holder"`             // who has it, by the custody log
	Place     string    `json:"place"`              // where it lies, by the custody log
	Served    time.Time `json:"served,omitzero"`    // when it was last filled or read back
	DueBack   time.Time `json:"due_back,omitzero"`  // when it, or the next of its rotation, has to be plugged in again
	DueOut    time.Time `json:"due_out,omitzero"`   // when it has to be pulled out; zero while it is not plugged in
	Inspected time.Time `json:"inspected,omitzero"` // when somebody last looked where it lies
	State     State     `json:"state"`
	Why       string    `json:"why"` // English; all reasons, worst first
}

// withdrawn reports whether nothing may be written to the medium any more.
func (s MediumStatus) withdrawn() bool {
	return s.Stage != catalog.StageNew && s.Stage != catalog.StageInUse
}

// MediaView is the kept state that Media reads. *catalog.Catalog is one.
type MediaView interface {
	Inventory(ctx context.Context, asOf time.Time) (catalog.InventoryAt, error)
	Media(ctx context.Context, asOf time.Time) (map[string]catalog.MediumState, []catalog.MediumRefusal, error)
	TargetState(ctx context.Context, target string) (catalog.TargetState, error)
}

// Media says how things stand with the media of the register, by name.
func Media(ctx context.Context, view MediaView, now time.Time) ([]MediumStatus, error) {
	inv, err := view.Inventory(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	return mediaOf(ctx, view, inv, now)
}

func mediaOf(ctx context.Context, view MediaView, inv catalog.InventoryAt, now time.Time) ([]MediumStatus, error) {
	register, _, err := view.Media(ctx, now.Add(clockTolerant))
	if err != nil {
		return nil, fmt.Errorf("read the register of media: %w", err)
	}
	loc, err := calendar.Zone(zoneOf(inv))
	if err != nil {
		return nil, err
	}
	m := mediaPosture{now: now, loc: loc, rows: map[string]catalog.TargetRow{}, served: map[string]time.Time{}, trouble: map[string]string{}, last: map[string]time.Time{}, takers: map[string]int{}}
	for _, row := range inv.Targets {
		if row.Medium == "" {
			continue
		}
		state, err := view.TargetState(ctx, row.Name)
		if err != nil {
			return nil, fmt.Errorf("read the state of target %q: %w", row.Name, err)
		}
		m.add(row, register[row.Medium], state)
	}
	all := []MediumStatus{}
	for _, state := range register {
		all = append(all, m.judge(state))
	}
	slices.SortFunc(all, func(a, b MediumStatus) int { return strings.Compare(a.Medium, b.Medium) })
	return all, nil
}

// mediaPosture is what media are judged by.
type mediaPosture struct {
	now     time.Time
	loc     *time.Location
	rows    map[string]catalog.TargetRow // by medium
	served  map[string]time.Time         // by medium
	trouble map[string]string            // by medium: the last error of its upkeep; empty when it went well
	last    map[string]time.Time         // by rotation: when one of it was last served
	takers  map[string]int               // by rotation: how many take turns
}

func (m *mediaPosture) add(row catalog.TargetRow, state catalog.MediumState, target catalog.TargetState) {
	m.rows[row.Medium] = row
	served := target.LastCopyAt
	if target.LastCheckAt.After(served) && target.LastError == "" { // a look at it that left copies owed did not serve it
		served = target.LastCheckAt
	}
	m.served[row.Medium], m.trouble[row.Medium] = served, strings.ReplaceAll(target.LastError, "\n", "; ")
	if !state.Usable() || state.Registered.At.IsZero() {
		return
	}
	set := rotationOf(row)
	m.takers[set]++
	if served.IsZero() {
		served = state.Registered.At
	}
	if served.After(m.last[set]) {
		m.last[set] = served
	}
}

// rotationOf names the media that take turns; a medium without a rotation is alone.
func rotationOf(row catalog.TargetRow) string { return cmp.Or(row.Rotation, "\x00"+row.Name) }

func (m *mediaPosture) judge(state catalog.MediumState) MediumStatus {
	s := MediumStatus{
		Medium: state.Medium, Target: state.Registered.Event.Target, Stage: state.Stage(), Plugged: state.Seen.Event.Plugged, Since: state.Seen.At,
		Holder: state.Handed.Event.To, Place: state.Handed.Event.Place, Inspected: state.Inspected.At, Served: m.served[state.Medium],
	}
	var r reasons
	switch {
	case state.Stage() == catalog.StageLost:
		r.add(Warning, "it was reported lost %s", m.day(state.Staged.At))
	case state.Stage() == catalog.StageToSanitise:
		if m.now.Sub(state.Staged.At) > sanitiseDays*24*time.Hour {
			r.add(Warning, "it waits to be sanitised since %s", m.day(state.Staged.At))
		}
	case state.Usable():
		if why := m.trouble[state.Medium]; why != "" {
			r.add(Warning, "its last upkeep did not go well: %s", why)
		}
		m.due(state, &s, &r)
		m.custody(state, &s, &r)
	}
	s.State, s.Why = r.result()
	return s
}

// due judges when the medium has to come and go.
func (m *mediaPosture) due(state catalog.MediumState, s *MediumStatus, r *reasons) {
	row, configured := m.rows[state.Medium]
	if !configured {
		r.add(Warning, "no target of the configuration has it any more")
		return
	}
	var back, out calendar.Period
	if err := errors.Join(back.UnmarshalText([]byte(row.DueBack)), out.UnmarshalText([]byte(row.DueOut))); err != nil {
		r.add(Warning, "when it is due cannot be read: %v", err)
		return
	}
	set := rotationOf(row)
	s.DueBack = back.AddTo(m.last[set], m.loc)
	if s.Plugged {
		s.DueOut = out.AddTo(later(s.Since, s.Served), m.loc)
		if m.now.After(s.DueOut) {
			r.add(Warning, "it stays plugged in since %s: put it away, it is in reach of whoever gets into the machine", m.day(s.Since))
		}
		return
	}
	over := m.now.Sub(s.DueBack)
	if over <= 0 {
		return
	}
	which := "it"
	if m.takers[set] > 1 {
		which = fmt.Sprintf("one of rotation %q", row.Rotation)
	}
	missed := Warning
	if over > s.DueBack.Sub(m.last[set]) { // a whole turn
		missed = Failing
	}
	r.add(missed, "%s was due back %s", which, m.day(s.DueBack))
}

// custody judges whether it is known where the medium is.
func (m *mediaPosture) custody(state catalog.MediumState, s *MediumStatus, r *reasons) {
	if s.Plugged || state.Seen.At.IsZero() {
		return
	}
	if state.Handed.At.Before(state.Seen.At.Add(-custodyGrace)) && m.now.Sub(state.Seen.At) > custodyGrace {
		r.add(Warning, "nobody has said who has it since it was unplugged %s", m.day(state.Seen.At))
	}
	if d := state.Handed.Event.DueBack; d != "" {
		if day, err := calendar.ParseDate(d); err == nil && m.now.After(day.AddDays(1).Start(m.loc)) && !state.Handed.At.Before(state.Seen.At.Add(-custodyGrace)) {
			r.add(Warning, "%s was to bring it back by %s", s.Holder, d)
		}
	}
	looked := later(later(state.Seen.At, state.Handed.At), state.Inspected.At)
	if m.now.Sub(looked) > inspectionDays*24*time.Hour {
		r.add(Warning, "nobody has looked after it since %s", m.day(looked))
	}
	if !state.Inspected.At.IsZero() && !state.Inspected.Event.Intact && state.Inspected.At.After(state.Seen.At) {
		r.add(Failing, "it was found not to be whole %s", m.day(state.Inspected.At))
	}
}

func (m *mediaPosture) day(t time.Time) string { return t.In(m.loc).Format("2006-01-02 15:04") }

// onMedia returns the media of targets, by target; none when there is no such target.
func (p *posture) onMedia(ctx context.Context, view MediaView) (map[string]MediumStatus, error) {
	byTarget := map[string]MediumStatus{}
	if !slices.ContainsFunc(p.inv.Targets, func(t catalog.TargetRow) bool { return t.Medium != "" }) {
		return byTarget, nil
	}
	all, err := mediaOf(ctx, view, p.inv, p.now)
	for _, m := range all {
		byTarget[m.Target] = m
	}
	return byTarget, err
}
