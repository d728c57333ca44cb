package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/restic"
)

const (
	// selfTag marks the snapshots of the state itself.
	selfTag = "saoluu-self"
	// selfDays is of how many days the newest of these snapshots is kept.
	selfDays = 30
	// selfSurplus is how many have to be too many before they are removed: that
	// needs the repository alone, and need not happen every night.
	selfSurplus = 7
	// selfTestEvery is how often the newest one is brought back.
	selfTestEvery = 7 * 24 * time.Hour
)

// Where the parts lie in such a snapshot, below its one path.
const (
	selfCatalog = "catalog.db"
	selfConfig  = "config"
	selfSealed  = "sealed"
)

// selfMain is the name of the main configuration file in such a snapshot.
const selfMain = "saoluu.toml"

// saveSelf puts the catalog with its ledger, the configuration and the sealed keys
// on a target, so that this machine can be lost with all that is on it. Secrets
// are not among them: the configuration only says where they are.
func (r *Runner) saveSelf(ctx context.Context, to place, done *Upkept) error {
	id := "self-" + newID(r.Now())
	release, err := r.enliven(id)
	if err != nil {
		return err
	}
	defer release()
	dir, clean, err := r.scratch(id)
	if err != nil {
		return err
	}
	r.show(Progress{Job: to.name, Step: "save catalog and configuration"})
	entries, err := r.gatherSelf(ctx, dir)
	if err != nil {
		return errors.Join(fmt.Errorf("save the state on %q: %w", to.name, err), clean())
	}
	summary, err := r.Engine.Backup(ctx, to.target.Repo(), restic.BackupRequest{
		Paths: []string{dir}, Host: r.Host,
		Tags: []string{selfTag, "site=" + r.Config.Site.Code, fmt.Sprintf("size=%d", entries)},
	})
	if err = errors.Join(err, clean()); err != nil {
		return fmt.Errorf("save the state on %q: %w", to.name, err)
	}
	saved := catalog.SelfSaved{Target: to.name, Snapshot: summary.SnapshotID, Entries: entries}
	saved.Forgotten = r.forgetSelves(ctx, to)
	if _, err := r.Catalog.Append(context.WithoutCancel(ctx), saved); err != nil {
		return err
	}
	done.SelfSaved = true
	state, err := r.Catalog.TargetState(ctx, to.name)
	if err == nil {
		_, err = r.keepBeside(ctx, to, state.Repository)
	}
	return err
}

// gatherSelf fills a folder with what is saved.
func (r *Runner) gatherSelf(ctx context.Context, dir string) (entries int64, err error) {
	if entries, err = r.Catalog.CopyTo(ctx, filepath.Join(dir, selfCatalog)); err != nil {
		return 0, err
	}
	files, err := config.Files(r.ConfigFile)
	if err != nil {
		return 0, err
	}
	for name, text := range files {
		if name == filepath.Base(r.ConfigFile) {
			name = selfMain
		}
		if err := writePrivate(filepath.Join(dir, selfConfig, name), text); err != nil {
			return 0, err
		}
	}
	sealed := StatePath(r.Config, "keys", "sealed")
	err = filepath.WalkDir(sealed, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (d.IsDir() || filepath.Ext(path) != ".age") {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(sealed, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return writePrivate(filepath.Join(dir, selfSealed, name), text)
	})
	return entries, err
}

func writePrivate(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// forgetSelves removes what is more than the newest of each of the newest days,
// and returns how many it removed. That it cannot be done does no harm: storage
// that lets nothing be deleted keeps them all.
func (r *Runner) forgetSelves(ctx context.Context, to place) int {
	if r.Config.Targets[to.name].AppendOnly {
		return 0
	}
	listed, err := r.selves(ctx, to)
	if err != nil {
		return 0
	}
	surplus := surplusSelves(listed, r.Config.Site.Location)
	if len(surplus) < selfSurplus {
		return 0
	}
	if err := r.Engine.Forget(ctx, to.target.Repo(), surplus); err != nil {
		r.Log.Info().Err(err).Str("target", to.name).Msg("old copies of the state stay on the target")
		return 0
	}
	return len(surplus)
}

// surplusSelves returns the ids of snapshots, which are given oldest first, that
// need not be kept.
func surplusSelves(listed []restic.Snapshot, loc *time.Location) (ids []string) {
	days := map[string]bool{}
	for _, s := range slices.Backward(listed) {
		day := s.Time.In(loc).Format(time.DateOnly)
		if days[day] || len(days) == selfDays {
			ids = append(ids, s.ID)
			continue
		}
		days[day] = true
	}
	return ids
}

// selves lists the snapshots of this site's state on a target, oldest first.
func (r *Runner) selves(ctx context.Context, to place) ([]restic.Snapshot, error) {
	return r.Engine.Snapshots(ctx, to.target.Repo(), restic.Filter{Tags: []string{selfTag, "site=" + r.Config.Site.Code}})
}

// testSelf brings the newest copy of the state back from a target, when that is
// due, and looks whether it is whole and tells the same as the state here.
func (r *Runner) testSelf(ctx context.Context, to place, done *Upkept) error {
	states, err := r.Catalog.SelfStates(ctx, r.Now())
	if err != nil {
		return err
	}
	last := states[to.name]
	if last.Tested.Event.Verdict == catalog.VerdictPassed && r.Now().Sub(last.Passed) < selfTestEvery && !r.Now().Before(last.Passed) {
		return nil
	}
	r.show(Progress{Job: to.name, Step: "bring the catalog back"})
	result, err := r.examineSelf(ctx, to)
	result.Target = to.name
	switch {
	case err == nil:
		result.Verdict = catalog.VerdictPassed
		done.SelfTested = true
	case fault.KindOf(err) == fault.Verification || fault.KindOf(err) == fault.Damaged:
		result.Verdict = catalog.VerdictFailed
	default:
		result.Verdict = catalog.VerdictUnknown
	}
	if err != nil {
		result.Error = fault.Public(err)
	}
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), result)
	return errors.Join(err, written)
}

func (r *Runner) examineSelf(ctx context.Context, to place) (result catalog.SelfTested, err error) {
	op := fmt.Sprintf("bring the state back from %q", to.name)
	listed, err := r.selves(ctx, to)
	if err != nil {
		return result, err
	}
	if len(listed) == 0 {
		return result, fault.New(fault.Verification, op, errors.New("no copy of it is there"), "find out who deleted it")
	}
	newest := listed[len(listed)-1]
	result.Snapshot = newest.ID
	id := "selftest-" + newID(r.Now())
	release, err := r.enliven(id)
	if err != nil {
		return result, err
	}
	defer release()
	dir, clean, err := r.scratch(id)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, clean()) }()
	back := filepath.Join(dir, "back")
	if err := fetchSelf(ctx, r.Engine, to.target.Repo(), newest, back); err != nil {
		return result, err
	}
	if _, err := config.Load(config.Options{File: filepath.Join(back, selfConfig, selfMain)}); err != nil {
		return result, fault.New(fault.Verification, op, err, "look at the configuration here too")
	}
	size, root, err := verifySelf(ctx, op, catalog.Options{
		Path: filepath.Join(back, selfCatalog), Now: r.Now, Location: r.Config.Site.Location, Site: r.Config.Site.Code,
	})
	result.Entries = size
	if err != nil {
		return result, err
	}
	return result, r.sameLedger(ctx, op, newest, size, root)
}

// fetchSelf restores a snapshot of the state into a new folder.
func fetchSelf(ctx context.Context, engine *restic.Engine, repo restic.Repo, s restic.Snapshot, dir string) error {
	if len(s.Paths) != 1 {
		return fault.New(fault.Damaged, "restore the state", errors.New("the snapshot is not one of saoluu's state"), "")
	}
	_, err := engine.Restore(ctx, repo, s.ID, dir, restic.RestoreOptions{Folder: s.Paths[0], NoCache: true})
	return err
}

// verifySelf recomputes a catalog that was brought back and returns the size and
// root of its ledger.
func verifySelf(ctx context.Context, op string, o catalog.Options) (size int64, root string, err error) {
	cat, err := catalog.OpenReadOnly(ctx, o)
	if err != nil {
		return 0, "", fault.New(fault.Damaged, op, err, "")
	}
	defer func() { err = errors.Join(err, cat.Close()) }()
	first := ""
	v, err := cat.Verify(ctx, func(p catalog.Problem) {
		if first == "" {
			first = p.Where + ": " + p.What
		}
	})
	if err != nil {
		return 0, "", err
	}
	if v.Problems > 0 {
		return v.Entries, v.Root, fault.New(fault.Damaged, op, fmt.Errorf("%d problem(s) in the catalog, first %s", v.Problems, first), "run \"saoluu catalog verify\" here")
	}
	return v.Entries, v.Root, nil
}

// sameLedger compares a ledger that was brought back with the one here: it must be
// its beginning, and have as many entries as its snapshot says.
func (r *Runner) sameLedger(ctx context.Context, op string, s restic.Snapshot, size int64, root string) error {
	said, err := strconv.ParseInt(s.Tag("size"), 10, 64)
	if err != nil || size < said {
		return fault.New(fault.Verification, op, fmt.Errorf("its ledger has %d entries, its snapshot says %s", size, s.Tag("size")), "")
	}
	here, err := r.Catalog.TreeSize(ctx)
	if err != nil {
		return err
	}
	if size > here {
		return tooOld(op, fmt.Sprintf("its ledger has %d entries, the one here %d", size, here))
	}
	ours, err := r.Catalog.Root(ctx, size)
	if err != nil {
		return err
	}
	if ours.String() != root {
		return fault.New(fault.Verification, op, errors.New("its ledger is not the beginning of the one here"), "find out which of the two was changed: compare with a checkpoint kept elsewhere")
	}
	return nil
}
