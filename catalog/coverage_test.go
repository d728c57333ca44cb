package catalog_test

import (
	"slices"
	"testing"
	"time"

	"saoluu/catalog"
)

func reread(n, of int, state string, at time.Time) catalog.CheckFinished {
	return catalog.CheckFinished{Target: "nas", N: n, Of: of, State: state, StartedAt: at, FinishedAt: at}
}

// Every pack is in exactly one group, in any division.
func TestPacksOf(t *testing.T) {
	for _, of := range []int{1, 2, 28, 83, 255, 256, 300} {
		seen := map[int]int{}
		for n := 0; n <= of+1; n++ {
			for b := range catalog.PacksOf(n, of) {
				seen[b]++
				if b%of != n-1 {
					t.Errorf("pack %d is in group %d of %d", b, n, of)
				}
			}
		}
		if len(seen) != catalog.PackValues || slices.ContainsFunc(values(seen), func(n int) bool { return n != 1 }) {
			t.Errorf("groups of %d: %v", of, seen)
		}
	}
}

func values(m map[int]int) (all []int) {
	for _, n := range m {
		all = append(all, n)
	}
	return all
}

// Damage found in one division is not cleared by a group of another that bears the
// same number, only when all its packs have been read whole.
func TestDamageOutlivesTheDivision(t *testing.T) {
	f := newCatalog(t)
	at := func(days int) time.Time { return day.AddDate(0, 0, days) }
	f.add(catalog.TargetEnrolled{Target: "nas", ID: "x", Repository: "y"},
		reread(1, 2, catalog.RunComplete, at(1)), reread(2, 2, catalog.RunFailed, at(2)), reread(2, 3, catalog.RunComplete, at(3)))
	damaged := func() int {
		t.Helper()
		s, err := f.TargetState(f.ctx, "nas")
		if err != nil {
			t.Fatal(err)
		}
		c, err := f.Coverage(f.ctx, "nas", day, f.clock.Now())
		if err != nil || c.Damaged().IsZero() != (len(s.Damaged) == 0) || (s.LastCheck == catalog.RunFailed) != (len(s.Damaged) > 0) {
			t.Errorf("%v, %s, %+v, %v", s.Damaged, s.LastCheck, c.Damaged(), err)
		}
		return len(s.Damaged)
	}
	if n := damaged(); n != 128-43 { // of the odd bytes those that leave 1 when divided by 3 were read whole
		t.Errorf("%d packs damaged", n)
	}
	f.add(reread(1, 3, catalog.RunComplete, at(4)), reread(1, 3, catalog.RunSkipped, at(4)))
	if n := damaged(); n == 0 {
		t.Error("cleared too early")
	}
	f.add(reread(3, 3, catalog.RunComplete, at(5)))
	if n := damaged(); n != 0 {
		t.Errorf("%d packs damaged after all was read", n)
	}
	f.verified()
}

func TestCoverage(t *testing.T) {
	at := func(days int) time.Time { return day.AddDate(0, 0, days) }
	var c catalog.Coverage
	for _, e := range []catalog.CheckFinished{
		reread(0, 0, catalog.RunSkipped, at(0)), reread(1, 2, catalog.RunComplete, at(1)), reread(2, 4, catalog.RunComplete, at(20)),
	} {
		c.Add(e)
	}
	if !c.First.Equal(at(0)) || c.Percent(time.Time{}, at(30)) != 75 || c.Percent(at(2), at(30)) != 25 || c.Percent(time.Time{}, at(19)) != 50 ||
		!c.Oldest().IsZero() || c.Done() != 3 || c.Groups != 4 {
		t.Errorf("a quarter was never read: %d%%, %d of %d", c.Percent(time.Time{}, at(30)), c.Done(), c.Groups)
	}
	c.Add(reread(4, 4, catalog.RunComplete, at(21)))
	if c.Percent(time.Time{}, at(30)) != 100 || !c.Oldest().Equal(at(1)) || !c.Read.Equal(at(21)) {
		t.Errorf("all was read: %d%%, oldest %s", c.Percent(time.Time{}, at(30)), c.Oldest())
	}
	c.Add(reread(4, 28, catalog.RunFailed, at(22)))
	if c.Percent(time.Time{}, at(30)) == 100 || !c.Damaged().Equal(at(22)) || !c.Oldest().IsZero() {
		t.Errorf("damage counts as read: %d%%", c.Percent(time.Time{}, at(30)))
	}
}
