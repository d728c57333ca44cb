package compliance

import (
	"context"
	"fmt"
	"time"

	"saoluu/catalog"
)

// verification is the check that stored copies are read back.
type verification struct {
	newestDays  int // since the newest copy's data were last read back in full
	olderDays   int // the same for older copies
	offlineDays int // both, on removable media
	graceDays   int // overdue by so much only warns
	repairDays  int // damage beside another good copy only warns for so long
}

func parseVerification(s *scope) check {
	return &verification{
		newestDays: s.number("newest_days", 31, 1, 366), olderDays: s.number("older_days", 92, 1, 366),
		offlineDays: s.number("offline_days", 186, 1, 732), graceDays: s.number("grace_days", 14, 0, 92),
		repairDays: s.number("repair_days", 7, 0, 31),
	}
}

func (c *verification) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
	copies, err := e.copiesOf(ctx, a)
	if err != nil {
		return judgement{}, err
	}
	if len(copies) == 0 {
		return e.noCopy(r, a, ""), nil
	}
	tests, err := e.testsOf(ctx, a)
	if err != nil {
		return judgement{}, err
	}
	sound, _, err := e.soundCopies(ctx, a, entryFailDays)
	if err != nil {
		return judgement{}, err
	}
	j := judgement{posture: Pending}
	for _, f := range copies {
		t, err := e.target(ctx, f.Target)
		if err != nil {
			return judgement{}, err
		}
		outcome, why := c.copy(e, a, f, t, tests)
		if !t.suspect.IsZero() {
			outcome = worse(outcome, Warn)
			why = sentences(fmt.Sprintf("“%s”: kiểm tra phục hồi ngày %s gặp dữ liệu hỏng, từ đó chưa đọc kiểm tra lại hết một vòng", f.Target, vnDate(t.suspect, e.loc)), why)
		}
		if !t.damaged.IsZero() {
			outcome, why = c.damaged(e, f, t, len(sound) > 0)
			j.remedy = "Thay hoặc sửa nơi lưu, tạo lại bản sao rồi đọc kiểm tra lại toàn bộ."
		}
		if outcome != Pending || j.posture == Pending {
			j.posture = worse(j.posture, outcome)
		}
		j.why = sentences(j.why, why)
	}
	return j, nil
}

// damaged judges a copy on a target where a re-read found damage.
func (c *verification) damaged(e *evaluation, f copyFact, t *targetFacts, other bool) (Outcome, string) {
	why := fmt.Sprintf("“%s”: đọc kiểm tra phát hiện hỏng ngày %s", f.Target, vnDate(t.damaged, e.loc))
	switch {
	case !other:
		return Fail, why + ", không còn bản sao tốt nào khác"
	case e.age(t.damaged) > c.repairDays:
		return Fail, fmt.Sprintf("%s, quá %d ngày chưa khắc phục", why, c.repairDays)
	default:
		return Warn, why + ", còn bản sao tốt ở nơi khác"
	}
}

// copy judges one target that is whole as far as is known. Data are read back
// group by group, so the newest copy counts as read when every group was, or
// when a full restore test fetched a copy from this target.
func (c *verification) copy(e *evaluation, a *asset, f copyFact, t *targetFacts, tests testFacts) (Outcome, string) {
	newestLimit, olderLimit := c.newestDays, c.olderDays
	if e.targetRow(f.Target).Type == "removable" {
		newestLimit, olderLimit = c.offlineDays, c.offlineDays
	}
	first := t.firstCopy(a)
	o, why := c.grade(e, t.whole, first, newestLimit)
	p, whyOlder := c.grade(e, t.whole, first, olderLimit)
	if test := tests.fullOn(f.Target); test.FinishedAt.After(t.whole) {
		o, why = c.restored(e, f, test, t, newestLimit)
	}
	text := fmt.Sprintf("“%s”: %s", f.Target, why)
	if severity(p) > severity(o) {
		text = fmt.Sprintf("“%s”: các bản cũ %s", f.Target, whyOlder)
	}
	from := before(rereadEvery(e.targetRow(f.Target)), e.now, e.loc)
	if percent := t.cover.Percent(from, e.now); t.groups > 0 && percent < 100 {
		text += fmt.Sprintf(" (%d ngày qua đọc kiểm tra được %d%%)", e.age(from), percent)
	}
	return worse(o, p), text
}

// restored judges a full restore test newer than the last full pass of
// re-reading. It read one backup and not the target, and the words say so.
func (c *verification) restored(e *evaluation, f copyFact, test catalog.Test, t *targetFacts, limit int) (Outcome, string) {
	which := fmt.Sprintf("bản ngày %s", vnDate(test.ConsistentAt, e.loc))
	if test.Run == f.run {
		which = "bản mới nhất"
	}
	days := e.age(test.FinishedAt)
	why := fmt.Sprintf("%s đã được phục hồi thử toàn bộ %s (hạn %d ngày)", which, vnAgo(days), limit)
	if t.whole.IsZero() {
		why += ", các bản khác chưa đọc kiểm tra hết một vòng"
	} else {
		why += fmt.Sprintf(", đọc kiểm tra toàn bộ %s", vnAgo(e.age(t.whole)))
	}
	return graded(days, limit, limit+c.graceDays, Pass), why
}

// grade judges how long ago something was read back, or has waited to be read
// for the first time.
func (c *verification) grade(e *evaluation, read, first time.Time, limit int) (Outcome, string) {
	if read.IsZero() {
		days := e.age(first)
		return graded(days, limit, limit+c.graceDays, Pending), fmt.Sprintf("chưa từng đọc kiểm tra toàn bộ sau %d ngày (hạn %d ngày)", days, limit)
	}
	days := e.age(read)
	return graded(days, limit, limit+c.graceDays, Pass), fmt.Sprintf("đọc kiểm tra toàn bộ %s (hạn %d ngày)", vnAgo(days), limit)
}
