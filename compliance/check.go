package compliance

import (
	"context"
	"strings"
	"time"
)

// A check is the code behind one check kind with the parameters of one rule. It
// is an assetCheck or a siteCheck.
type check any

// An assetCheck judges one asset at a time.
type assetCheck interface {
	asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error)
}

// A siteCheck judges the agency as a whole.
type siteCheck interface {
	site(ctx context.Context, e *evaluation, r *Rule) (judgement, error)
}

// A chooser is an assetCheck that is about some assets alone, whatever else the rule
// selects.
type chooser interface {
	// about reports whether the check is about an asset; of others it says nothing.
	about(a *asset) bool
	// nobody says in Vietnamese what it means that there is no such asset, and what to do.
	nobody() (why, remedy string)
}

// A judgement is what a check says of one subject.
type judgement struct {
	posture  Outcome
	period   Outcome   // empty: a rule about a state, the same as posture
	since    time.Time // with Unknown: since when the data are missing
	why      string
	remedy   string // empty: the rule's own
	evidence []string
}

// kind names a check kind and reads its parameters.
type kind struct {
	name  string
	parse func(*scope) check
}

// kinds is the closed set. A pack can name no other.
func kinds() []kind {
	return []kind{
		{"calendar_coverage", parseCalendarCoverage},
		{"fields_present", parseFieldsPresent},
		{"separation", parseSeparation},
		{"copies", parseCopies},
		{"artifact_property", parseArtifactProperty},
		{"key_custody", parseKeyCustody},
		{"verification", parseVerification},
		{"restore_test", parseRestoreTest},
		{"objective", parseObjective},
		{"chain_intact", parseChainIntact},
		{"retention", parseRetention},
		{"change_tracked", parseChangeTracked},
	}
}

// parseCheck reads [rule.check].
func parseCheck(s *scope) check {
	name, names := s.text("kind"), []string{}
	for _, k := range kinds() {
		if k.name == name {
			return k.parse(s)
		}
		names = append(names, k.name)
	}
	if name != "" {
		s.errorf("kind", "unknown check kind %q; there are %s", name, strings.Join(names, ", "))
	}
	for key := range s.keys {
		s.get(key) // what belongs to an unknown kind is not worth a second message
	}
	return nil
}
