package rules

import (
	"slices"
	"strings"
	"testing"
)

// anything lets a folder import every package except cmd.
const anything = "*"

// layers says which folders of this module each folder may import. Every folder
// may also import internal. A folder that is not here fails the test, so that a
// new one is placed on purpose.
var layers = map[string][]string{
	"cmd":        {anything},
	"jobs":       {"config", "sources", "targets", "restic", "verify", "catalog", "evidence", "notify", "retention", "escrow", "archive", "history"},
	"retention":  {}, // pure: what is known goes in, a plan comes out
	"config":     {},
	"escrow":     {},
	"archive":    {}, // knows sets of media; what is put on them it is handed
	"sources":    {},
	"history":    {"sources"}, // compares what they knew of two versions; contents it is handed
	"targets":    {"restic"},
	"restic":     {},
	"verify":     {"restic", "sources"}, // a copy's facts are taken by the code that took the source's
	"catalog":    {"evidence"},          // one transaction writes the ledger entry and the rows
	"evidence":   {},
	"compliance": {"catalog"},
	"report":     {"catalog", "compliance"},
	"web":        {"catalog", "compliance", "report", "evidence"},
	"notify":     {},
	"internal":   {},
	"scripts":    {},
	"e2e":        {anything},
}

// onlyFrom names folders that only some may import: the conductor and what shows
// results to people are wired in one place.
var onlyFrom = map[string][]string{
	"cmd":        {},
	"jobs":       {"cmd", "e2e"},
	"web":        {"cmd", "e2e"},
	"report":     {"cmd", "web", "e2e"},
	"compliance": {"cmd", "web", "report", "e2e"},
}

// layerFault says what is wrong with a package in one folder importing another,
// or nothing.
func layerFault(from, to string) string {
	if _, known := layers[to]; !known {
		return "imports " + to + ", a folder that layers does not place"
	}
	allowed, known := layers[from]
	switch {
	case !known:
		return "is in " + from + ", a folder that layers does not place"
	case from == to && from != "cmd":
		return ""
	}
	if importers, limited := onlyFrom[to]; limited && !slices.Contains(importers, from) {
		return "imports " + to + ", which only " + strings.Join(importers, ", ") + " may"
	}
	if to == "internal" || slices.Contains(allowed, anything) || slices.Contains(allowed, to) {
		return ""
	}
	return "imports " + to + ", which " + from + " may not"
}

func TestLayers(t *testing.T) {
	edges := 0
	for _, f := range sourceFiles(t) {
		if f.test {
			continue // a test may stand anywhere and look at anything
		}
		for _, path := range f.imports() {
			to, ours := strings.CutPrefix(path, "saoluu/")
			if !ours {
				continue
			}
			edges++
			if fault := layerFault(f.folder(), top(to)); fault != "" {
				t.Errorf("%s %s", f.path, fault)
			}
		}
	}
	if edges == 0 {
		t.Error("no import of this module's packages was seen: the test looks in the wrong place")
	}
}

func TestLayerFault(t *testing.T) {
	tests := []struct {
		from, to string
		bad      bool
	}{
		{"cmd", "jobs", false},
		{"jobs", "config", false},
		{"catalog", "evidence", false},
		{"verify", "restic", false},
		{"restic", "internal", false},
		{"internal", "internal", false},
		{"e2e", "jobs", false},
		{"evidence", "catalog", true},
		{"sources", "targets", true},
		{"internal", "config", true},
		{"report", "jobs", true},
		{"web", "jobs", true},
		{"catalog", "report", true},
		{"e2e", "cmd", true},
		{"newfolder", "internal", true},
		{"cmd", "newfolder", true},
	}
	for _, tt := range tests {
		if got := layerFault(tt.from, tt.to); (got != "") != tt.bad {
			t.Errorf("%s importing %s: fault %q, want one: %v", tt.from, tt.to, got, tt.bad)
		}
	}
}
