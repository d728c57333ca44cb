package catalog

import "time"

// A Run is the row of one run, started or finished.
type Run struct {
	RunFinished
	Seq         int64     // ledger entry that finished it; that started it while running
	Invalidated time.Time // zero, or when a restore test or re-read proved it bad
	Pruned      time.Time // zero, or when its last copy was deleted by retention
	Held        bool
	// Gone says when copies listed above left their target, by retention or
	// because a re-read found them missing or a test found them damaged. Nil when all are where they were put.
	Gone map[string]time.Time
}

// Good reports whether the run counted as a good backup at the instant t: it
// was complete, had finished, had at least one good copy and had not been
// invalidated by then.
func (r Run) Good(t time.Time) bool {
	if r.State != RunComplete || r.FinishedAt.After(t) {
		return false
	}
	if !r.Invalidated.IsZero() && !r.Invalidated.After(t) {
		return false
	}
	for _, c := range r.Copies {
		if c.State == RunComplete {
			return true
		}
	}
	return false
}

// A Test is the row of one finished restore test.
type Test struct {
	TestFinished
	Seq int64
}

// A SlotRow is a slot and what became of it.
type SlotRow struct {
	Slot
	State  string
	Run    string // run or test that ended it
	Closed time.Time
	Reason string
}

// A JobState is the posture of one job as of the last event: kept by Append,
// never computed by scanning.
type JobState struct {
	Job            string
	InInventory    bool
	LastRun        string
	LastState      string // state of the last finished run
	LastFinished   time.Time
	LastError      string
	LastGoodRun    string
	LastGoodAt     time.Time // consistent_at of the newest good run
	LastGoodOn     []string  // filled by JobStates: the targets that hold its copy
	FailingSince   time.Time // zero when the last finished run was complete
	Failures       int       // finished runs in a row that were not complete
	Running        string    // run under way, or ""
	LastTest       string
	LastVerdict    string
	LastLevel      string
	LastTestAt     time.Time
	LastPassedAt   time.Time // newest passed test
	LastPassedRun  string    // the run it tested
	LastUnread     int       // tables, or files, of the newest good run of which not all facts could be taken
	LastUncompared int       // tables of which the last test could not compare all
	NextDue        time.Time // earliest open backup slot
	NextTestDue    time.Time // earliest open test slot
	Overdue        int       // filled by JobStates(now): open slots due before now minus their grace
	OldestOverdue  time.Time
}

// A TargetState is the posture of one target.
type TargetState struct {
	Target       string
	InInventory  bool
	ID           string // identity enrolled
	Repository   string // restic repository id enrolled
	LastCopyAt   time.Time
	LastError    string
	LastCheckAt  time.Time // end of the last re-read that could look
	LastCheck    string    // state of the last attempt, but RunFailed as long as Damaged is not empty
	Damaged      []int     // packs whose last re-read found damage, by the first byte of their ids
	LastPruneAt  time.Time // when its space was freed last
	AnchoredAt   time.Time
	AnchoredSize int64
	NextDue      time.Time // earliest open upkeep slot
	Overdue      int
}

// A Control is the newest negative control of one kind of source.
type Control struct {
	ControlFinished
	At time.Time
}

// RunQuery selects runs. Zero fields do not restrict.
type RunQuery struct {
	Job      string
	Run      string
	GoodOnly bool
	NotGood  bool      // finished runs that were not good even when they ended
	From, To time.Time // of ConsistentAt for good runs, of StartedAt for the others; To exclusive
	AsOf     time.Time // only what had been written by then; rows carry Invalidated only if it was known
	Newest   bool      // newest first (default oldest first)
	Limit    int
}

// A FailedTest is what kept state tells of a restore test that failed.
type FailedTest struct {
	Test, Job, Run string
	ConsistentAt   time.Time // the instant the tested data stand for
	FinishedAt     time.Time
	Blamed         string // the target whose copy proved damaged, or ""
	Answered       bool   // a later test of the same backup, or of a newer one of the job, passed
}

// TestQuery selects finished restore tests.
type TestQuery struct {
	Job, Run, Source string
	Verdict          string
	From, To         time.Time // of FinishedAt; To exclusive
	AsOf             time.Time
	Newest           bool
	Limit            int
}

// SlotQuery selects slots.
type SlotQuery struct {
	Job, Action, State string
	DueFrom, DueTo     time.Time // DueTo exclusive
	AsOf               time.Time
	Newest             bool
	Limit              int
}

// A Month is what one calendar month of one job looked like at an instant.
type Month struct {
	Job    string
	Start  time.Time // first instant of the month in the site's time zone
	Good   int       // good runs whose ConsistentAt lies in it (finished within 24 h after)
	Bad    int       // finished runs that were not good
	Voided int       // runs that were good once and have been invalidated
	First  time.Time // ConsistentAt of the first and last good run; zero if none
	Last   time.Time
}

// A Span is the ConsistentAt of the first and the last good run of a job in some
// time; the same when there was one.
type Span struct {
	Job         string
	First, Last time.Time
}

// An InventoryAt is the inventory in force at an instant, and when each asset
// entered it for the first time.
type InventoryAt struct {
	InventorySet
	SetAt   time.Time
	Since   map[string]time.Time // job to first appearance ever
	Removed []RemovedAsset       // in earlier inventories, not in this one
}

// A RemovedAsset left the inventory.
type RemovedAsset struct {
	Asset Asset
	At    time.Time
}

// An Entry is one line of the ledger.
type Entry struct {
	Seq  int64
	At   time.Time
	Kind string
	JSON []byte // canonical, no newline
}

// A StartedRun has started and, as far as the catalog knows, not finished.
type StartedRun struct {
	RunStarted
	Seq int64
	At  time.Time // of the entry
}

// A StartedTest has started and, as far as the catalog knows, not finished.
type StartedTest struct {
	TestStarted
	Seq int64
	At  time.Time // of the entry
}

// A Check is a finished re-read of part of a target.
type Check struct {
	CheckFinished
	Seq int64
	At  time.Time // of the entry
}

// An Anchor is a signed checkpoint that was put on a target.
type Anchor struct {
	CheckpointAnchored
	Seq int64
	At  time.Time // of the entry
}

// A Comparison is the outcome of comparing the tables with the ledger.
type Comparison struct {
	CatalogCompared
	Seq int64
	At  time.Time // of the entry; zero when there has been none
}

// Good reports whether a comparison was made and found nothing.
func (c Comparison) Good() bool { return !c.At.IsZero() && c.Problems == 0 && c.Error == "" }

// A SnapshotRow is one snapshot the catalog believes to be on a target: written
// there by a run or a later copy, and not deleted by retention since.
type SnapshotRow struct {
	Run, Job, Part, Snapshot string
	State                    string    // of the copy; RunComplete unless it broke off
	At                       time.Time // when the copy was written to the catalog
}
