package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkLimit bounds one SQL check.
const checkLimit = 10 * time.Minute

// An answer is the first value of a statement's result, as text.
type answer struct {
	none    bool // no row
	null    bool
	text    string
	refused string // the statement could not be answered by these data, and why; without names
}

// checks puts the job's own checks to the restored data. One that could not look keeps no
// other from looking, and does not hide what was found: it is the error only when nothing is
// broken.
func (x *examination) checks(ctx context.Context) error {
	var blind []error
	for i, c := range x.request.Checks {
		if disk, ok := x.subject.(*image); ok && disk.spoilt && c.Boot != nil {
			continue // which has a negative control of its own
		}
		a := Assertion{Name: cmp.Or(c.Name, fmt.Sprintf("check %d", i+1))}
		var err error
		switch {
		case c.SQL != "" || len(c.Redis) > 0:
			err = x.ask(ctx, c, &a)
		default:
			err = x.look(ctx, c, &a)
		}
		if err != nil {
			blind = append(blind, fmt.Errorf("%s: %w", a.Name, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		x.assert(a)
		x.reach(LevelAsserted)
		x.checked = x.checked || a.OK
		x.void = x.void || a.OK && c.ExpectedEmpty
	}
	if ctx.Err() == nil && slices.ContainsFunc(x.result.Assertions, func(a Assertion) bool { return !a.OK && a.decides() }) {
		for _, err := range blind {
			x.detail("could not look: %v", err)
		}
		return nil
	}
	return errors.Join(blind...)
}

// ask judges the answer to a check that is a question.
func (x *examination) ask(ctx context.Context, c Check, a *Assertion) error {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	got, err := x.subject.query(ctx, c)
	if err != nil {
		return err
	}
	judge(c, got, x.request, a)
	return nil
}

// judge fills a with what c wants and whether got is that.
func judge(c Check, got answer, r Request, a *Assertion) {
	a.Expected = wants(c)
	switch {
	case got.refused != "":
		a.Actual = got.refused
		return
	case c.ExpectedEmpty:
		a.OK = got.void()
		a.Actual = map[bool]string{true: "empty", false: "not empty"}[a.OK]
		return
	case got.none:
		a.Actual = "no row"
		return
	case got.null:
		a.Actual = "no value"
		return
	}
	a.OK, a.Actual = true, ""
	narrow := func(ok bool, shown string) {
		a.OK = a.OK && ok
		a.Actual = shown
	}
	if c.Min != nil || c.Max != nil {
		n, err := strconv.ParseFloat(got.text, 64)
		if err != nil {
			narrow(false, "not a number")
			return
		}
		narrow((c.Min == nil || n >= *c.Min) && (c.Max == nil || n <= *c.Max), number(n))
	}
	if c.Equals != nil {
		same := got.text == *c.Equals
		narrow(same, map[bool]string{true: "equal", false: "another value"}[same])
	}
	if c.NewerThan > 0 {
		narrow(newer(c, got.text, r))
	}
	if c.Min == nil && c.Max == nil && c.Equals == nil && c.NewerThan == 0 {
		narrow(!got.void(), map[bool]string{true: "empty or zero", false: "a value"}[got.void()])
	}
}

// void reports whether there is nothing in an answer.
func (a answer) void() bool {
	if a.none || a.null || a.text == "" || a.text == "f" || a.text == "false" {
		return true
	}
	n, err := strconv.ParseFloat(a.text, 64)
	return err == nil && n == 0
}

// wants says in words what a check asks for.
func wants(c Check) string {
	var parts []string
	if c.Min != nil {
		parts = append(parts, "at least "+number(*c.Min))
	}
	if c.Max != nil {
		parts = append(parts, "at most "+number(*c.Max))
	}
	if c.Equals != nil {
		parts = append(parts, "equal to the given value")
	}
	if c.NewerThan > 0 {
		parts = append(parts, "newer than "+span(c.NewerThan)+" before the backup")
	}
	if c.ExpectedEmpty {
		parts = append(parts, "empty")
	}
	if len(parts) == 0 {
		return "a value that is not empty"
	}
	return strings.Join(parts, ", ")
}

func number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// futureSlack is by how much a record's time may lie after the backup: records
// are stamped by other clocks, and with the end of a day.
const futureSlack = 24 * time.Hour

// newer judges the time in text against the instant of the backup. One far in
// its future is no proof of anything: such a check could never fail.
func newer(c Check, text string, r Request) (bool, string) {
	at, ok := parseTime(text, r.Location)
	if !ok {
		return false, "not a time"
	}
	age := r.ConsistentAt.Sub(at)
	switch {
	case age < -futureSlack:
		return false, span(-age) + " after the backup"
	case age < 0:
		return true, "at the time of the backup"
	default:
		return age <= c.NewerThan, span(age) + " before the backup"
	}
}

// timeLayouts are the forms in which databases show times; those without a zone
// come last and are of the site's.
var timeLayouts = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07",
	"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04", "2006-01-02", "02/01/2006",
}

// parseTime reads a time as text, or as seconds or milliseconds since 1970.
func parseTime(text string, zone *time.Location) (time.Time, bool) {
	if zone == nil {
		zone = time.UTC
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t, true
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || n < 1e8:
		return time.Time{}, false
	case n < 1e11:
		return time.UnixMilli(int64(n * 1000)), true
	case n < 1e14:
		return time.UnixMilli(int64(n)), true
	}
	return time.Time{}, false
}
