package jobs

import (
	"context"
	"slices"

	"saoluu/catalog"
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
	var found *catalog.RunShrank
	for run, err := range r.Catalog.Runs(ctx, catalog.RunQuery{Job: fin.Job, GoodOnly: true, Newest: true, Limit: shrunkOver}) {
		if err != nil {
			return nil, err
		}
		before := now
		before.Before = run.Run
		before.BytesBefore, before.FilesBefore = saved(run.RunFinished)
		before.Lacks = lacks(fin, run.RunFinished)
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
