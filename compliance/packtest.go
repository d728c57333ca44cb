package compliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
)

// A packTest is one [[test]] of a pack: what was given, when, and what the rule
// must say.
type packTest struct {
	rule    string
	place   problem // line and column, for the message
	now     time.Time
	period  calendar.ReportPeriod
	given   *scenario
	subject string
	posture Outcome // empty: not asked
	over    Outcome
}

// The one asset and the first target of a scenario.
const (
	testJob    = "test"
	testTarget = "kho"
)

// Lint parses a pack and runs its own tests with a frozen clock. The error is a
// fault.Usage that lists every problem and every test that does not hold.
func Lint(ctx context.Context, name string, text []byte) error {
	p, err := ParsePack(name, text)
	if err != nil {
		return err
	}
	var broken []string
	tested := map[string]bool{}
	for _, t := range p.tests {
		tested[t.rule] = true
		if err := t.run(ctx, p); err != nil {
			broken = append(broken, fmt.Sprintf("%s:%d:%d: test of rule %q: %v", name, t.place.line, t.place.column, t.rule, err))
		}
	}
	for _, r := range p.Rules {
		if !tested[r.ID] {
			broken = append(broken, fmt.Sprintf("%s:1:1: rule %q has no test", name, r.ID))
		}
	}
	if len(broken) > 0 {
		return fault.New(fault.Usage, "rule pack", errors.New(strings.Join(broken, "\n")), "correct the rule or its tests")
	}
	return nil
}

// run evaluates the pack on the scenario and compares.
func (t packTest) run(ctx context.Context, p *Pack) error {
	result, err := Evaluate(ctx, t.given, []*Pack{p}, t.period, t.now)
	if err != nil {
		return err
	}
	about := slices.IndexFunc(result.Findings, func(f Finding) bool { return f.Rule == t.rule && f.Subject == t.subject })
	if about < 0 {
		about = slices.IndexFunc(result.Findings, func(f Finding) bool { return f.Rule == t.rule })
	}
	if about < 0 {
		return errors.New("the rule said nothing")
	}
	f := result.Findings[about]
	if t.posture != "" && f.Posture != t.posture {
		return fmt.Errorf("posture is %s, expected %s: %s", f.Posture, t.posture, f.Why)
	}
	if t.over != "" && f.Period != t.over {
		return fmt.Errorf("period is %s, expected %s: %s", f.Period, t.over, f.Why)
	}
	return nil
}

// readTest reads one [[test]].
func readTest(s *scope, p *Pack) packTest {
	loc, err := calendar.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		s.errorf("now", "%v", err)
		return packTest{}
	}
	at := s.doc.at[s.path]
	t := packTest{rule: s.text("rule"), place: problem{line: at.Line, column: at.Column}, now: s.instant("now", loc), subject: testJob}
	if t.now.IsZero() && !s.has("now") {
		s.missing("now")
	}
	s.optional("name")
	if s.word("about", "asset", "asset", "agency") == "agency" {
		t.subject = ""
	}
	t.given = readScenario(s.table("given"), loc, t.now)
	t.period = s.periodOf("period", t.given.set, t.now, loc)
	expect := s.table("expect")
	t.posture, t.over = expect.anyOutcome("posture"), expect.anyOutcome("period")
	if t.posture == "" && t.over == "" {
		s.errorf("expect", "a test expects nothing")
	}
	return t
}

func (s *scope) anyOutcome(key string) Outcome {
	if !s.has(key) {
		s.get(key)
		return ""
	}
	return Outcome(s.word(key, "", string(Pass), string(Warn), string(Fail), string(Pending), string(NA), string(Waived), string(Unknown)))
}

// periodOf reads a report period; without one it reaches from the first month to now.
func (s *scope) periodOf(key string, first, now time.Time, loc *time.Location) calendar.ReportPeriod {
	if text := s.optional(key); text != "" {
		p, err := calendar.ParseReportPeriod(text)
		if err != nil {
			s.errorf(key, "%v", err)
		}
		return p
	}
	p := calendar.ReportPeriod{First: calendar.MonthOf(first, loc), Count: 1}
	if now.Sub(first) > longestGiven {
		s.errorf("given", "a test spans more than ten years")
		return p
	}
	for m := p.First; m.Compare(calendar.MonthOf(now, loc)) < 0; m = m.Next() {
		p.Count++
	}
	return p
}

// readScenario reads what a test gives.
func readScenario(s *scope, loc *time.Location, now time.Time) *scenario {
	sc := &scenario{loc: loc, set: s.instant("asset_since", loc)}
	if sc.set.IsZero() {
		s.missing("asset_since")
		sc.set = now
	}
	sc.site = catalog.SiteInfo{Name: "Đơn vị thử", Code: "THU", Level: s.number("level", 3, 1, 5), Timezone: "Asia/Ho_Chi_Minh"}
	sc.classes = []catalog.ClassInfo{{Name: "nhom", Title: "Nhóm", KeepMin: "1y", KeepMax: "5y", Copies: 1}}
	asset := readAsset(s)
	template := readCopies(s, sc, &asset)
	if removed := s.instant("removed", loc); !removed.IsZero() {
		sc.removed = []catalog.RemovedAsset{{Asset: asset, At: removed}}
	} else if s.boolean("asset", true) {
		sc.assets = []catalog.Asset{asset}
	}
	sc.addRuns(s, template)
	for i, t := range s.tables("tests") {
		sc.addTest(t, i)
	}
	for _, t := range s.tables("read_back") {
		sc.addCheck(t)
	}
	for i, at := range s.instants("controls_missed", loc) {
		sc.controls = append(sc.controls, catalog.Control{At: at, ControlFinished: catalog.ControlFinished{Control: fmt.Sprint(i), Source: asset.Source}})
	}
	sc.addKeys(s)
	sc.addMedia(s)
	sc.addChanges(s)
	sc.addLedger(s)
	return sc
}

// readAsset reads the columns of the asset; those not given are filled.
func readAsset(s *scope) catalog.Asset {
	a := catalog.Asset{Job: testJob, Title: "Mục thử", Category: "database", Importance: "normal", Secrecy: "none", Label: "noi-bo",
		Owner: "Văn phòng", Class: "nhom", Source: "files", Method: "thử", Schedule: "daily at 01:00", TestSchedule: "monthly on 5 at 03:00"}
	texts := map[string]*string{
		"title": &a.Title, "category": &a.Category, "importance": &a.Importance, "secrecy": &a.Secrecy, "label": &a.Label, "owner": &a.Owner,
		"class": &a.Class, "method": &a.Method, "schedule": &a.Schedule, "restore_test_every": &a.TestSchedule, "in_service": &a.InService,
	}
	for key, field := range texts {
		if s.has(key) {
			*field = s.optional(key)
		}
	}
	if s.has("source") {
		a.Source = s.optional("source")
	}
	if s.has("classification") {
		a.Classification = &catalog.Classification{Decision: s.optional("classification"), By: "thử", Date: "2026-01-01"}
	}
	a.Devices = s.number("devices", 0, 0, 1000)
	for _, i := range []string{"high", "normal", "low"} {
		if a.Importance == importanceWord(i) {
			a.Importance = i
		}
	}
	a.RPOSeconds = int64(s.number("rpo_hours", 0, 0, 100_000)) * 3600
	a.RTOSeconds = int64(s.number("rto_hours", 0, 0, 100_000)) * 3600
	return a
}

// givenCopy is a copy as a test describes it: what each good backup has on one
// target.
type givenCopy struct {
	catalog.Copy
	until time.Time // later backups have no copy there
}

func readCopies(s *scope, sc *scenario, asset *catalog.Asset) []givenCopy {
	var out []givenCopy
	for _, c := range s.tables("copies") {
		separation := &catalog.Separation{
			Level: c.number("level", 0, levelSameFS, levelOutOfReach), How: "thử",
			Declared: c.boolean("declared", false), Unknown: c.boolean("unknown", false), Domain: c.optional("domain"),
		}
		encryption := catalog.EncryptionRestic
		if c.has("encryption") {
			encryption = c.optional("encryption")
		}
		target := c.text("target")
		sc.targets = append(sc.targets, catalog.TargetRow{Name: target, Type: c.word("type", "local", "local", "removable", "s3", "sftp", "rest")})
		asset.Targets = append(asset.Targets, target)
		out = append(out, givenCopy{catalog.Copy{Target: target, State: catalog.RunComplete, Separation: separation, Encryption: encryption}, c.instant("until", sc.loc)})
	}
	if len(out) == 0 {
		sc.targets, asset.Targets = []catalog.TargetRow{{Name: testTarget, Type: "local"}}, []string{testTarget}
		out = []givenCopy{{Copy: catalog.Copy{Target: testTarget, State: catalog.RunComplete, Encryption: catalog.EncryptionRestic,
			Separation: &catalog.Separation{Level: levelOtherHost, How: "thử"}}}}
	}
	return out
}
