// Package report makes the documents that people sign and inspectors read, from
// the catalog and the findings. A report is a pure function of what the catalog
// held at an instant: the same inputs give the same bytes, in every format.
//
// WriteHTML makes one page without scripts or outside references, laid out for
// A4 paper. WriteJSON has everything; the page leaves out what paper cannot
// hold and says so.
package report

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/compliance"
	"saoluu/internal/calendar"
)

// A Source is the catalog as a report sees it. *catalog.Catalog is one.
type Source interface {
	compliance.View
	// Facts returns a document kept by its digest, such as the picture of a screen.
	Facts(ctx context.Context, sha256 string) ([]byte, error)
}

// A Request says what a report is about.
type Request struct {
	Packs   []*compliance.Pack
	Period  calendar.ReportPeriod
	AsOf    time.Time
	Version string // of saoluu, printed in the annex
}

// A Report is the data of one report. Instants are UTC; those that are zero are
// left out of the JSON form.
type Report struct {
	Site         Site                                  `json:"site"`
	Period       string                                `json:"period"`
	From         time.Time                             `json:"from"`
	To           time.Time                             `json:"to"` // exclusive
	AsOf         time.Time                             `json:"as_of"`
	JudgedAt     time.Time                             `json:"judged_at"`
	Verdict      string                                `json:"verdict"` // Vietnamese, one sentence
	Packs        []Pack                                `json:"packs"`
	Totals       map[compliance.Kind]compliance.Totals `json:"totals"`
	Gaps         []Finding                             `json:"gaps"`
	Findings     []Finding                             `json:"findings"`
	Grid         Grid                                  `json:"grid"`
	Tests        []Test                                `json:"tests"`
	Untested     []Untested                            `json:"untested"`
	Copies       []Copy                                `json:"copies"`
	Targets      []Target                              `json:"targets"`
	Keys         []Key                                 `json:"keys"`
	Archives     []Archive                             `json:"archives"`
	Media        []Medium                              `json:"media"`
	Changes      []Change                              `json:"changes"`       // of configurations
	Refused      int                                   `json:"media_refused"` // disks that were refused in the period
	Classes      []Class                               `json:"classes"`
	Removed      []Removed                             `json:"removed"`
	NotCheckable []NotCheckable                        `json:"not_checkable"`
	Ledger       Ledger                                `json:"ledger"`
	Version      string                                `json:"version"`

	loc     *time.Location
	screens []screen // for the page alone
}

// A Site is who the report is about.
type Site struct {
	Name     string `json:"name"`
	Code     string `json:"code"`
	Level    int    `json:"level"`
	Zone     string `json:"zone"`
	Timezone string `json:"timezone"`
	Jobs     int    `json:"jobs"`
}

// A Pack is one rule pack that was applied.
type Pack struct {
	ID         string          `json:"id"`
	Version    string          `json:"version"`
	Number     string          `json:"number,omitempty"`
	Title      string          `json:"title"`
	Issuer     string          `json:"issuer,omitempty"`
	Kind       compliance.Kind `json:"kind"`
	Status     string          `json:"status"`
	StatusNote string          `json:"status_note,omitempty"`
	SHA256     string          `json:"sha256"`
	Rules      []Rule          `json:"rules"`
}

// A Rule is one duty with how its findings came out.
type Rule struct {
	ID     string            `json:"id"`
	Clause string            `json:"clause"`
	Title  string            `json:"title"`
	Text   string            `json:"text"`
	Note   string            `json:"note,omitempty"`
	Totals compliance.Totals `json:"totals"`
}

// A Finding is the outcome of one rule for one subject. Subject is a job's
// name, or the site's code when the rule is about the agency.
type Finding struct {
	Rule     string             `json:"rule"`
	Clause   string             `json:"clause"`
	Subject  string             `json:"subject"`
	Result   compliance.Outcome `json:"result"`
	Why      string             `json:"why"`
	Remedy   string             `json:"remedy"`
	Evidence []string           `json:"evidence"`
	Pack     string             `json:"pack"`
	Kind     compliance.Kind    `json:"kind"`
	Title    string             `json:"title"`
	Name     string             `json:"name"`
	Counted  compliance.Outcome `json:"counted"`
	Posture  compliance.Outcome `json:"posture"`
	Over     compliance.Outcome `json:"period"`
}

// A Grid is the picture of months and jobs as data.
type Grid struct {
	Months []Month `json:"months"`
	Rows   []Row   `json:"rows"`
}

// A Month is one column of the grid.
type Month struct {
	Month       string  `json:"month"`     // "2026-05"
	InPeriod    bool    `json:"in_period"` // the others are shown for comparison
	Running     bool    `json:"running,omitempty"`
	SilentHours float64 `json:"silent_hours"` // without a heartbeat of the daemon
}

// A Row is one job of the grid.
type Row struct {
	Job        string    `json:"job"`
	Title      string    `json:"title"`
	Importance string    `json:"importance"`
	Bound      bool      `json:"bound"` // the monthly duty binds it
	Removed    time.Time `json:"removed,omitzero"`
	Cells      []Cell    `json:"cells"`
}

// A Cell is one month of one job.
type Cell struct {
	Result  compliance.Outcome `json:"result"`
	Good    int                `json:"good"`
	Bad     int                `json:"bad"`
	Voided  int                `json:"voided"`
	Last    time.Time          `json:"last,omitzero"`
	Running bool               `json:"running,omitempty"`
	Why     string             `json:"why"`
}

// A Test is one restore test of the period.
type Test struct {
	Test       string    `json:"test"`
	Job        string    `json:"job"`
	Run        string    `json:"run"`
	Target     string    `json:"target"`
	TakenAt    time.Time `json:"taken_at,omitzero"` // the instant the tested data stand for
	FinishedAt time.Time `json:"finished_at"`
	Verdict    string    `json:"verdict"`
	Level      string    `json:"level"`
	Full       bool      `json:"full"`
	Assertions int       `json:"assertions"`
	Broken     int       `json:"broken"` // assertions that did not hold
	Seconds    float64   `json:"restore_seconds"`
	RTOSeconds int64     `json:"rto_seconds,omitempty"`
	MadeGood   time.Time `json:"made_good,omitzero"` // first pass after a test that did not pass
	Error      string    `json:"error,omitempty"`
	// Beyond says why the test of an image went no further than Level.
	Beyond      string             `json:"beyond,omitempty"`
	BootSeconds float64            `json:"boot_seconds,omitempty"` // until a machine booted from the restored disk was up
	Artifacts   []catalog.Artifact `json:"artifacts,omitempty"`    // what the bundle of the entry holds beside it
	Entry       string             `json:"entry"`
}

// Untested is a job without a passed restore test.
type Untested struct {
	Job     string    `json:"job"`
	Title   string    `json:"title"`
	Last    time.Time `json:"last,omitzero"` // newest test, however it ended
	Verdict string    `json:"verdict"`
	Why     string    `json:"why"` // Vietnamese
}

// A Copy is the newest good copy of a job on one target.
type Copy struct {
	Job        string    `json:"job"`
	Target     string    `json:"target"`
	Run        string    `json:"run"`
	TakenAt    time.Time `json:"taken_at"`
	Separation string    `json:"separation"` // "L0" to "L5", or "unknown"
	Measured   bool      `json:"measured"`   // false: declared or unknown
	How        string    `json:"how"`
	Encryption string    `json:"encryption"`
	// Consistency says how a disk was held still while it was read: "offline",
	// "snapshot", "frozen" of one that was taken while its file systems were at rest, or
	// "crash" when it was in use; absent for other sources.
	Consistency string `json:"consistency,omitempty"`
}

// A Target is one place where copies lie.
type Target struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	Site     string    `json:"site,omitempty"`
	External bool      `json:"external"`
	Jobs     int       `json:"jobs"` // with a good copy there
	Read     time.Time `json:"read,omitzero"`
	Whole    time.Time `json:"whole,omitzero"` // the oldest part was last read back; absent when some never was
	Damaged  time.Time `json:"damaged,omitzero"`
	Suspect  time.Time `json:"suspect,omitzero"` // a restore test got damaged data, no full re-read since
	Groups   int       `json:"groups"`
	Done     int       `json:"done"`
	Every    string    `json:"reread_every"`               // within which everything is to be read back
	Covered  int       `json:"covered_percent"`            // packs read back whole within it
	Ever     int       `json:"ever_percent"`               // packs read back whole at all
	Egress   int64     `json:"egress_per_month,omitempty"` // bytes that reading back may fetch
	Needed   int64     `json:"egress_needed,omitempty"`    // bytes that keeping to RereadEvery takes in a month, as measured
	Spared   bool      `json:"egress_spared,omitempty"`    // something was left unread last because of the budget
	Anchored time.Time `json:"anchored,omitzero"`
}

// A Class is one retention class with its jobs.
type Class struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	KeepMin string `json:"keep_min"`
	KeepMax string `json:"keep_max"`
	Copies  int    `json:"copies"`
	Jobs    int    `json:"jobs"`
	Covered int    `json:"covered"` // jobs with a good backup at all
	Tested  int    `json:"tested"`  // jobs with a passed restore test
}

// Removed is a job that left the inventory.
type Removed struct {
	Job   string    `json:"job"`
	Title string    `json:"title"`
	At    time.Time `json:"at"`
}

// NotCheckable is a duty the software cannot decide, and why.
type NotCheckable struct {
	Clause string `json:"clause"`
	What   string `json:"what"` // Vietnamese
}

// A Ledger is the state of the ledger, to be compared with signed checkpoints.
type Ledger struct {
	Size int64  `json:"size"`
	Root string `json:"root"` // base64, as in checkpoints
	Code string `json:"code"` // short form of size and root, for paper
	// VerifierKey is the public key of the site's signer as the ledger's first
	// entry records it, and Fingerprint what "ssh-keygen -l" prints of it: empty
	// when the entry has no such key.
	VerifierKey string `json:"verifier_key,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Build evaluates the packs and gathers what the documents show. Errors are
// those of compliance.Evaluate and of reading the catalog.
func Build(ctx context.Context, source Source, req Request) (Report, error) {
	result, err := compliance.Evaluate(ctx, source, req.Packs, req.Period, req.AsOf)
	if err != nil {
		return Report{}, err
	}
	r := Report{
		Period: req.Period.String(), From: utc(result.From), To: utc(result.To), AsOf: utc(result.AsOf), JudgedAt: utc(result.At),
		Totals: totals(result.Totals), Version: req.Version, loc: result.Location,
		NotCheckable: notCheckable(), Ledger: ledgerOf(result.Ledger),
	}
	inv := result.Inventory
	r.Site = Site{Name: inv.Site.Name, Code: inv.Site.Code, Level: inv.Site.Level, Zone: inv.Site.Zone, Timezone: result.Location.String(), Jobs: len(inv.Assets)}
	r.Findings, r.Gaps = r.findings(result.Findings), r.findings(result.Gaps)
	r.Packs = r.packs(result.Packs)
	r.Grid = grid(result)
	r.Copies, r.Targets = copies(result), targets(result)
	r.Keys, r.Archives = keys(result), archives(result)
	r.Changes = changes(result)
	r.Media, r.Refused = media(result), result.Refused
	r.Classes, r.Untested, r.Removed = classes(result), untested(result), removed(result)
	r.Verdict = verdict(r)
	if err := r.Ledger.signer(ctx, source); err != nil {
		return Report{}, err
	}
	tests := source.Tests(ctx, catalog.TestQuery{From: result.From, To: result.To, AsOf: result.AsOf})
	if r.Tests, err = r.tests(tests, inv); err != nil {
		return Report{}, err
	}
	r.screens, err = screens(ctx, source, r.Tests)
	return r, err
}

// utc drops the zone and the fraction of a second, so that the same instant
// always has the same text.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

// totals has every kind, so that a kind without rules shows as zeros.
func totals(found map[compliance.Kind]compliance.Totals) map[compliance.Kind]compliance.Totals {
	all := map[compliance.Kind]compliance.Totals{}
	for _, k := range compliance.Kinds() {
		all[k] = found[k]
	}
	return all
}

func (r *Report) findings(all []compliance.Finding) []Finding {
	out := make([]Finding, 0, len(all))
	for _, f := range all {
		subject := f.Subject
		if subject == "" {
			subject = r.Site.Code
		}
		out = append(out, Finding{
			Rule: f.Rule, Clause: f.Clause, Subject: subject, Result: f.Result, Why: f.Why, Remedy: f.Remedy,
			Evidence: append([]string{}, f.Evidence...), Pack: f.Pack, Kind: f.Kind, Title: f.Title, Name: f.Name,
			Counted: f.Counted, Posture: f.Posture, Over: f.Period,
		})
	}
	return out
}

func (r *Report) packs(applied []*compliance.Pack) []Pack {
	out := make([]Pack, 0, len(applied))
	for _, p := range applied {
		pack := Pack{
			ID: p.ID, Version: p.Version, Number: p.Number, Title: p.Title, Issuer: p.Issuer, Kind: p.Kind,
			Status: p.Status, StatusNote: p.StatusNote, SHA256: p.SHA256, Rules: []Rule{},
		}
		for _, rule := range p.Rules {
			row := Rule{ID: rule.ID, Clause: rule.Ref, Title: rule.Title, Text: rule.Text, Note: rule.Note}
			for _, f := range r.Findings {
				if f.Rule == rule.ID && f.Pack == p.ID {
					row.Totals.Add(f.Result, f.Counted)
				}
			}
			pack.Rules = append(pack.Rules, row)
		}
		out = append(out, pack)
	}
	return out
}

func ledgerOf(l compliance.Ledger) Ledger {
	if l.Size == 0 {
		return Ledger{}
	}
	const shown = 10 // bytes: short enough to read out, long enough not to be met by chance
	hex := strings.ToUpper(fmt.Sprintf("%x", l.Root[:shown]))
	var groups []string
	for part := range slices.Chunk([]byte(hex), 4) {
		groups = append(groups, string(part))
	}
	return Ledger{Size: l.Size, Root: l.Root.String(), Code: fmt.Sprintf("%d-%s", l.Size, strings.Join(groups, "-"))}
}

// tests lists the restore tests of the period, oldest first. A test that did
// not pass says when the job passed again, and never disappears.
func (r *Report) tests(found iter.Seq2[catalog.Test, error], inv catalog.InventoryAt) ([]Test, error) {
	rto := map[string]int64{}
	for _, a := range inv.Assets {
		rto[a.Job] = a.RTOSeconds
	}
	out := []Test{}
	open := map[string][]int{}
	for t, err := range found {
		if err != nil {
			return nil, fmt.Errorf("read the restore tests of the period: %w", err)
		}
		row := Test{
			Test: t.Test, Job: t.Job, Run: t.Run, Target: t.Target, TakenAt: utc(t.ConsistentAt), FinishedAt: utc(t.FinishedAt),
			Verdict: t.Verdict, Level: t.Level, Full: t.Full, Assertions: len(t.Assertions), Seconds: t.RestoreSeconds,
			RTOSeconds: rto[t.Job], Error: t.Error, Entry: fmt.Sprintf("entry:%d", t.Seq),
			Beyond: t.Beyond, BootSeconds: t.BootSeconds, Artifacts: t.Artifacts,
		}
		for _, a := range t.Assertions {
			if !a.OK {
				row.Broken++
			}
		}
		out = append(out, row)
		if t.Verdict != catalog.VerdictPassed {
			open[t.Job] = append(open[t.Job], len(out)-1)
			continue
		}
		for _, i := range open[t.Job] {
			out[i].MadeGood = utc(t.FinishedAt)
		}
		delete(open, t.Job)
	}
	slices.SortStableFunc(out, func(a, b Test) int {
		if c := a.FinishedAt.Compare(b.FinishedAt); c != 0 {
			return c
		}
		return strings.Compare(a.Test, b.Test)
	})
	return out, nil
}
