package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/sources"
	"saoluu/sources/disk"
)

// A RestorePlan is a real restore, spelled out before anything is touched.
type RestorePlan struct {
	Job          config.Job
	Run          string
	ConsistentAt time.Time
	Target       string
	Parts        []RestorePart
	To           string // folder, file, or the address of a server
	Kind         string // destination: dir, file, device, postgresql, mariadb or redis
	Overwrite    bool
	By           string   // who asked
	Others       []string // targets that hold good copies of the run too
	Warnings     []string // what will not come back, or may not; empty for a good run
	Rebuild      bool     // a disk is made anew for the files of a system

	wantsFolder bool // the destination is written with a slash at its end
}

// A RestorePart is one snapshot to be restored.
type RestorePart struct {
	Name, Snapshot, File, SHA256 string
	Bytes                        int64
	Image                        bool // in blocks; SHA256 is then their digest
}

// IsCluster reports whether the part is the files of a whole PostgreSQL server.
func (p RestorePart) IsCluster() bool { return sources.IsCluster(p.Name) }

// IsMariabackup reports whether the part is the files of a whole MariaDB server.
func (p RestorePart) IsMariabackup() bool { return sources.IsMariabackup(p.File) }

// isServer reports whether the part is the files of a whole server, of either kind.
func (p RestorePart) isServer() bool { return p.IsCluster() || p.IsMariabackup() }

// PlanRestore chooses the copy and checks that the destination may be written.
// A destination that exists is refused unless overwrite is said.
func (r *Runner) PlanRestore(ctx context.Context, job config.Job, pick Pick, to string, overwrite bool) (RestorePlan, error) {
	kind, err := destination(job, to)
	if err != nil {
		return RestorePlan{}, err
	}
	run, copied, err := r.pickRestore(ctx, job, pick)
	if err != nil {
		return RestorePlan{}, err
	}
	p := RestorePlan{Job: job, Run: run.Run, ConsistentAt: run.ConsistentAt, Target: copied.Target, To: to, Kind: kind, Overwrite: overwrite}
	p.Others, p.Warnings = otherCopies(run, copied.Target), shortfall(run, copied)
	for _, part := range run.Parts {
		if kind != "" && !sources.IsDatabaseDump(part.Name) {
			continue // roles and users belong to the whole server: people load them first
		}
		if pick.Part != "" && part.Name != pick.Part && part.Name != sources.PartOfDatabase(pick.Part) {
			continue
		}
		if copied.Snapshots[part.Name] == "" {
			continue // told in the warnings
		}
		add := RestorePart{Name: part.Name, Snapshot: copied.Snapshots[part.Name], File: part.File, SHA256: part.SHA256, Bytes: part.Bytes}
		if add.Image = sources.IsImageTree(job.Source.Type, part.Name, part.File); add.Image {
			if add.SHA256, err = r.imageDigest(ctx, run); err != nil {
				return p, err
			}
		}
		p.Parts = append(p.Parts, add)
	}
	switch op := fmt.Sprintf("restore %q", job.Name); {
	case kind != "" && slices.ContainsFunc(run.Parts, func(part catalog.Part) bool { return sources.IsCluster(part.Name) || sources.IsMariabackup(part.File) }):
		return p, fault.New(fault.Usage, op, errors.New("the run holds the files of a whole server, which no other server can load"), "restore it to a folder with --to DIR, and start a server there")
	case pick.Part != "" && len(p.Parts) == 0:
		return p, fault.New(fault.Usage, op, fmt.Errorf("run %s has no part %q", run.Run, pick.Part), "leave --part out to see the parts in the plan")
	case kind != "" && len(p.Parts) > 1:
		return p, fault.New(fault.Usage, op, fmt.Errorf("the run holds %d databases, and one is restored to a server at a time", len(p.Parts)), "say which with --part, such as --part "+p.Parts[0].Name)
	}
	return p.placed()
}

// servers are the schemes of addresses, and the kind of destination and of source that
// goes with each.
var servers = map[string]struct{ kind, source string }{
	"postgresql": {"postgresql", "postgres"}, "postgres": {"postgresql", "postgres"},
	"mariadb": {"mariadb", "mariadb"}, "mysql": {"mariadb", "mariadb"},
	"redis": {"redis", "redis"}, "rediss": {"redis", "redis"},
}

// ToServer reports whether the destination is a running server.
func (p RestorePlan) ToServer() bool {
	return slices.Contains([]string{"postgresql", "mariadb", "redis"}, p.Kind)
}

// destination returns the kind of server for its address, and "" for a path.
func destination(job config.Job, to string) (kind string, err error) {
	op := fmt.Sprintf("restore %q", job.Name)
	scheme, _, address := strings.Cut(to, "://")
	if !address {
		return "", nil
	}
	server, known := servers[scheme]
	switch {
	case !known:
		return "", fault.New(fault.Usage, op, fmt.Errorf("nothing is restored to %s://", scheme), "give a folder, a file, postgresql://…, mariadb://… or redis://…")
	case job.Source.Type != server.source:
		return "", fault.New(fault.Usage, op, fmt.Errorf("a backup of kind %q cannot be restored to such a database server", job.Source.Type), "give a folder or a file")
	}
	return server.kind, nil
}

// placed decides what kind of path To is and whether it is free.
func (p RestorePlan) placed() (RestorePlan, error) {
	if p.Kind != "" {
		return p, nil
	}
	op := fmt.Sprintf("restore %q", p.Job.Name)
	path, err := filepath.Abs(p.To)
	if err != nil {
		return p, err
	}
	p.To, p.Kind, p.wantsFolder = path, "dir", strings.HasSuffix(p.To, "/")
	if len(p.Parts) == 1 && p.Parts[0].File != "" && !isDir(path) && !p.wantsFolder {
		p.Kind = "file"
	}
	p = p.placedImage().placedSystem()
	server := slices.ContainsFunc(p.Parts, RestorePart.isServer)
	if server {
		p.Kind = "dir"
	}
	if p.Overwrite && !server {
		return p, nil
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, nil
	case server && len(entries) > 0:
		return p, fault.New(fault.Refused, op, fmt.Errorf("%s is not empty, and the files of a server must lie alone", path), "choose an empty folder, or one that is not there yet")
	case p.Kind == "file", p.Kind == "device", len(entries) > 0, err != nil:
		return p, fault.New(fault.Refused, op, fmt.Errorf("%s is there already", path), "choose another destination, or say --overwrite")
	}
	return p, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Restore carries a plan out and records it. Files are written under names of
// their own first where they are single, so that a restore that fails leaves
// nothing half-written under the destination's name.
func (r *Runner) Restore(ctx context.Context, p RestorePlan) (catalog.RestoreFinished, error) {
	fin := catalog.RestoreFinished{
		Job: p.Job.Name, Run: p.Run, Target: p.Target, To: p.Kind, State: catalog.RunFailed, StartedAt: r.Now().UTC(), By: p.By,
	}
	err := elsewhere(p, r.restore(ctx, p, &fin))
	fin.FinishedAt = r.Now().UTC()
	if err != nil {
		fin.Error = hidePath(r.public(p.Job, err), p.To, "<destination>")
	} else {
		fin.State = catalog.RunComplete
	}
	_, written := r.Catalog.Append(context.WithoutCancel(ctx), fin)
	return fin, errors.Join(err, written)
}

func (r *Runner) restore(ctx context.Context, p RestorePlan, fin *catalog.RestoreFinished) error {
	target, err := r.place(ctx, p.Target)
	if err != nil {
		return err
	}
	from, err := target.readable(ctx)
	if err != nil {
		return err
	}
	from.LimitUpload, from.LimitDownload = 0, 0 // somebody waits for the data
	id := "restore-" + newID(r.Now())
	release, err := r.enliven(id)
	if err != nil {
		return err
	}
	defer release()
	if p.ToServer() {
		return r.restoreServer(ctx, p, id, from, fin)
	}
	if p.Rebuild {
		fin.Bytes, err = r.restoreSystem(ctx, p, from, id)
		return err
	}
	for _, part := range p.Parts {
		n, err := r.restorePart(ctx, p, part, from, id)
		fin.Bytes += n
		if err != nil {
			return err
		}
		p.Overwrite = p.Overwrite || part.File == "" // what lies there now, the part before has put there
	}
	return nil
}

func (r *Runner) restorePart(ctx context.Context, p RestorePlan, part RestorePart, from restic.Repo, id string) (int64, error) {
	if part.Image {
		return r.restoreImage(ctx, p, part, from, id)
	}
	if p.Kind == "device" {
		return r.streamToDevice(ctx, p, part, from)
	}
	if part.File == "" {
		to := p.To
		if p.Job.Source.Type == "image" {
			to = filepath.Join(to, part.Name) // beside the image
		}
		s, err := r.Engine.Restore(ctx, from, part.Snapshot, to, restic.RestoreOptions{
			Overwrite: p.Overwrite,
			OnProgress: func(q restic.Progress) {
				r.show(Progress{Job: p.Job.Name, Step: "restore " + part.Name, Done: q.BytesDone, Total: q.BytesTotal, Remaining: q.Remaining})
			},
		})
		return s.Bytes, err
	}
	if part.isServer() {
		return r.unpackServer(ctx, p, part, from)
	}
	path := p.To
	if p.Kind == "dir" {
		if err := os.MkdirAll(p.To, 0o700); err != nil {
			return 0, err
		}
		path = filepath.Join(p.To, filepath.Base(part.File))
	}
	return r.dumpTo(ctx, p, part, from, path)
}

// dumpTo writes one stream to a file, beside its name until its digest has been
// compared with that of the backup.
func (r *Runner) dumpTo(ctx context.Context, p RestorePlan, part RestorePart, from restic.Repo, path string) (n int64, err error) {
	if _, err := os.Lstat(path); err == nil && !p.Overwrite {
		return 0, fault.New(fault.Refused, fmt.Sprintf("restore %q", p.Job.Name), fmt.Errorf("%s is there already", path), "choose another destination, or say --overwrite")
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, fault.New(fault.Failed, fmt.Sprintf("restore %q", p.Job.Name), err, "choose a folder that exists and can be written")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(file.Name()))
		}
	}()
	var to io.Writer = file
	sparse := &disk.Sparse{File: file}
	if p.Job.Source.Type == "image" {
		to = sparse
	}
	sum, n, err := r.stream(ctx, p, part, from, to)
	if err == nil && p.Job.Source.Type == "image" {
		err = sparse.Finish()
	}
	if err != nil {
		return n, err
	}
	if part.SHA256 != "" && sum != part.SHA256 {
		return n, fault.New(fault.Damaged, fmt.Sprintf("restore %q", p.Job.Name), fmt.Errorf("part %q reads back with another digest than it was saved with", part.Name),
			"restore an older run with --date, or another target with --target")
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return n, err
	}
	return n, os.Rename(file.Name(), path)
}

// stream writes one stream to w and returns its SHA-256 and length.
func (r *Runner) stream(ctx context.Context, p RestorePlan, part RestorePart, from restic.Repo, w io.Writer) (string, int64, error) {
	sum := sha256.New()
	counted := &progressWriter{w: io.MultiWriter(w, sum), show: func(n int64) {
		r.show(Progress{Job: p.Job.Name, Step: "restore " + part.Name, Done: n, Total: part.Bytes})
	}}
	_, err := r.Engine.Dump(ctx, from, part.Snapshot, "/"+part.File, counted, restic.DumpOptions{})
	return hex.EncodeToString(sum.Sum(nil)), counted.n, err
}

// A progressWriter counts what passes.
type progressWriter struct {
	w    io.Writer
	n    int64
	show func(int64)
}

func (c *progressWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.show(c.n)
	return n, err
}
