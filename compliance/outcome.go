package compliance

import (
	"cmp"
	"slices"
)

// severity orders outcomes from harmless to worst. Pending and NA say nothing
// about how well the duty is done, so anything else prevails over them.
func severity(o Outcome) int {
	return slices.Index([]Outcome{NA, Pending, Pass, Waived, Warn, Unknown, Fail}, o)
}

// worse returns the worse of two outcomes.
func worse(a, b Outcome) Outcome {
	if severity(a) >= severity(b) {
		return a
	}
	return b
}

// Add counts one finding by what it counts as.
func (t *Totals) Add(result, counted Outcome) {
	counts := map[Outcome]*int{
		Pass: &t.Pass, Warn: &t.Warn, Fail: &t.Fail, Pending: &t.Pending,
		NA: &t.NA, Waived: &t.Waived, Unknown: &t.Unknown,
	}
	*counts[counted]++
	if result == Unknown && counted == Fail {
		t.Overdue++
	}
}

// Sum returns the number of findings counted.
func (t Totals) Sum() int {
	return t.Pass + t.Warn + t.Fail + t.Pending + t.NA + t.Waived + t.Unknown
}

// gaps returns the open findings, worst first: by what they count as, the
// weight of their pack, then rule and subject as they stand.
func gaps(all []Finding) []Finding {
	open := make([]Finding, 0, len(all))
	for _, f := range all {
		if f.Open() {
			open = append(open, f)
		}
	}
	rank := func(o Outcome) int { return slices.Index([]Outcome{Fail, Unknown, Warn, Waived, Pending}, o) }
	slices.SortStableFunc(open, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(rank(a.Counted), rank(b.Counted)),
			cmp.Compare(slices.Index(Kinds(), a.Kind), slices.Index(Kinds(), b.Kind)),
			cmp.Compare(rank(a.Result), rank(b.Result)),
		)
	})
	return open
}
