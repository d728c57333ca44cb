package catalog

import "time"

// Events about targets and what is kept, read back and deleted on them.

// CheckFinished records that the packs of group N of Of on a target were re-read.
type CheckFinished struct {
	Target     string      `json:"target"`
	Due        *time.Time  `json:"due,omitempty"`
	Covers     []time.Time `json:"covers,omitempty"`
	N          int         `json:"n"`
	Of         int         `json:"of"`
	State      string      `json:"state"` // RunComplete: read and whole; RunFailed: damage; RunInterrupted or RunSkipped: could not look
	StartedAt  time.Time   `json:"started_at"`
	FinishedAt time.Time   `json:"finished_at"`
	Waits      string      `json:"waits,omitempty"`   // what its window left for the next one, for people
	Spared     string      `json:"spared,omitempty"`  // what the egress budget left unread, for people
	Fetched    int64       `json:"fetched,omitempty"` // bytes that reading the group took from the target; 0: not measured
	Missing    []string    `json:"missing,omitempty"` // snapshots the catalog knows and the target does not hold
	Error      string      `json:"error,omitempty"`
	ErrorKind  string      `json:"error_kind,omitempty"`
	Hint       string      `json:"hint,omitempty"`
}

// RetentionPlanned names what is about to be deleted from a target. It comes
// before the deletion, so that what a process deleted that died in it is not
// taken for lost.
type RetentionPlanned struct {
	Target   string         `json:"target"`
	Removed  []RemovedRow   `json:"removed"`
	Approved []ApprovedPlan `json:"approved,omitempty"`
}

// An ApprovedPlan is a plan over the share that may go at once, which a second
// person has approved.
type ApprovedPlan struct {
	Job    string `json:"job"`
	Digest string `json:"digest"`
	By     string `json:"by"`    // who approved
	Asked  string `json:"asked"` // account that ran the command
}

// RetentionApplied names what was deleted from a target, as found by listing it
// afterwards. It ends the plan before it.
type RetentionApplied struct {
	Target  string       `json:"target"`
	Removed []RemovedRow `json:"removed"`
	Refused []RefusedRow `json:"refused,omitempty"` // what was due and was not done
	State   string       `json:"state"`             // RunComplete, RunFailed: some is still there; RunInterrupted: its process died; RunSkipped: all was refused
	Error   string       `json:"error,omitempty"`
}

// A RemovedRow is one copy deleted by retention.
type RemovedRow struct {
	Run       string    `json:"run"`
	Job       string    `json:"job"`
	TakenAt   time.Time `json:"taken_at,omitzero"` // the instant its data stood for
	Good      bool      `json:"good,omitempty"`    // it was a good backup
	Snapshots []string  `json:"snapshots"`
	Why       string    `json:"why"` // rules and words of package retention
}

// A RefusedRow is the plan of one job that something stood against.
type RefusedRow struct {
	Job     string `json:"job"`
	Rule    string `json:"rule"` // of package retention
	Why     string `json:"why"`
	Surplus int    `json:"surplus"` // backups that would have gone
	Digest  string `json:"digest"`
}

// RepositoryPruned records that the space of deleted snapshots was freed, or that
// this failed.
type RepositoryPruned struct {
	Target      string    `json:"target"`
	State       string    `json:"state"`        // RunComplete or RunFailed
	BytesBefore int64     `json:"bytes_before"` // of the storage; 0 in both when it cannot be measured
	BytesAfter  int64     `json:"bytes_after"`
	Freed       string    `json:"freed,omitempty"`     // restic's own account, in its words
	Remaining   string    `json:"remaining,omitempty"` // the same
	StartedAt   time.Time `json:"started_at"`
	FinishedAt  time.Time `json:"finished_at"`
	Error       string    `json:"error,omitempty"`
}

// TargetEnrolled records a repository made or adopted.
type TargetEnrolled struct {
	Target     string `json:"target"`
	Type       string `json:"type"`
	ID         string `json:"id"`         // identity written on the target
	Repository string `json:"repository"` // restic repository id
}

// LockRemoved records that stale locks were cleared after our own child was gone.
type LockRemoved struct {
	Target string `json:"target"`
	Why    string `json:"why"`
}

// CheckpointAnchored records that a signed checkpoint was put on a target.
type CheckpointAnchored struct {
	Target   string `json:"target"`
	Size     int64  `json:"size"`
	Root     string `json:"root"`
	Snapshot string `json:"snapshot"`
}

// DeletionChallenged records an attempt to delete what a target's storage must not
// let go, and what the storage did.
type DeletionChallenged struct {
	Target  string `json:"target"`
	Refused bool   `json:"refused"` // the storage refused
	How     string `json:"how"`     // what was tried and what the storage answered
}

// LocksRenewed records that a target's locks against deletion were prolonged:
// what was written up to Through is locked until Until at least.
type LocksRenewed struct {
	Target  string    `json:"target"`
	Through time.Time `json:"through"`
	Until   time.Time `json:"until"`
	Objects int       `json:"objects"`
}

// TargetRecovered records that a target was brought back to what it held at an
// instant, from versions that its storage had kept.
type TargetRecovered struct {
	Target    string    `json:"target"`
	To        time.Time `json:"to"`
	Kept      int       `json:"kept"`      // objects that were there unchanged
	Undeleted int       `json:"undeleted"` // that had been deleted
	Restored  int       `json:"restored"`  // that had been written over
}
