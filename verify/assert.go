package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// The assertions that do not take part in the verdict.
const (
	nameRTO     = "rto"                 // a warning: the data are good, the way back is slow
	nameData    = "data"                // said when there is nothing to prove anything by
	nameSkipped = "tables not compared" // a warning: not all of them could be, for want of facts
	nameDrift   = "drift"               // for people: how far the live configuration is from the one that was restored
	// Those on images that only say what is on the disk, or could not be looked at:
	// nameUnchecked, nameUncompared, nameRelease, nameKernel, nameFstab.
)

// decides reports whether an assertion takes part in the verdict.
func (a Assertion) decides() bool {
	return !slices.Contains([]string{nameRTO, nameData, nameSkipped, nameDrift, nameUnchecked, nameUncompared, nameRelease, nameKernel, nameFstab}, a.Name)
}

// detailLimit bounds what the operator is shown of one kind of difference.
const detailLimit = 20

func (x *examination) detail(format string, args ...any) {
	x.result.Detail = append(x.result.Detail, fmt.Sprintf(format, args...))
}

func (x *examination) assert(a Assertion) { x.result.Assertions = append(x.result.Assertions, a) }

// fail adds what was looked at and found broken.
func (x *examination) fail(f finding) {
	x.assert(Assertion{Name: f.name, Expected: f.expected, Actual: f.actual})
	if f.cause != nil {
		x.detail("%s: %v", f.name, f.cause)
	}
}

// reach raises the level.
func (x *examination) reach(level string) {
	order := []string{"", LevelRestored, LevelAsserted, LevelBooted}
	if slices.Index(order, level) > slices.Index(order, x.result.Level) {
		x.result.Level = level
	}
}

// beyond says why the test of an image went no further.
func (x *examination) beyond() {
	boots := slices.ContainsFunc(x.request.Checks, func(c Check) bool { return c.Boot != nil })
	switch {
	case x.request.Source != "image" || x.result.Level == LevelBooted || x.result.Beyond != "":
	case boots:
		x.result.Beyond = "it did not boot"
	default:
		x.result.Beyond = "no check of the job boots it"
	}
}

// verdict judges the assertions. Without proof there is no pass.
func (x *examination) verdict() string {
	for _, a := range x.result.Assertions {
		if !a.OK && a.decides() {
			return Failed
		}
	}
	if x.proof || x.checked && (!x.empty || x.void) {
		return Passed
	}
	a := Assertion{Name: nameData, Expected: "something to assert", Actual: "no facts and no checks"}
	if x.empty {
		a.Expected, a.Actual = "at least 1 row or file", "0"
	}
	x.assert(a)
	x.result.Level = LevelRestored
	return NotConfigured
}

// attested fails when nothing is wrong and nobody could have noticed if it were: what
// some engines write can be read by the engine alone.
func (x *examination) attested() error {
	broken := slices.ContainsFunc(x.result.Assertions, func(a Assertion) bool { return !a.OK && a.Name != nameRTO })
	if broken || x.engine || !slices.Contains([]string{"mongodb", "sqlserver", "oracle"}, x.request.Source) {
		return nil
	}
	return fault.New(fault.Unknown, fmt.Sprintf("restore test of %q", x.request.Job), errors.New("it reads back as it was saved, but nothing but the engine itself can tell whether it restores"),
		"add a check with run that restores it on a server for tests: see docs/how-to/other-databases.md")
}

// compare holds the facts of the source against the restored data.
func (x *examination) compare(ctx context.Context) error {
	if len(x.request.Facts) == 0 {
		return nil
	}
	want := x.request.Facts
	if x.request.sampled() { // which cannot answer how many files there are
		want = slices.DeleteFunc(slices.Clone(want), func(f sources.Fact) bool { return f.Kind == sources.FactFiles })
	}
	got, err := x.subject.facts(ctx, want)
	if err != nil {
		return err
	}
	if _, ok := x.subject.(*files); ok { // of which nobody can count the rows
		want = slices.DeleteFunc(slices.Clone(want), func(f sources.Fact) bool { return f.Kind == sources.FactRows })
	}
	if i, ok := x.subject.(*image); ok { // whose system is looked at later, and not of a disk damaged on purpose
		want = slices.DeleteFunc(slices.Clone(want), func(f sources.Fact) bool { return isOfSystem(f) || i.renewed(f) })
	}
	if os.Geteuid() != 0 { // nobody else can give files to others, nor so restore them
		want = slices.DeleteFunc(slices.Clone(want), func(f sources.Fact) bool { return f.Kind == sources.FactOwner })
	}
	tallies := sources.Compare(want, got)
	for _, tally := range tallies {
		x.assert(tallied(tally, want, got))
		x.explain(tally)
	}
	x.omitted(want)
	if x.request.Source == "config" {
		if err := x.drift(ctx, want); err != nil {
			return err
		}
	}
	x.weigh(want, tallies)
	return nil
}

// omitted says of how many tables not all could be compared, because not all of their
// facts could be taken when the backup was made.
func (x *examination) omitted(want []sources.Fact) {
	if !x.request.isDatabase() {
		return
	}
	type table struct{ part, of string }
	all, lacking := map[table]bool{}, map[table]bool{}
	told := 0
	for _, f := range want {
		t := table{f.Part, f.Of}
		switch {
		case f.Kind == sources.FactRows, f.Kind == sources.FactLeast:
			all[t] = true
		case f.Kind == sources.FactUnread:
			all[t], lacking[t] = true, true
		}
		if (f.Kind == sources.FactSkipped || f.Kind == sources.FactUnread) && told < detailLimit {
			told++
			x.detail("not compared: %q of part %q: %s", f.Of, f.Part, f.Value)
		}
	}
	if n := len(lacking); n > 0 {
		x.assert(Assertion{Name: nameSkipped, Expected: count(0, len(all)), Actual: count(n, len(all))})
	}
}

// tallied makes one assertion of all facts of a kind, so that none is named.
func tallied(t sources.Tally, want, got []sources.Fact) Assertion {
	a := Assertion{Name: "facts: " + t.Kind, Expected: count(t.Of, t.Of), Actual: count(t.Held, t.Of), OK: t.Held == t.Of}
	if t.Kind == sources.FactFiles && t.Of == 1 {
		a.Expected, a.Actual = "at least "+valueOf(want, t.Kind), valueOf(got, t.Kind)
	}
	return a
}

func valueOf(facts []sources.Fact, kind string) string {
	i := slices.IndexFunc(facts, func(f sources.Fact) bool { return f.Kind == kind })
	if i < 0 {
		return "none"
	}
	return facts[i].Value
}

func (x *examination) explain(t sources.Tally) {
	for i, d := range t.Broken {
		if i == detailLimit {
			x.detail("%s: and %d more", t.Kind, len(t.Broken)-i)
			return
		}
		found := fmt.Sprintf("found %q", d.Found)
		if d.Missing {
			found = "not there"
		}
		x.detail("%s of %q in part %q: expected %q, %s", t.Kind, d.Fact.Of, d.Fact.Part, d.Fact.Value, found)
	}
}

// weigh decides whether the facts prove anything. Only what speaks of content
// does: a file's digest, a table with rows. That an empty database has no rows
// and a right schema is true and proves nothing.
func (x *examination) weigh(want []sources.Fact, tallies []sources.Tally) {
	x.reach(LevelAsserted)
	broken := map[sources.Fact]bool{}
	for _, t := range tallies {
		for _, d := range t.Broken {
			broken[d.Fact] = true
		}
	}
	planted := map[[2]string]bool{} // what we put there ourselves is no data
	for _, f := range want {
		planted[[2]string{f.Part, f.Of}] = planted[[2]string{f.Part, f.Of}] || f.Kind == sources.FactCanary
	}
	tables, rows := 0, 0
	for _, f := range want {
		switch {
		case planted[[2]string{f.Part, f.Of}]:
		case f.Kind == sources.FactRows, f.Kind == sources.FactLeast:
			tables++
			if f.Value != "0" {
				rows++
				x.proof = x.proof || !broken[f]
			}
		case f.Kind == sources.FactSHA256, f.Kind == sources.FactImage, f.Kind == sources.FactLeast:
			x.proof = x.proof || !broken[f]
		}
	}
	x.empty = tables > 0 && rows == 0
}

// census looks whether there are any data when only checks speak for them: one
// such as SELECT 1 is met by an empty database too.
func (x *examination) census(ctx context.Context) error {
	cluster, whole := x.subject.(*clusterDrill)
	if x.proof || !x.checked && !whole {
		return nil
	}
	if whole {
		// Every file is as it was sent; that proves something if there is something.
		any, err := cluster.hold(ctx)
		x.proof, x.empty, x.result.Level = any, !any, LevelAsserted
		return err
	}
	if f, ok := x.subject.(*files); ok {
		n, err := f.number(ctx)
		x.empty = n == 0
		return err
	}
	found, err := x.subject.facts(ctx, nil)
	x.empty = !slices.ContainsFunc(found, func(f sources.Fact) bool { return f.Kind == sources.FactRows && f.Value != "0" })
	return err
}

// times asserts the age of the data and how long the restore took.
func (x *examination) times() {
	r := x.request
	if r.MaxAge > 0 {
		age := x.tester.Now().Sub(r.ConsistentAt)
		a := Assertion{Name: AssertionFreshness, Expected: "at most " + span(r.MaxAge) + " old", Actual: span(age) + " old", OK: age <= r.MaxAge}
		// A few minutes are what two clocks may differ by.
		if r.ConsistentAt.IsZero() || age < -5*time.Minute {
			a.OK, a.Actual = false, "of an instant that is not known or lies in the future"
		}
		x.assert(a)
	}
	if r.RTO > 0 {
		took := x.result.RestoreTime
		x.assert(Assertion{Name: nameRTO, Expected: "at most " + span(r.RTO), Actual: span(took), OK: took <= r.RTO})
	}
}

// span shows a duration in whole units.
func span(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
