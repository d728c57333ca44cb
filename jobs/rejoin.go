package jobs

import (
	"context"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/restic"
)

// Rejoin ends a recovery: the ledger says that it was brought back, and backups
// that were made after the copy of the state, or on other targets, become known.
// Targets that cannot be looked at now are named; their upkeep does it.
func (r *Runner) Rejoin(ctx context.Context, back Returned) (runs int, away map[string]error, err error) {
	if _, err := r.Catalog.Append(ctx, catalog.SiteRecovered{Target: back.Target, Snapshot: back.Snapshot, Entries: back.Entries, Host: r.Host}); err != nil {
		return 0, nil, err
	}
	found := back.Runs
	away = map[string]error{}
	for _, name := range sortedNames(r.Config.Targets) {
		if name == back.Target {
			continue
		}
		p, err := r.place(ctx, name)
		if err == nil {
			err = p.target.Ready(ctx)
		}
		var listed []restic.Snapshot
		if err == nil {
			listed, err = r.Engine.Snapshots(ctx, p.target.Repo(), restic.Filter{Tags: []string{"saoluu"}})
		}
		if err != nil {
			away[name] = err
			continue
		}
		for _, s := range listed {
			found = append(found, catalog.RecoveredSnapshot{Target: name, ID: s.ID, Time: s.Time, Tags: s.Tags})
		}
	}
	runs, err = r.Catalog.RebuildFromSnapshots(ctx, found)
	if err != nil {
		return runs, away, err
	}
	return runs, away, r.SetInventory(ctx)
}

// Unresolved returns the secrets of the configuration that cannot be read here,
// by what they are for.
func (r *Runner) Unresolved() map[string]error {
	missing := map[string]error{}
	try := func(what string, s config.Secret) {
		if s == "" {
			return
		}
		if _, err := s.ResolveKey(r.secrets()); err != nil {
			missing[what] = err
		}
	}
	for name, t := range r.Config.Targets {
		at := "targets." + name + "."
		try(at+"password", t.Password)
		try(at+"access_key", t.AccessKey)
		try(at+"secret_key", t.SecretKey)
		try(at+"key", t.Key)
		try(at+"user_password", t.UserPassword)
	}
	for name, j := range r.Config.Jobs {
		try("jobs."+name+".source.password", j.Source.Password)
	}
	return missing
}
