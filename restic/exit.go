package restic

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"saoluu/internal/command"
	"saoluu/internal/fault"
)

// Exit statuses (restic manual, "Scripting", exit codes).
const (
	exitFatal        = 1   // the command failed
	exitCrash        = 2   // Go runtime error
	exitIncomplete   = 3   // backup: some source data could not be read; forget: some removals failed
	exitNoRepository = 10  // since 0.17
	exitLocked       = 11  // since 0.17
	exitWrongKey     = 12  // since 0.17.1
	exitInterrupted  = 130 // SIGINT or SIGTERM
)

// Texts that say more than exit status 1 does. They are matched against what
// restic itself says, in this order: a full disk breaks files too, and a damaged
// pack is worse than a missing permission.
var causes = []struct {
	text *regexp.Regexp
	kind fault.Kind
	hint string
}{
	{regexp.MustCompile(`(?i)no space left on device|disk quota exceeded|insufficient storage|\b507\b`), fault.NoSpace,
		"free space, or let upkeep apply the retention of the classes stored here"},
	{regexp.MustCompile(`Resolving password failed|empty password is not allowed`), fault.Failed,
		"check that the password file of the target exists and can be read"},
	{regexp.MustCompile(`config file already exists|repository master key and config already initialized`), fault.Refused,
		"use the repository that is there, or another place"},
	{regexp.MustCompile(`(?i)ciphertext verification failed|unexpected pack id|not found in (repository|index)|` +
		`invalid data returned|hash mismatch|wrong hash|Load(Raw)?\(<(data|index|snapshot)/.*no such file|` +
		`ReadFull\(<data/.*no such file|file is too short|repository contains errors|the index is damaged|blob .* not found|unable to load tree|` +
		`failed to load index|tree [0-9a-f]+ is not known|repository could be damaged`), fault.Damaged,
		"run \"saoluu test\" against another target, then repair this repository as the restic manual says"},
	{regexp.MustCompile(`(?i)access key id you provided does not exist|InvalidAccessKeyId|signature we calculated does not match|` +
		`SignatureDoesNotMatch|ExpiredToken|(token|access key|credentials?) (is|are|has|have) expired|AccountProblem|HTTP response \(401\)`), fault.Denied,
		"the storage does not let us in any more: put the present access key, or user and password, in their place"},
	{regexp.MustCompile(`(?i)RequestTimeTooSkewed|difference between the request time and the server's time`), fault.ClockSuspect,
		"set this machine's clock, then try again"},
	{regexp.MustCompile(`(?i)x509: |certificate verify failed|failed to verify certificate`), fault.WrongTarget,
		"the server's certificate is not the one expected: compare its name and issuer, or set ca to the file of your own authority"},
	{regexp.MustCompile(`(?i)SlowDown|reduce your request rate|service unavailable|HTTP response \(50[0-9]\)|server not initialized`), fault.Absent,
		"the storage is busy or not well: it is tried again later; ask who runs it if it stays so"},
	{regexp.MustCompile(`(?i)permission denied|operation not permitted|read-only file system|access ?denied|\b403\b|forbidden`), fault.Denied,
		"check the permissions of the user this runs as, on the target and on its files"},
	{regexp.MustCompile(`(?i)connection refused|no such host|i/o timeout|no route to host|network is unreachable|` +
		`connection reset|TLS handshake timeout|transport endpoint is not connected|stale file handle`), fault.Absent,
		"check that the target is switched on and can be reached"},
}

// verdict turns the end of a restic run into our error: nil for status 0.
func verdict(op string, err error, t *transcript, blank func(string) string) error {
	if err == nil {
		return nil
	}
	var exit *command.ExitError
	t.mu.Lock()
	defer t.mu.Unlock()
	if !errors.As(err, &exit) {
		return t.ended(op, err, blank)
	}
	text := blank(t.words(exit))
	cause := fmt.Errorf("restic: %s", text)
	if t.count > 0 {
		cause = t.itemsError("read", cause.Error())
	}
	switch exit.Code {
	case exitNoRepository:
		return fault.New(fault.NoRepository, op, cause,
			"check that the target is mounted; a new one is made with \"saoluu init\"")
	case exitLocked:
		return fault.New(fault.Locked, op, cause,
			"see who holds the lock; upkeep removes locks of processes that are gone")
	case exitWrongKey:
		return fault.New(fault.WrongKey, op, cause, "put the password this repository was made with into its password file")
	case exitInterrupted:
		return fault.New(fault.Cancelled, op, errors.New("restic: interrupted"), "")
	case exitIncomplete:
		hint := "make what it names readable, or exclude it from the job"
		if kind, other := causeOf(cause.Error()); kind == fault.Damaged {
			hint = other // it is not the source that could not be read
		}
		return fault.New(fault.Incomplete, op, cause, hint)
	case exitFatal:
		return classed(op, cause, t)
	case exitCrash:
		return fault.New(fault.Failed, op, fmt.Errorf("restic crashed: %s", text), "check that the program is a genuine restic and that the machine has memory left")
	default:
		if exit.Signal != 0 {
			return fault.New(fault.Failed, op, fmt.Errorf("restic was %s", strings.TrimPrefix(blank(exit.Error()), "restic: ")),
				"see in the kernel's log whether memory ran out")
		}
		return fault.New(fault.Failed, op, fmt.Errorf("restic ended with exit status %d, which its manual does not list: %s", exit.Code, text), "")
	}
}

// ended classes an end that was not restic's own: stall, cancel, no program. Its
// kind shows through, but for a stall in which restic said what it tried in vain.
func (t *transcript) ended(op string, err error, blank func(string) string) error {
	if fault.KindOf(err) == fault.TimedOut && t.last != "" {
		last := blank(t.last)
		if kind, hint := causeOf(last); kind != "" {
			return fault.New(kind, op, fmt.Errorf("%w; restic tried in vain: %s", err, last), hint)
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// classed finds the kind of an exit status 1 from what was said.
func classed(op string, cause error, t *transcript) error {
	all := cause.Error()
	for _, it := range t.items {
		all += "\n" + it.Err
	}
	all += "\n" + strings.Join(t.notes, "\n")
	if kind, hint := causeOf(all); kind != "" {
		return fault.New(kind, op, cause, hint)
	}
	return fault.New(fault.Failed, op, cause, "")
}

// causeOf returns the kind of what was said, "" when it tells nothing.
func causeOf(said string) (kind fault.Kind, hint string) {
	for _, c := range causes {
		if c.text.MatchString(said) {
			return c.kind, c.hint
		}
	}
	return "", ""
}

// words picks what restic said that explains its end best.
func (t *transcript) words(exit *command.ExitError) string {
	first := t.exit
	switch {
	case first == "" && len(t.notes) > 0:
		first = t.notes[len(t.notes)-1]
	case first == "":
		first = exit.Error()
	}
	if len(t.items) == 0 {
		return first
	}
	more := ""
	if t.count > 1 {
		more = fmt.Sprintf(" and %d more", t.count-1)
	}
	return fmt.Sprintf("%s (%s%s)", first, t.items[0].Error(), more)
}
