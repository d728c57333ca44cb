package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"saoluu/catalog"
	"saoluu/internal/fault"
	"saoluu/restic"
)

// Upkept says what one upkeep of a target did, for people to read.
type Upkept struct {
	catalog.CheckFinished
	Read       []int                     // groups of packs that were re-read
	Listed     int                       // snapshots the target holds
	Paid       int                       // copies that were owed and were made
	Removed    int                       // old copies deleted
	Waiting    int                       // old copies that the storage does not let go yet
	Pruned     *catalog.RepositoryPruned // nil when space was not freed
	Renewed    int                       // objects whose locks were prolonged
	Refused    bool                      // the storage refused a deletion, as it should
	Anchored   int64                     // entries of the ledger under the checkpoint put on it; 0 for none
	SelfSaved  bool                      // catalog, configuration and sealed keys were put on it
	SelfTested bool                      // and brought back from it
	Compared   *catalog.CatalogCompared  // nil when the tables were not compared with the ledger
	Tested     string                    // the job that was restore-tested from the target's medium
	Away       string                    // where the target's medium is, when it is not plugged in: nothing was done

	leaving []string // snapshots that go as soon as the storage lets them: their locks are not renewed
}

// String tells in one line what was done.
func (u Upkept) String() string {
	if u.Away != "" {
		return u.Away
	}
	parts := []string{fmt.Sprintf("%s paid", count(u.Paid, "owed copy", "owed copies"))}
	if u.Listed > 0 {
		parts = append(parts, fmt.Sprintf("%s listed, %d missing", count(u.Listed, "snapshot", "snapshots"), len(u.Missing)))
	}
	parts = append(parts, u.read())
	if u.Removed > 0 {
		parts = append(parts, count(u.Removed, "old backup", "old backups")+" deleted")
	}
	if u.Waiting > 0 {
		parts = append(parts, fmt.Sprintf("%d that the storage does not let go", u.Waiting))
	}
	if p := u.Pruned; p != nil && p.State == catalog.RunComplete {
		parts = append(parts, freed(*p))
	}
	if u.Renewed > 0 {
		parts = append(parts, count(u.Renewed, "lock", "locks")+" renewed")
	}
	if u.Refused {
		parts = append(parts, "a deletion was refused")
	}
	if u.Anchored > 0 {
		parts = append(parts, fmt.Sprintf("%s of the ledger anchored", count(int(u.Anchored), "entry", "entries")))
	} else {
		parts = append(parts, "ledger not anchored")
	}
	switch {
	case u.SelfTested:
		parts = append(parts, "state saved and brought back")
	case u.SelfSaved:
		parts = append(parts, "state saved")
	default:
		parts = append(parts, "state not saved")
	}
	if u.Spared != "" {
		parts = append(parts, u.Spared+" because of the egress budget")
	}
	if u.Waits != "" {
		parts = append(parts, "left for its next window: "+u.Waits)
	}
	if u.Tested != "" {
		parts = append(parts, fmt.Sprintf("restore test of %q from it", u.Tested))
	}
	if u.Compared != nil {
		parts = append(parts, Compared(*u.Compared))
	}
	return strings.Join(parts, "; ")
}

// read tells which groups of packs were re-read.
func (u Upkept) read() string {
	switch len(u.Read) {
	case 0:
		return "nothing re-read"
	case 1:
		return fmt.Sprintf("group %d of %d re-read", u.Read[0], u.Of)
	}
	var groups []string
	for _, n := range u.Read {
		groups = append(groups, strconv.Itoa(n))
	}
	return fmt.Sprintf("groups %s of %d re-read", strings.Join(groups, ", "), u.Of)
}

// Compared tells in a few words how a comparison of the tables went.
func Compared(c catalog.CatalogCompared) string {
	switch {
	case c.Error != "":
		return "tables not compared with the ledger"
	case c.Problems > 0:
		return fmt.Sprintf("%s between tables and ledger", count(c.Problems, "difference", "differences"))
	default:
		return fmt.Sprintf("tables compared with %s of the ledger, no difference", count(int(c.Entries), "entry", "entries"))
	}
}

// freed tells how much space a prune gave back: as measured, else as restic says.
func freed(p catalog.RepositoryPruned) string {
	if p.BytesBefore > 0 {
		return fmt.Sprintf("%s of %s freed", humanize.IBytes(uint64(max(p.BytesBefore-p.BytesAfter, 0))), humanize.IBytes(uint64(p.BytesBefore)))
	}
	if p.Freed != "" {
		return p.Freed + " freed"
	}
	return "no space to free"
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Upkeep looks after one target: it clears stale locks, pays copy debts, compares
// what the target holds with what the catalog says, re-reads the packs whose turn
// it is, sees that the storage refuses deletions where it should, deletes what the
// classes no longer keep, frees space when that is due, anchors the ledger, and saves the state itself. Once a night a scheduled one compares the tables
// with the ledger before. A target whose medium is away is left alone, and its slots
// are waived. Every step is tried; the first error is returned with the others.
func (r *Runner) Upkeep(ctx context.Context, target string, t Trigger) (Upkept, error) {
	done := Upkept{CheckFinished: catalog.CheckFinished{
		Target: target, Due: t.Due, Covers: t.Covers, StartedAt: r.Now().UTC(), State: catalog.RunSkipped,
	}}
	check := &done.CheckFinished
	release, err := r.enliven("upkeep-" + newID(check.StartedAt))
	if err != nil {
		return done, err
	}
	defer release()
	var differ error
	if t.Due != nil {
		done.Compared, differ = r.CompareTables(ctx, compareAgain)
	}
	to, err := r.place(ctx, target)
	if err == nil {
		done.Away, err = r.away(ctx, to)
	}
	switch {
	case err == nil && done.Away != "":
		return done, errors.Join(differ, r.waive(ctx, target, done.Away, t))
	case err == nil:
		err = r.upkeepPlugged(ctx, to, &done, t)
	}
	if fault.KindOf(err) == fault.Failed && check.State == catalog.RunSkipped {
		err = fault.New(fault.Unknown, "", err, fault.HintOf(err)) // nothing was looked at
	}
	check.FinishedAt = r.Now().UTC()
	if err != nil {
		check.Error, check.ErrorKind, check.Hint = fault.Public(err), string(fault.KindOf(err)), fault.HintOf(err)
	}
	if ctx.Err() != nil {
		check.State = catalog.RunInterrupted
		check.Due, check.Covers = nil, nil // the slot stays open: the next start takes it up
	}
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), *check)
	return done, errors.Join(differ, err, written)
}

func (r *Runner) upkeep(ctx context.Context, to place, done *Upkept, t Trigger) error {
	check := &done.CheckFinished
	if err := to.target.Ready(ctx); err != nil && fault.KindOf(err) != fault.NoSpace {
		return err
	}
	if err := r.begin(ctx, to.name); err != nil {
		return err
	}
	if err := r.clearLock(ctx, to, "upkeep found a stale lock"); err != nil {
		return err
	}
	if err := r.sameRepository(ctx, to); err != nil {
		return err
	}
	if err := r.quicken(ctx, to); err != nil {
		r.Log.Warn().Err(err).Str("target", to.name).Msg("no fast key: runs take longer")
	}
	placed := errors.Join(r.recheckOldKeys(ctx, to), r.placeKey(ctx, to))
	inside, cancel := r.within(ctx, &to, t)
	defer cancel()
	paid := r.payDebts(ctx, inside, to, done)
	older, err := r.compare(ctx, to, done)
	if err != nil {
		return errors.Join(placed, paid, err)
	}
	read := r.reread(ctx, inside, to, done)
	if older != nil {
		check.State = catalog.RunFailed
		return errors.Join(older, placed, paid, missing(check), read)
	}
	deleted := r.retain(ctx, to, done, t.Approval)
	guarded := r.guard(ctx, to, done)
	freed := r.free(ctx, inside, to, done)
	size, anchored := r.Anchor(ctx, to.name)
	done.Anchored = size
	saved := r.saveSelf(ctx, to, done)
	if saved == nil {
		saved = r.testSelf(ctx, to, done)
	}
	return errors.Join(placed, paid, missing(check), read, guarded, deleted, freed, anchored, saved)
}

// Anchor signs a checkpoint of the ledger and puts it on a target, as a snapshot
// of its own: a ledger rewritten later contradicts it (39/2024/QĐ-UBND, Điều 14:
// records must be protected). It returns how many entries the checkpoint is about.
func (r *Runner) Anchor(ctx context.Context, target string) (int64, error) {
	to, err := r.place(ctx, target)
	if err != nil {
		return 0, err
	}
	note, point, err := r.Checkpoint(ctx)
	if err != nil {
		return 0, err
	}
	id := "anchor-" + newID(r.Now())
	release, err := r.enliven(id)
	if err != nil {
		return 0, err
	}
	defer release()
	dir, clean, err := r.scratch(id)
	if err != nil {
		return 0, err
	}
	file := filepath.Join(dir, "checkpoint.txt")
	if err := os.WriteFile(file, note, 0o600); err != nil {
		return 0, errors.Join(err, clean())
	}
	summary, err := r.Engine.Backup(ctx, to.target.Repo(), restic.BackupRequest{
		Stdin: reader(file), Filename: "checkpoint.txt", Host: r.Host,
		Tags: []string{"saoluu-checkpoint", "site=" + r.Config.Site.Code, fmt.Sprintf("size=%d", point.Size)},
	})
	if err = errors.Join(err, clean()); err != nil {
		return 0, fmt.Errorf("anchor the ledger on %q: %w", target, err)
	}
	_, err = r.Catalog.Append(context.WithoutCancel(ctx), catalog.CheckpointAnchored{
		Target: target, Size: point.Size, Root: point.Root.String(), Snapshot: summary.SnapshotID,
	})
	return point.Size, err
}
