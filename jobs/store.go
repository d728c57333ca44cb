package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/targets"
)

// store writes every part into one repository while the facts are taken in the
// same consistent view. Every part is tried; one that fails fails the run.
func (r *Runner) store(ctx context.Context, job config.Job, fin *catalog.RunFinished, to place, p sources.Payload) error {
	facts := make(chan factsResult, 1)
	if !p.FactsLast {
		go func() { facts <- takeFacts(ctx, p) }()
	}

	copied := catalog.Copy{Target: to.name, State: catalog.RunComplete, Snapshots: map[string]string{}, Encryption: catalog.EncryptionRestic}
	var problems []error
	for _, part := range p.Parts {
		result, summary, err := r.storePart(ctx, job, fin, to, part)
		fin.Parts = append(fin.Parts, result)
		if summary.SnapshotID != "" {
			copied.Snapshots[part.Name] = summary.SnapshotID
			copied.AddedBytes += summary.Stored
		}
		if err != nil {
			copied.State = worse(copied.State, result.State)
			problems = append(problems, err)
		}
	}
	if p.FactsLast {
		facts <- takeFacts(ctx, p)
	}
	taken := <-facts
	fin.Copies = []catalog.Copy{copied}
	problems = withFacts(job, problems, taken.err)
	if p.Lacks != nil {
		problems = append(problems, fault.New(fault.Incomplete, "", p.Lacks, fault.HintOf(p.Lacks)))
	}
	if err := r.keepFacts(ctx, fin, taken.facts); err != nil {
		problems = append(problems, err)
	}
	return joinParts(problems, copied.State)
}

// withFacts adds why the facts could not be taken. Of an image they say which place of the
// disk could not be read, and restic names blocks that nobody else knows.
func withFacts(job config.Job, problems []error, err error) []error {
	if err == nil {
		return problems
	}
	problem := fault.New(fault.Incomplete, fmt.Sprintf("take facts of %q", job.Name), err, fault.HintOf(err))
	if job.Source.Type == "image" && problem.Hint != "" {
		problem.Op = fmt.Sprintf("read all of %q", job.Name)
		return append([]error{problem}, problems...)
	}
	return append(problems, problem)
}

type factsResult struct {
	facts []sources.Fact
	err   error
}

func takeFacts(ctx context.Context, p sources.Payload) factsResult {
	if p.Facts == nil {
		return factsResult{}
	}
	facts, err := p.Facts(ctx)
	return factsResult{facts, err}
}

// keepFacts puts the facts document beside the ledger and its digest into the run.
func (r *Runner) keepFacts(ctx context.Context, fin *catalog.RunFinished, facts []sources.Fact) error {
	if len(facts) == 0 {
		return nil
	}
	skipped := slices.DeleteFunc(slices.Clone(facts), func(f sources.Fact) bool { return f.Kind != sources.FactSkipped && f.Kind != sources.FactUnread })
	if len(skipped) > 0 {
		r.Log.Warn().Str("job", fin.Job).Str("run", fin.Run).Int("facts", len(skipped)).Str("first", skipped[0].Value).Msg("not all facts could be taken")
	}
	doc, err := json.Marshal(facts)
	if err != nil {
		return err
	}
	sum, err := r.Catalog.PutFacts(context.WithoutCancel(ctx), doc)
	if err != nil {
		return err
	}
	fin.Facts = &catalog.Blob{SHA256: sum, Count: len(facts), Unread: sources.Unread(facts)}
	return nil
}

// storePart writes one part and proves, where the target can, that its snapshot
// is there: restic's exit status alone is not believed.
func (r *Runner) storePart(ctx context.Context, job config.Job, fin *catalog.RunFinished, to place, part sources.Part) (catalog.Part, restic.Summary, error) {
	result := catalog.Part{Name: part.Name, File: part.Filename, State: catalog.RunFailed}
	request, err := r.request(ctx, job, fin, to, part)
	if err != nil {
		result.Error = r.public(job, err)
		return result, restic.Summary{}, err
	}
	step := fmt.Sprintf("backup to %q", to.name)
	request.OnProgress = func(p restic.Progress) {
		r.show(Progress{Job: job.Name, Step: step, Done: p.BytesDone, Total: p.BytesTotal, Remaining: p.Remaining})
	}
	summary, err := r.Engine.Backup(ctx, to.target.Repo(), request)
	if err != nil && part.Advise != nil {
		if hint := part.Advise(err.Error()); hint != "" {
			err = fault.New(fault.KindOf(err), "", err, hint)
		}
	}
	result.Bytes, result.Files = summary.Bytes, summary.Files
	if summary.Digest != nil {
		result.Files, result.SHA256 = 0, summary.Digest.SHA256
	}
	if err == nil {
		err = r.fresh(ctx, job, to, part, summary.SnapshotID)
	}
	if err == nil && (len(part.Paths) > 0 || part.Root != "") && summary.Files == 0 {
		err = fault.New(fault.Failed, fmt.Sprintf("job %q", job.Name), errors.New("there is no file at all in its paths"),
			"check that what should be there is mounted")
	}
	if err == nil && part.Dump != nil && summary.Bytes == 0 {
		err = fault.New(fault.Failed, fmt.Sprintf("job %q", job.Name), fmt.Errorf("the program of part %q wrote nothing", part.Name),
			"run it by hand to see what it says")
	}
	switch {
	case err == nil:
		result.State = catalog.RunComplete
	case fault.KindOf(err) == fault.Incomplete && summary.SnapshotID != "":
		result.State, result.Error = catalog.RunIncomplete, r.public(job, err)
	default:
		result.Error = r.public(job, err)
	}
	return result, summary, err
}

// fresh fails when a target that can tell does not hold the snapshot, or when it
// is the one that was there before: a new snapshot has a name of its own.
func (r *Runner) fresh(ctx context.Context, job config.Job, to place, part sources.Part, id string) error {
	last, err := r.Catalog.LatestSnapshot(ctx, job.Name, to.name, part.Name)
	if err != nil {
		return err
	}
	if id == last {
		return fault.New(fault.Damaged, fmt.Sprintf("target %q", to.name), fmt.Errorf("restic reported snapshot %s as new, and it is the one of the last run", id),
			"check that the program is a genuine restic")
	}
	return present(ctx, to, id)
}

// present fails when a target that can tell does not hold the snapshot.
func present(ctx context.Context, to place, id string) error {
	finder, can := to.target.(targets.Finder)
	if !can {
		return nil
	}
	held, err := finder.HasSnapshot(ctx, id)
	if err == nil && !held {
		err = fault.New(fault.Damaged, fmt.Sprintf("target %q", to.name), fmt.Errorf("restic reported snapshot %s, and the target does not hold it whole", id),
			"check that the program is a genuine restic (\"saoluu doctor\" shows which one), and the storage below the target")
	}
	return err
}

// worse returns the worse of two states of parts.
func worse(a, b string) string {
	if a == catalog.RunFailed || b == catalog.RunFailed {
		return catalog.RunFailed
	}
	if a == catalog.RunIncomplete || b == catalog.RunIncomplete {
		return catalog.RunIncomplete
	}
	return a
}

// joinParts makes one error of the parts' errors. The run is incomplete only
// when nothing failed outright.
func joinParts(problems []error, state string) error {
	if len(problems) == 0 {
		return nil
	}
	kind := fault.Incomplete
	if state == catalog.RunFailed {
		kind = failureKind(problems)
	}
	if len(problems) == 1 && fault.KindOf(problems[0]) == kind {
		return problems[0]
	}
	return fault.New(kind, "", errors.Join(problems...), firstHint(problems))
}

// failureKind returns the kind of the first outright failure.
func failureKind(problems []error) fault.Kind {
	for _, err := range problems {
		if kind := fault.KindOf(err); kind != fault.Incomplete {
			return kind
		}
	}
	return fault.Failed
}

func firstHint(problems []error) string {
	for _, err := range problems {
		if hint := fault.HintOf(err); hint != "" {
			return hint
		}
	}
	return ""
}
