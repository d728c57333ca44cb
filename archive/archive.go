// Package archive writes and reads sets of offline media: what some backups hold,
// for a safe and for decades. A set needs nothing of ours to be read again:
//
//	tar of the runs → zstd → age to all custodians → volumes of at most a size
//
// A set is a folder of discs, each to be written to one medium:
//
//	DIR/disc-01/saoluu-SITE-SET.tar.zst.age.001   the volumes, numbered through the whole set
//	DIR/disc-01/HUONG-DAN.txt, README.txt         how to bring it back by hand
//	DIR/disc-01/SHA256SUMS                        of all files of this disc, for sha256sum -c
//	DIR/disc-01/index.json                        what the whole set is, the same on each disc
//
// The tar holds a folder JOB/RUN for each run: run.json, facts.json when there are
// facts, a folder for each part, and last SHA256SUMS of all files before it.
//
// While a set is written its folder holds UNFINISHED.txt and no disc has an
// index.json. The indexes are written last, after all else was flushed to the
// medium and read back from it; so half a set is never taken for one.
//
// Outside the encryption stand the site, ids of runs, their classes, instants and
// sizes, and the names of the custodians: no name of a job, a file or a table.
package archive

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// Format is the number of the layout above, stored in the index. A reader that
// does not know it must not guess.
const Format = 1

// Names of files of a disc.
const (
	IndexFile      = "index.json"
	SumsFile       = "SHA256SUMS"
	ReadmeFile     = "README.txt"
	GuideFile      = "HUONG-DAN.txt"
	UnfinishedFile = "UNFINISHED.txt" // beside the discs
)

// An Index says what a set is. It is the same on each of its discs.
type Index struct {
	Format     int         `json:"format"`
	Set        string      `json:"set"`
	Site       string      `json:"site"` // code
	SiteName   string      `json:"site_name"`
	Made       time.Time   `json:"made"`
	Custodians []Custodian `json:"custodians"`
	Runs       []RunInfo   `json:"runs"`
	Discs      int         `json:"discs"`
	DiscSize   int64       `json:"disc_size"` // the most bytes of a disc
	Volumes    []Volume    `json:"volumes"`   // in the order in which they are put together
	Bytes      int64       `json:"bytes"`     // of all volumes
	Tools      []Tool      `json:"tools"`
}

// A Custodian is a person who can open the set alone.
type Custodian struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Fingerprint string `json:"fingerprint"`
}

// RunInfo is what is said of a run outside the encryption.
type RunInfo struct {
	Run          string     `json:"run"`
	Class        string     `json:"class"`
	ConsistentAt time.Time  `json:"consistent_at"`
	KeepUntil    *time.Time `json:"keep_until,omitempty"` // by its class; absent: the class names no end
	Bytes        int64      `json:"bytes"`                // of what it holds
}

// A Volume is one piece of the encrypted stream.
type Volume struct {
	Name   string `json:"name"`
	Disc   int    `json:"disc"` // from 1
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// A Tool is a program that took part.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// A Run is one backup to be put in a set.
type Run struct {
	RunInfo
	Job    string
	Facts  []byte          // facts document; nil: none
	Ledger json.RawMessage // what the ledger says of the run
	Parts  []Part
}

// A Part is one stream or tree of a run.
type Part struct {
	PartInfo
	// Tar writes the part as a tar of Items entries with Bytes of content. It must
	// return an error unless it has written all of it.
	Tar func(ctx context.Context, w io.Writer) error
}

// PartInfo is what is known of a part before it is read.
type PartInfo struct {
	Name   string `json:"name"`
	File   string `json:"file,omitempty"`   // name of a stream in its tar; empty: a tree
	SHA256 string `json:"sha256,omitempty"` // of a stream, as it was saved
	Items  int64  `json:"items"`            // entries of the tar
	Bytes  int64  `json:"bytes"`            // content of its files
}

// A record is run.json: what the reader of a set compares a run with.
type record struct {
	Run          string          `json:"run"`
	Job          string          `json:"job"`
	Class        string          `json:"class"`
	ConsistentAt time.Time       `json:"consistent_at"`
	Parts        []PartInfo      `json:"parts"`
	Ledger       json.RawMessage `json:"ledger,omitempty"`
}

// Progress says how far a step is, in bytes.
type Progress struct {
	Step        string
	Done, Total int64
}
