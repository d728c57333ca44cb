package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"saoluu/config"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// A place is a target under its configured name.
type place struct {
	name     string
	target   targets.Target
	unusable error // why there is no target; only among those that firstReady returns
	oneByOne bool  // copies to it are made one by one
}

// place makes a configured target. What was enrolled comes from the catalog.
// Adding a kind is one file in targets, one case here, one sample in config.
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
	target, err := r.target(ctx, name, t, state.ID, repo)
	return place{name: name, target: target}, err
}

// target makes a target of its kind.
func (r *Runner) target(ctx context.Context, name string, t config.Target, id string, repo restic.Repo) (targets.Target, error) {
	site, said := r.Config.Site.Code, targets.Declared{System: t.StorageSystem, Site: t.Site}
	switch t.Type {
	case "local":
		return &targets.Local{
			Name: name, Path: t.Path, Site: site, ID: id, Declared: said, ReserveBytes: int64(t.Reserve), Repository: repo,
		}, nil
	case "removable":
		return r.removable(ctx, name, t, id, said, repo)
	case "s3":
		return r.s3(name, t, id, said, repo)
	case "sftp":
		key, err := r.Shared.keyPath(t.Key, r.secrets())
		if err != nil {
			return nil, err
		}
		s := &targets.SFTP{
			Name: name, Host: t.Host, Port: t.Port, User: t.User, Path: t.Path, Key: key, KnownHosts: t.KnownHosts,
			Site: site, ID: id, Declared: said, ReserveBytes: int64(t.Reserve), Repository: repo,
		}
		s.Repository.URL, s.Repository.Options = s.SFTPRepo()
		return s, nil
	case "rest":
		rest := &targets.REST{Name: name, URL: t.Address(), User: t.User, CA: t.CA, ID: id, Declared: said, Repository: repo}
		if t.UserPassword != "" {
			password, err := t.UserPassword.Resolve(r.secrets())
			if err != nil {
				return nil, err
			}
			rest.Password = password
		}
		rest.Repository.URL, rest.Repository.Env = rest.RESTRepo()
		return rest, nil
	}
	return nil, fault.New(fault.Usage, fmt.Sprintf("target %q", name), fmt.Errorf("unknown target type %q", t.Type), "")
}

func (r *Runner) s3(name string, t config.Target, id string, said targets.Declared, repo restic.Repo) (targets.Target, error) {
	access, err := t.AccessKey.Resolve(r.secrets())
	if err != nil {
		return nil, err
	}
	secret, err := t.SecretKey.Resolve(r.secrets())
	if err != nil {
		return nil, err
	}
	s := &targets.S3{
		Name: name, Endpoint: t.Address(), Bucket: t.Bucket, Prefix: t.Prefix, Region: t.Region, CA: t.CA,
		AccessKey: access, SecretKey: secret, Lock: t.ObjectLock.Std(),
		Site: r.Config.Site.Code, ID: id, Declared: said, Now: r.Now, Repository: repo,
	}
	s.Repository.URL, s.Repository.Env, s.Repository.Options = s.S3Repo()
	return s, nil
}

// repo says how restic opens a target and by which lock files its verbs keep out
// of each other's way. Kinds that are not a local path change the address.
func (r *Runner) repo(name string, t config.Target) (restic.Repo, error) {
	repo := restic.Repo{
		Name: name, URL: t.Path, PasswordFile: r.keyPath(name),
		Gate:        r.Shared.gate(StatePath(r.Config, "locks"), name, t.Parallel),
		LimitUpload: perSecond(t.LimitUpload), LimitDownload: perSecond(t.LimitDownload),
	}
	if t.Password != "" {
		var err error
		if repo.PasswordFile, err = r.Shared.secretPath(t.Password, r.secrets()); err != nil {
			return repo, err
		}
	}
	repo.Fast = r.shortcut(name, repo.PasswordFile)
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

// readable returns how to read a target's repository: without restic's lock where
// none can be written, because the storage is full or read-only. What lies there
// must come back all the same, also when the storage locks nothing any more.
func (p place) readable(ctx context.Context) (restic.Repo, error) {
	repo := p.target.Repo()
	err := p.target.Ready(ctx)
	if errors.Is(err, targets.ErrLetsGo) {
		return repo, nil
	}
	switch fault.KindOf(err) {
	case fault.NoSpace, fault.Denied:
		repo.NoLock = true
		return repo, nil
	default:
		return repo, err
	}
}

// perSecond is a bound in KiB/s as restic takes it: 0 for none, and else never 0.
func perSecond(bytes calendar.Bytes) int {
	const kib = 1 << 10
	return int((bytes + kib - 1) / kib)
}
