package compliance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
)

// A copyFact is the newest good copy of an asset on one target.
type copyFact struct {
	catalog.Copy
	run       string
	seq       int64
	taken     time.Time // the instant the data stand for
	suspect   bool      // the clock was not to be trusted
	onlyThere bool      // the run has no good copy anywhere else
	stillness string    // catalog.RunFinished.Consistency
}

func (f copyFact) evidence() []string {
	return []string{"run:" + f.run, fmt.Sprintf("entry:%d", f.seq)}
}

// lookBack bounds the search for a target's newest copy, in runs. A target that
// has had nothing for so long has no copy that counts.
const lookBack = 64

// copiesOf returns the newest good copy of an asset on each target of the
// inventory, newest first. It reads as few runs as it can: one when every
// target has its copy of the newest run.
func (e *evaluation) copiesOf(ctx context.Context, a *asset) ([]copyFact, error) {
	if a.looked {
		return a.copies, nil
	}
	a.looked = true
	q := catalog.RunQuery{Job: a.Job, GoodOnly: true, To: e.bound.Add(time.Second), AsOf: e.asOf, Newest: true, Limit: lookBack}
	for run, err := range e.view.Runs(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read the runs of %q: %w", a.Job, err)
		}
		if !run.ConsistentAt.Before(e.bound) && e.closed() || !run.Good(e.asOf) || (!run.Pruned.IsZero() && !run.Pruned.After(e.now)) {
			continue
		}
		if err := a.take(ctx, e, run); err != nil {
			return nil, err
		}
		if a.hasAll() {
			break
		}
	}
	return a.copies, nil
}

// take adds the good copies of a run on targets that have none yet. Where the keys
// were destroyed since, there is no copy any more.
func (a *asset) take(ctx context.Context, e *evaluation, run catalog.Run) error {
	var good []catalog.Copy
	for _, c := range run.Copies {
		gone := run.Gone[c.Target]
		if c.State != catalog.RunComplete || !e.hasTarget(c.Target) || !(gone.IsZero() || gone.After(e.now)) {
			continue
		}
		k, err := e.key(ctx, c.Target)
		if err != nil {
			return err
		}
		if at := k.destroyed(); !at.Before(run.ConsistentAt) {
			if !a.has(c.Target) {
				a.destroyed = append(a.destroyed, destroyedCopy{target: c.Target, at: at, seq: k.Shredded.Seq, kept: k.Shredded.Event.State != catalog.RunComplete})
			}
			continue
		}
		c, counts, err := a.onMedium(ctx, e, c)
		if err != nil {
			return err
		}
		if counts {
			good = append(good, c)
		}
	}
	slices.SortFunc(good, func(x, y catalog.Copy) int { return strings.Compare(x.Target, y.Target) })
	for _, c := range good {
		if !slices.ContainsFunc(a.copies, func(f copyFact) bool { return f.Target == c.Target }) {
			a.copies = append(a.copies, copyFact{c, run.Run, run.Seq, run.ConsistentAt, run.ClockSuspect, len(good) == 1, run.Consistency})
		}
	}
	return nil
}

// has reports whether all is known of the newest copy on a target.
func (a *asset) has(target string) bool {
	return slices.ContainsFunc(a.copies, func(f copyFact) bool { return f.Target == target }) ||
		slices.ContainsFunc(a.destroyed, func(d destroyedCopy) bool { return d.target == target })
}

func (a *asset) hasAll() bool {
	return !slices.ContainsFunc(a.Targets, func(t string) bool { return !a.has(t) })
}

// A destroyedCopy lies where all keys of the repository were destroyed on purpose:
// nobody can read it again. It is destroyed, not unencrypted. Or it lies on a medium
// that is lost or withdrawn.
type destroyedCopy struct {
	target string
	at     time.Time
	seq    int64
	kept   bool   // the storage may have versions of the keys
	stage  string // of the medium, which is not in use any more; empty: the keys were destroyed
}

// addDestroyed says which copies are no more because their keys were destroyed.
func (j *judgement) addDestroyed(e *evaluation, a *asset) {
	for _, d := range a.destroyed {
		why := "đã hủy mọi khóa ngày %s, bản sao ở đó coi như đã hủy"
		if d.stage != "" {
			why = "phương tiện " + stageWord(d.stage) + " từ ngày %s, bản sao ở đó không tính"
		}
		if d.kept {
			why = "đã gỡ mọi khóa ngày %s, bản sao ở đó không còn khôi phục được, nhưng chưa hủy hẳn vì nơi lưu còn giữ phiên bản của khóa"
		}
		j.why = sentences(j.why, "“"+d.target+"”: "+fmt.Sprintf(why, vnDate(d.at, e.loc)))
		j.evidence = append(j.evidence, entry(d.seq))
	}
}

func (e *evaluation) hasTarget(name string) bool {
	return slices.ContainsFunc(e.inv.Targets, func(t catalog.TargetRow) bool { return t.Name == name })
}

func (e *evaluation) targetRow(name string) catalog.TargetRow {
	for _, t := range e.inv.Targets {
		if t.Name == name {
			return t
		}
	}
	return catalog.TargetRow{Name: name}
}

// soundCopies returns the copies that count: not older than maxAge days, on a
// target whose last re-read found no damage. left says what does not count.
func (e *evaluation) soundCopies(ctx context.Context, a *asset, maxAge int) (sound []copyFact, left string, err error) {
	all, err := e.copiesOf(ctx, a)
	if err != nil {
		return nil, "", err
	}
	for _, c := range all {
		t, err := e.target(ctx, c.Target)
		switch {
		case err != nil:
			return nil, "", err
		case !t.damaged.IsZero():
			left = sentences(left, fmt.Sprintf("“%s” có dữ liệu hỏng (phát hiện %s)", c.Target, vnDate(t.damaged, e.loc)))
		case e.age(c.taken) > maxAge:
			left = sentences(left, fmt.Sprintf("bản trên “%s” đã %d ngày", c.Target, e.age(c.taken)))
		default:
			sound = append(sound, c)
		}
	}
	return sound, left, nil
}

// copiesCheck is the check on the number and variety of copies.
type copiesCheck struct {
	min      int  // good copies on different targets
	media    int  // kinds of target among them; 0: not asked
	offsite  int  // copies at another site, offline or immutable (L4, L5); 0: not asked
	maxAge   int  // days
	archives bool // sets of offline media count, but never as offline
	one      Outcome
	shortage Outcome // media or offsite not reached
}

func parseCopies(s *scope) check {
	return &copiesCheck{
		min: s.number("min_copies", 2, 1, 9), media: s.number("min_media", 0, 0, 9), offsite: s.number("offline", 0, 0, 9),
		maxAge: s.number("max_age_days", 31, 1, 3660), archives: s.boolean("archives", false), one: s.outcome("too_few", Warn), shortage: s.outcome("shortage", Warn),
	}
}

func (c *copiesCheck) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
	sound, left, err := e.soundCopies(ctx, a, c.maxAge)
	if err != nil {
		return judgement{}, err
	}
	if len(sound) == 0 {
		return e.noCopy(r, a, left), nil
	}
	t := tally{types: map[string]bool{}, apart: map[string][]string{}}
	for _, f := range sound {
		t.add("“"+f.Target+"”", e.targetRow(f.Target).Type, f.domain())
		if s := f.Separation; s != nil && !s.Unknown && s.Level >= levelOtherSite {
			t.away++
		}
		t.evidence = append(t.evidence, f.evidence()...)
	}
	if err := c.addArchive(ctx, e, a, &t); err != nil {
		return judgement{}, err
	}
	j := judgement{posture: Pass, evidence: t.evidence}
	switch {
	case len(t.apart) < c.min:
		j.posture = c.one
	case len(t.types) < c.media || t.away < c.offsite:
		j.posture = c.shortage
	}
	j.why = sentences(fmt.Sprintf("%d bản sao tốt không quá %d ngày: %s", len(t.places), c.maxAge, strings.Join(t.places, ", ")), left)
	for _, together := range sharing(t.apart) {
		j.why = sentences(j.why, fmt.Sprintf("%s cùng một hệ thống lưu trữ, tính là một", strings.Join(together, ", ")))
	}
	if c.min > len(t.apart) {
		j.why = sentences(j.why, fmt.Sprintf("cần ít nhất %d", c.min))
	}
	if c.media > 0 {
		j.why = sentences(j.why, fmt.Sprintf("%d loại nơi lưu (cần %d)", len(t.types), c.media))
	}
	if c.offsite > 0 {
		j.why = sentences(j.why, fmt.Sprintf("%d bản ở địa điểm khác hoặc ngoại tuyến (cần %d)", t.away, c.offsite))
	}
	j.why = sentences(j.why, t.notes)
	j.addDestroyed(e, a)
	j.distrust(sound)
	return j, nil
}

// A tally counts the copies of one asset.
type tally struct {
	places   []string            // as people read them
	types    map[string]bool     // kinds of target, and "archive"
	apart    map[string][]string // places by what is lost with them
	away     int                 // at another site, offline or immutable
	notes    string              // what else is to be said
	evidence []string
}

func (t *tally) add(place, kind, domain string) {
	t.places = append(t.places, place)
	t.types[kind] = true
	t.apart[domain] = append(t.apart[domain], place)
}

// domain names what is lost together with a copy: the storage system that was
// measured or declared, else the target alone.
func (f copyFact) domain() string {
	if f.Separation != nil && f.Separation.Domain != "" {
		return f.Separation.Domain
	}
	return "target " + f.Target
}

// sharing returns the targets that share a domain, in order.
func sharing(apart map[string][]string) [][]string {
	var together [][]string
	for _, domain := range slices.Sorted(maps.Keys(apart)) {
		if len(apart[domain]) > 1 {
			together = append(together, apart[domain])
		}
	}
	return together
}

// noCopy is the judgement when there is nothing to look at: not due for a new
// asset, failed for any other.
func (e *evaluation) noCopy(r *Rule, a *asset, left string) judgement {
	start, _ := a.start(r, e.loc)
	days := e.age(start)
	why := sentences(fmt.Sprintf("không có bản sao tốt nào sau %d ngày", days), left)
	j := judgement{posture: graded(days, entryWarnDays, entryFailDays, Pending), why: why, remedy: "Chạy sao lưu ngay và xử lý nguyên nhân."}
	j.addDestroyed(e, a)
	return j
}

// A new asset has its first good backup within 7 days, at the latest within 31:
// the same figures as for the monthly duty.
const (
	entryWarnDays = 7
	entryFailDays = 31
)

// distrust warns when a run it rests on was made while the clock was suspect.
func (j *judgement) distrust(used []copyFact) {
	if slices.ContainsFunc(used, func(f copyFact) bool { return f.suspect }) {
		j.posture = worse(j.posture, Warn)
		j.why = sentences(j.why, "đồng hồ máy không đáng tin vào lúc sao lưu")
	}
}
