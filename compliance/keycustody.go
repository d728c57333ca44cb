package compliance

import (
	"context"
	"fmt"
	"strings"
	"time"

	"saoluu/internal/calendar"
)

// keyCustody is the check that keys outlive people and machines and do not lie with
// the data they open: how many can open them, where they are, and that somebody
// tried.
type keyCustody struct {
	min    int  // custodians of today who can open the key of each target
	months int  // in which a custodian has to have tried
	apart  bool // the clear key must not lie on the target
}

func parseKeyCustody(s *scope) check {
	return &keyCustody{
		min: s.number("min_custodians", 2, 1, 9), months: s.number("test_months", 12, 1, 60), apart: s.boolean("forbid_same_target", true),
	}
}

// asset looks at the key of each target that holds a good copy.
func (c *keyCustody) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
	copies, err := e.copiesOf(ctx, a)
	if err != nil {
		return judgement{}, err
	}
	if len(copies) == 0 {
		return e.noCopy(r, a, ""), nil
	}
	j := judgement{posture: Pass}
	untried := false
	for _, f := range copies {
		k, err := e.key(ctx, f.Target)
		if err != nil {
			return judgement{}, err
		}
		one := keyJudgement{e: e, target: f.Target}
		c.holders(&one, k)
		c.place(&one, k)
		untried = c.drill(&one, k) || untried
		if severity(one.posture) > severity(j.posture) {
			j.posture, j.remedy = one.posture, one.remedy
		}
		if one.posture == Unknown && (j.since.IsZero() || one.since.Before(j.since)) {
			j.since = one.since
		}
		j.why = sentences(j.why, fmt.Sprintf("“%s”: %s", f.Target, one.text()))
		j.evidence = append(j.evidence, one.evidence...)
	}
	if j.posture == Pass && untried {
		j.posture, j.remedy = Pending, drillRemedy
	}
	j.addDestroyed(e, a)
	return j, nil
}

// keyJudgement is what is said of the key of one target. Its since is that of the
// oldest thing not known.
type keyJudgement struct {
	judgement
	e      *evaluation
	target string
	said   []said
}

// said is one thing found of a key.
type said struct {
	outcome Outcome
	text    string
}

// text is what is not in order, or everything when all is.
func (j *keyJudgement) text() string {
	var parts []string
	for _, s := range j.said {
		if s.outcome != Pass || severity(j.posture) <= severity(Pass) {
			parts = append(parts, s.text)
		}
	}
	return strings.Join(parts, ", ")
}

// say adds one thing found. The remedy is that of the worst.
func (j *keyJudgement) say(o Outcome, remedy, format string, args ...any) {
	if severity(o) > severity(j.posture) {
		j.posture, j.remedy = o, remedy
	}
	j.said = append(j.said, said{o, fmt.Sprintf(format, args...)})
}

func (j *keyJudgement) cite(seq int64) { j.evidence = append(j.evidence, entry(seq)) }

func (j *keyJudgement) day(t time.Time) string { return vnDate(t, j.e.loc) }

const (
	sealRemedy   = "Khai báo ít nhất hai người giữ khóa trong cấu hình rồi niêm phong lại khóa (saoluu key seal)."
	drillRemedy  = "Để một người giữ khóa mở thử khóa niêm phong (saoluu key drill)."
	leaverRemedy = "Thay khóa rồi niêm phong cho những người giữ khóa hiện nay (saoluu key rotate)."
	placeRemedy  = "Chuyển thư mục khóa sang ổ đĩa khác với nơi lưu, rồi đổi khóa (saoluu key rotate)."
)

// holders judges who can open the key when this machine is gone.
func (c *keyCustody) holders(j *keyJudgement, k keyFacts) {
	if k.First.IsZero() {
		j.say(Fail, sealRemedy, "khóa chưa niêm phong cho ai, chưa in phiếu phục hồi")
		return
	}
	j.cite(k.Sealed.Seq)
	sealed := k.Sealed.Event
	rotated := k.Rotated
	if rotated.Seq > 0 {
		j.cite(rotated.Seq)
	}
	switch {
	case k.foreign(sealed.Repository):
		j.say(Fail, sealRemedy, "khóa niêm phong ngày %s là của kho lưu cũ", j.day(k.Sealed.At))
		return
	case rotated.Seq > k.Sealed.Seq && rotated.Event.Added != sealed.Key:
		j.say(Fail, sealRemedy, "khóa đã thay ngày %s mà chưa niêm phong lại", j.day(rotated.At))
		return
	case len(sealed.Recipients) == 0:
		j.say(Warn, sealRemedy, "khóa chỉ có trên phiếu phục hồi in ngày %s, chưa giao cho người giữ khóa nào", j.day(k.Sealed.At))
	case len(k.custodians) == 0:
		j.since = k.Sealed.At
		j.say(Unknown, sealRemedy, "khóa niêm phong cho %d người, nhưng danh mục không ghi ai đang là người giữ khóa", len(sealed.Recipients))
	default:
		c.people(j, k)
	}
	c.remaining(j, k)
}

// remaining judges old keys that the storage did not let go.
func (c *keyCustody) remaining(j *keyJudgement, k keyFacts) {
	left, kept := k.Remaining()
	if k.Checked.Seq > k.Rotated.Seq {
		j.cite(k.Checked.Seq)
	}
	if n := len(left); n > 0 {
		j.say(Warn, "Gỡ khóa cũ tại nơi lưu, hoặc thay khóa lần nữa khi nơi lưu cho phép xóa (saoluu key rotate).", "%d khóa cũ vẫn mở được kho lưu sau lần thay khóa ngày %s", n, j.day(k.Rotated.At))
	}
	if n := len(kept); n > 0 {
		j.say(Warn, "Hủy mọi bản của khóa cũ; khi hết thời hạn khóa chống xóa, lần chăm sóc kế tiếp sẽ xóa hẳn (saoluu upkeep).", "%d khóa cũ đã xóa nhưng nơi lưu còn giữ phiên bản sau lần thay khóa ngày %s", n, j.day(k.Rotated.At))
	}
}

// people judges the custodians that a key is sealed to.
func (c *keyCustody) people(j *keyJudgement, k keyFacts) {
	switch n := len(k.able); {
	case n == 0:
		j.say(Fail, sealRemedy, "không người giữ khóa hiện nay nào mở được khóa")
	case n < c.min:
		j.say(Warn, sealRemedy, "mới có %d người giữ khóa mở được (%s), cần ít nhất %d", n, quoted(k.able), c.min)
	default:
		j.say(Pass, "", "%d người giữ khóa mở được (%s)", n, quoted(k.able))
	}
	if len(k.left) > 0 {
		j.say(Warn, leaverRemedy, "khóa còn mở được bởi người không còn là người giữ khóa: %s", quoted(k.left))
	}
	if len(k.changed) > 0 {
		j.say(Warn, sealRemedy, "%s đã đổi khóa cá nhân sau lần niêm phong ngày %s", quoted(k.changed), j.day(k.Sealed.At))
	}
	if len(k.without) > 0 {
		j.say(Warn, sealRemedy, "chưa niêm phong cho %s", quoted(k.without))
	}
}

// place judges how far the clear key lies from the data.
func (c *keyCustody) place(j *keyJudgement, k keyFacts) {
	p := k.Placed
	switch {
	case p.At.IsZero() || k.foreign(p.Event.Repository) || p.Event.Separation == nil:
		j.unknown(later(k.First, j.e.enrolled[j.target]), "chưa đo khóa cách kho lưu bao xa")
		return
	case p.Event.Exposed:
		j.say(Fail, "Đặt quyền 0600 cho tệp khóa rồi thay khóa (saoluu key rotate).", "người khác ngoài chủ sở hữu đọc được tệp khóa")
	}
	j.cite(p.Seq)
	s := p.Event.Separation
	switch {
	case !c.apart:
	case s.Unknown:
		j.unknown(p.At, "không đo được khóa cách kho lưu bao xa")
	case s.Level == levelSameFS:
		j.say(Fail, placeRemedy, "khóa nằm cùng hệ thống tệp với kho lưu: ai lấy được nơi lưu là đọc được dữ liệu")
	case s.Level < levelOtherDisk:
		j.say(Warn, placeRemedy, "khóa nằm cùng ổ đĩa hoặc cùng máy với kho lưu (mức L%d)", s.Level)
	case s.Declared && s.Level < levelOtherSite:
		j.say(Warn, placeRemedy, "khóa cách kho lưu mức L%d (chỉ khai báo, không đo được)", s.Level)
	default:
		j.say(Pass, "", "khóa cách kho lưu mức L%d", s.Level)
	}
}

func (j *keyJudgement) unknown(since time.Time, what string) {
	if j.since.IsZero() || since.Before(j.since) {
		j.since = since
	}
	j.say(Unknown, "Chạy saoluu upkeep để đo lại.", "%s", what)
}

// drill judges when a custodian last tried the sealed key. It reports whether
// nobody has yet, and nobody had to.
func (c *keyCustody) drill(j *keyJudgement, k keyFacts) (untried bool) {
	if len(k.Sealed.Event.Recipients) == 0 {
		return false // there is nothing to try, and holders has said so
	}
	if o, t := k.refused(); o != Pass {
		j.cite(t.Seq)
		j.say(o, "Niêm phong lại khóa (saoluu key seal) rồi mở thử lần nữa (saoluu key drill).", "lần mở thử khóa ngày %s không thành công", j.day(t.At))
	}
	if t := k.tried(); t.Seq > 0 {
		j.cite(t.Seq)
		o := Pass
		if calendar.AddMonths(t.At, c.months, j.e.loc).Before(j.e.now) {
			o = Warn
		}
		j.say(o, drillRemedy, "“%s” mở thử khóa niêm phong ngày %s (hạn %d tháng)", t.Event.Custodian, j.day(t.At), c.months)
		return false
	}
	due := calendar.AddMonths(k.First, c.months, j.e.loc)
	if due.Before(j.e.now) {
		j.say(Warn, drillRemedy, "khóa niêm phong từ ngày %s chưa ai mở thử (hạn %d tháng)", j.day(k.First), c.months)
		return false
	}
	j.say(Pending, drillRemedy, "chưa ai mở thử khóa niêm phong, hạn đến ngày %s", j.day(due))
	return true
}
