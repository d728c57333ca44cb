package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"saoluu/catalog"
	"saoluu/compliance"
	"saoluu/config"
	"saoluu/internal/fault"
	"saoluu/jobs"
	"saoluu/restic"
)

// An app is what every command starts from.
type app struct {
	configPath string
}

// load reads the configuration.
func (a *app) load() (*config.Config, error) {
	ids, err := compliance.PackIDs()
	if err != nil {
		return nil, err
	}
	return config.Load(config.Options{File: a.configPath, Packs: ids})
}

// catalogOptions say where and how a site's catalog is opened.
func catalogOptions(c *config.Config) catalog.Options {
	return catalog.Options{Path: jobs.CatalogPath(c), Now: clockNow(), Location: c.Site.Location, Site: c.Site.Code}
}

// read opens the catalog for looking only.
func (a *app) read(ctx context.Context) (*config.Config, *catalog.Catalog, error) {
	c, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	if err := ownState(c); err != nil {
		return nil, nil, err
	}
	cat, err := catalog.OpenReadOnly(ctx, catalogOptions(c))
	return c, cat, lostState(c, err)
}

// A site is an opened site ready for work.
type site struct {
	*jobs.Runner
	meter *meter
	leave func() error // lets go of media that were mounted
}

func (s *site) close() error {
	var left error
	if s.leave != nil {
		left = s.leave()
	}
	return errors.Join(left, s.Catalog.Close())
}

// open opens the site for work: configuration, catalog, engine; what an earlier
// process left is put right and the inventory is brought up to date.
func (a *app) open(ctx context.Context) (*site, error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	s, err := a.wire(ctx, c)
	if err != nil {
		return nil, err
	}
	interrupted, err := s.Recover(ctx)
	if err != nil {
		s.Log.Warn().Err(err).Msg("tidy up after an earlier process")
	}
	if interrupted > 0 {
		s.Log.Warn().Int("interrupted", interrupted).Msg("closed what an earlier process left unfinished")
	}
	if err := s.SetInventory(ctx); err != nil {
		return nil, err
	}
	if err := s.media(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// media notes which media came and went, unless a daemon does, and lets go of them
// when the site is closed.
func (s *site) media(ctx context.Context) error {
	s.leave = func() error {
		done, err := s.EjectIdle(context.WithoutCancel(ctx))
		ejected(done)
		return err
	}
	watched, err := jobs.DaemonRuns(s.Config)
	if err != nil || watched {
		return err
	}
	_, err = s.LookForMedia(ctx, false)
	if fault.KindOf(err) == fault.Unknown {
		s.Log.Warn().Err(err).Msg("media that came or went are not seen")
		err = nil
	}
	return err
}

// ownState refuses to work on the state of another user: even root would leave
// files there that the daemon cannot write afterwards.
func ownState(c *config.Config) error {
	info, err := os.Stat(c.Paths.State)
	if err != nil {
		return nil // whoever opens the catalog next says what is missing
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return nil
	}
	name := fmt.Sprint(st.Uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return fault.New(fault.Refused, fmt.Sprintf("open the state in %s", c.Paths.State), fmt.Errorf("it belongs to user %s", name),
		fmt.Sprintf("run as that user: setpriv --reuid=%s --regid=%s --init-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search saoluu …", name, name))
}

// lostState names a second remedy for a catalog that is missing where its keys or
// repositories are not: beginning anew would forget what they hold.
func lostState(c *config.Config, err error) error {
	if fault.KindOf(err) != fault.MissingState {
		return err
	}
	traces := []string{jobs.LedgerKeyPath(c)}
	for _, t := range c.Targets {
		if t.Type == "local" {
			traces = append(traces, filepath.Join(t.Path, "config")) // every restic repository has one
		}
	}
	for _, path := range traces {
		if _, looked := os.Stat(path); looked == nil {
			return fault.New(fault.MissingState, "", err, fault.HintOf(err)+
				`; if it is lost for good, run "saoluu catalog rebuild --from-repositories", then backup and test: the facts of old runs are lost`)
		}
	}
	return err
}

// wire puts the parts together and does nothing else.
func (a *app) wire(ctx context.Context, c *config.Config) (*site, error) {
	if err := ownState(c); err != nil {
		return nil, err
	}
	cat, err := catalog.Open(ctx, catalogOptions(c))
	if err != nil {
		return nil, lostState(c, err)
	}
	engine, err := findEngine(ctx, c)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fault.New(fault.Failed, "read the name of this machine", err, "")
	}
	now := clockNow()
	m := newMeter(os.Stderr, now)
	return &site{meter: m, Runner: &jobs.Runner{
		Config: c, ConfigFile: a.configPath, Catalog: cat, Engine: engine, Shared: &jobs.Shared{}, Version: version, Host: host, Now: now,
		Log: consoleLog(), Show: m.show, Clock: newClock(), Confine: []string{engine.Pump[0], "confine"},
	}}, nil
}

// newClock compares the wall clock with the time since the program started.
func newClock() *jobs.Clock {
	begin := time.Now()
	c := &jobs.Clock{Wall: clockNow(), Mono: func() time.Duration { return time.Since(begin) }}
	c.Look()
	return c
}

// findEngine looks for restic: as configured, in $SAOLUU_RESTIC, then in the
// usual places.
func findEngine(ctx context.Context, c *config.Config) (*restic.Engine, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fault.New(fault.Failed, "find this program", err, "")
	}
	engine, err := restic.Find(ctx, engineOptions(c))
	if err != nil {
		return nil, err
	}
	engine.Pump = []string{self, "pump"}
	engine.CacheDir, engine.TempDir = jobs.StatePath(c, "cache"), c.Paths.Scratch
	engine.Stall = c.Engine.StallTimeout.Std()
	return engine, nil
}

func engineOptions(c *config.Config) restic.FindOptions {
	o := restic.FindOptions{
		Path: c.Engine.Restic, SHA256: c.Engine.SHA256, ProbeCache: jobs.StatePath(c, "engine.json"),
	}
	if o.Path == "" {
		o.Path = os.Getenv("SAOLUU_RESTIC")
	}
	if self, err := os.Executable(); err == nil {
		o.Candidates = restic.Candidates(self)
	}
	return o
}

// consoleLog writes log lines for people to standard error.
func consoleLog() zerolog.Logger { return consoleLogTo(os.Stderr) }

func consoleLogTo(out io.Writer) zerolog.Logger {
	w := zerolog.ConsoleWriter{Out: out, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName}}
	w.FormatLevel = func(i any) string { return fmt.Sprintf("saoluu: %v:", i) }
	text := func(i any) string {
		if i == nil {
			return ""
		}
		return clip(safe(fmt.Sprint(i)))
	}
	w.FormatMessage, w.FormatFieldValue, w.FormatErrFieldValue = text, text, text
	return zerolog.New(w).Level(zerolog.WarnLevel)
}

// chosen returns the jobs named on the command line, or all of them.
func chosen(c *config.Config, names []string, all bool) ([]config.Job, error) {
	if all == (len(names) > 0) {
		return nil, fault.New(fault.Usage, "choose jobs", nil, "name one or more jobs, or say --all")
	}
	var picked []config.Job
	for name, job := range c.Jobs {
		if all || slices.Contains(names, name) {
			picked = append(picked, job)
		}
	}
	for _, name := range names {
		if _, ok := c.Jobs[name]; !ok {
			return nil, fault.New(fault.Usage, fmt.Sprintf("job %q", name), fmt.Errorf("not in the configuration"), "run \"saoluu config show\" to see the jobs")
		}
	}
	slices.SortFunc(picked, func(a, b config.Job) int { return strings.Compare(a.Name, b.Name) })
	return picked, nil
}
