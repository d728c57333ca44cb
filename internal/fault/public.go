package fault

import (
	"io/fs"
	"os"
	"strings"
)

// Public returns the text of an error as it may stand in the ledger, which
// inspectors read: without the names of files that the system or another program
// put into it. An error that has a method Public() string says itself what that
// is; what an error wraps is looked through. Paths that were written into plain
// text stay: whoever writes them knows whose they are.
func Public(err error) string {
	switch e := err.(type) {
	case nil:
		return ""
	case interface{ Public() string }:
		return e.Public()
	case *fs.PathError:
		return e.Op + ": " + e.Err.Error()
	case *os.LinkError:
		return e.Op + ": " + e.Err.Error()
	}
	text := err.Error()
	for _, inner := range unwrapped(err) {
		if said := inner.Error(); said != "" {
			text = strings.ReplaceAll(text, said, Public(inner))
		}
	}
	return text
}

// unwrapped returns what an error wraps.
func unwrapped(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return []error{inner}
		}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}
