// Package sources says how the things worth keeping are read: one file per kind
// of source, each with a struct of documented fields, a constructor, Prepare and
// private helpers, in that order. sourcetest holds the suite every source passes.
//
// A kind also knows how to compute its facts again from restored data, so that a
// backup and its restore test compare the same thing by the same code.
package sources

import (
	"context"
	"time"

	"saoluu/internal/command"
)

// A Source makes one consistent copy of something worth keeping.
type Source interface {
	// Prepare freezes or dumps the source and says what restic must read.
	// Temporary files go below scratch, which the caller has made and will
	// remove. On error nothing is left behind and the Payload is the zero value.
	Prepare(ctx context.Context, scratch string) (Payload, error)
}

// A Locator is a Source that knows where on this host its data lie, so that the
// distance to a copy can be measured. An empty list means not on this host.
type Locator interface {
	Locations(ctx context.Context) ([]string, error)
}

// A Payload is one consistent copy, ready to be read. All parts belong
// together: a run is good only if all of them are.
type Payload struct {
	At    time.Time // the instant the data stand for
	Parts []Part
	// Facts returns what was true of the source at At. It is called once, after
	// the parts have begun to be read and before Release, possibly at the same
	// time as they are read. Nil means the kind has no facts.
	Facts func(ctx context.Context) ([]Fact, error)
	// Lacks says what belongs to the source and is in no part, because it could not be
	// read: the run is incomplete. Nil when nothing is lacking.
	Lacks error
	// FactsLast asks for Facts to be called only after all parts were read: the
	// source cannot be frozen, so only then is it known what did not change
	// meanwhile. A fact about anything else would make a healthy backup look damaged.
	FactsLast bool
	// Consistency says how the source was held still, for kinds where that is not
	// always so: one of the Consistency… words, or empty.
	Consistency string
	// Release drops locks, snapshots and temporary files. It is set on success
	// and may be called twice.
	Release func() error
}

// A Part is one snapshot of a Payload. Exactly one of Paths, Root, File and Dump is set.
type Part struct {
	Name          string       // unique in the Payload, for example "database" or "globals"
	Paths         []string     // absolute paths of trees and files, or below Dir
	Dir           string       // absolute folder that Paths are below, which is no part of what is saved; empty: they are absolute
	Exclude       []string     // restic exclude patterns; only with Paths
	OneFileSystem bool         // only with Paths
	Root          string       // absolute path of a folder whose content is the snapshot, without the way to it
	File          string       // regular file, streamed under Filename
	Dump          *command.Cmd // its standard output is the backup, under Filename
	Filename      string       // name inside the snapshot; with File and Dump
	// Advise says what can be done about what Dump says when it fails; empty: nothing is
	// known. nil is as if it knew nothing.
	Advise func(said string) string
}

// A Fact is something true of the source at the instant of the backup. Facts
// are kept beside the ledger, not in it: Of may be a file name of the user's.
type Fact struct {
	Part  string `json:"part"`
	Kind  string `json:"kind"`  // one of the Fact… constants
	Of    string `json:"of"`    // table, path, role …; empty for the whole part
	Value string `json:"value"` // canonical text, compared byte by byte
}

// Kinds of fact.
const (
	FactRows       = "rows"      // number of rows of a table, or of keys that do not expire
	FactContent    = "content"   // order-independent digest of a table's rows
	FactSchema     = "schema"    // digest of the schema
	FactSHA256     = "sha256"    // of a file, a stream or the value of a key
	FactFiles      = "files"     // number of files in a tree that a copy must at least hold
	FactSize       = "size"      // bytes of a file
	FactMode       = "mode"      // permission bits and type of a file
	FactOwner      = "owner"     // user and group of an entry of a tree, as numbers
	FactLink       = "link"      // where a symbolic link leads
	FactSettled    = "settled"   // sha256 of a file without what changes by itself: two versions are compared by it
	FactIntegrity  = "integrity" // outcome of the engine's own check
	FactRole       = "role"
	FactExtension  = "extension"
	FactVersion    = "version" // of the server
	FactCollation  = "collation"
	FactIdentifier = "identifier"    // of a PostgreSQL cluster, as it was made
	FactLeast      = "rows at least" // rows, or keys that do not expire, that were there all the while the copy was made
	FactSequence   = "sequence"      // last value given out; a copy must not be behind it
	FactCanary     = "canary"        // value planted just before the backup
	FactSample     = "sample"        // how the facts were chosen; says nothing about the data
	FactSkipped    = "skipped"       // a fact that could not be taken consistently, and why
	FactUnread     = "unread"        // why rows or content of a table have no fact
)
