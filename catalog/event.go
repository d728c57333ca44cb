package catalog

import "time"

// An Event is something that happened, told once and never changed. Append
// writes it to the ledger as canonical JSON and to the tables derived from it,
// in one transaction. Kind is the word stored in the ledger entry.
type Event interface{ Kind() string }

// SiteOpened is the first entry of every ledger.
type SiteOpened struct {
	Name    string `json:"name"`
	Code    string `json:"code"`
	Key     string `json:"key"`     // verifier key of the site's checkpoint signer (sumdb/note form)
	Version string `json:"version"` // of saoluu
}

// InventorySet says what is to be protected from this instant on. It is
// appended whenever the loaded configuration differs from the last one set, so
// that a report about the past judges the inventory of the past.
type InventorySet struct {
	ConfigSHA256 string      `json:"config_sha256"`
	Site         SiteInfo    `json:"site"`
	Classes      []ClassInfo `json:"classes"`
	Targets      []TargetRow `json:"targets"`
	Assets       []Asset     `json:"assets"`
	Custodians   []SealedTo  `json:"custodians,omitempty"` // who is to be able to open the keys
}

// SiteInfo is the part of the configuration's [site] that reports print.
type SiteInfo struct {
	Name     string   `json:"name"`
	Code     string   `json:"code"`
	Level    int      `json:"level"`
	Zone     string   `json:"zone"`
	Timezone string   `json:"timezone"`
	Packs    []string `json:"packs"`
}

// ClassInfo is one retention class.
type ClassInfo struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	KeepMin string `json:"keep_min"`
	KeepMax string `json:"keep_max"`
	Copies  int    `json:"copies"`
}

// TargetRow is one target as configured.
type TargetRow struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Site     string `json:"site,omitempty"`
	External bool   `json:"external,omitempty"`
	Prune    string `json:"prune_every,omitempty"`      // how often space is freed, as a calendar.Period
	Keeps    bool   `json:"keeps,omitempty"`            // its storage lets nobody delete, and is asked to now and then
	LockDays int    `json:"lock_days,omitempty"`        // for how long it locks what is written; 0: no such lock
	Reread   string `json:"reread_every,omitempty"`     // within which all of it is read back, as a calendar.Period
	Egress   int64  `json:"egress_per_month,omitempty"` // bytes that may be fetched from it to see that it is whole
	Window   string `json:"window,omitempty"`           // of each day in which it is looked after, as a calendar.Window
	Medium   string `json:"medium,omitempty"`           // of a removable target: its name in the register
	Label    string `json:"label,omitempty"`            // that the medium bears
	Rotation string `json:"rotation,omitempty"`         // set of media that take turns; empty: it has none
	DueBack  string `json:"due_back,omitempty"`         // how long after it was filled it has to come back, as a calendar.Period
	DueOut   string `json:"due_out,omitempty"`          // how long it may stay plugged in after that
}

// An Asset is one row of the inventory: a job as the regulations see it.
type Asset struct {
	Job        string `json:"job"`
	Title      string `json:"title"`
	System     string `json:"system,omitempty"`
	Category   string `json:"category"`
	Importance string `json:"importance"`
	Secrecy    string `json:"secrecy"`
	Label      string `json:"label,omitempty"`
	Owner      string `json:"owner,omitempty"`
	Class      string `json:"class"`
	Source     string `json:"source"` // kind of source
	// Classification is the decision whether it is a state secret; nil: none is on record.
	Classification *Classification `json:"classification,omitempty"`
	Devices        int             `json:"devices,omitempty"` // network devices whose configuration is saved
	Method         string          `json:"method"`            // how it is saved, in words for the inventory's column
	Schedule       string          `json:"schedule"`
	TestSchedule   string          `json:"test_schedule"`
	Targets        []string        `json:"targets"`
	RPOSeconds     int64           `json:"rpo_seconds,omitempty"`
	RTOSeconds     int64           `json:"rto_seconds,omitempty"`
	InService      string          `json:"in_service,omitempty"` // YYYY-MM-DD
	// What is read and how the restore test looks at it, as digests: whoever empties
	// a job leaves a trace, and no name of data stands in the ledger.
	SourceSHA256 string `json:"source_sha256,omitempty"` // of the source's settings
	ChecksSHA256 string `json:"checks_sha256,omitempty"` // of the restore test's checks; empty without any
	Checks       int    `json:"checks,omitempty"`        // how many there are
}

// A Classification is a decision whether data are a state secret.
type Classification struct {
	Decision string `json:"decision"` // its number
	By       string `json:"by"`
	Date     string `json:"date"` // YYYY-MM-DD
}

// Slot actions.
const (
	ActionBackup = "backup"
	ActionTest   = "test"
	ActionUpkeep = "upkeep" // Job holds the target's name
)

// A Slot is one thing that should happen. (Job, Action, Due) is unique for ever.
type Slot struct {
	Job    string    `json:"job"`
	Action string    `json:"action"`
	Due    time.Time `json:"due"`
}

// SlotsPlanned records slots before they are due. After it, the schedules of the
// inventory are planned up to Until. A changed inventory may add slots between
// its own time and Until.
type SlotsPlanned struct {
	Until time.Time `json:"until"`
	Slots []Slot    `json:"slots"`
}

// Slot states. Open and Running are not final.
const (
	SlotOpen    = "open"
	SlotDone    = "done"
	SlotFailed  = "failed"
	SlotCovered = "covered" // missed, and a later run caught up for it
	SlotMissed  = "missed"  // nothing ran for it
	SlotWaived  = "waived"
	SlotDropped = "dropped" // its job left the inventory
)

// SlotsClosed ends slots without a run of their own (missed, covered, waived,
// dropped). Slots ended by a run are named in RunFinished and TestFinished.
type SlotsClosed struct {
	State  string `json:"state"`
	Reason string `json:"reason"`
	Run    string `json:"run,omitempty"` // the run that covers them
	Slots  []Slot `json:"slots"`
}

// Triggers of a run or test.
const (
	TriggerSchedule = "schedule"
	TriggerCatchUp  = "catch-up"
	TriggerManual   = "manual"
)

// RunStarted comes before anything else of a run.
type RunStarted struct {
	Run     string     `json:"run"` // unique, sorts by time
	Job     string     `json:"job"`
	Due     *time.Time `json:"due,omitempty"` // its slot
	Trigger string     `json:"trigger"`
	Attempt int        `json:"attempt"` // 1 for the first try inside the slot
}

// Run and part states.
const (
	RunRunning     = "running"
	RunComplete    = "complete"
	RunIncomplete  = "incomplete"
	RunFailed      = "failed"
	RunInterrupted = "interrupted"
	RunSkipped     = "skipped"
)

// RunFinished ends a run, however it ended. A run is good only when State is
// RunComplete: every part is whole on at least one target. A target that lacks
// its copy then is a debt (its Copy says RunFailed), paid by upkeep.
type RunFinished struct {
	Run          string      `json:"run"`
	Job          string      `json:"job"`
	Class        string      `json:"class"`
	Category     string      `json:"category"`
	Due          *time.Time  `json:"due,omitempty"`
	Covers       []time.Time `json:"covers,omitempty"` // earlier missed slots this run catches up for
	LastAttempt  bool        `json:"last_attempt"`     // no retry follows: the slot closes with this run
	Trigger      string      `json:"trigger"`
	State        string      `json:"state"`
	StartedAt    time.Time   `json:"started_at"`
	ConsistentAt time.Time   `json:"consistent_at"`         // the instant the data stand for; zero unless data were saved
	Consistency  string      `json:"consistency,omitempty"` // how the source was held still (sources.Consistency…); empty where its kind needs no word
	FinishedAt   time.Time   `json:"finished_at"`
	Parts        []Part      `json:"parts"`
	Copies       []Copy      `json:"copies"`
	Facts        *Blob       `json:"facts,omitempty"` // facts document, kept beside the ledger
	Error        string      `json:"error,omitempty"`
	ErrorKind    string      `json:"error_kind,omitempty"`
	Hint         string      `json:"hint,omitempty"`
	Engine       Tool        `json:"engine"`
	ClockSuspect bool        `json:"clock_suspect,omitempty"`
	Recovered    bool        `json:"recovered,omitempty"` // made from a repository's tags, not from a run we saw
}

// A Part is one stream or tree of a run.
type Part struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Bytes  int64  `json:"bytes"`            // read from the source
	Files  int64  `json:"files,omitempty"`  // in a tree
	SHA256 string `json:"sha256,omitempty"` // of a stream
	File   string `json:"file,omitempty"`   // name of a stream inside its snapshot
	Error  string `json:"error,omitempty"`
}

// A Copy is one run's snapshots on one target.
type Copy struct {
	Target     string            `json:"target"`
	State      string            `json:"state"`     // RunComplete, RunFailed, RunIncomplete
	Snapshots  map[string]string `json:"snapshots"` // part name to full snapshot id
	AddedBytes int64             `json:"added_bytes"`
	Separation *Separation       `json:"separation,omitempty"` // nil: not measured
	Encryption string            `json:"encryption"`           // scheme id, for example EncryptionRestic
	Error      string            `json:"error,omitempty"`
}

// EncryptionRestic is restic's scheme (restic design document, "Keys, Encryption and MAC").
const EncryptionRestic = "AES-256-CTR+Poly1305-AES"

// Separation says how far a copy lies from its source (levels L0 to L5).
type Separation struct {
	Level    int    `json:"level"`
	How      string `json:"how"`                // what was compared, with device numbers
	Domain   string `json:"domain,omitempty"`   // copies of one domain are lost together; empty: not known
	Declared bool   `json:"declared,omitempty"` // somebody says so; not measured
	Unknown  bool   `json:"unknown,omitempty"`  // could not be measured; Level means nothing
}

// A Blob is a document stored beside the ledger by its digest.
type Blob struct {
	SHA256 string `json:"sha256"`
	Count  int    `json:"count"` // facts in it
	// Unread is of how many tables, or files, not all facts could be taken.
	Unread int `json:"unread,omitempty"`
}

// A Tool is a program that took part.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256,omitempty"`
}

// CopyFinished records a copy made after its run had ended: a debt that was paid
// when the target came back. It replaces what RunFinished said of that target.
type CopyFinished struct {
	Run        string    `json:"run"`
	Job        string    `json:"job"`
	From       string    `json:"from"` // target it was copied from
	Copy       Copy      `json:"copy"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
}

// DaemonStarted and DaemonStopped bound the time somebody was watching.
type DaemonStarted struct {
	Version string `json:"version"`
	Host    string `json:"host"`
	Boot    string `json:"boot"` // kernel boot id
}

// DaemonStopped is absent after a crash.
type DaemonStopped struct {
	Reason string `json:"reason"`
}

// Beat says the daemon was alive up to its time; appended hourly.
type Beat struct{}

// ConfigRefused records a reload whose configuration was not taken.
type ConfigRefused struct {
	Problems int    `json:"problems"`
	First    string `json:"first"` // file:line:column and text; never a value
}

// ClockJumped records a wall clock that moved in a way time does not.
type ClockJumped struct {
	Before time.Time `json:"before"`
	After  time.Time `json:"after"`
}

// CatalogCompared records that the whole ledger was hashed again and replayed,
// and the tables compared with what it tells.
type CatalogCompared struct {
	Entries  int64    `json:"entries"`         // that were there
	Problems int      `json:"problems"`        // differences found; 0 with Error empty is good
	Where    []string `json:"where,omitempty"` // tables and entries that differ, the first few; never a value
	Error    string   `json:"error,omitempty"` // could not look
}

// RunShrank records that a good run saved far less than good runs before it, or
// lacks a part that one of them had: the data may be gone, moved or taken out of
// the job.
type RunShrank struct {
	Run         string   `json:"run"`
	Job         string   `json:"job"`
	Bytes       int64    `json:"bytes"`
	Files       int64    `json:"files"`
	Before      string   `json:"before"` // the good run it is compared with
	BytesBefore int64    `json:"bytes_before"`
	FilesBefore int64    `json:"files_before"`
	Lacks       []string `json:"lacks,omitempty"` // parts that Before has and Run has not
}

// HoldSet stops (Held) or resumes deletion of a run.
type HoldSet struct {
	Run    string `json:"run"`
	Held   bool   `json:"held"`
	Reason string `json:"reason"`
	By     string `json:"by"`
}

// RestoreFinished records a real restore.
type RestoreFinished struct {
	Job        string    `json:"job"`
	Run        string    `json:"run"`
	Target     string    `json:"target"`
	To         string    `json:"to"` // kind of destination, never its address
	State      string    `json:"state"`
	Bytes      int64     `json:"bytes"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	By         string    `json:"by"`
	Error      string    `json:"error,omitempty"`
}

// The kinds, as stored. Append only.
func (SiteOpened) Kind() string         { return "site-opened" }
func (InventorySet) Kind() string       { return "inventory-set" }
func (SlotsPlanned) Kind() string       { return "slots-planned" }
func (SlotsClosed) Kind() string        { return "slots-closed" }
func (RunStarted) Kind() string         { return "run-started" }
func (RunFinished) Kind() string        { return "run-finished" }
func (CopyFinished) Kind() string       { return "copy-finished" }
func (TestStarted) Kind() string        { return "test-started" }
func (TestFinished) Kind() string       { return "test-finished" }
func (ControlFinished) Kind() string    { return "control-finished" }
func (CheckFinished) Kind() string      { return "check-finished" }
func (RetentionApplied) Kind() string   { return "retention-applied" }
func (RetentionPlanned) Kind() string   { return "retention-planned" }
func (RepositoryPruned) Kind() string   { return "repository-pruned" }
func (TargetEnrolled) Kind() string     { return "target-enrolled" }
func (LockRemoved) Kind() string        { return "lock-removed" }
func (DaemonStarted) Kind() string      { return "daemon-started" }
func (DaemonStopped) Kind() string      { return "daemon-stopped" }
func (Beat) Kind() string               { return "beat" }
func (ConfigRefused) Kind() string      { return "config-refused" }
func (ClockJumped) Kind() string        { return "clock-jumped" }
func (CheckpointAnchored) Kind() string { return "checkpoint-anchored" }
func (DeletionChallenged) Kind() string { return "deletion-challenged" }
func (LocksRenewed) Kind() string       { return "locks-renewed" }
func (TargetRecovered) Kind() string    { return "target-recovered" }
func (HoldSet) Kind() string            { return "hold-set" }
func (RestoreFinished) Kind() string    { return "restore-finished" }
func (RunShrank) Kind() string          { return "run-shrank" }
func (CatalogCompared) Kind() string    { return "catalog-compared" }
func (KeySealed) Kind() string          { return "key-sealed" }
func (KeyPlaced) Kind() string          { return "key-placed" }
func (EscrowDrilled) Kind() string      { return "escrow-drilled" }
func (KeyRotated) Kind() string         { return "key-rotated" }
func (KeyShredded) Kind() string        { return "key-shredded" }
func (OldKeysChecked) Kind() string     { return "old-keys-checked" }
func (SelfSaved) Kind() string          { return "self-saved" }
func (SelfTested) Kind() string         { return "self-tested" }
func (SiteRecovered) Kind() string      { return "site-recovered" }
func (ArchiveWritten) Kind() string     { return "archive-written" }
