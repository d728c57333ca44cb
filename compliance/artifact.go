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
		outcome, why := c.canary(e, a, f, t, tests)
		j.posture = worse(j.posture, outcome)
		j.why = sentences(j.why, why)
	}
	j.distrust(copies)
	return j, nil
}

// canary judges how long ago the key was last seen to open what lies on the
// target: by a re-read, which decrypts, or a passed restore test.
func (c *artifactProperty) canary(e *evaluation, a *asset, f copyFact, t *targetFacts, tests testFacts) (Outcome, string) {
	opened := later(t.read, tests.passedOn(f.Target))
	if !opened.IsZero() {
		days := e.age(opened)
		return graded(days, c.canaryWarn, c.canaryFail, Pass),
			fmt.Sprintf("“%s”: %s, đã giải mã thử %s", f.Target, f.Encryption, vnAgo(days))
	}
	days := e.age(t.firstCopy(a))
	return graded(days, c.canaryFail, c.canaryFail, Warn),
		fmt.Sprintf("“%s”: %s, chưa giải mã thử lần nào sau %d ngày", f.Target, f.Encryption, days)
}
