package compliance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// An evaluation is one run of Evaluate: what was asked, and what was read so far.
type evaluation struct {
	view   View
	inv    catalog.InventoryAt
	loc    *time.Location
	period calendar.ReportPeriod
	from   time.Time // of the period
	to     time.Time // of the period, exclusive
	asOf   time.Time // what was known
	bound  time.Time // min(asOf, to): nothing from here on is judged
	now    time.Time // the instant judged: asOf, or the last second of the period

	assets       []*asset
	targets      map[string]*targetFacts
	enrolled     map[string]time.Time        // target to first enrolment; read on demand
	repositories map[string]string           // target to the repository enrolled last; read with enrolled
	keys         map[string]catalog.KeyState // by target; read on demand
	archives     []ArchiveState              // read on demand
	archivesRead bool
	media        map[string]catalog.MediumState // by name; read on demand
	refused      []catalog.MediumRefusal
	changes      map[string][]catalog.ConfigChange // by job; read on demand
	controls     map[string]catalog.Control
	failures     failures
	suspect      map[string]time.Time             // of the targets, before their re-reads are seen
	compared     catalog.Comparison               // of the tables with the ledger, the newest
	removed      map[string]map[string][]deletion // by target and job; read on demand
	ledger       Ledger
}

// closed reports whether the whole period lies in the past.
func (e *evaluation) closed() bool { return !e.asOf.Before(e.to) }

// age is the number of days from then to the instant judged.
func (e *evaluation) age(then time.Time) int { return calendar.AgeDays(then, e.now, e.loc) }

// An asset is one subject of duty with what is known of its backups.
type asset struct {
	catalog.Asset
	since    time.Time // when the duty can have begun: entered and in service
	removed  time.Time // zero while it is in the inventory
	months   map[calendar.Month]catalog.Month
	covered  []catalog.Span // those with good backups, and the time before them, in order
	schedule calendar.Schedule

	copies    []copyFact      // newest good copy on each target; read on demand
	destroyed []destroyedCopy // newest copies whose keys are destroyed; read with copies
	looked    bool            // copies were read
	tests     *testFacts      // read on demand
}

// start is when a rule begins to bind the asset, and whether it is the rule
// rather than the asset that came later.
func (a *asset) start(r *Rule, loc *time.Location) (time.Time, bool) {
	if r.effective.IsZero() {
		return a.since, false
	}
	if law := r.effective.Start(loc); law.After(a.since) {
		return law, true
	}
	return a.since, false
}

// lastGood is the newest good backup, zero if there is none.
func (a *asset) lastGood() time.Time {
	if len(a.covered) == 0 {
		return time.Time{}
	}
	return a.covered[len(a.covered)-1].Last
}

// firstGood is the oldest good backup, zero if there is none.
func (a *asset) firstGood() time.Time {
	if len(a.covered) == 0 {
		return time.Time{}
	}
	return a.covered[0].First
}

// words the packs use for importance, as the forms print them.
func importanceWord(importance string) string {
	switch importance {
	case "high":
		return "rat_quan_trong"
	case "normal":
		return "quan_trong"
	case "low":
		return "thuong"
	default:
		return importance
	}
}

// begin reads the inventory and the months, which every check needs.
func begin(ctx context.Context, view View, period calendar.ReportPeriod, asOf time.Time) (*evaluation, error) {
	e := &evaluation{view: view, period: period, asOf: asOf, targets: map[string]*targetFacts{}}
	known, err := view.Inventory(ctx, asOf)
	if err != nil {
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	if e.loc, err = calendar.Zone(zoneOf(known)); err != nil {
		return nil, err
	}
	e.from, e.to = period.Bounds(e.loc)
	e.bound, e.now = asOf, asOf
	if e.closed() {
		e.bound, e.now = e.to, e.to.Add(-time.Second)
	}
	if err := e.inForce(ctx, known); err != nil {
		return nil, err
	}
	e.collect()
	if err := e.readMonths(ctx); err != nil {
		return nil, err
	}
	if e.compared, err = view.Compared(ctx, e.asOf); err != nil {
		return nil, fmt.Errorf("read the comparison of the tables: %w", err)
	}
	e.controls, err = view.Controls(ctx, e.now)
	if err != nil {
		return nil, fmt.Errorf("read the negative controls: %w", err)
	}
	if e.failures, err = readFailures(ctx, view, e.bound, e.asOf, e.loc); err != nil {
		return nil, err
	}
	e.suspect = e.failures.suspect()
	return e, e.readLedger(ctx)
}

// zoneOf is the site's time zone; that of Việt Nam before any inventory was set.
func zoneOf(inv catalog.InventoryAt) string {
	if inv.Site.Timezone == "" {
		return "Asia/Ho_Chi_Minh"
	}
	return inv.Site.Timezone
}

// inForce settles on the inventory of the instant judged.
func (e *evaluation) inForce(ctx context.Context, known catalog.InventoryAt) error {
	if !e.asOf.After(e.from) {
		return refused(e.period.String(), "begins after the instant the report is made for", "choose an earlier period")
	}
	e.inv = known
	if e.now.Before(e.asOf) {
		var err error
		if e.inv, err = e.view.Inventory(ctx, e.now); err != nil {
			return fmt.Errorf("read the inventory of the period: %w", err)
		}
	}
	if e.inv.SetAt.IsZero() {
		return refused(e.period.String(), "ends before the first inventory was recorded", "choose a later period")
	}
	return nil
}

// collect lists the subjects: the inventory, and what has left it.
func (e *evaluation) collect() {
	for _, a := range e.inv.Assets {
		e.assets = append(e.assets, e.asset(a, time.Time{}))
	}
	for _, r := range e.inv.Removed {
		e.assets = append(e.assets, e.asset(r.Asset, r.At))
	}
	slices.SortStableFunc(e.assets, func(a, b *asset) int { return strings.Compare(a.Job, b.Job) })
}

func (e *evaluation) asset(row catalog.Asset, removed time.Time) *asset {
	a := &asset{Asset: row, since: e.inv.Since[row.Job], removed: removed, months: map[calendar.Month]catalog.Month{}}
	if a.since.IsZero() {
		a.since = e.inv.SetAt
	}
	if d, err := calendar.ParseDate(row.InService); err == nil {
		if t := d.Start(e.loc); t.After(a.since) {
			a.since = t
		}
	}
	if s, err := calendar.ParseSchedule(row.Schedule); err == nil {
		a.schedule = s
	}
	return a
}

// readMonths reads the months of every asset that any rule or the grid looks at
// one by one, up to the instant judged. Of the time before, all that matters is
// when the first and the last good backup were.
func (e *evaluation) readMonths(ctx context.Context) error {
	first, byJob := e.from, map[string]*asset{}
	for _, a := range e.assets {
		byJob[a.Job] = a
		if since := e.inv.Since[a.Job]; since.Before(first) {
			first = since
		}
	}
	begun, current := calendar.MonthOf(first, e.loc), calendar.MonthOf(e.now, e.loc)
	from := slices.MinFunc([]calendar.Month{e.firstShown(), current.Add(-1)}, calendar.Month.Compare)
	if from.Compare(begun) < 0 {
		from = begun
	}
	before, err := e.view.GoodSpans(ctx, begun.Start(e.loc), from.Start(e.loc), e.asOf)
	if err != nil {
		return fmt.Errorf("read the first good backups: %w", err)
	}
	for _, s := range before {
		if a := byJob[s.Job]; a != nil {
			a.covered = append(a.covered, s)
		}
	}
	months, err := e.view.Months(ctx, from.Start(e.loc), current.End(e.loc), e.asOf)
	if err != nil {
		return fmt.Errorf("read the months: %w", err)
	}
	for _, m := range months {
		if a := byJob[m.Job]; a != nil {
			a.months[calendar.MonthOf(m.Start, e.loc)] = m
			if m.Good > 0 {
				a.covered = append(a.covered, catalog.Span{Job: m.Job, First: m.First, Last: m.Last})
			}
		}
	}
	for _, a := range e.assets {
		slices.SortFunc(a.covered, func(x, y catalog.Span) int { return x.First.Compare(y.First) })
	}
	return nil
}
