// Package restic is the only package that knows restic: one file per verb, each
// of which builds the arguments, reads the JSON lines and maps the exit status
// (restic manual, "Scripting": exit codes, JSON output).
//
// Exit status 0 is never proof. Restic 0.18 exits 0 for a source path that does
// not exist and for a forget that deleted nothing; so every verb asks for
// positive proof of its result (a snapshot id, a summary whose figures agree, a
// listing taken afterwards) and its absence is an error.
//
// What restic is told goes through its environment where it could be secret: a
// repository address may hold a user and a password, so it never stands in an
// argument. Restic inherits nothing from our own environment.
//
// Access to a repository is ordered by its Gate inside each verb (gate.go), so
// nobody can forget it.
package restic

import (
	"strings"
	"sync/atomic"
	"time"
)

// An Engine is one restic program and how to run it. Find makes one. Its methods
// may be called at the same time.
type Engine struct {
	Path    string // absolute path of the program
	Version string // such as "0.19.1"
	SHA256  string // of the program, lower-case hexadecimal: it goes into the evidence

	// CacheDir is restic's cache (restic manual, "Caching"); empty means no cache.
	CacheDir string
	// TempDir is where restic and the pump put temporary files; empty means /tmp.
	TempDir string
	// Pump is the command restic starts to read a dump: our own program and the
	// word "pump" (command.PumpMain). Backup of a Stdin needs it.
	Pump []string
	// RetryLock is how long restic waits for a lock of another host; 0 means
	// DefaultRetryLock. Never longer than half of Stall.
	RetryLock time.Duration
	// Stall ends a verb that shows progress when it has shown none for so long,
	// with fault.TimedOut; 0 means never. Verbs without progress (check, prune)
	// are bounded by their context alone.
	Stall time.Duration
	// Grace is the time between SIGTERM and SIGKILL; 0 means command.DefaultGrace.
	Grace time.Duration
}

// DefaultRetryLock is how long a verb waits for a repository that another host
// has locked.
const DefaultRetryLock = 5 * time.Minute

// A Repo is one repository: where it is and how to open it.
type Repo struct {
	Name string // of the target, for errors
	// URL is the location as restic takes it (restic manual, "Preparing a new
	// repository"): a path, s3:…, sftp:…, rest:…. It may hold a password.
	URL string
	// Mount is where the file system is mounted that URL, a path, lies on, when it may
	// be taken away at any moment: then restic works on that file system or not at all.
	// Empty: the path is used as it is.
	Mount string
	// PasswordFile is a file with the repository password.
	PasswordFile string
	// Fast opens the repository at next to no cost, when it has such a key. One that
	// does not open it any more is passed over: PasswordFile always counts.
	Fast *Shortcut
	// Env is added to restic's environment, such as AWS_ACCESS_KEY_ID=….
	Env []string
	// Options are restic's extended options, such as "sftp.args=…". They are
	// arguments: no secrets here.
	Options []string
	// Gate orders the access to this repository. Required.
	Gate *Gate
	// LimitUpload and LimitDownload bound what restic sends and fetches, in KiB/s; 0
	// is no bound (restic manual, "Options for all commands").
	LimitUpload, LimitDownload int
	// Meter is told what restic reads while it works with the repository; may be nil.
	Meter *Meter
	// NoLock reads without writing a lock into the repository: for a read-only
	// medium. Verbs that write do not heed it.
	NoLock bool
}

// A Meter counts bytes that restic read: all that came from the storage, and what
// it read on this machine besides, such as its cache.
type Meter struct{ n atomic.Int64 }

// Bytes is what was counted so far.
func (m *Meter) Bytes() int64 { return m.n.Load() }

func (m *Meter) add(bytes int64) {
	if m != nil {
		m.n.Add(bytes)
	}
}

// A Shortcut is a FastKey kept in a file.
type Shortcut struct {
	ID           string // of the key
	PasswordFile string
}

// String returns the name: a Repo printed by accident shows no secret.
func (r Repo) String() string { return r.Name }

// GoString does the same for %#v.
func (r Repo) GoString() string { return "restic.Repo(" + r.Name + ")" }

// secrets returns what of the repository must not be shown.
func (r Repo) secrets() (s []string) {
	if _, rest, ok := strings.Cut(r.URL, "://"); ok {
		if user, _, ok := strings.Cut(rest, "@"); ok {
			if _, password, ok := strings.Cut(user, ":"); ok {
				s = append(s, password)
			}
		}
	}
	for _, kv := range r.Env {
		key, value, _ := strings.Cut(kv, "=")
		for _, word := range []string{"SECRET", "PASSWORD", "TOKEN", "KEY", "CREDENTIAL"} {
			if strings.Contains(strings.ToUpper(key), word) && len(value) >= 4 {
				s = append(s, value)
				break
			}
		}
	}
	return s
}
