package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/history"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/verify"
)

// controlEvery is how long a negative control vouches for the checks of its
// kind of source (design, "A test needs proof": a scheduled negative control).
const controlEvery = 31 * 24 * time.Hour

// A Pick says which copy a restore test shall take. The zero value takes the
// newest good run from the target whose copies were tested least recently.
type Pick struct {
	Target string
	Date   calendar.Date // the newest good run that stands for this day or an earlier one
	Seed   string        // chooses among all good runs, the same for the same seed
	Run    string        // this run, though it may not be good: for restores, never for tests
	Part   string        // this part alone, or this database of several: for restores
}

// Test restores one copy of a job into a sandbox and checks it. Like Backup it
// writes a started event first and a finished event however it ends. The
// returned error is nil only when the verdict is passed; its kind is
// Verification when the copy was looked at and found wanting, and Unknown when
// it could not be looked at.
func (r *Runner) Test(ctx context.Context, job config.Job, pick Pick, t Trigger) (TestDone, error) {
	start, mark := r.Now(), r.Clock.Mark()
	fin := catalog.TestFinished{
		Test: newID(start), Job: job.Name, Source: job.Source.Type, Due: t.Due, Covers: t.Covers,
		Trigger: t.Word, StartedAt: start.UTC(), Verdict: catalog.VerdictUnknown, Seed: pick.Seed, Host: r.Host,
	}
	release, err := r.enliven(fin.Test)
	if err != nil {
		return TestDone{TestFinished: fin}, err
	}
	defer release()
	run, copied, err := r.pick(ctx, job, pick, &fin)
	started := catalog.TestStarted{Test: fin.Test, Job: job.Name, Run: fin.Run, Target: fin.Target, Due: t.Due, Trigger: t.Word}
	if _, err := r.Catalog.Append(ctx, started); err != nil {
		return TestDone{TestFinished: fin}, err
	}
	if err == nil {
		err = r.restoreTest(ctx, job, run, copied, &fin)
	}
	fin.FinishedAt = r.Now().UTC()
	fin.ClockSuspect = r.Clock.JumpedSince(mark)
	if err != nil {
		fin.Verdict = catalog.VerdictUnknown
		fin.Error, fin.ErrorKind, fin.Hint = r.public(job, err), string(fault.KindOf(err)), r.hidePaths(job, fault.HintOf(err))
	}
	if ctx.Err() != nil {
		fin.Due, fin.Covers = nil, nil // the slot stays open: the next start takes it up
	}
	entries, written := r.Catalog.Append(context.WithoutCancel(ctx), fin)
	if written != nil {
		return TestDone{TestFinished: fin}, errors.Join(verdictError(fin, err), written)
	}
	return TestDone{fin, entries[len(entries)-1].Seq}, verdictError(fin, err)
}

// TestDone is a finished restore test and the ledger entry that says so.
type TestDone struct {
	catalog.TestFinished
	Entry int64
}

// failedHint says what to do about a test that failed. A copy that holds what was saved,
// by the facts, is not made better by an older one.
func failedHint(fin catalog.TestFinished) string {
	if fin.Blames == catalog.BlamesNothing && slices.ContainsFunc(fin.Assertions, func(a catalog.Assertion) bool { return strings.HasPrefix(a.Name, "facts: ") }) {
		return "the copy is as it was saved: see what the check says, and mend the source or the check"
	}
	return "restore an older copy with \"saoluu restore --date\", and find out what damaged this one"
}

// verdictError turns a verdict into the error that sets the exit code.
func verdictError(fin catalog.TestFinished, err error) error {
	const op = "restore test"
	switch {
	case err != nil && fault.KindOf(err) == fault.Cancelled:
		return err
	case err != nil:
		return fault.New(fault.Unknown, op, err, fault.HintOf(err))
	case fin.Verdict == catalog.VerdictPassed:
		return nil
	case fin.Verdict == catalog.VerdictFailed:
		return fault.New(fault.Verification, op, errors.New(firstBroken(fin.Assertions)), failedHint(fin))
	case fin.Verdict == catalog.VerdictNotConfigured:
		return fault.New(fault.Unknown, op, errors.New("nothing was asserted on the restored data"), "add checks to the job's restore_test")
	default:
		return fault.New(fault.Unknown, op, errors.New(cmp.Or(fin.Error, "no verdict")), "")
	}
}

func firstBroken(all []catalog.Assertion) string {
	for _, a := range all {
		if !a.OK && !slices.Contains(outsideVerdict, a.Name) {
			return fmt.Sprintf("%s: expected %s, found %s", a.Name, a.Expected, a.Actual)
		}
	}
	return "the copy is damaged"
}

// restoreTest is the test line after the choice: facts, restore, checks, control.
func (r *Runner) restoreTest(ctx context.Context, job config.Job, run catalog.Run, copied catalog.Copy, fin *catalog.TestFinished) error {
	place, err := r.place(ctx, copied.Target)
	if err != nil {
		return err
	}
	repo, err := place.readable(ctx)
	if err != nil {
		return err
	}
	if fin.Due != nil {
		if err := r.affords(ctx, copied.Target); err != nil {
			return err
		}
	}
	repo.Meter = &restic.Meter{}
	defer func() { fin.FetchedBytes = repo.Meter.Bytes() }()
	facts, err := r.factsOf(ctx, run)
	if err != nil {
		return err
	}
	kind := job.Source.Type
	for _, p := range run.Parts {
		switch {
		case sources.IsCluster(p.Name):
			kind += byBasebackup
		case sources.IsMariabackup(p.File):
			kind += byMariabackup
		}
	}
	if slices.ContainsFunc(job.Test.Checks, func(c config.Check) bool { return c.Boot != "" }) {
		kind += byBoot
	}
	vouched, err := r.vouched(ctx, &kind, facts, slices.ContainsFunc(run.Parts, func(p catalog.Part) bool { return sources.IsCluster(p.Name) }))
	if err != nil {
		return err
	}
	request := r.testRequest(job, run, copied, repo, facts, fin)
	request.Control = vouched == ""
	result, err := r.tester().Test(ctx, request)
	r.take(result, fin)
	for _, line := range result.Detail {
		if isConfiguration(job) || job.Source.Type == "files" { // parsers repeat the line that they do not understand
			line = strings.Join(history.Mask(line), "\n")
		}
		r.Log.Warn().Str("job", job.Name).Str("run", run.Run).Msg(line)
	}
	if err := errors.Join(err, r.keepArtifacts(ctx, result.Artifacts, fin)); err != nil {
		return err
	}
	return r.vouch(ctx, job.Name, kind, result, vouched, fin)
}

// byMariabackup and byBasebackup mark the control of a test of a server's files, and
// byBoot that of an image that is booted: what else there is of their kinds is damaged
// by other means.
const (
	byMariabackup = " mariabackup"
	byBasebackup  = " basebackup"
	byBoot        = " boot"
)

// tester makes the restore tester of this site.
func (r *Runner) tester() *verify.Tester {
	return &verify.Tester{Engine: r.Engine, Scratch: r.Config.Paths.Scratch, Now: r.Now, Confine: r.Confine, Memory: int64(r.Config.Limits.TestMemory), Reserve: int64(r.Config.Limits.TestReserve)}
}

// factsOf reads what was true of the source when the run was made.
func (r *Runner) factsOf(ctx context.Context, run catalog.Run) ([]sources.Fact, error) {
	if run.Facts == nil {
		return nil, nil
	}
	doc, err := r.Catalog.Facts(ctx, run.Facts.SHA256)
	if err != nil {
		return nil, err
	}
	var facts []sources.Fact
	if err := json.Unmarshal(doc, &facts); err != nil {
		return nil, fault.New(fault.Damaged, fmt.Sprintf("facts of run %s", run.Run), err, "")
	}
	return facts, nil
}

// take copies what the tester found into the event.
func (r *Runner) take(result verify.Result, fin *catalog.TestFinished) {
	fin.Verdict, fin.Level, fin.Full = cmp.Or(result.Verdict, catalog.VerdictUnknown), result.Level, result.Full
	fin.RestoreSeconds = result.RestoreTime.Round(time.Millisecond).Seconds()
	fin.RestoredBytes = result.RestoredBytes
	fin.Beyond, fin.BootSeconds = result.Beyond, result.BootTime.Round(time.Millisecond).Seconds()
	for _, a := range result.Assertions {
		fin.Assertions = append(fin.Assertions, catalog.Assertion(a))
	}
	if fin.Verdict == catalog.VerdictFailed {
		fin.Blames = blames(result.Assertions)
	}
	fin.Tools = []catalog.Tool{{Name: "restic", Version: r.Engine.Version, SHA256: r.Engine.SHA256}, {Name: "saoluu", Version: r.Version}}
	for _, t := range result.Tools {
		fin.Tools = append(fin.Tools, catalog.Tool{Name: t.Name, Version: t.Version})
	}
}

// keepArtifacts keeps what shows what happened, also of a test that could not be ended.
func (r *Runner) keepArtifacts(ctx context.Context, artifacts []verify.Artifact, fin *catalog.TestFinished) error {
	for _, a := range artifacts {
		sum, err := r.Catalog.PutFacts(context.WithoutCancel(ctx), a.Content)
		if err != nil {
			return err
		}
		fin.Artifacts = append(fin.Artifacts, catalog.Artifact{Name: a.Name, SHA256: sum, Bytes: int64(len(a.Content))})
	}
	return nil
}

// builtIn are the assertions that compare restored data with what was saved;
// "facts: …" are too. Only they speak of the data: a check of the job's own may be
// wrong itself, and then nothing that is whole may be given up for it.
var builtIn = []string{"stream digest", "stream", "dump", "load", "database", "roles", "manifest", "start", "amcheck", "partition table"}

// outsideVerdict are assertions that are shown but decide nothing.
var outsideVerdict = []string{"rto", "data", "tables not compared", "drift", "file systems not checked", "files not compared", "system: os-release", "system: kernel", "system: fstab"}

// blames says what the broken assertions speak against: the run, the one copy
// that was read, or nothing that was saved.
func blames(all []verify.Assertion) string {
	word := catalog.BlamesNothing
	for _, a := range all {
		switch {
		case a.OK, slices.Contains(outsideVerdict, a.Name), a.Name == verify.AssertionFreshness:
		case a.Name == verify.AssertionRestore && word != catalog.BlamesRun:
			word = catalog.BlamesCopy
		case slices.Contains(builtIn, a.Name), strings.HasPrefix(a.Name, "facts: "):
			word = catalog.BlamesRun
		}
	}
	return word
}

// testRequest spells out what the tester shall restore and check.
func (r *Runner) testRequest(job config.Job, run catalog.Run, copied catalog.Copy, from restic.Repo, facts []sources.Fact, fin *catalog.TestFinished) verify.Request {
	request := verify.Request{
		Test: fin.Test, Job: job.Name, Source: job.Source.Type, Repo: from, Facts: facts, Saved: job.Source.Paths, Excluded: job.Source.Exclude,
		ConsistentAt: run.ConsistentAt, RTO: job.RTO.Std(), Sample: job.Test.Sample, Seed: fin.Test, Bin: job.Test.Bin,
		Location: r.Config.Site.Location,
		OnProgress: func(done, total int64, remaining time.Duration) {
			r.show(Progress{Job: job.Name, Step: fmt.Sprintf("restore test from %q", from.Name), Done: done, Total: total, Remaining: remaining})
		},
	}
	if fin.Pick == pickNewest {
		request.MaxAge = job.RPO.Std() * 3 / 2 // requirements on restore tests: up to half as much again is a warning
	}
	for _, part := range run.Parts {
		id := copied.Snapshots[part.Name]
		fin.Snapshots = append(fin.Snapshots, id)
		request.Parts = append(request.Parts, verify.PartCopy{
			Part: part.Name, Snapshot: id, Filename: part.File, SHA256: part.SHA256, Bytes: part.Bytes, Files: part.Files,
		})
	}
	for _, c := range job.Test.Checks {
		request.Checks = append(request.Checks, r.check(c, job.Source))
	}
	return request
}

// bootDefault stands in a job for the marker that most systems write.
const bootDefault = "default"

// boot translates what is asked of a disk that boots.
func (r *Runner) boot(c config.Check) *verify.Boot {
	b := &verify.Boot{
		Marker: c.Boot, Picture: c.BootPicture, Firmware: c.BootFirmware, Bus: c.BootBus, Memory: int64(c.BootMemory), Limit: c.BootLimit.Std(),
		Run: c.BootRun, Expect: c.BootExpect, Login: c.BootLogin,
	}
	if c.Boot == bootDefault {
		b.Marker = ""
	}
	if c.BootPassword != "" {
		b.Password = func() (string, error) { return c.BootPassword.Resolve(r.secrets()) }
	}
	return b
}

// check translates one configured assertion.
func (r *Runner) check(c config.Check, source config.Source) verify.Check {
	out := verify.Check{
		Name: c.Name, SQL: c.SQL, Min: c.Min, Max: c.Max, Equals: c.Equals,
		ExpectedEmpty: c.ExpectedEmpty, Exists: c.Exists, MinFiles: c.MinFiles,
		Run: c.Run, Read: c.Read, Write: c.Write, Network: c.Network, Redis: c.Redis, Parse: c.Parse, ParsePath: c.Path,
	}
	if source.Type == "redis" {
		out.Index, _ = strconv.Atoi(c.Database) // a number, as the configuration was checked to have
		c.Database = ""
	}
	if c.Database != "" && c.Database != source.Database {
		out.Part = sources.PartOfDatabase(c.Database)
	}
	if c.Boot != "" {
		out.Boot = r.boot(c)
	}
	if c.NewerThan != nil {
		out.NewerThan = c.NewerThan.Std()
	}
	if c.SHA256 != nil {
		out.SHA256Path, out.SHA256Hex = c.SHA256.Path, c.SHA256.Hex
	}
	return out
}

// The rules that choose a run, as recorded.
const (
	pickNewest = "newest good run"
	pickDate   = "newest good run up to the given day"
	pickSeed   = "good run chosen by seed"
)

// pick chooses run and target and records by which rule.
func (r *Runner) pick(ctx context.Context, job config.Job, p Pick, fin *catalog.TestFinished) (catalog.Run, catalog.Copy, error) {
	run, err := r.pickRun(ctx, job, p, fin)
	if err != nil {
		return catalog.Run{}, catalog.Copy{}, err
	}
	fin.Run, fin.ConsistentAt = run.Run, run.ConsistentAt
	copied, err := r.pickCopy(ctx, job, run, cmp.Or(p.Target, job.Test.Target))
	fin.Target = copied.Target
	return run, copied, err
}

func (r *Runner) pickRun(ctx context.Context, job config.Job, p Pick, fin *catalog.TestFinished) (catalog.Run, error) {
	q := catalog.RunQuery{Job: job.Name, GoodOnly: true, Newest: true, Limit: 1}
	fin.Pick = pickNewest
	if !p.Date.IsZero() {
		fin.Pick = pickDate
		q.To = p.Date.AddDays(1).Start(r.Config.Site.Location)
	}
	if p.Seed != "" {
		fin.Pick, q.Limit = pickSeed, 0
	}
	var runs []catalog.Run
	for run, err := range r.Catalog.Runs(ctx, q) {
		if err != nil {
			return catalog.Run{}, err
		}
		if run.Pruned.IsZero() {
			runs = append(runs, run)
		}
	}
	if len(runs) == 0 {
		return catalog.Run{}, fault.New(fault.Absent, "", fmt.Errorf("there is no good backup of %q", job.Name),
			fmt.Sprintf("run \"saoluu backup %s\"", job.Name))
	}
	if p.Seed == "" {
		return runs[0], nil
	}
	h := fnv.New64a()
	h.Write([]byte(p.Seed + "\x00" + job.Name))
	return runs[h.Sum64()%uint64(len(runs))], nil
}

// pickCopy chooses among a run's copies: the one asked for, or the one on the
// target that was tested least recently for this job, so that every target is
// proved in turn.
func (r *Runner) pickCopy(ctx context.Context, job config.Job, run catalog.Run, target string) (catalog.Copy, error) {
	tested := map[string]time.Time{}
	for t, err := range r.Catalog.Tests(ctx, catalog.TestQuery{Job: job.Name}) {
		if err != nil {
			return catalog.Copy{}, err
		}
		tested[t.Target] = t.FinishedAt
	}
	var candidates []catalog.Copy
	var err error
	for _, c := range run.Copies {
		if c.State == catalog.RunComplete && run.Gone[c.Target].IsZero() && (target == "" || c.Target == target) {
			candidates = append(candidates, c)
		}
	}
	if len(candidates) == 0 {
		return catalog.Copy{}, noCopy(job, run, target)
	}
	if target == "" {
		if candidates, err = r.reachable(ctx, candidates); err != nil {
			return catalog.Copy{}, err
		}
	}
	return slices.MinFunc(candidates, func(a, b catalog.Copy) int { return tested[a.Target].Compare(tested[b.Target]) }), nil
}
