package catalog

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"saoluu/internal/fault"
)

// classify turns an error of the database into one an operator can act on.
func classify(op string, err error) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fault.New(fault.NoSpace, op, err, spaceHint)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fault.New(fault.Denied, op, err, "run as the user of the service")
	}
	var engine *sqlite.Error
	if !errors.As(err, &engine) && strings.Contains(err.Error(), mistyped) {
		return fault.New(fault.Damaged, op, err, rebuildHint)
	}
	if !errors.As(err, &engine) {
		return fault.New(fault.KindOf(err), op, err, "")
	}
	switch engine.Code() & 0xff {
	case lib.SQLITE_FULL:
		return fault.New(fault.NoSpace, op, err, spaceHint)
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return fault.New(fault.Damaged, op, err, rebuildHint)
	case lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_AUTH:
		return fault.New(fault.Denied, op, err, "make the state folder writable for the user of the service")
	case lib.SQLITE_CANTOPEN:
		return fault.New(fault.Unknown, op, err, "check the permissions of the state folder")
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fault.New(fault.Locked, op, err, "wait for the other saoluu process, such as a rebuild, to end")
	case lib.SQLITE_INTERRUPT:
		return fault.New(fault.Cancelled, op, err, "")
	}
	return fault.New(fault.Failed, op, err, "")
}

// mistyped is what database/sql says of a value that is not of its column's type. The
// tables are STRICT, so that only a damaged file has one.
const mistyped = "sql: Scan error on column"

const spaceHint = "free space on the file system of the state folder"

// isConstraint reports whether a unique row existed already.
func isConstraint(err error) bool {
	var engine *sqlite.Error
	return errors.As(err, &engine) && engine.Code()&0xff == lib.SQLITE_CONSTRAINT
}

func isMissing(err error) bool { return errors.Is(err, ErrMissing) }

// isBusy reports whether another process holds the write lock.
func isBusy(err error) bool {
	var engine *sqlite.Error
	return errors.As(err, &engine) && engine.Code()&0xff == lib.SQLITE_BUSY
}
