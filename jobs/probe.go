package jobs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/restic"
	"saoluu/targets"
)

// A Finding is what one step of a probe found: something good, or a problem.
type Finding struct {
	Step    string `json:"step"`
	Found   string `json:"found,omitempty"`
	Problem string `json:"problem,omitempty"`
	Fatal   bool   `json:"fatal,omitempty"` // the target must not be relied upon
}

// probeBytes is how much a probe saves: enough for several packs' worth of upload
// to be timed, little enough for a slow line.
const probeBytes = 8 << 20

// A probing is one probe under way.
type probing struct {
	*Runner
	name   string
	beside targets.Target // the place of the probe's own
	fresh  config.Target
	dir    string // scratch
	data   []byte
	saved  string // snapshot
	tell   func(Finding) error
}

// Probe tries out the storage of a target in a place beside its repository, and
// tells what each step found. The error is that of the first step that must not
// fail, or of tell.
func (r *Runner) Probe(ctx context.Context, name string, tell func(Finding) error) (err error) {
	t, ok := r.Config.Targets[name]
	if !ok {
		return fault.New(fault.Usage, fmt.Sprintf("target %q", name), errors.New("not in the configuration"), "run \"saoluu config show\" to see the targets")
	}
	id := "probe-" + newID(r.Now())
	release, err := r.enliven(id)
	if err != nil {
		return err
	}
	defer release()
	dir, clean, err := r.scratch(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	p := &probing{Runner: r, name: name, dir: dir, tell: tell, fresh: asideOf(t, "saoluu-"+id), data: make([]byte, probeBytes)}
	if _, err := rand.Read(p.data); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) (found, problem string, err error)
	}{
		{"reach", p.reach}, {"repository", p.repository}, {"save", p.save}, {"read back", p.readBack},
		{"identity", p.identity}, {"delete", p.remove}, {"separation", p.separation}, {"life cycle", p.lifeCycle}, {"tidy up", p.tidy},
	} {
		r.show(Progress{Job: name, Step: "probe: " + step.name})
		found, problem, err := step.do(ctx)
		f := Finding{Step: step.name, Found: found, Problem: problem}
		if err != nil {
			f.Problem, f.Fatal = err.Error(), true
		}
		if said := tell(f); said != nil {
			return said
		}
		if err != nil {
			_, _, left := p.tidy(context.WithoutCancel(ctx))
			return errors.Join(err, left)
		}
	}
	return nil
}

// asideOf returns a target's settings with a place of its own on the same storage:
// in the same folder where restic does not mind, beside the repository elsewhere.
func asideOf(t config.Target, name string) config.Target {
	switch t.Type {
	case "local", "sftp", "removable":
		t.Path = path.Join(t.Path, name)
	case "s3":
		t.Prefix = path.Join(path.Dir("/"+t.Prefix), name)[1:]
	case "rest":
		u := t.Address()
		t.URL = u.JoinPath("..", name).String()
	}
	return t
}

func (p *probing) reach(ctx context.Context) (string, string, error) {
	key := filepath.Join(p.dir, "key")
	if err := makeKey(key); err != nil {
		return "", "", err
	}
	repo := restic.Repo{Name: p.name, URL: p.fresh.Path, PasswordFile: key, Gate: restic.NewGate(p.dir, "probe", 1)}
	target, err := p.target(ctx, p.name, p.fresh, "", repo)
	if err != nil {
		return "", "", err
	}
	enroller, can := target.(targets.Enroller)
	if !can {
		return "", "", fault.New(fault.Refused, fmt.Sprintf("target %q", p.name), errors.New("this kind cannot be probed"), "")
	}
	start := p.Now()
	if _, err := enroller.Enroll(ctx); err != nil {
		return "", "", err
	}
	p.beside = target
	return fmt.Sprintf("%s answers in %s", p.fresh.Place(), p.Now().Sub(start).Round(time.Millisecond)), "", nil
}

func (p *probing) repository(ctx context.Context) (string, string, error) {
	id, err := p.Engine.Init(ctx, p.beside.Repo(), restic.InitOptions{})
	return fmt.Sprintf("made %.10s", id), "", err
}

func (p *probing) save(ctx context.Context) (string, string, error) {
	file := filepath.Join(p.dir, "data")
	if err := os.WriteFile(file, p.data, 0o600); err != nil {
		return "", "", err
	}
	start := p.Now()
	saved, err := p.Engine.Backup(ctx, p.beside.Repo(), restic.BackupRequest{Paths: []string{file}, Host: p.Host})
	if err != nil {
		return "", "", err
	}
	p.saved = saved.SnapshotID
	if err := present(ctx, place{name: p.name, target: p.beside}, p.saved); err != nil {
		return "", "", err
	}
	return speed(len(p.data), p.Now().Sub(start)), "", nil
}

func (p *probing) readBack(ctx context.Context) (string, string, error) {
	start := p.Now()
	var back bytes.Buffer
	if _, err := p.Engine.Dump(ctx, p.beside.Repo(), p.saved, filepath.Join(p.dir, "data"), &back, restic.DumpOptions{NoCache: true}); err != nil {
		return "", "", err
	}
	if !bytes.Equal(back.Bytes(), p.data) {
		return "", "", fault.New(fault.Damaged, fmt.Sprintf("target %q", p.name), errors.New("what was read back is not what was saved"), "do not use this storage")
	}
	return speed(len(p.data), p.Now().Sub(start)), "", nil
}

func speed(bytes int, took time.Duration) string {
	return fmt.Sprintf("%s in %s", humanize.IBytes(uint64(bytes)), took.Round(10*time.Millisecond))
}

// identity sees that another identity than the enrolled one is refused.
func (p *probing) identity(ctx context.Context) (string, string, error) {
	other, err := p.target(ctx, p.name, p.fresh, "another-identity", p.beside.Repo())
	if err != nil {
		return "", "", err
	}
	if err := other.Ready(ctx); fault.KindOf(err) != fault.WrongTarget {
		return "", "", fault.New(fault.Verification, fmt.Sprintf("target %q", p.name), fmt.Errorf("another identity is not told apart: %w", err), "")
	}
	return "another storage in its place would be refused", "", nil
}

// remove deletes the snapshot and looks whether it is gone; storage that keeps it
// must have promised to.
func (p *probing) remove(ctx context.Context) (string, string, error) {
	if guarded, can := p.beside.(targets.Guarded); can && p.promises(p.name) {
		tried, err := guarded.Challenge(ctx)
		if err == nil && !tried.Refused {
			err = fault.New(fault.Verification, fmt.Sprintf("target %q", p.name), fmt.Errorf("the storage lets go of what it must keep: %s", tried.How), "set up object lock or --append-only before you rely on it")
		}
		return "refused, as it should be: " + tried.How, "", err
	}
	if err := p.Engine.Forget(ctx, p.beside.Repo(), []string{p.saved}); err != nil {
		return "", fmt.Sprintf("old backups cannot be deleted: %v", err), nil
	}
	return "a deleted snapshot is gone", "", nil
}

// separation measures the distance to every job that uses the target.
func (p *probing) separation(ctx context.Context) (string, string, error) {
	var found, problems []string
	for _, name := range slices.Sorted(maps.Keys(p.Config.Jobs)) {
		job := p.Config.Jobs[name]
		if !slices.Contains(job.Targets, p.name) {
			continue
		}
		source, err := p.source(job)
		if err != nil {
			return "", "", err
		}
		switch s, err := distance(ctx, source, place{name: p.name, target: p.beside}); {
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s: %v", name, err))
		case s.Unknown:
			problems = append(problems, fmt.Sprintf("%s: cannot be measured (%s)", name, s.How))
		case s.Level < targets.LevelOtherHost:
			problems = append(problems, fmt.Sprintf("%s: only L%d (%s)", name, s.Level, s.How))
		default:
			found = append(found, fmt.Sprintf("%s: L%d", name, s.Level))
		}
	}
	if len(found)+len(problems) == 0 {
		return "no job uses it yet", "", nil
	}
	return strings.Join(found, "; "), strings.Join(problems, "; "), nil
}

func (p *probing) lifeCycle(ctx context.Context) (string, string, error) {
	adviser, can := p.beside.(targets.Adviser)
	if !can {
		return "nothing to say", "", nil
	}
	advice, err := adviser.Advice(ctx)
	if err != nil {
		return "", "cannot be read: " + err.Error(), nil
	}
	return "nothing to say", strings.Join(advice, "; "), nil
}

// tidy takes away what the probe made.
func (p *probing) tidy(ctx context.Context) (string, string, error) {
	if p.beside == nil {
		return "", "", nil
	}
	cleaner, can := p.beside.(targets.Cleaner)
	if !can {
		return "", fmt.Sprintf("%s stays: this kind cannot take it away", p.fresh.Place()), nil
	}
	if err := cleaner.RemoveAll(ctx); err != nil {
		return "", fmt.Sprintf("%s stays: %v", p.fresh.Place(), err), nil
	}
	p.beside = nil
	return "took away " + p.fresh.Place(), "", nil
}
