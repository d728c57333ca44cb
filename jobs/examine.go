package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"saoluu/config"
	"saoluu/internal/command"
	"saoluu/internal/fault"
	"saoluu/sources"
	"saoluu/sources/disk"
	"saoluu/verify"
)

// Examined is one thing looked at before a night; Err is nil when it is good.
type Examined struct {
	What string
	Err  error
}

// Examine looks at every target and job as a run would find them, and changes
// nothing: targets are opened with their keys, sources located, the programs of
// restore tests looked for.
func (r *Runner) Examine(ctx context.Context) []Examined {
	_, err := r.signer(ctx)
	all := []Examined{{"key of the ledger", err}}
	for _, name := range slices.Sorted(maps.Keys(r.Config.Targets)) {
		what, err := fmt.Sprintf("target %q", name), r.examineTarget(ctx, name)
		if r.onMedium(name) && fault.KindOf(err) == fault.Absent {
			what, err = what+": "+err.Error(), nil
		}
		all = append(all, Examined{what, err})
	}
	return append(all, r.ExamineSources(ctx)...)
}

// ExamineSources is the part of Examine that needs neither catalog nor engine.
func (r *Runner) ExamineSources(ctx context.Context) []Examined {
	var all []Examined
	for _, name := range slices.Sorted(maps.Keys(r.Config.Jobs)) {
		job := r.Config.Jobs[name]
		source, err := r.source(job)
		if err == nil {
			err = r.classified(job)
		}
		if err == nil {
			if examiner, ok := source.(sources.Examiner); ok {
				err = examiner.Examine(ctx)
			}
			if locator, ok := source.(sources.Locator); ok && err == nil {
				_, err = locator.Locations(ctx)
			}
		}
		all = append(all, Examined{fmt.Sprintf("job %q: source", name), err})
		if err := r.examineRetention(job); err != nil {
			all = append(all, Examined{fmt.Sprintf("job %q: retention", name), err})
		}
		if system, is := source.(*sources.SystemTree); is && err == nil {
			all = append(all, leavesOut(ctx, name, system)...)
		}
		if job.Source.Type == "image" && job.Source.Method != config.SystemTree {
			err := disk.CanShow()
			if err != nil { // it is saved all the same
				err = fault.New(fault.Unknown, "saved as one stream, which grows faster", err, fault.HintOf(err))
			}
			all = append(all, Examined{fmt.Sprintf("job %q: blocks", name), err})
		}
		for _, c := range job.Test.Checks {
			if c.Parse != "" {
				err := verify.ParserReady(ctx, c.Parse, c.Path, job.Source.Paths, job.Source.Exclude)
				all = append(all, Examined{fmt.Sprintf("job %q: parser of %s", name, c.Parse), err})
			}
		}
		if job.Source.Type == "postgres" {
			all = append(all, Examined{fmt.Sprintf("job %q: throwaway server", name), throwawayServer(job.Test.Bin)})
		}
		if job.Source.Type == "redis" {
			all = append(all, Examined{fmt.Sprintf("job %q: throwaway server", name), throwawayRedis(job.Test.Bin)})
		}
		if isVendor(job.Source.Type) {
			all = append(all, Examined{fmt.Sprintf("job %q: restore tests", name), vendorTest(job)})
		}
		if job.Source.Type == "mariadb" {
			all = append(all, Examined{fmt.Sprintf("job %q: throwaway server", name), throwawayMariaDB(job.Test.Bin)})
		}
	}
	return all
}

// leavesOut tells what belongs to a system and will not be saved, which is no fault.
func leavesOut(ctx context.Context, job string, s *sources.SystemTree) []Examined {
	left, err := s.LeavesOut(ctx)
	if err != nil {
		return []Examined{{fmt.Sprintf("job %q: what it leaves out", job), err}}
	}
	var all []Examined
	for _, what := range left {
		all = append(all, Examined{fmt.Sprintf("job %q: leaves out %s", job, what), nil})
	}
	return all
}

func (r *Runner) examineTarget(ctx context.Context, name string) error {
	p, err := r.place(ctx, name)
	if err != nil {
		return err
	}
	if err := p.target.Ready(ctx); err != nil {
		return err
	}
	return r.sameRepository(ctx, p)
}

// throwawayServer looks for the server programs a restore test of PostgreSQL
// needs. Which major version it will be is known from the backup alone.
func throwawayServer(bin string) error {
	dirs := []string{bin}
	if bin == "" {
		found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
		if err != nil {
			return err
		}
		dirs = found
	}
	if _, err := command.LookPath("initdb", dirs...); err != nil {
		return fault.New(fault.Unknown, "restore tests", err, "install the package postgresql")
	}
	return nil
}

// throwawayMariaDB looks for the server programs a restore test of MariaDB needs.
func throwawayMariaDB(bin string) error {
	var dirs []string
	if bin != "" {
		dirs = []string{bin}
	}
	for _, name := range []string{"mariadbd", "mariadb-install-db", "mariadb"} {
		if _, err := command.LookPath(name, dirs...); err != nil {
			return fault.New(fault.Unknown, "restore tests", err, "install the packages mariadb-server-core and mariadb-client")
		}
	}
	return nil
}

// throwawayRedis looks for the server program a restore test of Redis needs.
func throwawayRedis(bin string) error {
	var dirs []string
	if bin != "" {
		dirs = []string{bin}
	}
	_, err := command.LookPath("redis-server", dirs...)
	if err != nil {
		_, err = command.LookPath("redis-check-rdb", dirs...)
	}
	if err != nil {
		return fault.New(fault.Unknown, "restore tests", err, "install the package redis-tools")
	}
	return nil
}

// ExamineKeys says for every enrolled target whether its key would outlive this
// machine.
func (r *Runner) ExamineKeys(ctx context.Context) []Examined {
	troubles, err := KeyTroubles(ctx, r.Config, r.Catalog, r.Now())
	if err != nil {
		return []Examined{{"keys", err}}
	}
	var all []Examined
	for _, name := range slices.Sorted(maps.Keys(troubles)) {
		var problems []error
		for _, t := range troubles[name] {
			problems = append(problems, errors.New(t.Why))
		}
		var err error
		if len(problems) > 0 {
			err = fault.New(fault.Failed, "", errors.Join(problems...), "")
		}
		all = append(all, Examined{fmt.Sprintf("target %q: its key", name), err})
	}
	return all
}
