package compliance

import (
	"context"
	"fmt"
	"time"
)

// objective is the check of measured restore time and data age against what the
// inventory declares.
type objective struct {
	rto, rpo   bool
	factor     float64 // over the objective up to so many times only warns
	undeclared Outcome
	firstDays  int // from the first good backup until a measurement is missed
}

func parseObjective(s *scope) check {
	c := &objective{factor: s.factor("warn_factor", 1.5), undeclared: s.outcome("undeclared", Warn), firstDays: s.number("first_days", 30, 1, 92)}
	words := s.words("objectives", "rto", "rpo")
	for _, w := range words {
		c.rto, c.rpo = c.rto || w == "rto", c.rpo || w == "rpo"
	}
	if len(words) == 0 {
		s.missing("objectives")
	}
	return c
}

func (c *objective) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
	j := judgement{posture: Pending, remedy: "Khai báo RTO, RPO đúng nhu cầu; tăng tần suất sao lưu hoặc rút ngắn thời gian phục hồi."}
	add := func(o Outcome, why string) {
		if o != Pending || j.posture == Pending {
			j.posture = worse(j.posture, o)
		}
		j.why = sentences(j.why, why)
	}
	if c.rpo {
		add(c.age(e, r, a))
	}
	if c.rto {
		tests, err := e.testsOf(ctx, a)
		if err != nil {
			return judgement{}, err
		}
		add(c.time(e, a, tests, &j))
	}
	return j, nil
}

// age compares the age of the newest good backup with the RPO.
func (c *objective) age(e *evaluation, r *Rule, a *asset) (Outcome, string) {
	last := a.lastGood()
	if last.IsZero() {
		start, _ := a.start(r, e.loc)
		return graded(e.age(start), entryWarnDays, entryFailDays, Pending), "chưa có bản sao lưu tốt nào để so với RPO"
	}
	age := e.now.Sub(last)
	if a.RPOSeconds <= 0 {
		return c.undeclared, fmt.Sprintf("chưa khai báo RPO; dữ liệu mới nhất cách đây %s", vnSpan(age))
	}
	return c.compare("dữ liệu mới nhất cách đây", age, "RPO", seconds(float64(a.RPOSeconds)))
}

// time compares the newest measured restore with the RTO.
func (c *objective) time(e *evaluation, a *asset, tests testFacts, j *judgement) (Outcome, string) {
	measured, ok := tests.newest(1)
	if !ok || tests.doubt != "" {
		j.since = later(a.firstGood(), tests.doubted)
		if j.since.IsZero() {
			j.since = a.since
		}
		if days := e.age(j.since); tests.doubt == "" && days <= c.firstDays {
			return Pending, "chưa đến hạn đo thời gian phục hồi"
		}
		return Unknown, sentences("chưa đo được thời gian phục hồi", tests.doubt)
	}
	j.evidence = append(j.evidence, testEvidence(measured)...)
	took := seconds(measured.RestoreSeconds)
	if a.RTOSeconds <= 0 {
		return c.undeclared, fmt.Sprintf("chưa khai báo RTO; lần phục hồi ngày %s mất %s", vnDate(measured.FinishedAt, e.loc), vnSpan(took))
	}
	outcome, why := c.compare("phục hồi mất", took, "RTO", seconds(float64(a.RTOSeconds)))
	if !measured.Full {
		outcome, why = worse(outcome, Warn), why+" (chỉ đo trên một phần dữ liệu)"
	}
	return outcome, why
}

func (c *objective) compare(what string, is time.Duration, name string, limit time.Duration) (Outcome, string) {
	factor := is.Seconds() / limit.Seconds()
	why := fmt.Sprintf("%s %s, %s %s", what, vnSpan(is), name, vnSpan(limit))
	switch {
	case factor <= 1:
		return Pass, why
	case factor <= c.factor:
		return Warn, fmt.Sprintf("%s (gấp %s lần)", why, vnFactor(factor))
	default:
		return Fail, fmt.Sprintf("%s (gấp %s lần)", why, vnFactor(factor))
	}
}
