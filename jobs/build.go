package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/sources/guest"
)

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
	case "command":
		return r.program(s)
	case "image":
		if s.Method == config.SystemTree {
			return r.systemTree(job), nil
		}
		return diskImage(s, r.Now), nil
	case "config":
		return r.configuration(s)
	case "sqlite":
		return &sources.SQLite{Path: s.Path, FactsMode: s.Facts, FactsLimit: s.FactsLimit.Std(), Now: r.Now}, nil
	case "mongodb", "sqlserver", "oracle":
		return r.vendor(job)
	case "mariadb":
		password, err := r.password(s)
		if err != nil {
			return nil, err
		}
		return &sources.MariaDB{
			Method: s.Method, Host: s.Host, Port: s.Port, User: s.User, Password: password,
			Database: s.Database, Databases: s.Databases, All: s.All,
			SSLMode: s.SSLMode, CA: s.CA, Bin: s.Bin, FactsMode: s.Facts, FactsLimit: s.FactsLimit.Std(), Now: r.Now,
			Canary: sources.Canary{Table: s.Canary, Row: r.Config.Site.Code + "/" + job.Name},
		}, nil
	case "redis":
		password, err := r.password(s)
		if err != nil {
			return nil, err
		}
		return &sources.Redis{
			Host: s.Host, Port: s.Port, User: s.User, Password: password,
			SSLMode: s.SSLMode, CA: s.CA, FactsMode: s.Facts, Now: r.Now,
		}, nil
	case "postgres":
		password, err := r.password(s)
		if err != nil {
			return nil, err
		}
		p := sources.Postgres{
			Host: s.Host, Port: s.Port, User: s.User, Password: password,
			Database: s.Database, Databases: s.Databases, All: s.All,
			SSLMode: s.SSLMode, Bin: s.Bin, FactsMode: s.Facts, FactsLimit: s.FactsLimit.Std(), Now: r.Now,
			Canary: sources.Canary{Table: s.Canary, Row: r.Config.Site.Code + "/" + job.Name},
		}
		if s.Method == "basebackup" {
			return &sources.PostgresCluster{Server: p}, nil
		}
		return &p, nil
	}
	return nil, fault.New(fault.Usage, fmt.Sprintf("job %q", job.Name), fmt.Errorf("unknown source type %q", s.Type), "")
}

// diskImage makes the source of a disk, or of that of a virtual machine.
func diskImage(s config.Source, now func() time.Time) *sources.Image {
	i := &sources.Image{Path: s.Path, Consistency: s.Consistency, Files: s.FactsFiles, Now: now}
	if g := s.Guest; g != nil {
		i.Guest = &guest.Machine{QMP: g.QMP, Device: cmp.Or(g.Device, g.Disk), Agent: g.Agent, Domain: g.Domain, URI: g.URI}
	}
	return i
}

// systemTree makes the source of a system's files. What we write ourselves is left out: a
// backup must not hold the ones before, nor the keys of repositories, which would outlive
// their destruction in it.
func (r *Runner) systemTree(job config.Job) sources.Source {
	s := job.Source
	skip := []string{r.Config.Paths.Scratch, StatePath(r.Config, "cache"), StatePath(r.Config, "keys")}
	for _, t := range r.Config.Targets {
		if (t.Type == "local" || t.Type == "removable") && filepath.IsAbs(t.Path) {
			skip = append(skip, t.Path)
		}
	}
	return &sources.SystemTree{Path: s.Path, Consistency: s.Consistency, Exclude: s.Exclude, Skip: skip, FactsMode: s.Facts, Now: r.Now}
}

// program makes the source of a program's output.
func (r *Runner) program(s config.Source) (sources.Source, error) {
	c := &sources.Command{Argv: s.Argv, Filename: s.Filename, Folder: s.Folder, FactsMode: s.Facts, Now: r.Now}
	var err error
	if c.Password, err = r.password(s); err != nil {
		return nil, err
	}
	if c.Password != "" {
		c.PasswordEnv = s.PasswordEnv
	}
	return c, nil
}

// password resolves the secret of a source; "" where it has none.
func (r *Runner) password(s config.Source) (string, error) {
	if s.Password == "" {
		return "", nil
	}
	return s.Password.Resolve(r.secrets())
}

// filledByRuns lists the targets that a run of a job fills itself. Media get theirs
// from upkeep, when they are plugged in; only a job that has nothing else writes to
// them.
func (r *Runner) filledByRuns(job config.Job) []string {
	steady := slices.DeleteFunc(slices.Clone(job.Targets), r.onMedium)
	if len(steady) == 0 {
		return job.Targets
	}
	return steady
}

// firstReady returns the first of a job's targets that is ready, and the others
// in their order, with those that cannot be used at all: each owes its copy and
// says why. When none is ready, the error of each is told.
func (r *Runner) firstReady(ctx context.Context, job config.Job) (place, []place, error) {
	var all []place
	var problems []error
	ready := -1
	for _, name := range r.filledByRuns(job) {
		p, err := r.place(ctx, name)
		if err != nil {
			p = place{name: name, unusable: err}
		}
		all = append(all, p)
		if ready >= 0 {
			continue
		}
		if err == nil {
			err = p.ready(ctx)
		}
		if err != nil {
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

// ready checks that a target may be written and that the key of its repository can
// be read: one that cannot be opened must not take the run down when another can.
func (p place) ready(ctx context.Context) error {
	if err := p.target.Ready(ctx); err != nil {
		return err
	}
	path := p.target.Repo().PasswordFile
	file, err := os.Open(path)
	if err != nil {
		return fault.New(fault.WrongKey, fmt.Sprintf("target %q", p.name), fmt.Errorf("its key %s cannot be read: %s", path, fault.Public(err)), "put the key back from its copy, readable for the user that runs saoluu")
	}
	return file.Close()
}

// request turns a part into what restic is asked to do.
func (r *Runner) request(ctx context.Context, job config.Job, fin *catalog.RunFinished, to place, part sources.Part) (restic.BackupRequest, error) {
	request := restic.BackupRequest{Tags: r.tags(job, fin.Run, part.Name), Host: r.Host}
	if len(part.Paths) > 0 {
		parent, err := r.Catalog.LatestSnapshot(ctx, job.Name, to.name, part.Name)
		request.Paths, request.Dir, request.Exclude, request.OneFileSystem, request.Parent = part.Paths, part.Dir, part.Exclude, part.OneFileSystem, parent
		return request, err
	}
	if part.Root != "" {
		request.Root = part.Root
		return request, nil
	}
	request.Stdin, request.Filename = part.Dump, part.Filename
	if part.File != "" {
		request.Stdin = reader(part.File)
	}
	request.Stdin.Stall = r.Config.Engine.StallTimeout.Std()
	return request, nil
}

// reader returns the command that streams a regular file.
func reader(file string) *command.Cmd { return &command.Cmd{Argv: []string{"/bin/cat", "--", file}} }

// tags let a catalog be rebuilt from a bare repository with restic alone.
func (r *Runner) tags(job config.Job, run, part string) []string {
	return []string{
		"saoluu", "site=" + r.Config.Site.Code, "job=" + job.Name, "run=" + run,
		"part=" + part, "class=" + job.Class, "category=" + job.Category,
	}
}
