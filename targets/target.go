// Package targets says where backups are saved: one file per kind of target.
// A target holds one restic repository; what it can do besides (be enrolled,
// report its free space, look for a snapshot, measure its distance from a
// source) are small optional interfaces. targettest holds the suite every
// target passes.
package targets

import (
	"context"
	"time"

	"saoluu/restic"
)

// A Target is a place that holds one restic repository.
type Target interface {
	// Repo says where the repository is. It does no input or output.
	Repo() restic.Repo
	// Ready reports whether a run may start now: the place is there, it is the
	// one that was enrolled, it can be written and has room. The error's kind is
	// Absent when the target may come back by itself, WrongTarget when
	// something else is in its place, NoRepository, Denied or NoSpace.
	Ready(ctx context.Context) error
}

// An Enroller is a Target that can be prepared for its first use.
type Enroller interface {
	// Enroll marks the place as this site's target and returns the identity it
	// wrote, or the one it found there when the place was already this site's.
	// A place that belongs to somebody else is refused. A kind that can only be
	// told by the repository in it returns "" while there is none: ask again.
	Enroll(ctx context.Context) (identity string, err error)
}

// A Claimed is a Target whose place can say whose it is.
type Claimed interface {
	// Claim fails with Refused when the place says that it is another target, or
	// another site's. It writes nothing.
	Claim(ctx context.Context) error
}

var _, _, _ Claimed = (*Local)(nil), (*SFTP)(nil), (*S3)(nil)

// A Measurer is a Target that can measure how far it lies from a source.
type Measurer interface {
	// Separation compares the target with the places where a source's data lie.
	Separation(ctx context.Context, locations []string) (Separation, error)
}

// A Finder is a Target that can look into the repository without starting restic
// and without its key.
type Finder interface {
	// HasRepository reports whether there is a repository, enrolled or not.
	HasRepository(ctx context.Context) (bool, error)
	// HasSnapshot reports whether the snapshot's file is there, with the content
	// that its name says.
	HasSnapshot(ctx context.Context, id string) (bool, error)
}

// A Guarded is a Target whose storage can refuse to delete.
type Guarded interface {
	// Challenge tries to delete something that must not be deletable, harming
	// nothing, and reports what the storage did. The error means that it could not
	// be tried.
	Challenge(ctx context.Context) (Challenge, error)
}

// A Challenge is what came of an attempt to delete.
type Challenge struct {
	Refused bool   // the storage refused, and what was to be deleted is still there
	How     string // what was tried and what the storage answered
}

// A Locker is a Target that keeps written objects from deletion for a time, which
// has to be prolonged for those still needed.
type Locker interface {
	// Renew prolongs the locks when the last renewal asks for it, except those of
	// the snapshots in leaving; renewed is nil when nothing is due yet. A renewal that
	// did not reach every other object is an error, and the whole of it is due again.
	Renew(ctx context.Context, last Renewal, leaving []string) (renewed *Renewal, err error)
	// Recover brings back what the place held at any instant between two, from the
	// versions that the locks kept. What is there unchanged is left alone.
	Recover(ctx context.Context, from, to time.Time) (Recovered, error)
}

// A KeyKeeper is a Target that can take a key file beside those restic wrote.
type KeyKeeper interface {
	// PutKey writes the file "keys/ID" of the repository. id is the SHA-256 of
	// content, as restic names key files.
	PutKey(ctx context.Context, id string, content []byte) error
}

// An Adviser is a Target that can say what of its storage's rules does not fit.
type Adviser interface {
	// Advice returns one sentence for each rule to be changed.
	Advice(ctx context.Context) ([]string, error)
}

// A Cleaner is a Target whose place can be taken away with all that is in it. It
// is meant for places made to try something out.
type Cleaner interface {
	RemoveAll(ctx context.Context) error
}

// A Renewal says until when objects are locked: those written up to Through until
// Until at least, younger ones for the target's period from their writing. Snapshots
// that were leaving are the exception.
type Renewal struct {
	Through time.Time
	Until   time.Time
	Objects int // prolonged
}

// Recovered counts what Recover did, in objects.
type Recovered struct {
	Kept      int // were there, unchanged
	Undeleted int // had been deleted
	Restored  int // had been written over
}

// Separation says how far a target lies from a source: L0 same file system, L1
// other partition, L2 other physical disk of the same machine, L3 other machine
// or storage system, L4 other site, L5 out of reach. Unknown means it could not
// be measured, and Level then means nothing.
type Separation struct {
	Level    int
	How      string // what was compared: device numbers, addresses
	Domain   string // what fails together with the target; empty when not known
	Declared bool   // the configuration says so; not measured
	Unknown  bool
}
