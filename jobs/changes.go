package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/history"
	"saoluu/internal/fault"
	"saoluu/restic"
)

// isConfiguration tells jobs whose changes are kept as a history.
func isConfiguration(job config.Job) bool { return job.Source.Type == "config" }

// configChanged compares a good run of a configuration with the good one before it, by their
// facts, and returns what to record; nil when nothing changed or there was none before.
func (r *Runner) configChanged(ctx context.Context, job config.Job, fin catalog.RunFinished) (*catalog.ConfigChanged, error) {
	if !isConfiguration(job) || fin.State != catalog.RunComplete {
		return nil, nil
	}
	before, err := r.lastWritten(ctx, fin.Job)
	if err != nil || before.Run == "" {
		return nil, err
	}
	e := catalog.ConfigChanged{Run: fin.Run, Job: fin.Job, Before: before.Run}
	list, err := r.compareRuns(ctx, before.RunFinished, fin)
	if err != nil {
		e.Unknown = r.public(job, err)
		return &e, nil
	}
	for _, c := range list {
		switch c.Kind {
		case history.Added:
			e.Added++
		case history.Removed:
			e.Removed++
		default:
			e.Changed++
		}
	}
	if e.Files() == 0 {
		return nil, nil
	}
	return &e, nil
}

// lastWritten returns the good run of a job that was written down last, the zero value
// when there is none. It need not be the newest: while a clock was wrong, runs were made
// that are newer than any that follow, and changes must not be told against those alone.
func (r *Runner) lastWritten(ctx context.Context, job string) (catalog.Run, error) {
	const wrong = 64 // so many runs with a clock that is ahead are taken for granted
	var last catalog.Run
	for run, err := range r.Catalog.Runs(ctx, catalog.RunQuery{Job: job, GoodOnly: true, Newest: true, Limit: wrong}) {
		if err != nil {
			return catalog.Run{}, err
		}
		if last.Run == "" || run.Seq > last.Seq {
			last = run
		}
	}
	return last, nil
}

// compareRuns lists what differs between two runs.
func (r *Runner) compareRuns(ctx context.Context, before, after catalog.RunFinished) ([]history.Change, error) {
	if before.Facts == nil || after.Facts == nil {
		return nil, fault.New(fault.Unknown, "compare two runs", errors.New("one of them has no facts, as when the catalog was rebuilt from a repository"), "compare restored copies of the two by hand")
	}
	was, err := r.factsOf(ctx, catalog.Run{RunFinished: before})
	if err != nil {
		return nil, err
	}
	is, err := r.factsOf(ctx, catalog.Run{RunFinished: after})
	if err != nil {
		return nil, err
	}
	return history.Compare(was, is), nil
}

// A Version is one version of a configuration that differs from the one before it.
type Version struct {
	catalog.ConfigChange
	SavedAt time.Time // the instant the data stand for
	Files   []ChangedFile
	Trouble error // why the files are not known; nil when they are
}

// A ChangedFile is one of its files.
type ChangedFile struct {
	history.Change
	Diff      string // masked; empty: none was asked for, or the contents are the same
	Explained bool
}

// Changes shows the versions of a configuration since an instant, oldest first, with
// what differs line by line when diffs is set: for that the contents are read from the
// backups.
func (r *Runner) Changes(ctx context.Context, job config.Job, since time.Time, diffs bool, show func(Version) error) error {
	if !isConfiguration(job) {
		return fault.New(fault.Usage, fmt.Sprintf("job %q", job.Name), fmt.Errorf("a source of type %q has no history of changes", job.Source.Type), `give its source the type "config"`)
	}
	all, err := r.Catalog.ConfigChanges(ctx, r.Now())
	if err != nil {
		return err
	}
	for _, change := range all[job.Name] {
		v := Version{ConfigChange: change, SavedAt: change.At}
		after, before, err := r.bothRuns(ctx, change)
		if err != nil {
			return err
		}
		if !after.ConsistentAt.IsZero() {
			v.SavedAt = after.ConsistentAt
		}
		if v.SavedAt.Before(since) {
			continue
		}
		list, err := r.compareRuns(ctx, before.RunFinished, after.RunFinished)
		v.Trouble = err
		for _, c := range list {
			v.Files = append(v.Files, ChangedFile{Change: c, Explained: explains(change, c.Path)})
		}
		if diffs {
			r.differences(ctx, job, before, after, v.Files)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := show(v); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) bothRuns(ctx context.Context, change catalog.ConfigChange) (after, before catalog.Run, err error) {
	if after, err = r.Catalog.Run(ctx, change.Run); err != nil {
		return after, before, err
	}
	before, err = r.Catalog.Run(ctx, change.Before)
	return after, before, err
}

// explains reports whether somebody has explained the change of a path.
func explains(change catalog.ConfigChange, path string) bool {
	return slices.ContainsFunc(change.Explained, func(d catalog.Dated[catalog.ChangeExplained]) bool {
		return len(d.Event.Paths) == 0 || slices.Contains(d.Event.Paths, pathDigest(path))
	})
}

// pathDigest stands for a path in the ledger.
func pathDigest(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:])
}

// Bounds of what is shown line by line: each content is fetched by itself.
const (
	mostDiffs = 200     // files of one version
	diffBytes = 1 << 20 // of one content
)

// differences fills in how contents differ. Of what cannot be read it says why.
func (r *Runner) differences(ctx context.Context, job config.Job, before, after catalog.Run, files []ChangedFile) {
	was, is := r.savedContents(ctx, job, before), r.savedContents(ctx, job, after)
	shown := 0
	for i := range files {
		f := &files[i]
		if !f.Content() || f.Before == "" && f.After == "" || ctx.Err() != nil {
			continue
		}
		if shown++; shown > mostDiffs {
			f.Diff = fmt.Sprintf("(not shown: more than %d files changed at once)\n", mostDiffs)
			continue
		}
		old, err := was(f.Part, f.Path, f.Before)
		var now []byte
		if err == nil {
			now, err = is(f.Part, f.Path, f.After)
		}
		if err != nil {
			f.Diff = "(not shown: " + fault.Public(err) + ")\n"
			continue
		}
		f.Diff = history.Diff(f.Path, old, now)
	}
}

// savedContents returns what reads files of a run from the first of its copies that can be
// reached, and makes sure that they are what was saved.
func (r *Runner) savedContents(ctx context.Context, job config.Job, run catalog.Run) func(part, path, sum string) ([]byte, error) {
	copied, err := r.pickCopy(ctx, job, run, "")
	var from restic.Repo
	if err == nil {
		var at place
		if at, err = r.place(ctx, copied.Target); err == nil {
			from, err = at.readable(ctx)
		}
	}
	return func(part, path, sum string) ([]byte, error) {
		if sum == "" || err != nil {
			return nil, err
		}
		var text bytes.Buffer
		_, err := r.Engine.Dump(ctx, from, copied.Snapshots[part], path, &bounded{w: &text, left: diffBytes}, restic.DumpOptions{})
		if errors.Is(err, errTooLong) {
			err = errTooLong
		}
		if err != nil {
			return nil, err
		}
		if got := sha256.Sum256(text.Bytes()); hex.EncodeToString(got[:]) != sum {
			return nil, errors.New("it reads back with another digest than it was saved with")
		}
		return text.Bytes(), nil
	}
}

var errTooLong = fmt.Errorf("longer than %d KiB", diffBytes>>10)

// A bounded writer takes no more than so much.
type bounded struct {
	w    *bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errTooLong
	}
	return b.w.Write(p)
}

// An Explanation says why a configuration was changed.
type Explanation struct {
	Run           string
	Paths         []string // empty: all that changed
	Note, Ref, By string
	Asked         string // account that ran the command
}

// Explain records why a version of a configuration differs from the one before it.
func (r *Runner) Explain(ctx context.Context, job config.Job, x Explanation) error {
	op := fmt.Sprintf("explain run %s of %q", x.Run, job.Name)
	switch {
	case strings.TrimSpace(x.Note) == "":
		return fault.New(fault.Usage, op, errors.New("no explanation is given"), "say with --note why it was changed")
	case strings.TrimSpace(x.By) == "":
		return fault.New(fault.Usage, op, errors.New("nobody is named"), "say with --by who answers for the change")
	}
	all, err := r.Catalog.ConfigChanges(ctx, r.Now())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all[job.Name], func(c catalog.ConfigChange) bool { return c.Run == x.Run })
	if i < 0 {
		return fault.New(fault.Usage, op, errors.New("that run has changed nothing"), fmt.Sprintf(`run "saoluu changes %s" to see the runs that did`, job.Name))
	}
	e := catalog.ChangeExplained{Run: x.Run, Job: job.Name, Note: strings.TrimSpace(x.Note), Ref: strings.TrimSpace(x.Ref), By: strings.TrimSpace(x.By), Asked: x.Asked}
	if len(x.Paths) > 0 {
		after, before, err := r.bothRuns(ctx, all[job.Name][i])
		if err != nil {
			return err
		}
		list, err := r.compareRuns(ctx, before.RunFinished, after.RunFinished)
		if err != nil {
			return err
		}
		for _, path := range x.Paths {
			if !slices.ContainsFunc(list, func(c history.Change) bool { return c.Path == path }) {
				return fault.New(fault.Usage, op, fmt.Errorf("%q is not among what changed", path), fmt.Sprintf(`run "saoluu changes %s" to see the files`, job.Name))
			}
			e.Paths = append(e.Paths, pathDigest(path))
		}
	}
	_, err = r.Catalog.Append(ctx, e)
	return err
}
