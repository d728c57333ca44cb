package compliance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// retention is the check that backups are kept for as long as their class says,
// and not longer.
type retention struct {
	graceDays int // over the longest time by so much is not held against anybody
	backDays  int // a breach so long ago no longer decides how things stand now
}

func parseRetention(s *scope) check {
	return &retention{graceDays: s.number("grace_days", 7, 0, 92), backDays: s.number("back_days", 92, 1, 366)}
}

// A breach is a backup that was gone before its time.
type breach struct {
	at   time.Time // when it was deleted or found missing
	kind Outcome
	why  string
	ref  string
}

func (c *retention) asset(ctx context.Context, e *evaluation, _ *Rule, a *asset) (judgement, error) {
	least, most, err := termsOf(e.inv, a.Class)
	if err != nil {
		return judgement{}, err
	}
	if least.IsZero() && most.IsZero() {
		return judgement{posture: NA, why: fmt.Sprintf("nhóm “%s” không đặt thời gian lưu trữ tối thiểu và tối đa", a.Class)}, nil
	}
	j := judgement{posture: Pass, period: Pass}
	deleted, early, err := c.deleted(ctx, e, a)
	if err != nil {
		return judgement{}, err
	}
	lost, err := c.lost(ctx, e, a, least)
	if err != nil {
		return judgement{}, err
	}
	for _, b := range append(early, lost...) {
		now, within := e.age(b.at) <= c.backDays && !b.at.After(e.now), !b.at.Before(e.from) && b.at.Before(e.bound)
		if now {
			j.posture = worse(j.posture, b.kind)
		}
		if within {
			j.period = worse(j.period, b.kind)
		}
		if now || within {
			j.why = sentences(j.why, b.why)
			j.evidence = append(j.evidence, b.ref)
		}
	}
	over, err := c.over(ctx, e, a, most)
	if err != nil {
		return judgement{}, err
	}
	if over.why != "" {
		j.posture, j.why, j.evidence = worse(j.posture, over.kind), sentences(j.why, over.why), append(j.evidence, over.ref)
		j.remedy = "Chạy “saoluu upkeep --dry-run” để xem vì sao bản cũ chưa được xóa."
	}
	if j.why == "" {
		j.why = fmt.Sprintf("không bản sao lưu nào bị xóa hoặc mất trước hạn (%s); %d bản sao hết hạn đã xóa có ghi sổ", termText(least, most), deleted)
	}
	return j, nil
}

// termsOf returns how long a class keeps at least and at most.
func termsOf(inv catalog.InventoryAt, class string) (least, most calendar.Period, err error) {
	for _, k := range inv.Classes {
		if k.Name != class {
			continue
		}
		for _, text := range []struct {
			from string
			to   *calendar.Period
		}{{k.KeepMin, &least}, {k.KeepMax, &most}} {
			if text.from == "" {
				continue
			}
			if err := text.to.UnmarshalText([]byte(text.from)); err != nil {
				return least, most, fmt.Errorf("class %q: %w", class, err)
			}
		}
	}
	return least, most, nil
}

func termText(least, most calendar.Period) string {
	switch {
	case least.IsZero():
		return "tối đa " + periodText(most)
	case most.IsZero():
		return "tối thiểu " + periodText(least)
	default:
		return fmt.Sprintf("tối thiểu %s, tối đa %s", periodText(least), periodText(most))
	}
}

func periodText(p calendar.Period) string {
	text := ""
	add := func(n int, unit string) {
		if n > 0 {
			if text != "" {
				text += " "
			}
			text += fmt.Sprintf("%d %s", n, unit)
		}
	}
	add(p.Months/12, "năm")
	add(p.Months%12, "tháng")
	add(p.Days, "ngày")
	return text
}

// deleted counts the copies that retention deleted, and finds those that were
// younger than their class said at that time.
func (c *retention) deleted(ctx context.Context, e *evaluation, a *asset) (n int, early []breach, err error) {
	for _, target := range e.inv.Targets {
		all, err := e.deletions(ctx, target.Name)
		if err != nil {
			return 0, nil, err
		}
		for _, d := range all[a.Job] {
			n++
			due, err := e.keptUntil(ctx, a, d.row.TakenAt, d.at)
			if err != nil {
				return 0, nil, err
			}
			if d.row.Good && e.before(d.at, due) {
				early = append(early, breach{at: d.at, kind: Fail, ref: fmt.Sprintf("entry:%d", d.seq),
					why: fmt.Sprintf("bản ngày %s bị xóa khỏi “%s” ngày %s, phải giữ đến %s", vnDate(d.row.TakenAt, e.loc), target.Name, vnDate(d.at, e.loc), vnDate(due, e.loc))})
			}
		}
	}
	return n, early, nil
}

// before compares calendar days: an hour more or less breaks no duty.
func (e *evaluation) before(t, due time.Time) bool {
	return calendar.DateOf(t, e.loc).Compare(calendar.DateOf(due, e.loc)) < 0
}

// keptUntil returns until when a backup had to be kept by the class its job had
// when it was deleted: a class that was changed later does not make a deletion wrong.
func (e *evaluation) keptUntil(ctx context.Context, a *asset, taken, at time.Time) (time.Time, error) {
	least, _, err := termsOf(e.inv, a.Class)
	if err != nil || !e.before(at, least.AddTo(taken, e.loc)) {
		return taken, err
	}
	then, err := e.view.Inventory(ctx, at)
	if err != nil {
		return taken, fmt.Errorf("read the inventory: %w", err)
	}
	class := a.Class
	for _, was := range then.Assets {
		if was.Job == a.Job {
			class = was.Class
		}
	}
	if least, _, err = termsOf(then, class); err != nil {
		return taken, err
	}
	return least.AddTo(taken, e.loc), nil
}

// A deletion is one copy that retention deleted.
type deletion struct {
	row catalog.RemovedRow
	at  time.Time
	seq int64
}

// deletions returns what retention deleted from a target, by job. It reads a
// target once.
func (e *evaluation) deletions(ctx context.Context, target string) (map[string][]deletion, error) {
	if known, ok := e.removed[target]; ok {
		return known, nil
	}
	all, err := e.view.Retentions(ctx, target, e.asOf)
	if err != nil {
		return nil, fmt.Errorf("read the deletions from %q: %w", target, err)
	}
	byJob := map[string][]deletion{}
	for _, r := range all {
		for _, row := range r.Removed {
			byJob[row.Job] = append(byJob[row.Job], deletion{row, r.At, r.Seq})
		}
	}
	if e.removed == nil {
		e.removed = map[string]map[string][]deletion{}
	}
	e.removed[target] = byJob
	return byJob, nil
}

// lost finds backups whose snapshots were missing when a re-read looked for them,
// before their time. It reads runs only when something was missing at all.
func (c *retention) lost(ctx context.Context, e *evaluation, a *asset, least calendar.Period) ([]breach, error) {
	missed := map[time.Time]int64{}
	var first time.Time
	for _, target := range e.inv.Targets {
		checks, err := e.view.Checks(ctx, target.Name, e.asOf)
		if err != nil {
			return nil, fmt.Errorf("read the re-reads of %q: %w", target.Name, err)
		}
		for _, check := range checks {
			if len(check.Missing) > 0 && (e.age(check.At) <= c.backDays || !check.At.Before(e.from)) {
				missed[check.At] = check.Seq
				if first.IsZero() || check.At.Before(first) {
					first = check.At
				}
			}
		}
	}
	if len(missed) == 0 || least.IsZero() {
		return nil, nil
	}
	from := calendar.Period{Months: -least.Months, Days: -least.Days - 1}.AddTo(first, e.loc)
	var all []breach
	for run, err := range e.view.Runs(ctx, catalog.RunQuery{Job: a.Job, From: from, AsOf: e.asOf}) {
		if err != nil {
			return nil, fmt.Errorf("read the runs of %q: %w", a.Job, err)
		}
		for _, target := range slices.Sorted(maps.Keys(run.Gone)) {
			gone := run.Gone[target]
			seq, found := missed[gone]
			if !found || !e.before(gone, least.AddTo(run.ConsistentAt, e.loc)) || run.State != catalog.RunComplete {
				continue
			}
			b := breach{at: gone, kind: Warn, ref: fmt.Sprintf("entry:%d", seq),
				why: fmt.Sprintf("bản ngày %s không còn trên “%s” khi kiểm tra ngày %s", vnDate(run.ConsistentAt, e.loc), target, vnDate(gone, e.loc))}
			if !run.Invalidated.IsZero() {
				b.kind, b.why = Fail, b.why+", không còn bản sao nào khác"
			}
			all = append(all, b)
		}
	}
	return all, nil
}

// over finds backups that should have been deleted by now. As retention deletes
// the oldest first, it is enough to look at the youngest of those over their time.
func (c *retention) over(ctx context.Context, e *evaluation, a *asset, most calendar.Period) (breach, error) {
	if most.IsZero() {
		return breach{}, nil
	}
	bound := calendar.Period{Months: -most.Months, Days: -most.Days - c.graceDays}.AddTo(e.now, e.loc)
	n, held := 0, 0
	var oldest catalog.Run
	for run, err := range e.view.Runs(ctx, catalog.RunQuery{Job: a.Job, GoodOnly: true, To: bound, AsOf: e.asOf, Newest: true, Limit: lookBack}) {
		if err != nil {
			return breach{}, fmt.Errorf("read the runs of %q: %w", a.Job, err)
		}
		if !run.Pruned.IsZero() && !run.Pruned.After(e.now) {
			continue
		}
		n++
		oldest = run
		if run.Held {
			held++
		}
	}
	if n == 0 {
		return breach{}, nil
	}
	why := fmt.Sprintf("%d bản quá hạn lưu trữ tối đa %s vẫn còn, cũ nhất ngày %s", n, periodText(most), vnDate(oldest.ConsistentAt, e.loc))
	if held > 0 {
		why += fmt.Sprintf(", trong đó %d bản đang có lệnh giữ", held)
	}
	return breach{at: e.now, kind: Warn, why: why, ref: "run:" + oldest.Run}, nil
}
