package compliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"saoluu/internal/calendar"
	"saoluu/internal/fault"
)

// Evaluate applies packs to the catalog for a period, with what was known at
// asOf. A period that is over is judged as it stood in its last second, with
// what has become known since; one under way is judged at asOf.
//
// It returns an error only when the catalog could not be read or holds nothing
// about the period; everything that can be said about the duties is in the
// findings.
func Evaluate(ctx context.Context, view View, packs []*Pack, period calendar.ReportPeriod, asOf time.Time) (Result, error) {
	e, err := begin(ctx, view, period, asOf)
	if err != nil {
		return Result{}, err
	}
	result := Result{
		Inventory: e.inv, Location: e.loc, Period: period, From: e.from, To: e.to, AsOf: asOf, At: e.now,
		Totals: map[Kind]Totals{},
	}
	for _, p := range packs {
		if !e.inPeriod(p.Effective, p.Until) {
			continue
		}
		result.Packs = append(result.Packs, p)
		for i := range p.Rules {
			found, err := e.rule(ctx, p, &p.Rules[i])
			if err != nil {
				return Result{}, err
			}
			result.Findings = append(result.Findings, found...)
		}
	}
	for _, f := range result.Findings {
		totals := result.Totals[f.Kind]
		totals.Add(f.Result, f.Counted)
		result.Totals[f.Kind] = totals
	}
	result.Gaps = gaps(result.Findings)
	return result, e.annex(ctx, packs, &result)
}

// inPeriod reports whether something in force between two days was so at some
// time of the period that is judged.
func (e *evaluation) inPeriod(effective, until calendar.Date) bool {
	if !effective.IsZero() && !effective.Start(e.loc).Before(e.bound) {
		return false
	}
	return until.IsZero() || !until.AddDays(1).Start(e.loc).Before(e.from)
}

// rule returns the findings of one rule: one for the agency, or one for each
// asset.
func (e *evaluation) rule(ctx context.Context, p *Pack, r *Rule) ([]Finding, error) {
	if !e.inPeriod(r.effective, r.until) {
		return nil, nil
	}
	if c, ok := r.check.(siteCheck); ok {
		j, err := c.site(ctx, e, r)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.ID, err)
		}
		return []Finding{e.finding(p, r, nil, j)}, nil
	}
	c, ok := r.check.(assetCheck)
	if !ok {
		return nil, fmt.Errorf("rule %s: its check judges nothing", r.ID)
	}
	var found []Finding
	subjects := 0
	for _, a := range e.assets {
		if !a.removed.IsZero() && !judgesRemoved(c) || !concerns(c, a) {
			continue
		}
		j, err := e.subject(ctx, c, r, a)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.ID, err)
		}
		if a.removed.IsZero() && r.binds(a) {
			subjects++
		}
		found = append(found, e.finding(p, r, a, j))
	}
	if subjects == 0 {
		found = append([]Finding{e.finding(p, r, nil, e.nothing(r))}, found...)
	}
	return found, nil
}

// judgesRemoved reports whether a check has a say about assets that have left
// the inventory: those about a period, not those about a state.
func judgesRemoved(c assetCheck) bool {
	_, ok := c.(*calendarCoverage)
	return ok
}

// concerns reports whether a check is about an asset at all.
func concerns(c assetCheck, a *asset) bool {
	choose, chooses := c.(chooser)
	if !chooses {
		return true
	}
	return choose.about(a)
}

// subject judges one asset, or says why the rule leaves it out.
func (e *evaluation) subject(ctx context.Context, c assetCheck, r *Rule, a *asset) (judgement, error) {
	if !r.binds(a) {
		why := fmt.Sprintf("mức quan trọng “%s”: điều khoản chỉ áp dụng cho dữ liệu mức %s", importanceText(a.Importance), r.importanceNames())
		return judgement{posture: NA, why: why}, nil
	}
	if start, _ := a.start(r, e.loc); start.After(e.now) {
		return judgement{posture: NA, why: "nghĩa vụ bắt đầu từ " + vnDate(start, e.loc)}, nil
	}
	return c.asset(ctx, e, r, a)
}

// binds reports whether a rule is about the asset.
func (r *Rule) binds(a *asset) bool {
	return len(r.importance) == 0 || slices.Contains(r.importance, importanceWord(a.Importance))
}

// importanceNames lists the importance the rule is about as people read it.
func (r *Rule) importanceNames() string {
	var names []string
	for _, i := range []string{"high", "normal", "low"} {
		if slices.Contains(r.importance, importanceWord(i)) {
			names = append(names, "“"+importanceText(i)+"”")
		}
	}
	return strings.Join(names, ", ")
}

// nothing is the finding about an empty selection, which must not pass for
// perfect order.
func (e *evaluation) nothing(r *Rule) judgement {
	if choose, chooses := r.check.(chooser); chooses && len(e.inv.Assets) > 0 {
		if why, remedy := choose.nobody(); why != "" {
			return judgement{posture: r.empty, why: why, remedy: remedy}
		}
	}
	if len(r.importance) > 0 && len(e.inv.Assets) > 0 {
		return judgement{
			posture: r.empty, why: "chưa xác định dữ liệu quan trọng: không mục sao lưu nào thuộc phạm vi của điều khoản",
			remedy: "Xác định mức quan trọng của từng mục sao lưu trong danh mục.",
		}
	}
	return judgement{posture: r.empty, why: "danh mục sao lưu không có mục nào", remedy: "Lập danh mục dữ liệu, phần mềm cần sao lưu."}
}

// finding completes a judgement.
func (e *evaluation) finding(p *Pack, r *Rule, a *asset, j judgement) Finding {
	if j.period == "" {
		j.period = j.posture
	}
	e.distrust(r, &j)
	f := Finding{
		Rule: r.ID, Clause: r.Ref, Pack: p.ID, Kind: p.Kind, Title: r.Title, Subject: "", Name: e.inv.Site.Name,
		Posture: j.posture, Period: j.period, Result: worse(j.posture, j.period), Why: j.why, Evidence: unique(j.evidence),
	}
	if a != nil {
		f.Subject, f.Name = a.Job, a.Title
	}
	f.Counted = f.Result
	if f.Result == Unknown && e.age(j.since) > r.unknownDays {
		f.Counted = Fail
		f.Why = sentences(f.Why, fmt.Sprintf("thiếu dữ liệu đã quá %d ngày nên tính là không đạt", r.unknownDays))
	}
	if f.Open() {
		if f.Remedy = j.remedy; f.Remedy == "" {
			f.Remedy = r.remedy
		}
	}
	return f
}

// distrust takes the green off what was read from tables that are not what the
// ledger tells. The ledger's own rule says what was found.
func (e *evaluation) distrust(r *Rule, j *judgement) {
	if _, own := r.check.(*chainIntact); own || e.compared.Problems == 0 {
		return
	}
	for _, o := range []*Outcome{&j.posture, &j.period} {
		if *o == Pass || *o == Pending {
			*o, j.since = Unknown, e.compared.At
		}
	}
	if j.posture == Unknown && j.since.Equal(e.compared.At) {
		j.why = sentences("không kết luận được: bảng dữ liệu không khớp sổ cái", j.why)
		j.remedy = tablesRemedy
	}
}

// unique drops references that are there already.
func unique(refs []string) []string {
	var out []string
	for _, r := range refs {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// grid shows every asset's months by the first rule about months, or by our own
// figures when no pack has one.
func (e *evaluation) grid(packs []*Pack) []GridRow {
	rule, coverage := &Rule{}, defaultCoverage()
	for _, p := range packs {
		for i := range p.Rules {
			if c, ok := p.Rules[i].check.(*calendarCoverage); ok && rule.check == nil {
				coverage, rule = c, &p.Rules[i]
			}
		}
	}
	rows := make([]GridRow, 0, len(e.assets))
	for _, a := range e.assets {
		rows = append(rows, coverage.duty(e, rule, a).row(rule.binds(a)))
	}
	return rows
}

func refused(period, why, hint string) error {
	return fault.New(fault.Usage, fmt.Sprintf("report period %q", period), errors.New(why), hint)
}

// importanceText is the importance as people read it.
func importanceText(importance string) string {
	switch importance {
	case "high":
		return "rất quan trọng"
	case "normal":
		return "quan trọng"
	case "low":
		return "thường"
	default:
		return importance
	}
}
