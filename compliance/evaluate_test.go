package compliance

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"saoluu/catalog"
	"saoluu/internal/calendar"
	"saoluu/internal/fault"
)

func evaluate(t testing.TB, view View, period, now string, ids ...string) Result {
	t.Helper()
	packs, err := Packs(ids...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := calendar.ParseReportPeriod(period)
	if err != nil {
		t.Fatal(err)
	}
	result, err := Evaluate(t.Context(), view, packs, p, at(t, now))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// Every finding that is not good tells what to do; every one tells why.
func TestFindingsSpeak(t *testing.T) {
	s := nightly(t, 100, now)
	s.assets[0].Label = ""
	s.place(measured(1), blind())
	result := evaluate(t, s, "2026-05", now)
	if len(result.Findings) < 14 {
		t.Fatalf("%d findings", len(result.Findings))
	}
	for _, f := range result.Findings {
		if f.Why == "" || f.Title == "" || f.Clause == "" || f.Name == "" {
			t.Errorf("silent: %+v", f)
		}
		if f.Open() && f.Result != Pending && f.Remedy == "" {
			t.Errorf("%s is %s and says nothing to do", f.Rule, f.Result)
		}
		if !f.Open() && f.Remedy != "" {
			t.Errorf("%s is %s and has a remedy", f.Rule, f.Result)
		}
	}
}

// Kinds are counted apart and every finding is counted once.
func TestTotals(t *testing.T) {
	s := nightly(t, 100, now)
	s.place(blind())
	result := evaluate(t, s, "2026-05", now)
	sum := 0
	for _, k := range Kinds() {
		sum += result.Totals[k].Sum()
	}
	if sum != len(result.Findings) {
		t.Errorf("%d counted of %d", sum, len(result.Findings))
	}
	binding := result.Totals[Binding]
	if binding.Overdue != 4 { // both rules on separation, the restore time nobody measured, the empty ledger
		t.Errorf("%d unknowns counted as failed: %+v", binding.Overdue, binding)
	}
	if binding.Fail < binding.Overdue || binding.Unknown != 0 {
		t.Errorf("%+v", binding)
	}
}

// Gaps are what is open, worst first, and nothing else.
func TestGaps(t *testing.T) {
	s := nightly(t, 100, now)
	s.place(measured(2), blind())
	result := evaluate(t, s, "2026-05", now)
	rank := []Outcome{Fail, Unknown, Warn, Waived, Pending}
	last := 0
	for _, g := range result.Gaps {
		i := slices.Index(rank, g.Counted)
		if i < last {
			t.Errorf("%s (%s) comes after worse", g.Rule, g.Counted)
		}
		last = max(last, i)
	}
	open := 0
	for _, f := range result.Findings {
		if f.Open() {
			open++
		}
	}
	if open != len(result.Gaps) || open == 0 {
		t.Errorf("%d gaps of %d open findings", len(result.Gaps), open)
	}
}

// The same questions have the same answers, whatever happens later.
func TestEvaluateIsReproducible(t *testing.T) {
	s := nightly(t, 100, now)
	s.tested(t, 10)
	before := evaluate(t, s, "2026-04", now)
	s.addRun(at(t, "2026-05-21"))
	fails(s.tested(t, -1))
	s.reread(t, testTarget)
	after := evaluate(t, s, "2026-04", now)
	if diff := cmp.Diff(before.Findings, after.Findings); diff != "" {
		t.Errorf("what happened later changed the findings:\n%s", diff)
	}
}

// A period that is over is judged as it stood on its last day.
func TestClosedPeriod(t *testing.T) {
	s := oneAsset(t, "2026-01-01", "2026-01-03", "2026-02-03", "2026-03-03")
	f := judge(t, s, "HD39-16.1b-2", "2026-03", now)
	if f.Result != Pass {
		t.Errorf("March: %s: %s", f.Result, f.Why)
	}
	if f := judge(t, s, "HD39-16.1b-2", "2026-04", now); f.Result != Fail {
		t.Errorf("April: %s: %s", f.Result, f.Why)
	}
}

func TestEmptyInventory(t *testing.T) {
	s := oneAsset(t, "2026-01-01")
	s.assets = nil
	result := evaluate(t, s, "2026-05", now)
	for _, f := range result.Findings {
		if f.Result == Pass && f.Subject != "" {
			t.Errorf("%s passes for nothing", f.Rule)
		}
		if f.Kind == Binding && f.Rule != "HD39-14.1" && f.Result != Warn && f.Result != Fail {
			t.Errorf("%s is %s on an empty list", f.Rule, f.Result)
		}
	}
}

func TestEvaluateRefuses(t *testing.T) {
	s := oneAsset(t, "2026-01-01")
	for _, period := range []string{"2025-12", "2026-06", "2027"} {
		p, err := calendar.ParseReportPeriod(period)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Evaluate(t.Context(), s, nil, p, at(t, now)); fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", period, err)
		}
	}
}

// broken is a catalog that cannot be read.
type broken struct{ *scenario }

func (broken) Months(context.Context, time.Time, time.Time, time.Time) ([]catalog.Month, error) {
	return nil, errors.New("disk I/O error")
}

// halfway breaks off in the middle of an answer.
type halfway struct{ *scenario }

func (h halfway) Runs(ctx context.Context, q catalog.RunQuery) iter.Seq2[catalog.Run, error] {
	return func(yield func(catalog.Run, error) bool) { yield(catalog.Run{}, errors.New("disk I/O error")) }
}

// Could not look is an error, never a finding.
func TestUnreadableCatalog(t *testing.T) {
	packs, err := Packs("HD39")
	if err != nil {
		t.Fatal(err)
	}
	p := calendar.ReportPeriod{First: calendar.Month{Year: 2026, Month: time.May}, Count: 1}
	s := nightly(t, 10, now)
	for _, view := range []View{broken{s}, halfway{s}} {
		if _, err := Evaluate(t.Context(), view, packs, p, at(t, now)); err == nil || !strings.Contains(err.Error(), "disk I/O error") {
			t.Errorf("%T: %v", view, err)
		}
	}
}

func TestChain(t *testing.T) {
	scene := func(anchors ...string) *scenario {
		s := nightly(t, 10, now)
		for i := range 5 {
			s.entries = append(s.entries, catalog.Entry{Seq: int64(i), At: s.set, JSON: []byte{byte('a' + i)}})
		}
		for _, a := range anchors {
			root, err := s.Root(t.Context(), 4)
			if err != nil {
				t.Fatal(err)
			}
			s.compared = []catalog.Comparison{{At: at(t, "2026-05-20")}}
			s.anchors = append(s.anchors, catalog.Anchor{At: at(t, a), CheckpointAnchored: catalog.CheckpointAnchored{Target: testTarget, Size: 4, Root: root.String()}})
		}
		return s
	}
	tests := []struct {
		name   string
		s      *scenario
		change func(s *scenario)
		want   Outcome
	}{
		{"anchored yesterday", scene("2026-05-19"), nil, Pass},
		{"2 days ago", scene("2026-05-18"), nil, Warn},
		{"7 days ago", scene("2026-05-13"), nil, Warn},
		{"8 days ago", scene("2026-05-12"), nil, Fail},
		{"never, an old ledger", scene(), nil, Fail},
		{"never, a ledger of today", scene(), func(s *scenario) { s.set = at(t, "2026-05-20") }, Warn},
		{"an entry changed", scene("2026-05-19"), func(s *scenario) { s.broken = true }, Fail},
		{"an entry gone", scene("2026-05-19"), func(s *scenario) { s.entries = s.entries[:3] }, Fail},
		{"never compared with the tables", scene("2026-05-19"), func(s *scenario) { s.compared = nil }, Warn},
		{"compared 8 days ago", scene("2026-05-19"), func(s *scenario) { s.compared[0].At = at(t, "2026-05-12") }, Fail},
		{"a table changed", scene("2026-05-19"), func(s *scenario) { s.compared[0].Problems = 2 }, Fail},
		{"the tables could not be compared", scene("2026-05-19"), func(s *scenario) { s.compared[0].Error = "disk" }, Unknown},
		{"history rewritten after an anchor", scene("2026-05-18", "2026-05-19"), func(s *scenario) { s.anchors[0].Root = "AAAA" }, Fail},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(tt.s)
			}
			if f := judge(t, tt.s, "HD39-14.1", "2026-05", now); f.Result != tt.want {
				t.Errorf("%s, want %s: %s", f.Result, tt.want, f.Why)
			}
		})
	}
}

// What was read from tables that are not what the ledger tells passes no rule.
func TestTablesChanged(t *testing.T) {
	s := nightly(t, 2, now)
	if f := judge(t, s, "HD39-8.3a-2", "2026-05", now); f.Result != Pass {
		t.Fatalf("before: %s: %s", f.Result, f.Why)
	}
	s.compared = []catalog.Comparison{{At: at(t, "2026-05-20"), CatalogCompared: catalog.CatalogCompared{Problems: 1}}}
	if f := judge(t, s, "HD39-8.3a-2", "2026-05", now); f.Result != Unknown || !strings.Contains(f.Why, "không khớp sổ cái") {
		t.Errorf("after: %s: %s", f.Result, f.Why)
	}
}

// proving is a scenario that can prove its entries.
type proving struct{ *scenario }

func (p proving) ProveInclusion(_ context.Context, seq, size int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	stored := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	for n, e := range p.entries[:size] {
		line := e.JSON
		if p.broken && n == 0 {
			line = append([]byte("changed "), line...)
		}
		more, err := tlog.StoredHashes(int64(n), line, stored)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, more...)
	}
	return tlog.ProveRecord(size, seq, stored)
}

// A long ledger is proved by samples, and the finding says so.
func TestChainOfLongLedger(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *scenario)
		want   Outcome
	}{
		{"whole", func(*scenario) {}, Pass},
		{"an entry changed", func(s *scenario) { s.broken = true }, Fail},
		{"an anchor contradicts", func(s *scenario) { s.anchors[0].Root = "AAAA" }, Fail},
		{"an anchor of a longer ledger", func(s *scenario) { s.anchors[0].Size = 100 }, Fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := nightly(t, 2, now)
			for i := range 9 {
				s.entries = append(s.entries, catalog.Entry{Seq: int64(i), At: s.set, JSON: []byte{byte('a' + i)}})
			}
			root, err := s.Root(t.Context(), 5)
			if err != nil {
				t.Fatal(err)
			}
			s.compared = []catalog.Comparison{{At: at(t, "2026-05-20")}}
			s.anchors = []catalog.Anchor{{At: at(t, "2026-05-20"), CheckpointAnchored: catalog.CheckpointAnchored{Target: testTarget, Size: 5, Root: root.String()}}}
			tt.change(s)
			pack := &Pack{Kind: Binding, Rules: []Rule{{ID: "X-1", Title: "x", check: &chainIntact{anchorWarn: 2, anchorFail: 7, rehash: 4}}}}
			p := calendar.ReportPeriod{First: calendar.Month{Year: 2026, Month: time.May}, Count: 1}
			result, err := Evaluate(t.Context(), proving{s}, []*Pack{pack}, p, at(t, now))
			if err != nil {
				t.Fatal(err)
			}
			if f := result.Findings[0]; f.Result != tt.want || !strings.Contains(f.Why, "sổ cái") {
				t.Errorf("%s, want %s: %s", f.Result, tt.want, f.Why)
			}
		})
	}
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		size, most int64
		want       []int64
	}{{0, 3, nil}, {2, 3, []int64{0, 1}}, {3, 3, []int64{0, 1, 2}}, {101, 3, []int64{0, 50, 100}}} {
		if got := spread(tt.size, tt.most); !slices.Equal(got, tt.want) {
			t.Errorf("%d of %d: %v, want %v", tt.most, tt.size, got, tt.want)
		}
	}
}

// A short period is shown at the end of a year, but not from before there was
// an inventory.
func TestGrid(t *testing.T) {
	s := oneAsset(t, "2026-02-10", "2026-02-11", "2026-04-03")
	s.assets = append(s.assets, s.assets[0])
	s.assets[1].Job, s.assets[1].Importance = "khac", "low"
	result := evaluate(t, s, "2026-05", now)
	if len(result.Grid) != 2 || len(result.Watch) != 4 {
		t.Fatalf("%d rows, %d months", len(result.Grid), len(result.Watch))
	}
	got := map[string][]Outcome{}
	for _, row := range result.Grid {
		for _, c := range row.Cells {
			got[row.Job] = append(got[row.Job], c.Outcome)
		}
	}
	want := map[string][]Outcome{testJob: {Pass, Fail, Pass, Warn}, "khac": {NA, NA, NA, NA}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if last := result.Grid[1].Cells[3]; !last.Running {
		t.Error("the month under way is not marked")
	}
}
