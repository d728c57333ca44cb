package compliance

import (
	"fmt"
	"strings"
)

// tables judges the newest comparison of the tables with the ledger. Everything
// else in a status was read from these tables, so no light is green when they
// differ.
func (p *posture) tables(s *Status) {
	var r reasons
	last := p.compared
	switch {
	case last.Problems > 0:
		r.add(Failing, "what is shown cannot be believed: the comparison of %s found that the tables are not what the ledger tells (%s); saoluu catalog verify shows where",
			p.day(last.At), strings.Join(last.Where, ", "))
	case last.Error != "":
		r.add(NoIdea, "the tables could not be compared with the ledger on %s: %s", p.day(last.At), strings.ReplaceAll(last.Error, "\n", "; "))
	case last.At.IsZero():
		r.add(Warning, "the tables have not been compared with the ledger yet: upkeep does it")
	case p.now.Sub(last.At) > anchorAge:
		r.add(Warning, "the tables were last compared with the ledger %s", p.day(last.At))
	}
	state, why := r.result()
	if state == Good {
		return
	}
	if state == Failing {
		for i := range s.Jobs {
			doubt(&s.Jobs[i].State, &s.Jobs[i].Why)
		}
		for i := range s.Targets {
			doubt(&s.Targets[i].State, &s.Targets[i].Why)
		}
	}
	switch {
	case rankState(state) < rankState(s.Overall):
	case state == s.Overall:
		s.Why += "; " + why
	default:
		s.Overall = state
		s.Why = strings.TrimSuffix(fmt.Sprintf("%s; %s", why, s.Why), "; ")
	}
}

// doubt takes the green or yellow off one light.
func doubt(state *State, why *string) {
	if rankState(NoIdea) > rankState(*state) {
		*state = NoIdea
	}
	*why = strings.TrimSuffix("read from tables that differ from the ledger; "+*why, "; ")
}
