// Package calendar knows days, months and schedules as a clerk at the site
// would count them. Instants come in and go out as time.Time; everything that
// is judged by day, month or clock reading is judged in the time zone given.
//
// Two rules hold in zones that change their clocks. A clock reading that does
// not exist (the clock jumps over it) means the first instant after the jump. A
// clock reading that exists twice means the first of the two. Việt Nam keeps
// UTC+7 all year; the rules matter for sites configured elsewhere.
//
// The time zone data are compiled in, so that the answers never depend on the
// host.
package calendar

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // the zone data of the host may be missing or old

	"saoluu/internal/fault"
)

// Zone returns the location of an IANA name such as "Asia/Ho_Chi_Minh". Unlike
// time.LoadLocation it refuses "" and "Local", which would depend on the host.
func Zone(name string) (*time.Location, error) {
	hint := `use an IANA name such as "Asia/Ho_Chi_Minh"`
	if name == "" || name == "Local" {
		return nil, invalid("time zone", name, "not the name of a place", hint)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, invalid("time zone", name, "unknown", hint)
	}
	return loc, nil
}

// invalid builds the error of every parser here.
func invalid(what, text, why, hint string) error {
	return fault.New(fault.Usage, fmt.Sprintf("%s %q", what, text), errors.New(why), hint)
}

// wallOf returns the clock reading of t in loc, written as a UTC time. Clock
// readings form a plain line without jumps, on which schedules are computed.
func wallOf(t time.Time, loc *time.Location) time.Time {
	t = t.In(loc)
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return time.Date(year, month, day, hour, minute, second, t.Nanosecond(), time.UTC)
}

// instantOf returns the instant at which the clock of loc shows w: the first of
// two, or the end of the jump over w.
func instantOf(w time.Time, loc *time.Location) time.Time {
	year, month, day := w.Date()
	hour, minute, second := w.Clock()
	t := time.Date(year, month, day, hour, minute, second, w.Nanosecond(), loc)
	start, end := t.ZoneBounds()
	switch shown := wallOf(t, loc); {
	case shown.After(w):
		return start
	case shown.Before(w):
		return end
	}
	if back := setBack(start, loc); back > 0 && t.Sub(start) < back {
		return t.Add(-back)
	}
	return t
}

// setBack says by how much the clock of loc is set back at the transition. It
// is negative when the clock is set forward, zero when there is no transition.
func setBack(transition time.Time, loc *time.Location) time.Duration {
	if transition.IsZero() {
		return 0
	}
	_, before := transition.Add(-1).In(loc).Zone()
	_, after := transition.In(loc).Zone()
	return time.Duration(before-after) * time.Second
}

// lastWallUpTo returns the greatest clock reading whose instant is not after t.
func lastWallUpTo(t time.Time, loc *time.Location) time.Time {
	start, _ := t.In(loc).ZoneBounds()
	if back := setBack(start, loc); back > 0 && t.Sub(start) < back {
		return wallOf(start, loc).Add(back - 1)
	}
	return wallOf(t, loc)
}

// firstWallFrom returns the least clock reading whose instant is not before t.
func firstWallFrom(t time.Time, loc *time.Location) time.Time {
	start, _ := t.In(loc).ZoneBounds()
	back := setBack(start, loc)
	if (back > 0 && t.Sub(start) < back) || (back < 0 && t.Equal(start)) {
		return wallOf(start, loc).Add(back)
	}
	return wallOf(t, loc)
}
