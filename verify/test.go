package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// A subject is restored data that can be asked. Its errors are a *finding for
// what it looked at and found broken, and any other for what it could not look at.
type subject interface {
	// facts returns what is now true, for every fact in want it knows about.
	facts(ctx context.Context, want []sources.Fact) ([]sources.Fact, error)
	// query returns the answer to one statement that may not change anything.
	query(ctx context.Context, c Check) (answer, error)
	// damage spoils a little of what a fact speaks of or, without facts, takes away
	// all data, and says how, without names; "" when there is nothing to spoil.
	damage(ctx context.Context, seed string, want []sources.Fact) (string, error)
	// close ends what runs. The data go with the sandbox.
	close() error
}

// A finding is damage that was looked at. It is a failed assertion, not an error.
type finding struct {
	name, expected, actual string
	cause                  error // for the operator
}

func (f *finding) Error() string {
	if f.cause != nil {
		return fmt.Sprintf("%s: %s: %v", f.name, f.actual, f.cause)
	}
	return fmt.Sprintf("%s: %s", f.name, f.actual)
}

func (f *finding) Unwrap() error { return f.cause }

// test is the line of a restore test, top to bottom.
func (t *Tester) test(ctx context.Context, r Request) (res Result, err error) {
	if err := r.check(); err != nil {
		return Result{}, err
	}
	box, err := t.open(ctx, r)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		if cerr := box.close(); cerr != nil {
			res.Detail = append(res.Detail, fmt.Sprintf("the sandbox %q could not be removed: %v", box.dir, cerr))
		}
	}()
	x := &examination{tester: t, request: r, sandbox: box}
	x.result.Full = !r.sampled()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() { err = errors.Join(err, x.close()) }()
	unwatch := t.watchRoom(cancel)
	err = x.judge(ctx)
	if full := unwatch(); full != nil && x.result.Verdict != Passed {
		// What broke on the way broke because it was ended.
		x.result.Assertions = slices.DeleteFunc(x.result.Assertions, func(a Assertion) bool { return !a.OK })
		err = full
	}
	if err != nil {
		x.result.Verdict = Unknown
	}
	return x.result, err
}

// judge restores and asserts, and sets the verdict.
func (x *examination) judge(ctx context.Context) error {
	err := x.run(ctx)
	var found *finding
	if errors.As(err, &found) {
		x.fail(*found)
		err = nil
	}
	if err == nil {
		x.result.Verdict = x.verdict()
	}
	if err == nil && (x.request.Control || len(x.request.Facts) == 0) && x.result.Verdict == Passed {
		err = x.control(ctx)
	}
	return err
}

// check refuses a request that makes no sense.
func (r Request) check() error {
	op := fmt.Sprintf("restore test of %q", r.Job)
	if len(r.Parts) == 0 {
		return fault.New(fault.Unknown, op, errors.New("the copy has no parts"), "")
	}
	names := map[string]bool{}
	for _, p := range r.Parts {
		if p.Snapshot == "" || names[p.Part] {
			return fault.New(fault.Unknown, op, fmt.Errorf("part %q has no snapshot or comes twice", p.Part), "")
		}
		names[p.Part] = true
	}
	for _, c := range r.Checks {
		if c.SQL != "" && (!r.isDatabase() || r.Source == "redis") {
			return fault.New(fault.Usage, op, fmt.Errorf("an SQL check cannot be put to a source of kind %q", r.Source), "take it out of the job's checks")
		}
		if len(c.Redis) > 0 != (r.Source == "redis") {
			return fault.New(fault.Usage, op, fmt.Errorf("a check by a Redis command cannot be put to a source of kind %q, nor another one to redis", r.Source), "take it out of the job's checks")
		}
		if c.SQL == "" && len(c.Redis) == 0 && r.isDatabase() {
			return fault.New(fault.Usage, op, fmt.Errorf("a check on files cannot be put to a source of kind %q", r.Source), "take it out of the job's checks")
		}
	}
	return nil
}

func (r Request) isDatabase() bool {
	return slices.Contains([]string{"sqlite", "postgres", "mariadb", "redis"}, r.Source)
}

// isCluster reports whether the copy is the files of a whole PostgreSQL server.
func (r Request) isCluster() bool {
	return r.Source == "postgres" && slices.ContainsFunc(r.Parts, func(p PartCopy) bool { return sources.IsCluster(p.Part) })
}

// isSystem reports whether the copy is the files of a system.
func (r Request) isSystem() bool {
	return r.systemPart() >= 0
}

// isStream tells a stream from a tree.
func (r Request) isStream(p PartCopy) bool { return p.SHA256 != "" || r.isDatabase() }

// sampled reports whether only some files are restored: there must be facts to
// choose them by, and no check that needs all.
func (r Request) sampled() bool {
	return r.Sample && !slices.ContainsFunc(r.Parts, r.isStream) && !r.isSystem() &&
		!slices.ContainsFunc(r.Checks, func(c Check) bool { return c.MinFiles != nil || c.Parse != "" }) &&
		slices.ContainsFunc(r.Facts, func(f sources.Fact) bool { return f.Kind == sources.FactSHA256 })
}

// An examination is one test under way.
type examination struct {
	tester  *Tester
	request Request
	sandbox *sandbox
	subject subject
	warm    chan warmed // a throwaway server that is being started meanwhile
	result  Result
	proof   bool // a fact that speaks of content was met
	checked bool // a check was met
	void    bool // a check that the data be empty was met
	engine  bool // the engine itself, or a program of the agency's, has looked at the data
	empty   bool // the data are there and hold nothing
}

// run restores and asserts. A *finding ends it early.
func (x *examination) run(ctx context.Context) error {
	start := x.tester.Now()
	x.warmUp(ctx)
	restored, err := x.fetch(ctx)
	if err != nil {
		return err
	}
	if err := x.digests(ctx, restored); err != nil {
		return err
	}
	if x.subject, err = x.load(ctx, restored); err != nil {
		return err
	}
	x.result.RestoreTime = x.tester.Now().Sub(start)
	x.result.Level = LevelRestored
	if err := x.compare(ctx); err != nil {
		return err
	}
	if err := x.sound(ctx); err != nil {
		return err
	}
	if err := x.checks(ctx); err != nil {
		return err
	}
	if err := x.census(ctx); err != nil {
		return err
	}
	x.times()
	x.beyond()
	return x.attested()
}

// load makes the restored parts answer questions.
func (x *examination) load(ctx context.Context, restored []restoredPart) (subject, error) {
	switch x.request.Source {
	case "sqlite":
		return newDatabases(x, restored), nil
	case "postgres":
		if x.request.isCluster() {
			return startClusterDrill(ctx, x, restored)
		}
		return startDrill(ctx, x, restored)
	case "mariadb":
		if x.physical() {
			return startMariaPhysical(ctx, x, restored[0])
		}
		return startMariaDrill(ctx, x, restored)
	case "redis":
		return startRedisDrill(ctx, x, restored)
	case "mongodb":
		// A program of the agency's that looks at the archive needs no server of ours.
		if !slices.ContainsFunc(x.request.Checks, func(c Check) bool { return len(c.Run) > 0 }) {
			return startMongoDrill(ctx, x, restored)
		}
		return &files{examination: x, parts: restored}, nil
	case "image":
		if of := x.request.systemPart(); of >= 0 && restored[of].layout == nil {
			return &files{examination: x, parts: restored}, nil
		}
		return newImage(x, restored)
	default:
		return &files{examination: x, parts: restored}, nil
	}
}

// sound has a server look into what it was given, where that is apart from its facts.
func (x *examination) sound(ctx context.Context) error {
	switch d := x.subject.(type) {
	case *drill:
		return d.amcheck(ctx, false)
	case *clusterDrill:
		return d.amcheck(ctx, true)
	case *image:
		return errors.Join(d.structure(ctx), d.describe(ctx))
	}
	return nil
}

// close ends what runs.
func (x *examination) close() error {
	var err error
	if x.subject != nil {
		err = x.subject.close()
		x.subject = nil
	}
	if x.warm != nil {
		w := <-x.warm
		err = errors.Join(err, w.stop())
		x.warm = nil
	}
	return err
}
