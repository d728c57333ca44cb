package catalog

import (
	"fmt"
	"slices"
)

// applicationID marks the file as ours ("Slu1").
const applicationID = 0x536c7531

// schemaVersion is the format of the tables.
const schemaVersion = 3

// truthSchema is what cannot be made again. ledger.hashes are the Merkle hashes
// that the entry completes, lowest level first (tlog.StoredHashes).
const truthSchema = `
CREATE TABLE ledger(seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind INTEGER NOT NULL, entry BLOB NOT NULL, hashes BLOB NOT NULL) STRICT;
CREATE INDEX ledger_rare ON ledger(kind) WHERE kind >= 16;
CREATE TABLE facts(sha256 TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints(size INTEGER PRIMARY KEY, at INTEGER NOT NULL, note BLOB NOT NULL) STRICT`

// derivedSchema is what the projection makes. Instants are Unix seconds, 0 for
// none; words are numbered (see the lists below); names are interned. at is
// always the time of an entry, so that a question about the past can leave out
// what was written later.
//
// runs.t is the instant a run is found by: consistent_at of a good run, the
// start of any other. seq and at are of the entry that finished it, -1 and 0
// before; seq0 and at0 of the one that started it. runs.copies says what lies on
// which target (see copyState). tests.consistent is the instant the tested data
// stand for, tests.blamed the target whose copy a failed test proved damaged, 0
// for none.
const derivedSchema = `
CREATE TABLE names(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE runs(run TEXT PRIMARY KEY, job INTEGER NOT NULL, state INTEGER NOT NULL, good INTEGER NOT NULL,
	t INTEGER NOT NULL, finished INTEGER NOT NULL, at INTEGER NOT NULL, at0 INTEGER NOT NULL, seq INTEGER NOT NULL, seq0 INTEGER NOT NULL,
	invalidated INTEGER NOT NULL, pruned INTEGER NOT NULL, held INTEGER NOT NULL, copies TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX runs_open ON runs(job) WHERE state = 0;
CREATE TABLE slots(job INTEGER NOT NULL, action INTEGER NOT NULL, due INTEGER NOT NULL, state INTEGER NOT NULL, planned INTEGER NOT NULL,
	closed INTEGER NOT NULL, run TEXT NOT NULL, reason INTEGER NOT NULL, was INTEGER NOT NULL, was_closed INTEGER NOT NULL,
	PRIMARY KEY(job, action, due)) STRICT, WITHOUT ROWID;
CREATE INDEX slots_open ON slots(due) WHERE state = 0;
CREATE TABLE tests(n INTEGER PRIMARY KEY, test TEXT NOT NULL UNIQUE, job INTEGER NOT NULL, run TEXT NOT NULL, source INTEGER NOT NULL,
	verdict INTEGER NOT NULL, finished INTEGER NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL, seq0 INTEGER NOT NULL,
	consistent INTEGER NOT NULL, blamed INTEGER NOT NULL) STRICT;
CREATE INDEX tests_open ON tests(job) WHERE verdict = 0;
CREATE TABLE marks(kind INTEGER NOT NULL, subject INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(kind, subject, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE assets(job INTEGER NOT NULL, seq INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, asset TEXT NOT NULL, PRIMARY KEY(job, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE job_state(job INTEGER PRIMARY KEY, in_inventory INTEGER NOT NULL, last_run TEXT NOT NULL, last_state TEXT NOT NULL, last_finished INTEGER NOT NULL,
	last_error TEXT NOT NULL, last_good_run TEXT NOT NULL, last_good_at INTEGER NOT NULL, failing_since INTEGER NOT NULL, failures INTEGER NOT NULL,
	last_test TEXT NOT NULL, last_verdict TEXT NOT NULL, last_level TEXT NOT NULL, last_test_at INTEGER NOT NULL,
	last_passed_at INTEGER NOT NULL, last_passed_run TEXT NOT NULL, last_unread INTEGER NOT NULL, last_uncompared INTEGER NOT NULL) STRICT;
CREATE TABLE target_state(target INTEGER PRIMARY KEY, in_inventory INTEGER NOT NULL, id TEXT NOT NULL, repository TEXT NOT NULL, last_copy_at INTEGER NOT NULL,
	last_error TEXT NOT NULL, last_check_at INTEGER NOT NULL, last_check TEXT NOT NULL, damaged TEXT NOT NULL, last_prune_at INTEGER NOT NULL,
	anchored_at INTEGER NOT NULL, anchored_size INTEGER NOT NULL) STRICT;
CREATE TABLE kept(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT`

// derivedIndexes are those a rebuild makes last, of all rows at once. Those of
// what went wrong are small: they spare a report the look at every run of its
// period to name the few that it cites, and a status that at every test.
const derivedIndexes = `CREATE INDEX runs_job ON runs(job, t, good, at, finished, invalidated);
	CREATE INDEX runs_bad ON runs(job, t) WHERE good = 0 AND at <> 0;
	CREATE INDEX tests_job ON tests(job, finished);
	CREATE INDEX tests_run ON tests(run);
	CREATE INDEX tests_failed ON tests(finished) WHERE verdict = 2`

// derivedTables lists the derived tables and the columns that order their rows.
func derivedTables() [][2]string {
	return [][2]string{
		{"names", "id"}, {"runs", "run"}, {"slots", "job, action, due"}, {"tests", "n"},
		{"marks", "kind, subject, seq"}, {"assets", "job, seq"}, {"job_state", "job"}, {"target_state", "target"}, {"kept", "name"},
	}
}

// The numbered words. Append only: a number never changes its meaning.

func kinds() []string {
	return []string{
		0: "slots-planned", 1: "slots-closed", 2: "run-started", 3: "run-finished", 4: "test-started", 5: "test-finished",
		// From 16 on, rare enough to be indexed one by one.
		16: "site-opened", 17: "inventory-set", 18: "copy-finished", 19: "control-finished", 20: "check-finished",
		21: "retention-applied", 22: "target-enrolled", 23: "lock-removed", 24: "daemon-started", 25: "daemon-stopped",
		26: "beat", 27: "config-refused", 28: "clock-jumped", 29: "checkpoint-anchored", 30: "hold-set", 31: "restore-finished",
		32: "catalog-compared", 33: "retention-planned", 34: "repository-pruned", 35: "run-shrank",
		36: "deletion-challenged", 37: "locks-renewed", 38: "target-recovered",
		39: "key-sealed", 40: "escrow-drilled", 41: "key-rotated", 42: "key-shredded", 43: "self-saved", 44: "self-tested", 45: "site-recovered", 46: "archive-written",
		47: "medium-registered", 48: "medium-seen", 49: "medium-refused", 50: "medium-handed", 51: "medium-inspected", 52: "medium-staged",
		53: "key-placed",
		54: "old-keys-checked",
		55: "config-changed", 56: "change-explained",
	}
}

const (
	firstRare       = 16
	kindInventory   = 17
	kindControl     = 19
	kindCheck       = 20
	kindRetention   = 21
	kindAnchor      = 29
	kindPlanned     = 33
	kindPruned      = 34
	kindShrank      = 35
	kindChallenge   = 36
	kindRenewal     = 37
	kindCompared    = 32
	kindSealed      = 39
	kindDrilled     = 40
	kindRotated     = 41
	kindShredded    = 42
	kindSaved       = 43
	kindSelfTested  = 44
	kindRecovered   = 45
	kindArchived    = 46
	kindMedium      = 47 // marks all events about media
	kindPlaced      = 53
	kindOldKeys     = 54
	kindChanged     = 55 // marks explanations too
	stateRunning    = 0
	stateComplete   = 1
	stateIncomplete = 2
	verdictRunning  = 0
	verdictPassed   = 1
	verdictFailed   = 2
	slotOpen        = 0
)

func runStates() []string {
	return []string{RunRunning, RunComplete, RunIncomplete, RunFailed, RunInterrupted, RunSkipped}
}

func slotStates() []string {
	return []string{SlotOpen, SlotDone, SlotFailed, SlotCovered, SlotMissed, SlotWaived, SlotDropped}
}

func actions() []string { return []string{1: ActionBackup, 2: ActionTest, 3: ActionUpkeep} }

func verdicts() []string {
	return []string{verdictPassed: VerdictPassed, verdictFailed: VerdictFailed, 3: VerdictUnknown, 4: VerdictNotConfigured}
}

// number returns the number of a word in a list, or an error that names what
// the word should have been.
func number(list []string, what, word string) (int64, error) {
	if i := slices.Index(list, word); i >= 0 && word != "" {
		return int64(i), nil
	}
	return 0, fmt.Errorf("%s %q is not known", what, word)
}

// word is the inverse of number; "" for a number that is not in the list.
func word(list []string, n int64) string {
	if n < 0 || n >= int64(len(list)) {
		return ""
	}
	return list[n]
}
