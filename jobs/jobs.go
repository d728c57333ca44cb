// Package jobs is the conductor. It alone sees the configuration and the parts
// together, and it holds the lines everything else serves:
//
//	BACKUP  slot → source.Prepare → restic backup → restic copy → catalog
//	TEST    slot → pick a copy → restore into a sandbox → checks → catalog
//	UPKEEP  slot → copy debt → re-read → locks → retention plan → forget → prune → anchor the ledger → catalog
//
// Each line is read top to bottom; the result of a step is the argument of the
// next, and no step calls back. The lines meet only in the catalog and in the
// repositories, so the process may die between any two steps and the next
// start is right.
package jobs

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/restic"
)

// A Runner runs the lines of one site. Its fields are set once, before use.
type Runner struct {
	Config     *config.Config
	ConfigFile string // the main file it was read from
	Catalog    *catalog.Catalog
	Engine     *restic.Engine
	Shared     *Shared          // the same for all runners of the process
	Version    string           // of this program
	Host       string           // name of this machine, for evidence
	Now        func() time.Time // wall clock
	Log        zerolog.Logger
	Show       func(Progress) // told how far a long step is; may be nil; must not block
	Confine    []string       // command that confines throwaway servers; see verify.Tester
	Clock      *Clock         // tells whether the wall clock can be believed
}

// Progress says how far one step of a job is.
type Progress struct {
	Job       string
	Step      string // for example `backup to "nas"`
	Done      int64  // bytes
	Total     int64  // bytes; 0 while unknown
	Remaining time.Duration
}

// A Trigger says why a run or test happens: by hand when the zero value, else
// for a slot.
type Trigger struct {
	Due         *time.Time  // the slot
	Covers      []time.Time // earlier missed slots that this run catches up for
	Word        string      // one of catalog's Trigger words
	Attempt     int         // 1 for the first try
	LastAttempt bool        // no retry follows
	Approval    Approval    // of upkeep: lets one plan delete more at once; zero: none
}

// Manual is the trigger of a run somebody asked for.
func Manual() Trigger {
	return Trigger{Word: catalog.TriggerManual, Attempt: 1, LastAttempt: true}
}

// StatePath returns a path below the site's state folder.
func StatePath(c *config.Config, elem ...string) string {
	return filepath.Join(append([]string{c.Paths.State}, elem...)...)
}

// CatalogPath is where a site's catalog lies.
func CatalogPath(c *config.Config) string { return StatePath(c, "catalog.db") }

// LedgerKeyPath is where the key that signs checkpoints and evidence lies.
func LedgerKeyPath(c *config.Config) string { return StatePath(c, "keys", "ledger.key") }

// newID returns an id that is unique and sorts by time, made of characters that
// restic tags, file names and people can carry: the second, the fraction of it in
// 1/65536, and chance. The ledger knows whole seconds, so of two runs in one second
// the id alone tells the newer.
func newID(now time.Time) string {
	random := make([]byte, 3)
	if _, err := rand.Read(random); err != nil {
		panic("crypto/rand: " + err.Error()) // documented never to happen (crypto/rand.Read)
	}
	now = now.UTC()
	return fmt.Sprintf("%s-%04x%x", now.Format("20060102-150405"), int64(now.Nanosecond())<<16/1e9, random)
}

// show passes progress on when somebody watches.
func (r *Runner) show(p Progress) {
	if r.Show != nil {
		r.Show(p)
	}
}

// scratch makes a private folder for one run; remove it with the returned function.
func (r *Runner) scratch(id string) (string, func() error, error) {
	dir := filepath.Join(r.Config.Paths.Scratch, "run-"+id)
	if err := os.MkdirAll(r.Config.Paths.Scratch, 0o711); err != nil {
		return "", nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, err
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}
