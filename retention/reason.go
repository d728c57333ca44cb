package retention

import (
	"fmt"
	"time"
)

// A Rule is the short name of a reason. The names stand in the ledger: append
// only, never rename.
type Rule string

// Rules that keep by counting.
const (
	Last    Rule = "last"
	Hourly  Rule = "hourly"
	Daily   Rule = "daily"
	Weekly  Rule = "weekly"
	Monthly Rule = "monthly"
	Yearly  Rule = "yearly"
	KeepAll Rule = "keep-all" // the class deletes nothing
	Version Rule = "version"  // of a configuration: each is kept up to keep_max
)

// The nevers: rules that keep whatever the others say.
const (
	Held         Rule = "held"
	LastGood     Rule = "last-good"
	NewestGood   Rule = "newest-good"
	NewestTested Rule = "newest-tested"
	Young        Rule = "keep-min"
	Future       Rule = "future" // dated later than now, or not at all
	InUse        Rule = "in-use"
	Copies       Rule = "copies" // another target keeps it and the class wants more copies
	Locked       Rule = "locked" // the storage itself refuses
	AppendOnly   Rule = "append-only"
	BadRecent    Rule = "bad-recent"
	BadAlone     Rule = "bad-alone" // no newer good backup here yet
)

// Rules that delete.
const (
	Surplus Rule = "surplus" // no count keeps it
	OverAge Rule = "keep-max"
	Bad     Rule = "bad" // what a failed, incomplete or invalidated run left
)

// Rules that stop a plan.
const (
	Failing Rule = "failing"
	Clock   Rule = "clock"
	Storage Rule = "storage"
	Share   Rule = "share"
)

// A Reason is one rule that speaks for what was decided.
type Reason struct {
	Rule  Rule
	N     int       // of a count: its place among so many, from 1; of Copies: copies elsewhere
	Of    int       // of a count: how many are kept; of Copies: how many the class wants
	Until time.Time // of Young, Locked, BadRecent: when it ends; of OverAge: when it began; in the site's time zone
}

// Text says the reason in words.
func (r Reason) Text() string {
	day := r.Until.Format(time.DateOnly)
	switch r.Rule {
	case Last:
		return fmt.Sprintf("number %d of the newest %d", r.N, r.Of)
	case Hourly, Daily, Weekly, Monthly, Yearly:
		return fmt.Sprintf("newest of its %s, number %d of %d", unitOf(r.Rule), r.N, r.Of)
	case KeepAll:
		return "its class deletes nothing"
	case Version:
		return "a version of a configuration, before or after a change"
	case Held:
		return "held by a person"
	case LastGood:
		return "the last good backup on this target"
	case NewestGood:
		return "the newest good backup on this target"
	case NewestTested:
		return "the newest backup with a passed restore test"
	case Young:
		return "younger than keep_min, which ends " + day
	case Future:
		return "its time lies in the future, so its age is not known"
	case InUse:
		return "a restore test is reading it"
	case Copies:
		return fmt.Sprintf("kept on another target, and only %d of %d copies would be left", r.N, r.Of)
	case Locked:
		return "locked by the storage until " + day
	case AppendOnly:
		return "the storage only takes, so whoever keeps it has to delete it"
	case BadRecent:
		return "not a good backup; its remains stay until " + day
	case BadAlone:
		return "not a good backup, but there is no newer good one here"
	case Surplus:
		return "no rule of its class keeps it"
	case OverAge:
		return "older than keep_max since " + day
	case Bad:
		return "not a good backup, and a newer good one is here"
	}
	return string(r.Rule)
}

// String returns the rule and its text.
func (r Reason) String() string { return string(r.Rule) + ": " + r.Text() }

// unitOf is the stretch of time that a count is about.
func unitOf(r Rule) string {
	switch r {
	case Hourly:
		return "hour"
	case Daily:
		return "day"
	case Weekly:
		return "week"
	case Monthly:
		return "month"
	default:
		return "year"
	}
}
