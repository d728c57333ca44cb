package compliance

import (
	"context"
	"fmt"
	"slices"

	"saoluu/catalog"
)

// Levels of separation between a copy and its source, L0 to L5.
const (
	levelSameFS     = 0 // same file system
	levelOtherFS    = 1 // other partition or file system
	levelOtherDisk  = 2 // other physical disk in the same machine
	levelOtherHost  = 3 // other host or storage system
	levelOtherSite  = 4
	levelOutOfReach = 5 // offline or immutable
)

// separationCheck is the check on how far copies lie from their source.
type separationCheck struct {
	min          int
	any          bool // one copy is enough
	warnFrom     int  // with any: the best level that still warns
	declaredOnly Outcome
	maxAge       int // days; with any: how much older than the newest backup the copy may be
}

func parseSeparation(s *scope) check {
	c := &separationCheck{min: s.number("min_level", 1, levelOtherFS, levelOutOfReach)}
	c.any = s.word("quantify", "every", "every", "any") == "any"
	c.warnFrom = s.number("warn_level", c.min, levelSameFS, c.min)
	c.declaredOnly = s.outcome("declared_only", Warn)
	c.maxAge = s.number("max_lag_days", 31, 1, 366)
	return c
}

func (c *separationCheck) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
	copies, err := e.copiesOf(ctx, a)
	if err != nil {
		return judgement{}, err
	}
	if len(copies) == 0 {
		return e.noCopy(r, a, ""), nil
	}
	j := judgement{posture: Pass, remedy: c.remedy()}
	if c.any {
		err = c.best(ctx, e, a, copies, &j)
	} else {
		c.every(copies, &j)
	}
	j.distrust(copies)
	if j.posture == Unknown {
		j.since = a.firstGood()
	}
	return j, err
}

func (c *separationCheck) remedy() string {
	if c.min >= levelOtherHost {
		return "Thêm nơi lưu trên máy chủ hoặc hệ thống lưu trữ khác, hoặc ổ rời tháo ra sau khi sao lưu."
	}
	return "Chuyển nơi lưu sang phân vùng, ổ đĩa khác với ứng dụng."
}

// levelOf is a copy's measured level. known is false when it could not be
// measured or nobody tried.
func levelOf(s *catalog.Separation) (level int, declared, known bool) {
	if s == nil || s.Unknown {
		return 0, false, false
	}
	return s.Level, s.Declared, true
}

// every asks each copy to be far enough. A copy that is too near fails when the
// backup has no other, or none that is farther, and warns beside a better one.
func (c *separationCheck) every(copies []copyFact, j *judgement) {
	farther := slices.ContainsFunc(copies, func(f copyFact) bool {
		level, _, known := levelOf(f.Separation)
		return !known || level >= c.min
	})
	for _, f := range copies {
		level, declared, known := levelOf(f.Separation)
		text := fmt.Sprintf("“%s”: L%d", f.Target, level)
		outcome := Pass
		switch {
		case !known:
			outcome, text = Unknown, fmt.Sprintf("“%s”: chưa đo được mức tách biệt", f.Target)
		case level < c.min && f.onlyThere:
			outcome, text = Fail, text+", là bản sao duy nhất"
		case level < c.min && !farther:
			outcome = Fail
		case level < c.min:
			outcome = Warn
		case declared:
			outcome, text = c.declaredOnly, text+" (chỉ khai báo, không đo được)"
		}
		j.posture = worse(j.posture, outcome)
		j.why = sentences(j.why, text)
		j.evidence = append(j.evidence, f.evidence()...)
	}
	j.why = sentences(j.why, fmt.Sprintf("yêu cầu mọi bản sao từ L%d", c.min))
}

// best asks one copy to be far enough and not much older than the newest.
func (c *separationCheck) best(ctx context.Context, e *evaluation, a *asset, copies []copyFact, j *judgement) error {
	best, unknown := Outcome(""), false
	for _, f := range copies {
		target, err := e.target(ctx, f.Target)
		if err != nil {
			return err
		}
		level, declared, known := levelOf(f.Separation)
		if !known {
			unknown = true
			j.why = sentences(j.why, fmt.Sprintf("“%s”: chưa đo được mức tách biệt", f.Target))
			continue
		}
		outcome, text := c.grade(level), fmt.Sprintf("“%s”: L%d", f.Target, level)
		if declared {
			outcome, text = worse(outcome, c.declaredOnly), text+" (chỉ khai báo)"
		}
		if lag := daysBetween(e, f, a); lag > c.maxAge {
			outcome, text = worse(outcome, Warn), fmt.Sprintf("%s, cũ hơn bản mới nhất %d ngày", text, lag)
		}
		if !target.damaged.IsZero() {
			outcome, text = Fail, text+", có dữ liệu hỏng"
		}
		if best == "" || severity(outcome) < severity(best) {
			best = outcome
		}
		j.why = sentences(j.why, text)
		j.evidence = append(j.evidence, f.evidence()...)
	}
	if best == "" || (unknown && best == Fail) {
		best = Unknown // the copy that could not be measured may be the far one
	}
	j.posture = best
	j.why = sentences(j.why, fmt.Sprintf("yêu cầu ít nhất một bản sao từ L%d", c.min))
	return nil
}

func (c *separationCheck) grade(level int) Outcome {
	switch {
	case level >= c.min:
		return Pass
	case level >= c.warnFrom:
		return Warn
	default:
		return Fail
	}
}

// daysBetween is how much older a copy is than the asset's newest good backup.
func daysBetween(e *evaluation, f copyFact, a *asset) int {
	return e.age(f.taken) - e.age(a.lastGood())
}
