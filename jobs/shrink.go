package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"saoluu/catalog"
	"saoluu/sources"
)

// When a run is said to have shrunk. Half is far beyond what a day's work takes
// away and near enough that an emptied folder among a few shows. It is held
// against a week of nights, so that the warning stands for as long and is not
// missed over a weekend. Small jobs change by half every day and say nothing.
const (
	shrunkBy    = 2       // times less than before
	shrunkOver  = 7       // good runs that are looked at
	shrunkBytes = 1 << 20 // data that were less before do not count
	shrunkFiles = 20      // nor do files
)

// shrank compares a good run with the good ones before it and returns what to
// record, or nil.
func (r *Runner) shrank(ctx context.Context, fin catalog.RunFinished) (*catalog.RunShrank, error) {
	if fin.State != catalog.RunComplete {
		return nil, nil
	}
	now := catalog.RunShrank{Run: fin.Run, Job: fin.Job}
	now.Bytes, now.Files = saved(fin)
	// What has no facts tonight may well be there.
	databases, err := r.databasesOf(ctx, fin, sources.FactCollation, sources.FactSkipped, sources.FactUnread)
	if err != nil {
		return nil, err
	}
	var found *catalog.RunShrank
	for run, err := range r.Catalog.Runs(ctx, catalog.RunQuery{Job: fin.Job, GoodOnly: true, Newest: true, Limit: shrunkOver}) {
		if err != nil {
			return nil, err
		}
		before := now
		before.Before = run.Run
		before.BytesBefore, before.FilesBefore = saved(run.RunFinished)
		before.Lacks = lacks(fin, run.RunFinished)
		if len(databases) > 0 {
			was, err := r.databasesOf(ctx, run.RunFinished, sources.FactCollation)
			if err != nil {
				return nil, err
			}
			before.Lacks = append(before.Lacks, gone(databases, was)...)
		}
		if (less(before) || len(before.Lacks) > 0) && (found == nil || graver(before, *found)) {
			found = &before
		}
	}
	return found, nil
}

// graver reports whether a tells more than b: of more parts that are not there,
// then of more data.
func graver(a, b catalog.RunShrank) bool {
	if len(a.Lacks) != len(b.Lacks) {
		return len(a.Lacks) > len(b.Lacks)
	}
	return a.BytesBefore > b.BytesBefore
}

// lacks names the parts that a run before had and this one has not: a database of
// many that was dropped, or renamed out of a pattern, takes little away from the
// bytes, and all of itself.
func lacks(fin, before catalog.RunFinished) []string {
	var names []string
	for _, p := range before.Parts {
		if !slices.ContainsFunc(fin.Parts, func(q catalog.Part) bool { return q.Name == p.Name }) {
			names = append(names, p.Name)
		}
	}
	return names
}

// A serverDatabase is a database of which the facts of a whole server's copy tell.
type serverDatabase struct{ part, name string }

// databasesOf lists the databases in the copy of a whole server, which has them all in
// one part, as facts of some kinds name them. A catalog that was rebuilt has no facts,
// and a run of another kind names none: of them nothing can be said.
func (r *Runner) databasesOf(ctx context.Context, fin catalog.RunFinished, kinds ...string) ([]serverDatabase, error) {
	if len(fin.Parts) != 1 {
		return nil, nil
	}
	facts, err := r.factsOf(ctx, catalog.Run{RunFinished: fin})
	if errors.Is(err, catalog.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []serverDatabase
	for _, f := range facts {
		if slices.Contains(kinds, f.Kind) && f.Of != "" {
			all = append(all, serverDatabase{f.Part, f.Of})
		}
	}
	return all, nil
}

// gone names the databases that were in one copy and are not in the one now.
func gone(now, was []serverDatabase) []string {
	var names []string
	for _, d := range was {
		if !slices.Contains(now, d) {
			names = append(names, d.part+":"+strings.Trim(d.name, "\"`"))
		}
	}
	return names
}

// saved is how much a run saved.
func saved(fin catalog.RunFinished) (bytes, files int64) {
	for _, p := range fin.Parts {
		bytes += p.Bytes
		files += p.Files
	}
	return bytes, files
}

// less reports whether bytes or files are so much less that it is worth a warning.
func less(s catalog.RunShrank) bool {
	return s.BytesBefore >= shrunkBytes && s.Bytes <= s.BytesBefore/shrunkBy ||
		s.FilesBefore >= shrunkFiles && s.Files <= s.FilesBefore/shrunkBy
}
