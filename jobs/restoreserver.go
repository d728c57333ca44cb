package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"saoluu/catalog"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/verify"
)

// restoreServer loads the dump into a new database of a running server, or into an
// empty server.
func (r *Runner) restoreServer(ctx context.Context, p RestorePlan, id string, from restic.Repo, fin *catalog.RestoreFinished) error {
	into := sources.RedisRestore{Address: p.To, Password: os.Getenv("REDISCLI_AUTH"), Overwrite: p.Overwrite}
	if p.Kind == "redis" { // what is refused need not be fetched
		if _, err := into.Target(ctx); err != nil {
			return err
		}
	}
	dir, clean, err := r.scratch(id)
	if err != nil {
		return err
	}
	var dump string
	staged := p
	staged.Kind, staged.To = "dir", dir
	for _, part := range p.Parts {
		n, err := r.restorePart(ctx, staged, part, from, id)
		if err != nil {
			return errors.Join(err, clean())
		}
		fin.Bytes += n
		dump = filepath.Join(dir, filepath.Base(part.File))
	}
	r.show(Progress{Job: p.Job.Name, Step: "load into the server"})
	if p.Kind == "redis" {
		request := verify.Request{Test: id, Job: p.Job.Name, Source: p.Job.Source.Type, Bin: p.Job.Test.Bin}
		load := func(from *sources.Redis) error { return into.Run(ctx, from) }
		return errors.Join(r.tester().LoadRedis(ctx, request, dump, load), clean())
	}
	if p.Kind == "mariadb" {
		was, err := r.charset(ctx, p)
		if err != nil {
			return errors.Join(err, clean())
		}
		load := sources.MariaDBRestore{Address: p.To, Password: os.Getenv("MYSQL_PWD"), Dump: dump, Scratch: dir, Was: was, Overwrite: p.Overwrite}
		return errors.Join(load.Run(ctx), clean())
	}
	return errors.Join(sources.RestorePostgres(ctx, p.To, dump, p.Overwrite), clean())
}

// charset is how the database of a MariaDB copy encoded and sorted text; zero when no
// fact tells.
func (r *Runner) charset(ctx context.Context, p RestorePlan) (was sources.MariaDBServer, err error) {
	run, err := r.Catalog.Run(ctx, p.Run)
	if err != nil {
		return was, err
	}
	facts, err := r.factsOf(ctx, run)
	if err != nil {
		return was, err
	}
	for _, f := range facts {
		if f.Kind == sources.FactCollation && f.Part == p.Parts[0].Name {
			err = json.Unmarshal([]byte(f.Value), &was)
		}
	}
	return was, err
}
