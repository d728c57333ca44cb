package catalog

import (
	"context"
	"time"
)

// A MediumState is what is known of one medium of the register. What never
// happened is the zero value.
type MediumState struct {
	Medium     string
	Registered Dated[MediumRegistered]
	Seen       Dated[MediumSeen]      // the newest
	Handed     Dated[MediumHanded]    // the newest line of the custody log
	Inspected  Dated[MediumInspected] // the newest
	Staged     Dated[MediumStaged]    // the newest
	Sanitised  Dated[MediumStaged]    // the newest with a sanitisation record
}

// Stage is where the medium stands in its life: one of the Stage words.
func (s MediumState) Stage() string {
	if s.Staged.Event.Stage == "" {
		return StageNew
	}
	return s.Staged.Event.Stage
}

// Usable reports whether backups may be written to the medium at this stage of its
// life.
func (s MediumState) Usable() bool { return s.Stage() == StageNew || s.Stage() == StageInUse }

// OutOfReach reports whether the medium was seen to be unplugged after an instant,
// and has not been plugged in since: what was on it by then cannot be reached from
// any machine.
func (s MediumState) OutOfReach(since time.Time) bool {
	return !s.Seen.At.IsZero() && !s.Seen.Event.Plugged && !s.Seen.At.Before(since)
}

// A MediumRefusal is an attempt to use what is no medium of the register.
type MediumRefusal = Dated[MediumRefused]

// Media returns the register, by name of medium, and all refusals, oldest first,
// as known at asOf.
func (c *Catalog) Media(ctx context.Context, asOf time.Time) (map[string]MediumState, []MediumRefusal, error) {
	register, refused := map[string]MediumState{}, []MediumRefusal{}
	query, args := marked(kindMedium, asOf)
	for d, err := range decoded(ctx, c, "read the register of media", query+` ORDER BY m.seq`, args, datedRow[Event]) {
		if err != nil {
			return nil, nil, err
		}
		if e, is := d.Event.(MediumRefused); is {
			refused = append(refused, MediumRefusal{e, d.Seq, d.At})
			continue
		}
		name := mediumOf(d.Event)
		s := register[name]
		s.Medium = name
		s.take(d)
		register[name] = s
	}
	return register, refused, nil
}

// MediumLog returns all that was recorded of a medium, oldest first, as known at
// asOf: its custody log and more.
func (c *Catalog) MediumLog(ctx context.Context, medium string, asOf time.Time) ([]Dated[Event], error) {
	query, args := marked(kindMedium, asOf)
	return collect(decoded(ctx, c, "read the log of medium "+medium, query+` AND m.subject=(SELECT id FROM names WHERE name=?) ORDER BY m.seq`, append(args, medium), datedRow[Event]))
}

func mediumOf(e Event) string {
	switch e := e.(type) {
	case MediumRegistered:
		return e.Medium
	case MediumSeen:
		return e.Medium
	case MediumRefused:
		return e.Medium
	case MediumHanded:
		return e.Medium
	case MediumInspected:
		return e.Medium
	case MediumStaged:
		return e.Medium
	}
	return ""
}

// take brings the state up to date with one event.
func (s *MediumState) take(d Dated[Event]) {
	switch e := d.Event.(type) {
	case MediumRegistered:
		s.Registered = Dated[MediumRegistered]{e, d.Seq, d.At}
	case MediumSeen:
		s.Seen = Dated[MediumSeen]{e, d.Seq, d.At}
	case MediumHanded:
		s.Handed = Dated[MediumHanded]{e, d.Seq, d.At}
	case MediumInspected:
		s.Inspected = Dated[MediumInspected]{e, d.Seq, d.At}
	case MediumStaged:
		s.Staged = Dated[MediumStaged]{e, d.Seq, d.At}
		if e.Sanitisation != nil {
			s.Sanitised = s.Staged
		}
	}
}
