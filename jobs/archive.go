package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"filippo.io/age"

	"saoluu/archive"
	"saoluu/catalog"
	"saoluu/config"
	"saoluu/escrow"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/targets"
)

// An ArchiveRequest says what goes to offline media.
type ArchiveRequest struct {
	Jobs     []config.Job
	Run      string // of the only job; empty: the newest good one of each
	Target   string // to read from; empty: any
	Dir      string
	Size     int64 // the most bytes of a disc
	AnySpace bool  // begin although it may not fit
	Identity string
	By       string // who asked
}

// An Archived is a set that was written and read back.
type Archived struct {
	catalog.ArchiveWritten
	Dir      string
	Warnings []string
}

// Archive writes a set of offline media with one good run of each job, reads it
// back and records it.
func (r *Runner) Archive(ctx context.Context, q ArchiveRequest) (Archived, error) {
	const op = "write the archive"
	done := Archived{Dir: q.Dir}
	people := custodians(r.Config)
	if len(people) == 0 {
		return done, fault.New(fault.Refused, op, errors.New("there are no custodians to encrypt it to"),
			"name at least two people with their public keys as [custodians.NAME] in the configuration")
	}
	if len(people) == 1 {
		done.Warnings = append(done.Warnings, "there is one custodian: when that key is lost, nobody can open the archive; name a second one")
	}
	o := archive.Options{
		Dir: q.Dir, Size: q.Size, Set: newID(r.Now()), Site: r.Config.Site.Code, SiteName: r.Config.Site.Name, Location: r.Config.Site.Location,
		Made: r.Now().UTC().Truncate(time.Second), Spool: r.Config.Paths.Scratch, AnySpace: q.AnySpace, Show: r.archiveProgress(),
		Tools: []archive.Tool{{Name: "saoluu", Version: r.Version}, {Name: "restic", Version: r.Engine.Version}},
	}
	var err error
	if o.Recipients, err = escrow.Recipients(people); err != nil {
		return done, err
	}
	if o.Identities, err = identitiesOf(q.Identity); err != nil {
		return done, err
	}
	for _, c := range people {
		print := escrow.Fingerprint(c.Recipient)
		o.Custodians = append(o.Custodians, archive.Custodian{Name: c.Name, Title: c.Title, Fingerprint: print})
		done.Recipients = append(done.Recipients, catalog.SealedTo{Custodian: c.Name, Fingerprint: print})
	}
	release, err := r.enliven("archive-" + o.Set)
	if err != nil {
		return done, err
	}
	defer release()
	if err := os.MkdirAll(o.Spool, 0o711); err != nil {
		return done, err
	}
	for _, job := range q.Jobs {
		run, left, err := r.archiveRun(ctx, job, Pick{Run: q.Run, Target: q.Target})
		if err != nil {
			return done, err
		}
		o.Runs = append(o.Runs, run)
		if left > 0 {
			done.Warnings = append(done.Warnings, fmt.Sprintf("%d pipes, sockets or devices of %q are left out: tar from restic has none", left, job.Name))
		}
	}
	set, err := archive.Write(ctx, o)
	if err != nil {
		return done, err
	}
	return r.recordArchive(ctx, done, set, q, len(o.Identities) > 0)
}

// identitiesOf reads a custodian's private key, when one is named.
func identitiesOf(path string) ([]age.Identity, error) {
	if path == "" {
		return nil, nil
	}
	identities, _, err := config.Identity(path)
	return identities, err
}

// recordArchive puts a finished set into the ledger.
func (r *Runner) recordArchive(ctx context.Context, done Archived, set archive.Written, q ArchiveRequest, opened bool) (Archived, error) {
	x := set.Index
	done.Set, done.SHA256, done.Discs, done.Volumes, done.Bytes = x.Set, set.SHA256, x.Discs, len(x.Volumes), x.Bytes
	done.Verified, done.Opened, done.StartedAt, done.FinishedAt, done.By = true, opened, x.Made, r.Now().UTC(), q.By
	for _, run := range x.Runs {
		done.Runs = append(done.Runs, run.Run)
	}
	done.Separation = r.archiveDistance(ctx, q)
	_, err := r.Catalog.Append(context.WithoutCancel(ctx), done.ArchiveWritten)
	if err != nil {
		err = fault.New(fault.KindOf(err), fmt.Sprintf("record archive %s, which is whole", x.Set), err, fault.HintOf(err))
	}
	return done, err
}

// archiveDistance measures how far what a set was written to lies from the nearest
// of the data in it and of all targets. A set that lies on a disk with one of them
// is lost with it.
func (r *Runner) archiveDistance(ctx context.Context, q ArchiveRequest) *catalog.Separation {
	unknown := func(err error) *catalog.Separation { return &catalog.Separation{Unknown: true, How: fault.Public(err)} }
	var beside []string
	for _, job := range q.Jobs {
		source, err := r.source(job)
		if err != nil {
			return unknown(err)
		}
		locator, knows := source.(sources.Locator)
		if !knows {
			return &catalog.Separation{Unknown: true, How: "the source does not say where its data lie"}
		}
		locations, err := locator.Locations(ctx)
		if err != nil {
			return unknown(err)
		}
		beside = append(beside, locations...)
	}
	nearest, err := (&targets.Local{Path: q.Dir}).Separation(ctx, beside)
	if err != nil {
		return unknown(err)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Config.Targets)) {
		s, err := r.besideTarget(ctx, name, q.Dir)
		switch {
		case err != nil && r.Config.Targets[name].Type == "removable":
			continue // nothing was written to a medium that is not plugged in
		case err != nil:
			return unknown(err)
		}
		if s.Unknown || !nearest.Unknown && s.Level < nearest.Level {
			nearest.Unknown, nearest.Level, nearest.How = s.Unknown, s.Level, fmt.Sprintf("target %q: %s", name, s.How)
		}
	}
	return &catalog.Separation{Level: nearest.Level, How: nearest.How, Domain: nearest.Domain, Unknown: nearest.Unknown}
}

// besideTarget measures how far a folder lies from a target.
func (r *Runner) besideTarget(ctx context.Context, name, dir string) (targets.Separation, error) {
	p, err := r.place(ctx, name)
	if err != nil {
		return targets.Separation{}, err
	}
	measurer, can := p.target.(targets.Measurer)
	if !can {
		return targets.Separation{Unknown: true, How: "this kind of target cannot be measured"}, nil
	}
	return measurer.Separation(ctx, []string{dir})
}

// archiveRun gathers what is to be put in for one job. It also returns how many
// items a tar from restic does not hold.
func (r *Runner) archiveRun(ctx context.Context, job config.Job, pick Pick) (run archive.Run, left int64, err error) {
	chosen, copied, err := r.pickRestore(ctx, job, pick)
	if err != nil {
		return run, 0, err
	}
	if why := shortfall(chosen, copied); len(why) > 0 || copied.State != catalog.RunComplete {
		return run, 0, fault.New(fault.Refused, fmt.Sprintf("archive run %s of %q", chosen.Run, job.Name), fmt.Errorf("it is not good: %q", why), "take a good run; \"saoluu catalog list\" shows them")
	}
	p, err := r.place(ctx, copied.Target)
	if err != nil {
		return run, 0, err
	}
	from, err := p.readable(ctx)
	if err != nil {
		return run, 0, err
	}
	run = archive.Run{Job: job.Name, RunInfo: archive.RunInfo{Run: chosen.Run, Class: chosen.Class, ConsistentAt: chosen.ConsistentAt.UTC()}}
	if keep := r.Config.Classes[job.Class].KeepMax; !keep.IsZero() {
		until := keep.AddTo(chosen.ConsistentAt, r.Config.Site.Location).UTC()
		run.KeepUntil = &until
	}
	if chosen.Facts != nil {
		if run.Facts, err = r.Catalog.Facts(ctx, chosen.Facts.SHA256); err != nil {
			return run, 0, err
		}
	}
	if run.Ledger, err = json.Marshal(chosen.RunFinished); err != nil {
		return run, 0, err
	}
	for _, part := range chosen.Parts {
		one, special, err := r.archivePart(ctx, from, part, copied.Snapshots[part.Name])
		if err != nil {
			return run, 0, err
		}
		left += special
		run.Bytes += one.Bytes
		run.Parts = append(run.Parts, one)
	}
	return run, left, nil
}

// archivePart lists a snapshot, so that what is dumped later can be held against
// the list: a tar that ends early is a good tar.
func (r *Runner) archivePart(ctx context.Context, from restic.Repo, part catalog.Part, snapshot string) (archive.Part, int64, error) {
	one := archive.Part{PartInfo: archive.PartInfo{Name: part.Name, File: part.File, SHA256: part.SHA256}}
	var special int64
	err := r.Engine.List(ctx, from, snapshot, "", func(n restic.Node) error {
		switch n.Type {
		case "file":
			one.Items, one.Bytes = one.Items+1, one.Bytes+n.Size
		case "dir", "symlink":
			one.Items++
		default:
			special++
		}
		return nil
	})
	one.Tar = func(ctx context.Context, w io.Writer) error {
		_, err := r.Engine.Dump(ctx, from, snapshot, "/", w, restic.DumpOptions{})
		return err
	}
	return one, special, err
}

// archiveProgress shows how far a set is and how long it will take.
func (r *Runner) archiveProgress() func(archive.Progress) {
	step, begun := "", time.Time{}
	return func(p archive.Progress) {
		if p.Step != step {
			step, begun = p.Step, r.Now()
		}
		q := Progress{Job: "archive", Step: p.Step, Done: p.Done, Total: p.Total}
		if spent := r.Now().Sub(begun); spent > time.Second && p.Done > 0 && p.Done < p.Total {
			q.Remaining = time.Duration(float64(spent) * float64(p.Total-p.Done) / float64(p.Done))
		}
		r.show(q)
	}
}
