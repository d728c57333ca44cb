package catalog_test

import (
	"testing"

	"saoluu/catalog"
)

func TestConfigChanges(t *testing.T) {
	f := newCatalog(t)
	f.add(
		catalog.ConfigChanged{Run: "r1", Job: "a", Before: "r0", Added: 1, Changed: 2},
		catalog.ConfigChanged{Run: "r2", Job: "a", Before: "r1", Unknown: "no facts"},
		catalog.ConfigChanged{Run: "r3", Job: "b", Before: "r2", Removed: 1},
		catalog.ChangeExplained{Run: "r1", Job: "a", Paths: []string{"x", "y"}, Note: "n", By: "p"},
		catalog.ChangeExplained{Run: "r1", Job: "a", Paths: []string{"x"}, Note: "again", By: "p"},
	)
	open := func() map[string]int {
		all, err := f.ConfigChanges(f.ctx, f.clock.Now())
		if err != nil || len(all["a"]) != 2 || len(all["b"]) != 1 {
			t.Fatalf("%+v, %v", all, err)
		}
		n := map[string]int{}
		for _, list := range all {
			for _, c := range list {
				n[c.Run] = c.Open()
			}
		}
		return n
	}
	if n := open(); n["r1"] != 1 || n["r2"] != 1 || n["r3"] != 1 {
		t.Errorf("open: %v", n)
	}
	f.add(
		catalog.ChangeExplained{Run: "r1", Job: "a", Note: "the rest", By: "p"},
		catalog.ChangeExplained{Run: "r2", Job: "a", Note: "all", By: "p"},
		catalog.ChangeExplained{Run: "r3", Job: "b", Paths: []string{"z"}, Note: "that", By: "p"},
		catalog.ChangeExplained{Run: "none", Job: "b", Note: "of nothing", By: "p"},
	)
	if n := open(); n["r1"] != 0 || n["r2"] != 0 || n["r3"] != 0 {
		t.Errorf("explained: %v", n)
	}
	f.verified()
}
