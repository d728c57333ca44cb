package verify_test

import (
	"testing"

	"saoluu/sources"
	"saoluu/verify"
)

func TestOnlyChecks(t *testing.T) {
	fact := func(kind, of, value string) sources.Fact {
		return sources.Fact{Part: "database", Kind: kind, Of: of, Value: value}
	}
	schema, unread := fact(sources.FactSchema, "", "x"), fact(sources.FactUnread, "t", "the time was up")
	for _, tt := range []struct {
		name  string
		facts []sources.Fact
		want  bool
	}{
		{"none", nil, true},
		{"no time for any table", []sources.Fact{schema, unread}, true},
		{"no time but for an empty one", []sources.Fact{unread, fact(sources.FactRows, "u", "0")}, true},
		{"no time but for the canary's", []sources.Fact{unread, fact(sources.FactRows, "c", "1"), fact(sources.FactCanary, "c", "x")}, true},
		{"one with rows", []sources.Fact{unread, fact(sources.FactRows, "u", "3")}, false},
		{"rows at least", []sources.Fact{unread, fact(sources.FactLeast, "u", "3")}, false},
		{"an empty database", []sources.Fact{schema, fact(sources.FactRows, "u", "0")}, false},
		{"a file", []sources.Fact{fact(sources.FactSHA256, "f", "x")}, false},
	} {
		if got := verify.OnlyChecks(tt.facts); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
