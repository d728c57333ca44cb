package compliance

import (
	"context"
	"fmt"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// calendarCoverage is the check that every calendar month has its backups, with
// limits on age so that "the first of January and the last of February" does
// not pass for monthly.
type calendarCoverage struct {
	minPerUnit       int
	partialDays      int     // a month entered with fewer days left is not judged
	partialElse      Outcome // what a month entered earlier costs when it stays empty
	warnDaysBefore   int     // days before the end of a month from which an empty one warns
	missedClosed     Outcome
	warnAge, failAge int // days
	entryWarn        int // days from entry to the first good backup
	entryFail        int
	finalDays        int // an asset that leaves has a backup at most this old
}

// defaultCoverage is the monthly duty as requirements on monthly backups are
// usually read; packs may differ.
func defaultCoverage() *calendarCoverage {
	return &calendarCoverage{
		minPerUnit: 1, partialDays: 7, partialElse: Warn, warnDaysBefore: 5, missedClosed: Fail,
		warnAge: 31, failAge: 62, entryWarn: 7, entryFail: 31, finalDays: 31,
	}
}

func parseCalendarCoverage(s *scope) check {
	c := defaultCoverage()
	s.word("event", "", "good_backup")
	s.word("unit", "", "month")
	c.minPerUnit = s.number("min_per_unit", c.minPerUnit, 1, 31)
	partial := s.table("first_partial")
	c.partialDays = partial.number("na_if_days_left_lt", c.partialDays, 0, 31)
	c.partialElse = partial.outcome("else", c.partialElse)
	c.warnDaysBefore = s.table("current_unit").number("warn_days_before_end", c.warnDaysBefore, 0, 31)
	c.missedClosed = s.outcome("missed_closed", c.missedClosed)
	c.warnAge, c.failAge = s.limits("max_age", c.warnAge, c.failAge)
	c.entryWarn, c.entryFail = s.limits("first", c.entryWarn, c.entryFail)
	c.finalDays = s.number("final_days", c.finalDays, 1, 366)
	return c
}

// limits reads { warn_gt_days, fail_gt_days }.
func (s *scope) limits(key string, warn, fail int) (int, int) {
	t := s.table(key)
	warn, fail = t.number("warn_gt_days", warn, 1, 3660), t.number("fail_gt_days", fail, 1, 3660)
	if warn > fail {
		s.errorf(key, "field %q warns later than it fails", key)
	}
	return warn, fail
}

func (c *calendarCoverage) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
	duty := c.duty(e, r, a)
	if c.warnAge < 31 { // a gap inside one month can matter
		times, err := e.view.GoodTimes(ctx, a.Job, e.inv.Since[a.Job], e.bound, e.asOf)
		if err != nil {
			return judgement{}, fmt.Errorf("read the good backups of %q: %w", a.Job, err)
		}
		duty.times = times
	}
	posture, now := duty.posture()
	over, why := duty.period()
	j := judgement{posture: posture, period: over, why: sentences(now, why)}
	if !a.removed.IsZero() {
		j.remedy = "Lập văn bản xác nhận việc gỡ khỏi danh mục: người, ngày, lý do."
	}
	return j, c.cite(ctx, e, a, &j)
}

// A monthDuty is one asset's monthly duty with the dates that decide it.
type monthDuty struct {
	*calendarCoverage
	e     *evaluation
	a     *asset
	start time.Time
	byLaw bool        // the rule began after the asset was there
	times []time.Time // good backups that can bound a gap
}

func (c *calendarCoverage) duty(e *evaluation, r *Rule, a *asset) monthDuty {
	d := monthDuty{calendarCoverage: c, e: e, a: a}
	d.start, d.byLaw = a.start(r, e.loc)
	for _, m := range a.covered {
		d.times = append(d.times, m.First, m.Last)
	}
	return d
}

// cell judges one month.
func (d monthDuty) cell(m calendar.Month) (Outcome, string) {
	loc, row, name := d.e.loc, d.a.months[m], "tháng "+vnMonth(m)
	current := calendar.MonthOf(d.e.now, loc)
	first := calendar.MonthOf(d.start, loc)
	switch {
	case m.Compare(first) < 0:
		return NA, name + " trước khi bắt đầu nghĩa vụ"
	case !d.a.removed.IsZero() && m.Compare(calendar.MonthOf(d.a.removed, loc)) > 0:
		return NA, name + " sau khi gỡ khỏi danh mục"
	case m.Compare(current) > 0:
		return Pending, name + " chưa tới"
	case row.Good >= d.minPerUnit:
		return Pass, fmt.Sprintf("%s có %d bản sao lưu tốt", name, row.Good)
	case d.a.removed.Before(m.End(loc)) && !d.a.removed.IsZero():
		return d.final(name)
	}
	partial := m == first && calendar.DateOf(d.start, loc).Day > 1
	if partial && d.byLaw {
		return NA, name + ": quy định có hiệu lực giữa tháng, tính từ tháng sau"
	}
	if left := m.Days() - d.start.In(loc).Day(); partial && left < d.partialDays {
		return NA, fmt.Sprintf("%s: vào danh mục khi chỉ còn %d ngày", name, left)
	}
	if m.End(loc).After(d.e.bound) {
		return d.running(m, name, row.Voided)
	}
	return d.missed(partial, name, row.Voided, row.Bad)
}

// missed judges a closed month without enough good backups.
func (d monthDuty) missed(partial bool, name string, voided, bad int) (Outcome, string) {
	why := name + " không có bản sao lưu tốt"
	if bad > 0 {
		why += fmt.Sprintf(" (%d lượt chạy không đạt)", bad)
	}
	switch {
	case voided > 0:
		return Warn, name + ": bản sao lưu đã vô hiệu"
	case partial:
		return d.partialElse, why + " sau khi vào danh mục"
	default:
		return d.missedClosed, why
	}
}

// running judges the month under way while it is not covered.
func (d monthDuty) running(m calendar.Month, name string, voided int) (Outcome, string) {
	loc := d.e.loc
	if voided > 0 {
		return Warn, name + ": bản sao lưu đã vô hiệu, chưa có bản thay thế"
	}
	if left := m.Days() - d.e.now.In(loc).Day(); left <= d.warnDaysBefore {
		return Warn, fmt.Sprintf("%s chưa có bản sao lưu tốt, chỉ còn %d ngày", name, left)
	}
	from := m.Start(loc)
	if d.start.After(from) {
		from = d.start
	}
	due := d.a.schedule.Next(from.Add(-1), loc)
	switch {
	case due.IsZero() || !due.Before(m.End(loc)):
		return Warn, name + " chưa có bản sao lưu tốt và lịch không có kỳ nào trong tháng"
	case due.Before(d.e.now):
		return Warn, fmt.Sprintf("%s chưa có bản sao lưu tốt dù kỳ đầu là %s", name, vnTime(due, loc))
	default:
		return Pending, fmt.Sprintf("%s: kỳ đầu vào %s", name, vnTime(due, loc))
	}
}

// final judges the month in which an asset left.
func (d monthDuty) final(name string) (Outcome, string) {
	last := d.a.lastGood()
	if last.IsZero() {
		return Fail, name + ": gỡ khỏi danh mục mà chưa từng có bản sao lưu tốt"
	}
	if days := calendar.AgeDays(last, d.a.removed, d.e.loc); days > d.finalDays {
		return Fail, fmt.Sprintf("%s: bản sao lưu cuối cùng cách lúc gỡ khỏi danh mục %d ngày", name, days)
	}
	return Pass, name + ": có bản sao lưu cuối cùng trước khi gỡ khỏi danh mục"
}

// posture is how things stand: the last closed month, the current one and the
// age of the newest good backup.
func (d monthDuty) posture() (Outcome, string) {
	if !d.a.removed.IsZero() {
		return d.tombstone()
	}
	current := calendar.MonthOf(d.e.now, d.e.loc)
	last, lastWhy := d.cell(current.Add(-1))
	this, thisWhy := d.cell(current)
	age, ageWhy := d.age()
	if last == Pass || last == NA || last == Pending {
		lastWhy = ""
	}
	if this == Pass || this == NA {
		thisWhy = ""
	}
	return worse(age, worse(last, this)), sentences(ageWhy, lastWhy, thisWhy)
}

// age judges the newest good backup alone.
func (d monthDuty) age() (Outcome, string) {
	last := d.a.lastGood()
	if last.IsZero() {
		days := d.e.age(d.start)
		why := fmt.Sprintf("chưa có bản sao lưu tốt nào sau %d ngày", days)
		return graded(days, d.entryWarn, d.entryFail, Pending), why
	}
	days := d.e.age(last)
	return graded(days, d.warnAge, d.failAge, Pass), fmt.Sprintf("bản tốt mới nhất ngày %s (%s)", vnDate(last, d.e.loc), vnAgo(days))
}

// tombstone judges an asset that has left the inventory. Leaving needs a named
// person's statement, so it never passes without one.
func (d monthDuty) tombstone() (Outcome, string) {
	month := calendar.MonthOf(d.a.removed, d.e.loc)
	o, why := d.final("tháng " + vnMonth(month))
	gone := fmt.Sprintf("đã gỡ khỏi danh mục ngày %s, chưa có văn bản xác nhận", vnDate(d.a.removed, d.e.loc))
	if o == Pass {
		return Warn, gone
	}
	return o, sentences(gone, why)
}

// period judges the months and the worst gap of the report period.
func (d monthDuty) period() (Outcome, string) {
	outcome, missed := NA, ""
	for _, m := range d.e.period.Months() {
		o, why := d.cell(m)
		outcome = worse(outcome, o)
		if o == Fail || o == Warn {
			missed = sentences(missed, why)
		}
	}
	gap, why := d.worstGap()
	if gap == Pass || gap == NA {
		why = ""
	}
	return worse(outcome, gap), sentences(missed, why)
}

// worstGap judges the longest time without a good backup that ended in the
// period or was still open at its end.
func (d monthDuty) worstGap() (Outcome, string) {
	end := d.e.now
	if !d.a.removed.IsZero() && d.a.removed.Before(end) {
		end = d.a.removed
	}
	if end.Before(d.e.from) || end.Before(d.start) {
		return NA, ""
	}
	worst, longest, text, from, entered := NA, 0, "", d.start, true
	judge := func(to time.Time, open bool) {
		days := calendar.AgeDays(from, to, d.e.loc)
		limits := [2]int{d.warnAge, d.failAge}
		if entered && !d.byLaw {
			limits = [2]int{d.entryWarn, d.entryFail}
		}
		o := graded(days, limits[0], limits[1], Pass)
		if o == Pass && entered && open {
			o = Pending
		}
		if severity(o) > severity(worst) || (o == worst && days > longest) {
			worst, longest = o, days
			text = fmt.Sprintf("khoảng dài nhất không có bản tốt: %d ngày (%s – %s)", days, vnDate(from, d.e.loc), vnDate(to, d.e.loc))
		}
	}
	for _, t := range d.times {
		if t.After(end) {
			break
		}
		if !t.Before(d.e.from) && t.After(from) {
			judge(t, false)
		}
		if entered || t.After(from) {
			from, entered = later(from, t), false
		}
	}
	judge(end, true)
	return worst, text
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// graded compares an age with two limits.
func graded(days, warn, fail int, good Outcome) Outcome {
	switch {
	case days > fail:
		return Fail
	case days > warn:
		return Warn
	default:
		return good
	}
}

// row makes one job's line of the grid. An asset the rule does not bind has
// months with and without backups, but none that is missing.
func (d monthDuty) row(bound bool) GridRow {
	row := GridRow{Job: d.a.Job, Title: d.a.Title, Importance: d.a.Importance, Bound: bound, Removed: d.a.removed}
	for _, m := range d.e.gridMonths() {
		o, why := d.cell(m)
		if !bound && (o == Fail || o == Warn) {
			o = NA
		}
		data := d.a.months[m]
		row.Cells = append(row.Cells, GridCell{
			Month: m, Outcome: o, Why: why, Good: data.Good, Bad: data.Bad, Voided: data.Voided, Last: data.Last,
			Running: m.End(d.e.loc).After(d.e.bound) && !m.Start(d.e.loc).After(d.e.now),
		})
	}
	return row
}

// cite adds what an inspector can look up: the newest good run, the runs that
// failed and those that were found bad later.
func (c *calendarCoverage) cite(ctx context.Context, e *evaluation, a *asset, j *judgement) error {
	copies, err := e.copiesOf(ctx, a)
	if err != nil {
		return err
	}
	for _, f := range copies[:min(1, len(copies))] {
		j.evidence = append(j.evidence, f.evidence()...)
	}
	bad, madeGood, lost := 0, 0, []calendar.Month{}
	for _, m := range e.period.Months() {
		row := a.months[m]
		if bad += row.Bad; row.Good > 0 {
			madeGood += row.Bad
		}
		if row.Voided > 0 && row.Good == 0 {
			lost = append(lost, m)
		}
	}
	if bad > 0 {
		q := catalog.RunQuery{Job: a.Job, NotGood: true, From: e.from, To: e.bound, AsOf: e.asOf, Newest: true, Limit: citedRuns}
		if err := e.citeRuns(ctx, q, j); err != nil {
			return err
		}
	}
	if madeGood > 0 {
		j.why = sentences(j.why, fmt.Sprintf("%d lượt chạy không đạt trong tháng vẫn có bản tốt", madeGood))
	}
	for _, m := range lost {
		q := catalog.RunQuery{Job: a.Job, From: m.Start(e.loc), To: earlier(m.End(e.loc), e.bound), AsOf: e.asOf}
		if err := e.citeRuns(ctx, q, j); err != nil {
			return err
		}
	}
	return nil
}

// citedRuns is how many failed runs of a job are cited, newest first: a page is
// for people, and the catalog holds the rest.
const citedRuns = 10

func (e *evaluation) citeRuns(ctx context.Context, q catalog.RunQuery, j *judgement) error {
	for run, err := range e.view.Runs(ctx, q) {
		if err != nil {
			return fmt.Errorf("read the runs of %q: %w", q.Job, err)
		}
		e.citeRun(run, j)
	}
	return nil
}

// citeRun adds a run that was not good, or no longer is.
func (e *evaluation) citeRun(run catalog.Run, j *judgement) {
	voided := !run.Invalidated.IsZero() && !run.Invalidated.After(e.asOf)
	if run.State == catalog.RunRunning || (run.State == catalog.RunComplete && !voided) {
		return
	}
	j.evidence = append(j.evidence, "run:"+run.Run, fmt.Sprintf("entry:%d", run.Seq))
	if voided {
		j.why = sentences(j.why, fmt.Sprintf("bản ngày %s đã vô hiệu, phát hiện ngày %s", vnDate(run.ConsistentAt, e.loc), vnDate(run.Invalidated, e.loc)))
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
