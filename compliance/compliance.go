// Package compliance compares what the catalog holds with what a regulation
// asks for.
//
// A regulation is a Pack: data in TOML with its clauses, texts and parameters.
// Every rule of a pack names one of a closed set of check kinds, which are the
// Go code of this package. Evaluate applies packs to the catalog at an instant
// and returns findings. The same catalog, packs, period and instant give the
// same findings, in the same order.
//
// Data that are missing never make a rule pass: the outcome is then Unknown,
// Warn or Fail, and the finding says what was missing.
package compliance

import (
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// An Outcome is what a rule came to for one subject. The words are stored in
// reports: append only.
type Outcome string

// The outcomes. Only Pass is good; NA and Pending say that nothing is due.
const (
	Pass    Outcome = "pass"
	Warn    Outcome = "warn"
	Fail    Outcome = "fail"
	Pending Outcome = "pending" // not due yet
	NA      Outcome = "na"      // the rule does not apply
	Waived  Outcome = "waived"  // exempted by a named person until a date
	Unknown Outcome = "unknown" // the data to decide are missing
)

// A Kind says what weight a pack has. Totals of different kinds are never added.
type Kind string

// The kinds of pack.
const (
	Binding  Kind = "binding"  // a normative text
	Advisory Kind = "advisory" // findings and recommendations of an authority
	Policy   Kind = "policy"   // our own figures or the agency's, no legal duty
)

// Kinds lists the kinds in the order reports print them.
func Kinds() []Kind { return []Kind{Binding, Advisory, Policy} }

// A Finding is the outcome of one rule for one subject.
type Finding struct {
	Rule     string   // for example "HD39-16.1b-2"
	Clause   string   // for example "Điều 16 khoản 1 điểm b"
	Pack     string   // id of the pack
	Kind     Kind     // of the pack
	Title    string   // of the rule, Vietnamese
	Subject  string   // a job's name, or "" for the agency as a whole
	Name     string   // the subject's title for people
	Result   Outcome  // the worse of Posture and Period
	Counted  Outcome  // Result as totals count it: Unknown for longer than a week counts as Fail
	Posture  Outcome  // how things stood at Result.At
	Period   Outcome  // over the period; the same as Posture for rules about a state
	Why      string   // Vietnamese, with the numbers that decided
	Remedy   string   // Vietnamese; what to do, empty when nothing
	Evidence []string // "entry:123" of the ledger, "run:ID", "test:ID"
}

// Open reports whether the finding is a gap: anything that is neither good nor
// outside the rule.
func (f Finding) Open() bool { return f.Result != Pass && f.Result != NA }

// Totals counts findings by their Counted outcome.
type Totals struct {
	Pass    int `json:"pass"`
	Warn    int `json:"warn"`
	Fail    int `json:"fail"`
	Pending int `json:"pending"`
	NA      int `json:"na"`
	Waived  int `json:"waived"`
	Unknown int `json:"unknown"`
	Overdue int `json:"unknown_counted_as_fail"` // among Fail: unknown for over a week
}

// A Result is everything an evaluation found.
type Result struct {
	Inventory catalog.InventoryAt
	Location  *time.Location // of the site
	Period    calendar.ReportPeriod
	From, To  time.Time // bounds of the period; To is exclusive
	AsOf      time.Time // what was known
	At        time.Time // the instant judged: AsOf, or the end of the period if that is earlier
	Packs     []*Pack
	Totals    map[Kind]Totals
	Findings  []Finding // by pack, rule, subject
	Gaps      []Finding // the open ones, worst first
	Grid      []GridRow // every job, month by month; a short period is shown at the end of a year
	Copies    []CopyState
	Targets   []TargetFacts
	Keys      []KeyRecord
	Archives  []ArchiveState         // oldest first
	Media     []MediumFacts          // by name
	Refused   int                    // disks that were refused in the period
	Changes   []catalog.ConfigChange // of configurations: those of the period, and older ones that nobody has explained
	Proofs    []Proof
	Watch     []Watch
	Ledger    Ledger
}

// A CopyState is the newest good copy of a job on one target.
type CopyState struct {
	Job        string
	Target     string
	Run        string
	Taken      time.Time           // the instant the data stand for
	Separation *catalog.Separation // nil: never measured
	Encryption string
	// Consistency says how a disk was held still (catalog.RunFinished.Consistency).
	Consistency string
}

// A KeyRecord is what is known of the key of one target. It holds no key.
type KeyRecord struct {
	Target   string
	Sealed   catalog.Dated[catalog.KeySealed]     // zero: never
	Placed   catalog.Dated[catalog.KeyPlaced]     // zero: never measured
	Drilled  catalog.Dated[catalog.EscrowDrilled] // the newest that counts, zero if none
	Rotated  catalog.Dated[catalog.KeyRotated]
	Shredded time.Time // zero while copies there can be read
	Left     []string  // recipients who are custodians no longer
}

// TargetFacts is what is known of a target at Result.At. Times are zero when
// there is none.
type TargetFacts struct {
	catalog.TargetRow
	Read     time.Time       // newest group of packs read back whole
	Whole    time.Time       // since when every group has been read back whole
	Damaged  time.Time       // since when damage is known that no re-read has cleared
	Suspect  time.Time       // when a restore test got damaged data from it that no full re-read has cleared
	Groups   int             // groups a full pass has
	Done     int             // of them read
	Egress   int64           // bytes a month that reading back may fetch; 0: no bound
	Needed   int64           // bytes a month that it takes to keep to Every; 0: not measured
	Spared   bool            // something was left unread last because of Egress
	Every    calendar.Period // within which everything is to be read back
	Covered  int             // in a hundred: packs read back whole within it
	Ever     int             // in a hundred: packs read back whole at all
	Anchored time.Time       // newest checkpoint of the ledger put there
}

// A Proof is how far a job's restore tests got.
type Proof struct {
	Job      string
	Last     time.Time // newest finished test within 13 months, zero if none
	Verdict  string    // of it
	Passed   time.Time // newest that counts as a restore test, zero if none
	Level    string    // of that one
	Seconds  float64   // it took to restore
	Believed bool      // the negative control of its kind of source was caught
}

// Watch says for how long in a month nobody was watching: no heartbeat of the
// daemon for more than two hours.
type Watch struct {
	Month  calendar.Month
	Silent time.Duration
}

// A Ledger is the state of the ledger at Result.AsOf.
type Ledger struct {
	Size int64
	Root tlog.Hash
}

// A GridRow is one job's months.
type GridRow struct {
	Job        string
	Title      string
	Importance string
	Bound      bool      // the monthly duty binds this job
	Removed    time.Time // zero, or when it left the inventory
	Cells      []GridCell
}

// A GridCell is one month of one job.
type GridCell struct {
	Month   calendar.Month
	Outcome Outcome
	Running bool // the month was not over at Result.At
	Good    int
	Bad     int
	Voided  int
	Last    time.Time // newest good backup of the month, zero if none
	Why     string    // Vietnamese
}
