package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/targets"
)

// A place is a target under its configured name.
type place struct {
	name   string
	target targets.Target
}

// source makes the source of a job. Adding a kind is one file in sources, one
// case here, one sample in config.
func (r *Runner) source(job config.Job) (sources.Source, error) {
	s := job.Source
	switch s.Type {
	case "files":
		return &sources.Files{
			Paths: s.Paths, Exclude: s.Exclude, OneFileSystem: s.OneFileSystem,
			FactsMode: s.Facts, Now: r.Now,
		}, nil
	case "sqlite":
		return &sources.SQLite{Path: s.Path, FactsMode: s.Facts, Now: r.Now}, nil
	case "postgres":
		password, err := s.Password.Resolve(r.secrets())
		if err != nil {
			return nil, err
		}
		return &sources.Postgres{
			Host: s.Host, Port: s.Port, User: s.User, Password: password, Database: s.Database,
			SSLMode: s.SSLMode, Bin: s.Bin, FactsMode: s.Facts, Now: r.Now,
		}, nil
	}
	return nil, fault.New(fault.Usage, fmt.Sprintf("job %q", job.Name), fmt.Errorf("unknown source type %q", s.Type), "")
}

// place makes a configured target. What was enrolled comes from the catalog.
func (r *Runner) place(ctx context.Context, name string) (place, error) {
	t, ok := r.Config.Targets[name]
	if !ok {
		return place{}, fault.New(fault.Usage, fmt.Sprintf("target %q", name), errors.New("not in the configuration"), "run \"saoluu config show\" to see the targets")
	}
	repo, err := r.repo(name, t)
	if err != nil {
		return place{}, err
	}
	state, err := r.Catalog.TargetState(ctx, name)
	if err != nil {
		return place{}, err
	}
	switch t.Type {
	case "local":
		return place{name, &targets.Local{
			Name: name, Path: t.Path, Site: r.Config.Site.Code, ID: state.ID,
			ReserveBytes: int64(t.Reserve), Repository: repo,
		}}, nil
	}
	return place{}, fault.New(fault.Usage, fmt.Sprintf("target %q", name), fmt.Errorf("unknown target type %q", t.Type), "")
}

// repo says how restic reaches a target and by which lock files its verbs keep
// out of each other's way.
func (r *Runner) repo(name string, t config.Target) (restic.Repo, error) {
	gate, err := restic.NewGate(StatePath(r.Config, "locks"), name, t.Parallel)
	if err != nil {
		return restic.Repo{}, err
	}
	repo := restic.Repo{Name: name, URL: t.Path, Gate: gate, PasswordFile: r.keyPath(name)}
	if t.Password == "" {
		return repo, nil
	}
	password, err := t.Password.Resolve(r.secrets())
	if err != nil {
		return restic.Repo{}, err
	}
	repo.PasswordFile, repo.Password = "", password
	return repo, nil
}

// keyPath is where init keeps the repository key it made for a target.
func (r *Runner) keyPath(target string) string {
	return StatePath(r.Config, "keys", target+".key")
}

// secrets says where secret references may be resolved.
func (r *Runner) secrets() config.Secrets {
	return config.Secrets{Identity: r.Config.Paths.Identity, CredentialsDir: os.Getenv("CREDENTIALS_DIRECTORY")}
}

// firstReady returns the first of a job's targets that is ready, and the others
// in their order. When none is, the error of each is told.
func (r *Runner) firstReady(ctx context.Context, job config.Job) (place, []place, error) {
	var all []place
	var problems []error
	ready := -1
	for _, name := range job.Targets {
		p, err := r.place(ctx, name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		all = append(all, p)
		if ready >= 0 {
			continue
		}
		if err := p.target.Ready(ctx); err != nil {
			problems = append(problems, err)
			continue
		}
		ready = len(all) - 1
	}
	if ready >= 0 {
		first := all[ready]
		return first, slices.Delete(all, ready, ready+1), nil
	}
	if len(problems) == 1 {
		return place{}, nil, problems[0]
	}
	return place{}, nil, fault.New(fault.KindOf(problems[0]), "no target is ready", errors.Join(problems...), firstHint(problems))
}

// request turns a part into what restic is asked to do. Streams are read
// through "saoluu pump", which counts and hashes them and passes the exit
// status on; the digest lands in the returned file.
func (r *Runner) request(ctx context.Context, job config.Job, fin *catalog.RunFinished, to place, part sources.Part, dir string) (restic.BackupRequest, string, error) {
	parent, err := r.Catalog.LatestSnapshot(ctx, job.Name, to.name, part.Name)
	if err != nil {
		return restic.BackupRequest{}, "", err
	}
	request := restic.BackupRequest{
		Tags: r.tags(job, fin.Run, part.Name), Host: r.Host, Parent: parent, TempDir: dir,
		Stall: r.Config.Engine.StallTimeout.Std(),
	}
	if len(part.Paths) > 0 {
		request.Paths, request.Exclude, request.OneFileSystem = part.Paths, part.Exclude, part.OneFileSystem
		return request, "", nil
	}
	digest := filepath.Join(dir, part.Name+".digest")
	dump := command.Cmd{Argv: []string{"/bin/cat", "--", part.File}}
	if part.Dump != nil {
		dump = *part.Dump
	}
	env, err := json.Marshal(dump.Env)
	if err != nil {
		return restic.BackupRequest{}, "", err
	}
	request.Filename = part.Filename
	request.Env = []string{command.PumpEnv + "=" + string(env)}
	request.Command = append([]string{r.Self, "pump", "--digest", digest, "--stall", r.Config.Engine.StallTimeout.Std().String(), "--"}, dump.Argv...)
	return request, digest, nil
}

// tags let a catalog be rebuilt from a bare repository with restic alone.
func (r *Runner) tags(job config.Job, run, part string) []string {
	return []string{
		"saoluu", "site=" + r.Config.Site.Code, "job=" + job.Name, "run=" + run,
		"part=" + part, "class=" + job.Class, "category=" + job.Category,
	}
}

// readDigest takes what the pump wrote into the part's result. A stream without
// a digest did not end well, whatever restic said.
func readDigest(file string, result *catalog.Part) error {
	if file == "" {
		return nil
	}
	d, err := command.ReadDigest(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Failed, fmt.Sprintf("part %q", result.Name), errors.New("the stream ended without its digest"), "")
	}
	if err != nil {
		return err
	}
	result.SHA256, result.Bytes = d.SHA256, d.Bytes
	return nil
}

// measure records how far the copy lies from its source. A distance that cannot
// be measured is recorded as unknown, not as none.
func measure(ctx context.Context, source sources.Source, to place, copied *catalog.Copy) {
	measurer, can := to.target.(targets.Measurer)
	locator, knows := source.(sources.Locator)
	if !can || !knows {
		copied.Separation = &catalog.Separation{Unknown: true, How: "this kind of source or target cannot be measured"}
		return
	}
	locations, err := locator.Locations(ctx)
	if err != nil {
		copied.Separation = &catalog.Separation{Unknown: true, How: err.Error()}
		return
	}
	s, err := measurer.Separation(ctx, locations)
	if err != nil {
		copied.Separation = &catalog.Separation{Unknown: true, How: err.Error()}
		return
	}
	copied.Separation = &catalog.Separation{Level: s.Level, How: s.How, Unknown: s.Unknown}
}
