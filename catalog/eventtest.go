package catalog

import "time"

// TestStarted comes before anything else of a restore test.
type TestStarted struct {
	Test    string     `json:"test"`
	Job     string     `json:"job"`
	Run     string     `json:"run"`
	Target  string     `json:"target"`
	Due     *time.Time `json:"due,omitempty"`
	Trigger string     `json:"trigger"`
}

// Verdicts. Only VerdictPassed is good.
const (
	VerdictPassed        = "passed"
	VerdictFailed        = "failed"
	VerdictUnknown       = "unknown"
	VerdictNotConfigured = "not-configured"
)

// Levels, in rising order: how far a test really got.
const (
	LevelListed    = "listed"
	LevelStructure = "structure"
	LevelReread    = "reread"
	LevelRestored  = "restored"
	LevelAsserted  = "asserted"
	LevelBooted    = "booted"
)

// What a failed restore test blames.
const (
	BlamesRun     = "run"     // what was saved is not what it should be: the run is invalidated
	BlamesCopy    = "copy"    // its target did not give back what was stored: the run loses this copy
	BlamesNothing = "nothing" // the data are whole, only older than they may be
)

// TestFinished ends a restore test.
type TestFinished struct {
	Test           string      `json:"test"`
	Job            string      `json:"job"`
	Source         string      `json:"source"` // kind
	Run            string      `json:"run"`
	ConsistentAt   time.Time   `json:"consistent_at"` // of the tested run
	Target         string      `json:"target"`
	Snapshots      []string    `json:"snapshots"`
	Due            *time.Time  `json:"due,omitempty"`
	Covers         []time.Time `json:"covers,omitempty"`
	Trigger        string      `json:"trigger"`
	StartedAt      time.Time   `json:"started_at"`
	FinishedAt     time.Time   `json:"finished_at"`
	Verdict        string      `json:"verdict"`
	Level          string      `json:"level"`            // empty when nothing was reached
	Full           bool        `json:"full"`             // false: a sample was restored
	Blames         string      `json:"blames,omitempty"` // one of the Blames words, with VerdictFailed; empty means BlamesRun
	Assertions     []Assertion `json:"assertions"`
	RestoreSeconds float64     `json:"restore_seconds"`
	RestoredBytes  int64       `json:"restored_bytes"`
	FetchedBytes   int64       `json:"fetched_bytes,omitempty"` // from the target; 0: not measured
	Pick           string      `json:"pick"`                    // the rule that chose run and target
	Seed           string      `json:"seed,omitempty"`
	Control        string      `json:"control,omitempty"`      // id of the negative control that vouches for the checks
	Beyond         string      `json:"beyond,omitempty"`       // why the test of an image went no further than Level
	BootSeconds    float64     `json:"boot_seconds,omitempty"` // until a booted machine was up
	Artifacts      []Artifact  `json:"artifacts,omitempty"`
	Tools          []Tool      `json:"tools"`
	Host           string      `json:"host"`
	Error          string      `json:"error,omitempty"`
	ErrorKind      string      `json:"error_kind,omitempty"`
	Hint           string      `json:"hint,omitempty"`
	ClockSuspect   bool        `json:"clock_suspect,omitempty"`
}

// An Artifact is a file that shows what a test found, such as the picture of a screen.
// Its content is kept by its digest beside the facts (Catalog.Facts), and goes into
// the bundle of the test's entry.
type Artifact struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// An Assertion is one thing checked on restored data. It names no file of the
// user's and carries no content.
type Assertion struct {
	Name     string `json:"name"`
	Expected string `json:"expected"`
	Actual   string `json:"actual"`
	OK       bool   `json:"ok"`
}

// ControlFinished records a negative control: restored data damaged on purpose
// and put before the same checks. Caught false makes every test of that kind of
// source unknown until a later control is caught.
type ControlFinished struct {
	Control string `json:"control"`
	Source  string `json:"source"` // kind
	Job     string `json:"job"`
	Damage  string `json:"damage"`
	Caught  bool   `json:"caught"`
	By      string `json:"by"` // the assertion that caught it
}
