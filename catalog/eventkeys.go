package catalog

import "time"

// Events about what outlives a machine: keys and who can open them, the state's own
// copies, archives.

// KeySealed records that the key of a target's repository was sealed to the
// custodians, or, when there are none, printed on a recovery sheet.
type KeySealed struct {
	Target     string     `json:"target"`
	Repository string     `json:"repository"`
	Key        string     `json:"key"` // restic's id of the key
	Recipients []SealedTo `json:"recipients"`
	Sheet      bool       `json:"sheet,omitempty"` // a sheet with the key itself was written
	Beside     bool       `json:"beside"`          // the sealed key lies beside the repository, for recovery
}

// SealedTo is one custodian who can open a sealed key.
type SealedTo struct {
	Custodian   string `json:"custodian"`
	Fingerprint string `json:"fingerprint"` // of the public key, as ssh-keygen prints it
}

// KeyPlaced records how far the clear key of a target lies from the data it opens,
// as it was measured. It is written when the measure differs from the last one.
type KeyPlaced struct {
	Target     string      `json:"target"`
	Repository string      `json:"repository"`
	From       string      `json:"from"` // one of the KeyFrom words
	Separation *Separation `json:"separation"`
	Exposed    bool        `json:"exposed,omitempty"` // others than the owner of its file can read it
}

// Where a target's key comes from. The words are stored: append only.
const (
	KeyFromState      = "state"      // made by saoluu, under paths.state
	KeyFromFile       = "file"       // a file that the configuration names
	KeyFromCredential = "credential" // passed by systemd; where it lies at rest cannot be seen
	KeyFromAge        = "age"        // encrypted; what opens it is measured instead
)

// EscrowDrilled records that somebody tried to open a repository with the sealed
// key and a custodian's identity alone.
type EscrowDrilled struct {
	Target    string `json:"target"`
	Custodian string `json:"custodian"` // empty: the identity is nobody's that is configured
	OK        bool   `json:"ok"`
	Error     string `json:"error,omitempty"`
	ErrorKind string `json:"error_kind,omitempty"`
}

// KeyRotated records that a repository got a new key and lost the old one.
type KeyRotated struct {
	Target     string    `json:"target"`
	Repository string    `json:"repository"`
	Added      string    `json:"added"`
	Removed    []string  `json:"removed"`
	Left       []string  `json:"left,omitempty"` // old keys that still open it: the storage did not let them go
	Kept       []KeptKey `json:"kept,omitempty"` // old keys that are deleted, and kept by the storage
	By         string    `json:"by"`
	Error      string    `json:"error,omitempty"`
}

// KeptKey is a key file that was deleted and that the storage kept as a version:
// whoever has the key and may read versions opens the repository with it.
type KeptKey struct {
	Key   string    `json:"key"`
	Until time.Time `json:"until,omitzero"` // until when it is locked; zero: the storage does not say
}

// OldKeysChecked records what became of old keys that the storage did not let go.
type OldKeysChecked struct {
	Target     string    `json:"target"`
	Repository string    `json:"repository"`
	Removed    []string  `json:"removed"`        // gone now
	Left       []string  `json:"left,omitempty"` // as in KeyRotated
	Kept       []KeptKey `json:"kept,omitempty"`
}

// KeyShredded records that all keys of a repository were destroyed, so that
// nobody can read it again. It is written before (RunRunning) and after.
type KeyShredded struct {
	Target     string    `json:"target"`
	Repository string    `json:"repository"`
	Reason     string    `json:"reason"`
	By         string    `json:"by"`
	State      string    `json:"state"`          // RunRunning; RunComplete; RunIncomplete: deleted, and kept by the storage; RunFailed: some still open it
	Left       []string  `json:"left,omitempty"` // keys that still open it
	Kept       []KeptKey `json:"kept,omitempty"` // keys that are deleted, and kept by the storage
	Error      string    `json:"error,omitempty"`
}

// SelfSaved records that catalog, ledger, configuration and sealed keys were put
// on a target.
type SelfSaved struct {
	Target    string `json:"target"`
	Snapshot  string `json:"snapshot"`
	Entries   int64  `json:"entries"`             // of the ledger in it
	Forgotten int    `json:"forgotten,omitempty"` // older ones that were removed
}

// SelfTested records that the newest of these was brought back from a target and
// its ledger recomputed.
type SelfTested struct {
	Target   string `json:"target"`
	Snapshot string `json:"snapshot"`
	Verdict  string `json:"verdict"`
	Entries  int64  `json:"entries"`
	Error    string `json:"error,omitempty"`
}

// SiteRecovered says that the state was lost and brought back from a target.
// What happened after Entries and before this entry is known from the
// repositories alone.
type SiteRecovered struct {
	Target   string `json:"target"`
	Snapshot string `json:"snapshot"`
	Entries  int64  `json:"entries"` // of the ledger that was brought back
	Host     string `json:"host"`
}

// ArchiveWritten records a set of offline media that was written and read back.
type ArchiveWritten struct {
	Set        string     `json:"set"`
	Runs       []string   `json:"runs"`
	SHA256     string     `json:"sha256"` // of the set's index, which holds the digests of its volumes
	Discs      int        `json:"discs"`
	Volumes    int        `json:"volumes"`
	Bytes      int64      `json:"bytes"`
	Recipients []SealedTo `json:"recipients"`
	Verified   bool       `json:"verified"` // every volume was read back from the medium
	Opened     bool       `json:"opened"`   // and decrypted by a custodian, its content compared
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt time.Time  `json:"finished_at"`
	By         string     `json:"by"`
	// Separation is how far what it was written to lies from the nearest of the data
	// and of the targets. Absent in sets from before it was measured.
	Separation *Separation `json:"separation,omitempty"`
}
