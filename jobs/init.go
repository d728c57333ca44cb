package jobs

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/evidence"
	"saoluu/internal/durable"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// CreateState makes the state folder, the ledger's key and an empty catalog with
// its first entry. A catalog that is there already is refused. What an
// interrupted call left is taken up.
func CreateState(ctx context.Context, c *config.Config, o catalog.Options, version string) error {
	if err := StateFolders(c); err != nil {
		return err
	}
	signer, err := evidence.LoadSigner(LedgerKeyPath(c))
	if fault.KindOf(err) == fault.MissingState {
		signer, err = evidence.CreateSigner(LedgerKeyPath(c), c.Site.Code)
	}
	if err != nil {
		return err
	}
	return createCatalog(ctx, o, catalog.SiteOpened{Name: c.Site.Name, Code: c.Site.Code, Key: signer.VerifierKey(), Version: version})
}

// StateFolders makes the folders of a site's state.
func StateFolders(c *config.Config) error {
	op := fmt.Sprintf("make state in %s", c.Paths.State)
	// Others may pass through to the scratch folder, where throwaway servers run
	// as another user, but see nothing on the way.
	for _, dir := range []struct {
		path string
		mode fs.FileMode
	}{
		{c.Paths.State, 0o711}, {c.Paths.Scratch, 0o711},
		{StatePath(c, "keys"), 0o700}, {StatePath(c, "locks"), 0o700}, {StatePath(c, "cache"), 0o700},
	} {
		if err := durable.MkdirAll(dir.path, dir.mode); err != nil {
			return fault.New(fault.Failed, op, err, "check paths.state and run as the user that will run the daemon")
		}
	}
	return nil
}

// NewFolder makes a folder that must not hold anything, and returns how to take it
// away again with all that came into it.
func NewFolder(dir string) (undo func() error, err error) {
	op := fmt.Sprintf("use folder %q", dir)
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fault.New(fault.Usage, op, err, "name a new folder")
	case len(entries) > 0:
		return nil, fault.New(fault.Refused, op, errors.New("it is not empty"), "name a new folder, or remove what an interrupted recovery left there")
	}
	was := err == nil
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.New(fault.Failed, op, err, "name a folder that can be made")
	}
	return func() error {
		if !was {
			return os.RemoveAll(dir)
		}
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
		return err
	}, nil
}

// createCatalog makes a catalog that has its first entry from the moment it has
// its name: whoever dies on the way leaves none.
func createCatalog(ctx context.Context, o catalog.Options, opened catalog.SiteOpened) error {
	final := o.Path
	if _, err := os.Lstat(final); !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Refused, fmt.Sprintf("make catalog %q", final), errors.Join(errors.New("it is there already"), err), "move it away first, if it is to be given up")
	}
	o.Path = final + ".new"
	for _, left := range []string{o.Path, o.Path + "-wal", o.Path + "-shm"} {
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.Failed, "make the catalog", err, "")
		}
	}
	cat, err := catalog.Create(ctx, o)
	if err != nil {
		return err
	}
	_, err = cat.Append(ctx, opened)
	if err := errors.Join(err, cat.Close()); err != nil {
		return err
	}
	if err := os.Rename(o.Path, final); err != nil {
		return fault.New(fault.Failed, "make the catalog", err, "")
	}
	return durable.SyncDir(filepath.Dir(final))
}

// Enrolled is one target made ready by Init.
type Enrolled struct {
	Target, Place, Repository string
	Address                   string // as restic takes it, without secrets
	KeyFile                   string // the key init made; empty when the configuration names one
	Adopted                   bool   // the repository was there already
}

// Init makes a repository on every target that has none enrolled yet. All
// repositories share chunker parameters, so that copies between them
// deduplicate. Removable targets are prepared by AddMedium. It returns Refused when
// there was nothing to do.
func (r *Runner) Init(ctx context.Context) ([]Enrolled, error) {
	var made []Enrolled
	for _, name := range slices.Sorted(maps.Keys(r.Config.Targets)) {
		state, err := r.Catalog.TargetState(ctx, name)
		if err != nil {
			return made, err
		}
		if state.ID != "" || r.onMedium(name) {
			continue
		}
		like, err := r.pattern(ctx)
		if err != nil {
			return made, err
		}
		e, err := r.enroll(ctx, name, like)
		if err != nil {
			return made, err
		}
		made = append(made, e)
	}
	if len(made) == 0 {
		return nil, fault.New(fault.Refused, "init", errors.New("this site and all its targets are initialised already"), "see \"saoluu doctor\" if something does not work")
	}
	return made, r.SetInventory(ctx)
}

// makeRepository makes a repository with the chunker parameters of another, when
// there is one.
func (r *Runner) makeRepository(ctx context.Context, p place, like *place) (id string, err error) {
	if like == nil {
		return r.Engine.Init(ctx, p.target.Repo(), restic.InitOptions{})
	}
	err = r.withBoth(ctx, *like, p, func(from, to restic.Repo) error {
		id, err = r.Engine.Init(ctx, to, restic.InitOptions{From: &from})
		return err
	})
	return id, err
}

// enroll prepares one target: its key, its mark, its repository.
func (r *Runner) enroll(ctx context.Context, name string, like *place) (Enrolled, error) {
	result := Enrolled{Target: name, Place: r.Config.Targets[name].Place(), Address: r.Config.Targets[name].Repository()}
	if r.Config.Targets[name].Password == "" {
		if err := r.keyLost(ctx, name); err != nil {
			return result, err
		}
		result.KeyFile = r.keyPath(name)
		if err := makeKey(result.KeyFile); err != nil {
			return result, err
		}
	}
	p, err := r.place(ctx, name)
	if err != nil {
		return result, err
	}
	enroller, can := p.target.(targets.Enroller)
	if !can {
		return result, fault.New(fault.Refused, fmt.Sprintf("target %q", name), errors.New("this kind cannot be prepared by init"), "")
	}
	identity, err := enroller.Enroll(ctx)
	if err != nil {
		return result, err
	}
	id, err := r.repositoryID(ctx, p)
	switch {
	case err == nil:
		result.Adopted = true
	case fault.KindOf(err) == fault.NoRepository:
		id, err = r.makeRepository(ctx, p, like)
	}
	if err != nil {
		return result, err
	}
	// A fresh process must open what was made, with the key as it is stored.
	reopened, err := r.repositoryID(ctx, p)
	if err != nil {
		return result, err
	}
	if reopened != id {
		return result, fault.New(fault.Failed, fmt.Sprintf("enroll target %q", name), fmt.Errorf("repository %s reads back as %s", id, reopened), "")
	}
	if identity == "" { // a kind that is told by its repository
		if identity, err = enroller.Enroll(ctx); err != nil {
			return result, err
		}
	}
	if err := r.quicken(ctx, p); err != nil {
		r.Log.Warn().Err(err).Str("target", name).Msg("no fast key: runs take longer")
	}
	result.Repository = id
	_, err = r.Catalog.Append(ctx, catalog.TargetEnrolled{Target: name, Type: r.Config.Targets[name].Type, ID: identity, Repository: id})
	return result, err
}

// repositoryID opens a target's repository in a fresh process.
func (r *Runner) repositoryID(ctx context.Context, p place) (string, error) {
	c, err := r.Engine.CatConfig(ctx, p.target.Repo())
	return c.ID, err
}

// makeKey writes a random 256-bit repository key unless there is one already: a
// key in use is never replaced.
func makeKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	return durable.WriteFile(path, []byte(base64.RawURLEncoding.EncodeToString(key)+"\n"), 0o600)
}
