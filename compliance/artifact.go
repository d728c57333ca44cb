package compliance

import (
	"context"
	"fmt"
	"slices"
)

// artifactProperty is the check of how copies are encrypted, and that an
// enrolled key still opens them.
type artifactProperty struct {
	allowed    []string
	canaryWarn int // days since something on the target was last decrypted
	canaryFail int
}

func parseArtifactProperty(s *scope) check {
	s.word("property", "", "encryption")
	c := &artifactProperty{allowed: s.words("allowed")}
	c.canaryWarn, c.canaryFail = s.limits("canary", 92, 186)
	if len(c.allowed) == 0 {
		s.missing("allowed")
	}
	return c
}

// asset looks at the newest copy on each target. One target is one repository
// with one scheme and one key, so what holds for the newest copy holds for the
// older ones beside it.
func (c *artifactProperty) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
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
	j := judgement{posture: Pass}
	for _, f := range copies {
		j.evidence = append(j.evidence, f.evidence()...)
		if !slices.Contains(c.allowed, f.Encryption) {
			scheme := f.Encryption
			if scheme == "" {
				scheme = "không rõ"
			}
			j.posture = Fail
			j.why = sentences(j.why, fmt.Sprintf("“%s”: cách mã hóa “%s” không được chấp nhận", f.Target, scheme))
			j.remedy = "Chuyển sang kho lưu được mã hóa và sao lưu lại."
			continue
		}
		t, err := e.target(ctx, f.Target)
		if err != nil {
			return judgement{}, err
		}
		k, err := e.key(ctx, f.Target)
		if err != nil {
			return judgement{}, err
		}
		outcome, why := c.canary(e, a, f, t, tests, k, &j)
		j.posture = worse(j.posture, outcome)
		j.why = sentences(j.why, why)
	}
	j.addDestroyed(e, a)
	j.distrust(copies)
	return j, nil
}

// canary judges how long ago the key was last seen to open what lies on the
// target: by a re-read, which decrypts, a passed restore test, or a custodian's
// drill. A key that somebody can open who is a custodian no longer warns.
func (c *artifactProperty) canary(e *evaluation, a *asset, f copyFact, t *targetFacts, tests testFacts, k keyFacts, j *judgement) (Outcome, string) {
	outcome, why := Pass, ""
	drill := k.tried()
	if opened := later(later(t.read, tests.passedOn(f.Target)), drill.At); !opened.IsZero() {
		days := e.age(opened)
		outcome = graded(days, c.canaryWarn, c.canaryFail, Pass)
		why = fmt.Sprintf("“%s”: %s, đã giải mã thử %s", f.Target, f.Encryption, vnAgo(days))
		if opened.Equal(drill.At) {
			j.evidence = append(j.evidence, entry(drill.Seq))
		}
	} else {
		days := e.age(t.firstCopy(a))
		outcome = graded(days, c.canaryFail, c.canaryFail, Warn)
		why = fmt.Sprintf("“%s”: %s, chưa giải mã thử lần nào sau %d ngày", f.Target, f.Encryption, days)
	}
	if len(k.custodians) > 0 && len(k.left) > 0 {
		if outcome == Pass {
			j.remedy = leaverRemedy
		}
		outcome = worse(outcome, Warn)
		why += fmt.Sprintf(", người không còn giữ khóa vẫn mở được: %s", quoted(k.left))
		j.evidence = append(j.evidence, entry(k.Sealed.Seq))
	}
	return outcome, why
}
