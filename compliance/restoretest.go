package compliance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// restoreTest is the check that copies are restored and examined at the
// interval the inventory gives.
type restoreTest struct {
	every         calendar.Period            // zero: the inventory's own interval
	fallback      map[string]calendar.Period // by importance, when the inventory has none
	most          calendar.Period            // hard cap
	warnDays      int
	firstDays     int // from the first good backup to the first test
	minAssertions int
	sampleOK      bool // a sample will do while a full test is at most fullWithin old
	fullWithin    calendar.Period
	graceDays     int      // a failed test is followed by a pass within so many days
	noGrace       []string // importance words for which a failed test fails at once
}

func parseRestoreTest(s *scope) check {
	c := &restoreTest{
		warnDays: s.number("warn_days_before", 14, 0, 92), firstDays: s.number("first_days", 30, 1, 92),
		minAssertions: s.number("min_assertions", 1, 1, 100), sampleOK: s.boolean("sample_ok", false),
		graceDays: s.number("failed_grace_days", 7, 0, 31),
		noGrace:   s.words("no_grace", "rat_quan_trong", "quan_trong", "thuong"),
		most:      s.period("max_interval", calendar.Period{Months: 12}), fullWithin: s.period("full_within", calendar.Period{Months: 12}),
		fallback: map[string]calendar.Period{},
	}
	every := s.text("every")
	if every != "restore_test_every" && every != "" {
		c.every = s.period("every", calendar.Period{})
	}
	byImportance := s.table("default_every")
	for _, word := range []string{"rat_quan_trong", "quan_trong", "thuong"} {
		c.fallback[word] = byImportance.period(word, c.most)
	}
	return c
}

// period reads an amount of calendar time such as "3mo".
func (s *scope) period(key string, fallback calendar.Period) calendar.Period {
	text, ok := read[string](s, key, `an amount of time such as "3mo"`)
	if !ok {
		return fallback
	}
	var p calendar.Period
	if err := p.UnmarshalText([]byte(text)); err != nil || p.IsZero() {
		s.errorf(key, "field %q is %q, must be an amount of time such as \"3mo\"", key, text)
		return fallback
	}
	return p
}

func (c *restoreTest) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
	tests, err := e.testsOf(ctx, a)
	if err != nil {
		return judgement{}, err
	}
	j := judgement{posture: Pass, remedy: "Chạy kiểm tra phục hồi: saoluu test TÊN-MỤC."}
	passed, ok := tests.newest(c.minAssertions)
	if len(tests.all) > 0 {
		j.evidence = testEvidence(tests.all[0])
	}
	switch {
	case !ok:
		c.never(e, r, a, tests, &j)
	case tests.doubt != "":
		j.posture, j.since, j.why = Unknown, tests.doubted, tests.doubt
	default:
		if passed.Seq != tests.all[0].Seq {
			j.evidence = append(j.evidence, testEvidence(passed)...)
		}
		j.why = fmt.Sprintf("lần đạt gần nhất ngày %s, mức “%s”", vnDate(passed.FinishedAt, e.loc), vnLevel(passed.Level))
		c.due(e, a, passed, &j)
		c.quality(e, a, passed, tests, &j)
		err = c.freshSet(ctx, e, a, tests, &j)
	}
	if err != nil {
		return judgement{}, err
	}
	return j, c.lastFailed(ctx, e, a, tests, &j)
}

// never judges an asset without any test that counts.
func (c *restoreTest) never(e *evaluation, r *Rule, a *asset, tests testFacts, j *judgement) {
	first := a.firstGood()
	if first.IsZero() {
		start, _ := a.start(r, e.loc)
		j.posture = graded(e.age(start), entryFailDays, entryFailDays, Pending)
		j.why = "chưa có bản sao lưu tốt nào để kiểm tra"
		return
	}
	days := e.age(first)
	j.posture = graded(days, c.firstDays, c.firstDays, Pending)
	j.why = fmt.Sprintf("chưa có lần kiểm tra phục hồi nào đạt, %d ngày sau bản sao lưu tốt đầu tiên (hạn %d ngày)", days, c.firstDays)
	if len(tests.all) > 0 && j.posture == Pending {
		j.posture = Warn
	}
	if len(tests.all) > 0 && tests.all[0].Verdict != catalog.VerdictFailed {
		j.why = sentences(j.why, unproved(tests.all[0], e.loc))
	}
}

// unproved says why a test that did not fail is no pass either.
func unproved(t catalog.Test, loc *time.Location) string {
	on := vnDate(t.FinishedAt, loc)
	switch t.Verdict {
	case catalog.VerdictPassed:
		return fmt.Sprintf("lần ngày %s chỉ là đọc thử: mức “%s”, %d phép so sánh trên dữ liệu phục hồi", on, vnLevel(t.Level), len(t.Assertions))
	case catalog.VerdictNotConfigured:
		return fmt.Sprintf("lần ngày %s không có phép so sánh nào", on)
	default:
		return fmt.Sprintf("lần ngày %s không kết luận được", on)
	}
}

// interval returns how long a passed test holds, in days from it, and how many
// days before the end to warn. Intervals shorter than four times the warning have
// none: a monthly test would otherwise warn half of the time, and a warning that
// is always there warns of nothing.
func (c *restoreTest) interval(e *evaluation, a *asset, from time.Time) (days, warn int) {
	day := calendar.DateOf(from, e.loc)
	period := c.every
	schedule, err := calendar.ParseSchedule(a.TestSchedule)
	if scheduled := err == nil && !schedule.IsZero(); scheduled && period.IsZero() {
		next := schedule.Next(from, e.loc)
		if prev := schedule.Prev(next, e.loc); !next.IsZero() && !prev.IsZero() {
			days = calendar.AgeDays(prev, next, e.loc)
		}
	}
	if days == 0 {
		if period.IsZero() {
			period = c.fallback[importanceWord(a.Importance)]
		}
		days = after(day, period, e.loc).DaysSince(day)
	}
	days = min(days, after(day, c.most, e.loc).DaysSince(day))
	if days < 4*c.warnDays {
		return days, 0
	}
	return days, c.warnDays
}

func after(day calendar.Date, p calendar.Period, loc *time.Location) calendar.Date {
	return calendar.DateOf(p.AddTo(day.Start(loc), loc), loc)
}

// due judges whether the next test is late or near.
func (c *restoreTest) due(e *evaluation, a *asset, passed catalog.Test, j *judgement) {
	days, warn := c.interval(e, a, passed.FinishedAt)
	next := calendar.DateOf(passed.FinishedAt, e.loc).AddDays(days)
	left := next.DaysSince(calendar.DateOf(e.now, e.loc))
	date := vnDate(next.Start(e.loc), e.loc)
	switch {
	case left < 0:
		j.posture = Fail
		j.why = sentences(j.why, fmt.Sprintf("quá hạn %d ngày (hạn %s)", -left, date))
	case left <= warn:
		j.posture = Warn
		j.why = sentences(j.why, fmt.Sprintf("còn %d ngày tới hạn %s", left, date))
	default:
		j.why = sentences(j.why, "hạn kế tiếp "+date)
	}
}

// quality judges what the newest passed test proved.
func (c *restoreTest) quality(e *evaluation, a *asset, passed catalog.Test, tests testFacts, j *judgement) {
	warn := func(why string) { j.posture, j.why = worse(j.posture, Warn), sentences(j.why, why) }
	if passed.Control == "" {
		warn("chưa có đối chứng bằng bản sao cố ý làm hỏng")
	}
	if !passed.Full {
		oldest := calendar.DateOf(e.now, e.loc)
		full, ok := tests.newest(c.minAssertions, func(t catalog.Test) bool { return t.Full })
		within := ok && after(calendar.DateOf(full.FinishedAt, e.loc), c.fullWithin, e.loc).Compare(oldest) >= 0
		if !c.sampleOK || !within {
			warn("chỉ phục hồi thử một phần, chưa có lần phục hồi toàn bộ trong kỳ cho phép")
		}
	}
	if rto := float64(a.RTOSeconds); rto > 0 && passed.RestoreSeconds > rto {
		warn(fmt.Sprintf("phục hồi mất %s, vượt RTO %s", vnSpan(seconds(passed.RestoreSeconds)), vnSpan(seconds(rto))))
	}
	if passed.ClockSuspect {
		warn("đồng hồ máy không đáng tin vào lúc kiểm tra")
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// freshSet wants a passed test of one of the two newest backups within the
// interval; a random older one comes on top of it, not in its place.
func (c *restoreTest) freshSet(ctx context.Context, e *evaluation, a *asset, tests testFacts, j *judgement) error {
	for _, t := range tests.all {
		if !proves(t, c.minAssertions) {
			continue
		}
		if days, _ := c.interval(e, a, t.FinishedAt); e.age(t.FinishedAt) > days {
			break
		}
		fresh, err := e.usedNewest(ctx, t)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		if age := t.StartedAt.Sub(t.ConsistentAt); a.RPOSeconds > 0 && age > seconds(float64(a.RPOSeconds)) {
			j.posture = worse(j.posture, Warn)
			j.why = sentences(j.why, fmt.Sprintf("dữ liệu đã %s khi kiểm tra, vượt RPO %s", vnSpan(age), vnSpan(seconds(float64(a.RPOSeconds)))))
		}
		return nil
	}
	if !tests.complete {
		all, err := e.readTests(ctx, a, true)
		if err != nil {
			return err
		}
		return c.freshSet(ctx, e, a, all, j)
	}
	j.posture = worse(j.posture, Warn)
	j.why = sentences(j.why, "trong kỳ chưa kiểm tra một trong hai bản mới nhất")
	return nil
}

// lastFailed judges a newest test that did not pass, and keeps naming a failure
// of the period that was made good later.
func (c *restoreTest) lastFailed(ctx context.Context, e *evaluation, a *asset, tests testFacts, j *judgement) error {
	if len(tests.all) == 0 {
		return nil
	}
	bad, unanswered, err := e.failures.unanswered(ctx, e.view, a.Job, e.bound, e.asOf, func(t catalog.Test) bool { return proves(t, c.minAssertions) })
	if err != nil {
		return err
	}
	last := tests.all[0]
	switch {
	case last.Verdict != catalog.VerdictFailed && unanswered:
		j.posture = worse(j.posture, c.failed(a, e.age(bad.FinishedAt)))
		j.why = sentences(fmt.Sprintf("bản mới nhất đã kiểm tra không đạt ngày %s: %s; từ đó chưa bản nào mới bằng đạt", vnDate(bad.FinishedAt, e.loc), brokenAssertion(bad)), j.why)
		j.evidence = append(j.evidence, testEvidence(bad)...)
		j.remedy = retest
	case last.Verdict == catalog.VerdictFailed:
		j.posture = worse(j.posture, c.failed(a, e.age(e.failedSince(tests))))
		j.why = sentences(fmt.Sprintf("lần kiểm tra ngày %s không đạt: %s", vnDate(last.FinishedAt, e.loc), brokenAssertion(last)), j.why)
		j.remedy = retest
	case !proves(last, c.minAssertions) && j.posture == Pass:
		j.posture = Warn
		j.why = sentences(j.why, unproved(last, e.loc))
	default:
		for _, t := range tests.all {
			if t.Verdict == catalog.VerdictFailed && !t.FinishedAt.Before(e.from) {
				j.why = sentences(j.why, fmt.Sprintf("trong kỳ có lần không đạt ngày %s", vnDate(t.FinishedAt, e.loc)))
				j.evidence = append(j.evidence, testEvidence(t)...)
			}
		}
	}
	return nil
}

const retest = "Tìm nguyên nhân, sao lưu lại và kiểm tra phục hồi lại: saoluu test TÊN-MỤC."

// failed is the outcome of a test that failed so many days ago and was not made good.
func (c *restoreTest) failed(a *asset, days int) Outcome {
	if slices.Contains(c.noGrace, importanceWord(a.Importance)) {
		return Fail
	}
	return graded(days, c.graceDays, c.graceDays, Warn)
}

// failedSince is when the failures began that no pass has ended.
func (e *evaluation) failedSince(tests testFacts) time.Time {
	since := tests.all[0].FinishedAt
	for _, t := range tests.all {
		if proves(t, 1) {
			break
		}
		if t.Verdict == catalog.VerdictFailed {
			since = t.FinishedAt
		}
	}
	return since
}

// Assertions that take no part in a verdict: on restore time, and on tables of which
// not all facts were known.
const (
	slowRestore   = "rto"
	tablesSkipped = catalog.AssertionUncompared
)

func brokenAssertion(t catalog.Test) string {
	for _, a := range t.Assertions {
		if !a.OK && a.Name != slowRestore && a.Name != tablesSkipped {
			return fmt.Sprintf("%s: cần %s, thấy %s", vnAssertion(a.Name), vnValue(a.Expected), vnValue(a.Actual))
		}
	}
	if t.Error != "" {
		return t.Error
	}
	return "bản sao hỏng"
}
