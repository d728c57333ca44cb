// Package verify answers one question: is a copy restorable? It fetches the copy
// from its target, restores it into a sandbox, and holds what it finds there
// against the facts of the source and the job's own checks.
//
// A test passes only on proof: at least one fact or check that was met on
// restored data, and none that was not. Data that hold nothing are proved by
// nothing but a check that expects them to be empty. What the tester could not look at, for
// want of space, a program, a permission or the target, is an error and never a
// failed test; what it looked at and found wanting is a failed test and never an
// error.
package verify

import (
	"context"
	"time"

	"saoluu/restic"
	"saoluu/sources"
)

// Verdicts, in the words of the catalog. Only Passed is good.
const (
	Passed        = "passed"
	Failed        = "failed"
	Unknown       = "unknown"
	NotConfigured = "not-configured" // nothing was asserted: the copy was only read
)

// Levels, in rising order, in the words of the catalog: how far a test got.
const (
	LevelRestored = "restored" // data lie in the sandbox
	LevelAsserted = "asserted" // and were held against facts and checks
	LevelBooted   = "booted"   // and started as the machine they are of
)

// A Tester runs restore tests. Its fields are set once, before use.
type Tester struct {
	Engine  *restic.Engine
	Scratch string           // folder for sandboxes; other users must be able to pass through it
	Now     func() time.Time // wall clock
	// User is the unprivileged user throwaway servers run as when we are root;
	// empty means saoluu-sandbox, if there is one, else nobody. Not the user of a
	// production server: what a database makes the throwaway one run would run as it.
	User string
	// Confine is the command that confines throwaway servers which run as our own
	// user, because we are not root (command.ConfineMain); empty: they are not.
	Confine []string
	// Memory is how many bytes each process of a throwaway server may have for itself;
	// 0 means no limit of ours.
	Memory int64
	// Reserve is how many bytes stay free on the file system of Scratch: a test is
	// ended before there are fewer.
	Reserve int64
	// Sockets is a folder with a short path for the servers' sockets; empty means
	// the one for temporary files.
	Sockets string
}

// A Request says which copy to test and what to hold it against.
type Request struct {
	Test   string // id of the test; names the sandbox
	Job    string
	Source string // kind: files, sqlite, postgres, …
	Repo   restic.Repo
	Parts  []PartCopy
	Facts  []sources.Fact

	Saved, Excluded []string // of trees: the paths that the job saves, and its exclude patterns

	ConsistentAt time.Time     // the instant the data stand for
	MaxAge       time.Duration // how old the data may be, for a copy that should be the newest; 0: not asserted
	RTO          time.Duration // how long a restore may take; 0: not asserted
	Checks       []Check
	Sample       bool           // of trees restore only the files that have facts
	Seed         string         // chooses what the negative control damages
	Control      bool           // damage the restored data afterwards and look again; without Facts that is always done
	Bin          string         // folder of the throwaway server's programs; empty: the system's
	Location     *time.Location // of times without a zone that checks find; nil: UTC
	OnProgress   func(done, total int64, remaining time.Duration)
}

// A PartCopy is one part of the copy on its target.
type PartCopy struct {
	Part     string
	Snapshot string // full id
	Filename string // name of a stream inside the snapshot; empty: found there
	SHA256   string // of a stream; empty for a tree
	Bytes    int64  // read from the source
	Files    int64  // in a tree
}

// A Check is one assertion on restored data. Exactly one of SQL, Redis, Exists,
// SHA256Path, MinFiles, Parse, Run and Boot is set.
type Check struct {
	Name string // shown instead of the check's own text; optional

	// SQL is one statement whose first value is judged by Min, Max, Equals,
	// NewerThan or ExpectedEmpty. Without any of them the value must not be null,
	// zero or empty: no rows is never good by itself.
	SQL           string
	Part          string   // the part SQL speaks to; empty: the first database
	Redis         []string // a command that reads, judged likewise
	Index         int      // the database that Redis speaks to
	Min, Max      *float64
	Equals        *string
	NewerThan     time.Duration // before ConsistentAt; a later instant is no good either
	ExpectedEmpty bool          // no row, null, zero or empty

	Parse     string // one of Parsers
	ParsePath string // absolute path on the source; empty: the service's own

	Exists     string // absolute path on the source
	SHA256Path string
	SHA256Hex  string
	MinFiles   *int

	Run         []string // a program and its arguments; {} in them stands for what was restored
	Read, Write []string // folders that the program may read, and write to, beside that
	Network     bool     // it may reach the network

	Boot *Boot // what was restored is a disk, and must boot
}

// A Result is what a test found.
type Result struct {
	Verdict       string
	Level         string
	Full          bool // all of the copy was restored, not a sample
	Assertions    []Assertion
	RestoreTime   time.Duration // until the data could be used; checks not counted
	RestoredBytes int64
	Tools         []Tool
	Control       *ControlResult // nil: none was made
	Detail        []string       // for the operator only: may name files and tables; never stored
	// Beyond says why the test of an image went no further than Level; empty when
	// there is nothing further.
	Beyond    string
	BootTime  time.Duration // until a booted machine was up; 0: none was
	Artifacts []Artifact    // what is kept as evidence beside the assertions
}

// An Artifact is a file that shows what happened. Unlike assertions it may hold what
// the tested system says of itself.
type Artifact struct {
	Name    string // of letters, digits, dot, hyphen and underscore
	Content []byte
}

// An Assertion is one thing checked on restored data. It names no file of the
// user's and carries no content. The assertion "rto" is a warning: it does not
// take part in the verdict.
type Assertion struct {
	Name     string
	Expected string
	Actual   string
	OK       bool
}

// Names of assertions whose failure says something else than that what was saved
// is bad.
const (
	AssertionRestore   = "restore"   // the target does not give back what was stored: the copy is bad
	AssertionFreshness = "freshness" // the data are older than they may be, and may be whole
)

// A Tool is a program that took part.
type Tool struct {
	Name, Version string
}

// A ControlResult says whether the comparison noticed data damaged on purpose.
// One that was not noticed makes the verdict Unknown.
type ControlResult struct {
	Damage string // what was done, without names
	Caught bool
	By     string // the assertion that noticed
}

// Test restores and checks one copy. An error means that it could not look: the
// verdict is then unknown. Whatever it made is gone when it returns.
func (t *Tester) Test(ctx context.Context, r Request) (Result, error) {
	return t.test(ctx, r)
}
