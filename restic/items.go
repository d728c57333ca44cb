package restic

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// itemsError says which things could not be saved or restored: to people with the
// name of the first, to the ledger with their number and the reasons alone.
type itemsError struct {
	text  string      // for people
	verb  string      // "read" or "restored"
	items []ItemError // the first maxItems
	count int         // of all
}

func (e *itemsError) Error() string { return e.text }

// Public tells number and reasons; see fault.Public.
func (e *itemsError) Public() string {
	var reasons []string
	for _, it := range e.items {
		if r := it.reason(); !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	}
	slices.Sort(reasons)
	what := "files"
	if e.count == 1 {
		what = "file"
	}
	return fmt.Sprintf("restic: %d %s could not be %s (%s)", e.count, what, e.verb, strings.Join(reasons, ", "))
}

func (t *transcript) itemsError(verb, text string) error {
	return &itemsError{text: text, verb: verb, items: t.items, count: t.count}
}

// Public tells the reason without the path.
func (e ItemError) Public() string { return e.reason() }

// lastErrno is the highest error number of Linux (asm-generic/errno.h).
const lastErrno = 133

// reason returns the system's own words at the end of an error, and nothing else
// that restic says: it may hold names.
func (e ItemError) reason() string {
	said := e.Err
	if i := strings.LastIndex(said, ": "); i >= 0 {
		said = said[i+2:]
	}
	for n := syscall.Errno(1); n <= lastErrno; n++ {
		if said == n.Error() {
			return said
		}
	}
	if said == "does not exist" {
		return said
	}
	return "another reason"
}
