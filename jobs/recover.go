package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/escrow"
	"saoluu/evidence"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// A Recovery says from where to bring a lost state back, and how to get there.
type Recovery struct {
	From     config.Target // the place; its secrets are references as in a configuration
	Identity string        // file with a custodian's private key
	Sealed   string        // file with the sealed key; empty: it lies beside the repository
	To       string        // new folder
	Target   string        // name of the target in the configuration that comes back; empty: found by its repository
}

// Returned says what was brought back.
type Returned struct {
	Target     string // name in the configuration that came back
	Snapshot   string
	Older      int   // newer copies of the state that were not whole
	Entries    int64 // of the ledger
	Behind     int64 // entries that the newest anchored checkpoint counts and the ledger lacks
	Checkpoint int64 // size of the newest anchored checkpoint; 0: there is none
	Config     string
	Opened     []string // targets whose keys were opened
	Closed     []string // targets whose keys this identity does not open
	Ledger     bool     // the key of the ledger was opened
	Runs       []catalog.RecoveredSnapshot
}

// ownName is how the place is called before its name is known.
const ownName = "recovery"

// Fetch brings configuration, catalog, ledger and keys back from one target into a
// new folder, with nothing else than a custodian's identity. What is written is
// removed again when it fails. r needs Config.Paths, Engine, Shared and Now.
func (r *Runner) Fetch(ctx context.Context, q Recovery) (back Returned, err error) {
	identities, _, err := config.Identity(q.Identity)
	if err != nil {
		return back, err
	}
	p, repository, err := r.unlock(ctx, q, identities)
	if err != nil {
		return back, err
	}
	repo := p.target.Repo()
	repo.NoLock = true // the medium may be read-only
	draft := filepath.Join(q.To, "draft")
	if back, err = r.fetchWhole(ctx, repo, draft); err != nil {
		return back, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	if err := r.checkAnchor(ctx, repo, filepath.Join(draft, selfCatalog), &back); err != nil {
		return back, err
	}
	if err := r.layState(ctx, q, draft, repository, identities, &back); err != nil {
		return back, err
	}
	listed, err := r.Engine.Snapshots(ctx, repo, restic.Filter{Tags: []string{"saoluu"}})
	for _, s := range listed {
		back.Runs = append(back.Runs, catalog.RecoveredSnapshot{Target: back.Target, ID: s.ID, Time: s.Time, Tags: s.Tags})
	}
	return back, err
}

// unlock finds a sealed key that the identity opens and that opens the repository.
func (r *Runner) unlock(ctx context.Context, q Recovery, identities []age.Identity) (place, string, error) {
	op := "recover from " + q.From.Place()
	bare, err := r.target(ctx, ownName, q.From, "", restic.Repo{Name: ownName, URL: q.From.Path})
	if err != nil {
		return place{}, "", err
	}
	if finder, can := bare.(targets.Finder); can {
		there, err := finder.HasRepository(ctx)
		if err == nil && !there {
			err = fault.New(fault.NoRepository, op, errors.New("there is no repository"), "check the address, and that the disk is mounted")
		}
		if err != nil {
			return place{}, "", err
		}
	}
	sealed, err := sealedKeys(ctx, op, q, bare)
	if err != nil {
		return place{}, "", err
	}
	var problems []error
	for i, text := range sealed {
		key, err := escrow.Open(text, identities)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		name := config.Secret(fmt.Sprintf("credential:recovered-%d", i))
		path, err := r.Shared.inMemory(name, func() ([]byte, error) { return key, nil })
		if err != nil {
			return place{}, "", err
		}
		target, err := r.target(ctx, ownName, q.From, "", restic.Repo{
			Name: ownName, URL: q.From.Path, PasswordFile: path, NoLock: true,
			Gate: r.Shared.gate(StatePath(r.Config, "locks"), ownName, 1),
		})
		if err != nil {
			return place{}, "", err
		}
		opened, err := r.Engine.CatConfig(ctx, target.Repo())
		if err == nil {
			return place{name: ownName, target: target}, opened.ID, nil
		}
		if fault.KindOf(err) != fault.WrongKey {
			return place{}, "", err
		}
		problems = append(problems, fault.New(fault.WrongKey, op, errors.New("the sealed key opens another repository than the one there"),
			"give the sealed key of this repository with --sealed, as on its recovery sheet"))
	}
	return place{}, "", gravest(problems)
}

// gravest returns the error that says most: one that is damaged before one that
// does not fit.
func gravest(problems []error) error {
	for _, err := range problems {
		if fault.KindOf(err) == fault.Damaged {
			return err
		}
	}
	return problems[len(problems)-1]
}

// sealedKeys returns the sealed keys that there are: of the file, or of those
// beside the repository. There is at least one.
func sealedKeys(ctx context.Context, op string, q Recovery, bare targets.Target) ([][]byte, error) {
	if q.Sealed != "" {
		text, err := os.ReadFile(q.Sealed)
		if err != nil {
			return nil, fault.New(fault.Usage, op, err, "name the file with the sealed key")
		}
		return [][]byte{text}, nil
	}
	const hint = "type the block from the recovery sheet into a file and name it with --sealed"
	keeper, can := bare.(targets.Keeper)
	if !can {
		return nil, fault.New(fault.Usage, op, errors.New("a rest-server has no room for the sealed key"), hint)
	}
	kept, err := keeper.Kept(ctx, keysFolder)
	if err != nil {
		return nil, err
	}
	var texts [][]byte
	for _, name := range sortedNames(kept) {
		if strings.HasSuffix(name, ".age") {
			texts = append(texts, kept[name])
		}
	}
	if len(texts) == 0 {
		return nil, fault.New(fault.WrongTarget, op, errors.New("no sealed key lies beside the repository: it is not one of saoluu's, or has no custodians"), hint)
	}
	return texts, nil
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fetchWhole restores the newest copy of the state whose catalog is whole.
func (r *Runner) fetchWhole(ctx context.Context, repo restic.Repo, dir string) (back Returned, err error) {
	const op = "bring the state back"
	listed, err := r.Engine.Snapshots(ctx, repo, restic.Filter{Tags: []string{selfTag}})
	if err != nil {
		return back, err
	}
	if len(listed) == 0 {
		return back, fault.New(fault.WrongTarget, op, errors.New("the repository holds no copy of a state: no upkeep has run there"),
			"try another target; else restore with restic alone, or make a configuration and run \"saoluu catalog rebuild --from-repositories\"")
	}
	for _, s := range slices.Backward(listed) {
		if err := os.RemoveAll(dir); err != nil {
			return back, err
		}
		err = fetchSelf(ctx, r.Engine, repo, s, dir)
		if err == nil {
			back.Entries, _, err = verifySelf(ctx, op, catalog.Options{Path: filepath.Join(dir, selfCatalog), Now: r.Now, Site: s.Tag("site")})
		}
		if err == nil {
			back.Snapshot = s.ID
			return back, nil
		}
		if fault.KindOf(err) != fault.Damaged {
			return back, err
		}
		back.Older++
	}
	return back, err
}

// checkAnchor compares the ledger with the newest checkpoint on the target, which
// is signed and older than whoever might have changed the copy since.
func (r *Runner) checkAnchor(ctx context.Context, repo restic.Repo, file string, back *Returned) (err error) {
	const op = "compare the ledger with its newest checkpoint"
	cat, err := catalog.OpenReadOnly(ctx, catalog.Options{Path: file, Now: r.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cat.Close()) }()
	first, err := cat.Entry(ctx, 0)
	if err != nil {
		return err
	}
	event, err := first.Decode()
	if err != nil {
		return err
	}
	opened, ok := event.(catalog.SiteOpened)
	if !ok {
		return fault.New(fault.Damaged, op, errors.New("the ledger does not begin with its site"), "")
	}
	listed, err := r.Engine.Snapshots(ctx, repo, restic.Filter{Tags: []string{"saoluu-checkpoint", "site=" + opened.Code}})
	if err != nil || len(listed) == 0 {
		return err
	}
	var note bytes.Buffer
	if _, err := r.Engine.Dump(ctx, repo, listed[len(listed)-1].ID, "/checkpoint.txt", &note, restic.DumpOptions{NoCache: true}); err != nil {
		return err
	}
	point, err := evidence.VerifyCheckpoint(note.Bytes(), opened.Key)
	if err != nil {
		return err
	}
	back.Checkpoint = point.Size
	if point.Size > back.Entries {
		back.Behind = point.Size - back.Entries
		return nil
	}
	root, err := cat.Root(ctx, point.Size)
	if err == nil && root != point.Root {
		err = fault.New(fault.Verification, op, errors.New("the ledger is not the one that was signed"), "find out who changed it; try another target")
	}
	return err
}

// layState writes state and configuration in their places.
func (r *Runner) layState(ctx context.Context, q Recovery, draft, repository string, identities []age.Identity, back *Returned) error {
	state := r.Config.Paths.State
	if err := durable.MkdirAll(filepath.Join(state, "keys", "sealed"), 0o700); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(draft, selfCatalog))
	if err != nil {
		return err
	}
	if err := durable.WriteFile(CatalogPath(r.Config), text, 0o640); err != nil {
		return err
	}
	if err := r.openKeys(filepath.Join(draft, selfSealed), identities, back); err != nil {
		return err
	}
	if back.Target, err = r.nameOf(ctx, q, repository); err != nil {
		return err
	}
	back.Config = filepath.Join(q.To, selfMain)
	return r.layConfig(q, filepath.Join(draft, selfConfig), back)
}

// openKeys puts the sealed keys in their places and opens what it can.
func (r *Runner) openKeys(sealed string, identities []age.Identity, back *Returned) error {
	err := filepath.WalkDir(sealed, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(sealed, path)
		if err != nil {
			return err
		}
		kept := StatePath(r.Config, "keys", "sealed", name)
		if err := durable.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
			return err
		}
		if err := durable.WriteFile(kept, text, 0o600); err != nil {
			return err
		}
		target := strings.TrimSuffix(name, ".age")
		key, err := escrow.Open(text, identities)
		switch {
		case fault.KindOf(err) == fault.WrongKey:
			if kept != sealedLedgerPath(r.Config) {
				back.Closed = append(back.Closed, target)
			}
			return nil
		case err != nil:
			return err
		case kept == sealedLedgerPath(r.Config):
			back.Ledger = true
			return durable.WriteFile(LedgerKeyPath(r.Config), key, 0o600)
		}
		back.Opened = append(back.Opened, target)
		return durable.WriteFile(r.keyPath(target), key, 0o600)
	})
	slices.Sort(back.Opened)
	return err
}

// nameOf finds which target of the catalog has a repository.
func (r *Runner) nameOf(ctx context.Context, q Recovery, repository string) (name string, err error) {
	cat, err := catalog.OpenReadOnly(ctx, catalog.Options{Path: CatalogPath(r.Config), Now: r.Now})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, cat.Close()) }()
	states, err := cat.TargetStates(ctx, r.Now(), 0)
	if err != nil {
		return "", err
	}
	for _, s := range states {
		if s.Repository == repository && (q.Target == "" || q.Target == s.Target) {
			return s.Target, nil
		}
	}
	return "", fault.New(fault.WrongTarget, "recover", fmt.Errorf("no such target in the catalog that came back has repository %.10s", repository), "leave --target out, or try another target")
}
