package jobs

import (
	"context"

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
		if less(before) && (found == nil || found.BytesBefore < before.BytesBefore) {
			found = &before
		}
	}
	return found, nil
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
