// Package retention decides which backups may be deleted, and says why of every
// one. It is pure: what is known of the backups of one job on one target goes
// in, a plan comes out, and nothing is touched.
//
// Four questions are asked in this order.
//
//  1. Which backups do the class's counts keep? Of the good ones, the newest
//     so many, and the newest of so many hours, days, weeks, months and years
//     that have one, all judged by the clock of the site.
//  2. Which should be gone all the same? Those older than keep_max, and remains
//     of runs that did not become good backups.
//  3. Which stay whatever the first two say? See the rules called nevers.
//  4. May anything be deleted now? Not while the job is failing, while the clock
//     is suspect, or when more than a share of the backups would go at once and
//     nobody has approved exactly this plan.
//
// A plan names whole snapshot ids. Snapshots that nobody told it about are not in
// it and so are never deleted.
package retention

import (
	"time"

	"saoluu/internal/calendar"
)

// A Backup is one run of a job as it lies on one target.
type Backup struct {
	Run         string            // unique; breaks ties between equal times
	At          time.Time         // the instant the data stand for; of a run that was not good, its start
	Good        bool              // complete, whole on this target, and not invalidated
	Invalidated bool              // was complete once, and a test or re-read proved it bad
	Held        bool              // a person has forbidden to delete it
	Tested      bool              // a restore test of it has passed
	InUse       bool              // a restore test is reading it now
	Version     bool              // it holds a configuration as it was before or after a change
	Elsewhere   int               // other targets that hold a whole copy of it
	Wanted      bool              // the rules keep it on another target
	LockedUntil time.Time         // the storage refuses to delete it before; zero: it does not
	Promised    calendar.Period   // keep_min of the class it was made under, when that is another one now
	Snapshots   map[string]string // part to whole snapshot id
}

// Rules are those of a retention class. Counts that are 0 keep nothing by
// themselves; with no count and no KeepMax nothing is deleted at all.
type Rules struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int

	KeepMin  calendar.Period // nothing younger is deleted
	KeepMax  calendar.Period // what is older should be gone; zero: no limit
	Copies   int             // on how many targets a backup must lie that is kept anywhere
	BadAfter calendar.Period // remains of runs that were not good stay at least so long; zero: DefaultBadAfter
	Share    int             // percent of a job's backups that may go at once without approval; 0: DefaultShare
}

// DefaultBadAfter leaves time to look into a failed run before its remains go
// (policy).
func DefaultBadAfter() calendar.Period { return calendar.Period{Days: 14} }

// DefaultShare is the percentage over which deletion needs a second person
// (requirements on retention, 39/2024/QĐ-UBND, Điều 16 khoản 2 điểm b; the figure is policy).
const DefaultShare = 30

// clockTolerance is how far in the future a backup may seem to lie before its
// time, or the clock, is taken to be wrong.
const clockTolerance = 5 * time.Minute

// countsNothing reports whether no rule deletes anything.
func (r Rules) countsNothing() bool {
	return r.Last+r.Hourly+r.Daily+r.Weekly+r.Monthly+r.Yearly == 0
}

// KeepUntil returns the instant before which a backup of the class taken at t is
// not deleted whatever else is said; t itself when the class names no minimum.
func (r Rules) KeepUntil(t time.Time, loc *time.Location) time.Time {
	return r.KeepMin.AddTo(t, loc).UTC()
}

// A Request asks for the plan of one job on one target.
type Request struct {
	Target, Job string
	Backups     []Backup // in any order
	Rules       Rules
	Now         time.Time
	Location    *time.Location

	AppendOnly bool // the storage only takes: what should go waits for whoever keeps it

	// Why nothing may be deleted now, in words; empty when nothing stands against it.
	Failing      string // the job does not bring good backups
	ClockSuspect string // times cannot be trusted
	Storage      string // the target lost or damaged something

	Approved string // digest of a plan that a second person approved
}

// A Plan says of every backup whether it stays or goes.
type Plan struct {
	Target, Job string
	Decisions   []Decision // oldest first
	Refusals    []Refusal  // why nothing may be deleted now; empty when the plan may be applied
	Share       int        // percent of the backups there that would go, rounded up
	Limit       int        // the share that needs no approval
	Digest      string     // of what would go and by which rules; empty when nothing would
	Approved    bool       // the share is over the limit and this very plan was approved
}

// A Decision is what becomes of one backup.
type Decision struct {
	Backup
	Keep    bool
	Waiting bool     // should go, but the storage holds on to it
	Reasons []Reason // why, the weightiest first; never empty
}

// A Refusal says why a plan may not be applied now and what can be done.
type Refusal struct {
	Rule Rule   // Failing, Clock, Storage or Share
	Text string // what stands against it
	Hint string // one imperative sentence
}

// Removals lists the backups that may be deleted now: none when the plan is
// refused.
func (p Plan) Removals() []Decision {
	if len(p.Refusals) > 0 {
		return nil
	}
	return p.Surplus()
}

// Surplus lists the backups that the rules would delete, refused or not.
func (p Plan) Surplus() []Decision {
	var out []Decision
	for _, d := range p.Decisions {
		if !d.Keep {
			out = append(out, d)
		}
	}
	return out
}
