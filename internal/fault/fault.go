// Package fault classes errors: what was being done, of what kind the failure
// is, and what the operator can try. A hint is chosen where the cause is known,
// carried untouched, and printed once, at the edge (cmd/saoluu/exit.go).
package fault

import (
	"context"
	"errors"
)

// A Kind says what went wrong in words that code may branch on. Kinds are
// stored in the catalog: append only, never rename.
type Kind string

// The kinds. cmd/saoluu/exit.go maps each to an exit code.
const (
	Failed       Kind = "failed"        // the work was tried and did not succeed
	Usage        Kind = "usage"         // wrong command line or configuration
	Incomplete   Kind = "incomplete"    // part of the work succeeded
	Unknown      Kind = "unknown"       // could not look, so nothing can be said
	Verification Kind = "verification"  // looked and found damage or a mismatch
	Refused      Kind = "refused"       // allowed technically, forbidden by policy
	Cancelled    Kind = "cancelled"     // the operator or the service manager stopped it
	MissingState Kind = "missing-state" // no state where there must be one
	MissingTool  Kind = "missing-tool"  // a program is not installed or too old
	Absent       Kind = "absent"        // a target or source is away and may come back
	WrongTarget  Kind = "wrong-target"  // something is there, but not what we enrolled
	NoSpace      Kind = "no-space"      // a file system is full or would become so
	Locked       Kind = "locked"        // somebody else holds the repository
	NoRepository Kind = "no-repository" // the place is there, the repository is not
	WrongKey     Kind = "wrong-key"     // the repository password does not open it
	Damaged      Kind = "damaged"       // stored data do not read back as written
	TimedOut     Kind = "timed-out"     // stalled or over its time limit; ended by us
	Denied       Kind = "denied"        // missing permission on source or target
	ClockSuspect Kind = "clock-suspect" // the wall clock moved in a way time does not
)

// An Error adds to Err what was being done, its kind, and a remedy.
type Error struct {
	Op   string // verb and object, for example `dump database "shop"`
	Kind Kind
	Err  error  // the cause; may be nil when Op says it all
	Hint string // one imperative sentence, no final period; may be empty
}

// New returns an *Error. err may be nil.
func New(kind Kind, op string, err error, hint string) *Error {
	return &Error{Op: op, Kind: kind, Err: err, Hint: hint}
}

// Error returns "op: cause", or whichever of the two there is.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Op
	case e.Op == "":
		return e.Err.Error()
	default:
		return e.Op + ": " + e.Err.Error()
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost *Error in err's chain, Cancelled for
// a bare context.Canceled, TimedOut for a bare deadline, Failed for any other
// error and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	default:
		return Failed
	}
}

// HintOf returns the first non-empty hint in err's chain, outermost first.
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}
