package compliance

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"saoluu/catalog"
)

// chainIntact is the check of the ledger: nothing in it was changed, and its
// state is kept on another target every day, and the tables are what it tells.
type chainIntact struct {
	anchorWarn int // days since a signed checkpoint was put on a target, or the tables were compared
	anchorFail int
	rehash     int64 // entries up to which all are hashed again
}

func parseChainIntact(s *scope) check {
	c := &chainIntact{rehash: rehashLimit}
	t := s.table("anchor")
	c.anchorWarn, c.anchorFail = t.number("warn_from_days", 2, 1, 31), t.number("fail_gt_days", 7, 1, 92)
	if c.anchorWarn > c.anchorFail {
		s.errorf("anchor", "field %q warns later than it fails", "anchor")
	}
	return c
}

// rehashLimit is how many entries are hashed again for a report: about a year of
// twenty jobs, half a second's work. Of a longer ledger some entries and
// checkpoints are proved, spread evenly, and the finding says so; the whole is for
// "saoluu ledger verify" to prove.
const (
	rehashLimit    = 50_000
	sampledEntries = 256
	sampledAnchors = 64
)

func (c *chainIntact) site(ctx context.Context, e *evaluation, _ *Rule) (judgement, error) {
	size := e.ledger.Size
	j := judgement{posture: Pass, remedy: "Chạy “saoluu ledger verify”; báo cáo ngay nếu sổ cái bị sửa."}
	if size == 0 {
		j.posture, j.since, j.why = Unknown, e.inv.SetAt, "sổ cái chưa có mục nào"
		return j, nil
	}
	anchors, err := e.view.Anchors(ctx, e.now)
	if err != nil {
		return judgement{}, fmt.Errorf("read the anchored checkpoints: %w", err)
	}
	if size > c.rehash {
		err = c.sample(ctx, e, anchors, &j)
	} else {
		err = c.all(ctx, e, anchors, &j)
	}
	if j.posture == Pass {
		j.remedy = "Chạy “saoluu upkeep”." // whatever is open from here on is the anchor alone
	}
	c.fresh(e, anchors, &j)
	return j, errors.Join(err, c.tables(ctx, e, &j))
}

const tablesRemedy = "Chạy “saoluu catalog verify” để xem chỗ khác, “saoluu catalog rebuild” để lập lại bảng từ sổ cái, tìm người đã sửa, rồi chạy “saoluu upkeep”."

// tables judges the newest comparison of the tables with the ledger: whatever else
// is reported was read from them. It grows old like a checkpoint.
func (c *chainIntact) tables(ctx context.Context, e *evaluation, j *judgement) error {
	last, outcome, why, remedy := e.compared, Pass, "", tablesRemedy
	if last.Good() && last.At.After(e.now) {
		var err error
		if last, err = e.view.Compared(ctx, e.now); err != nil {
			return fmt.Errorf("read the comparison of the tables: %w", err)
		}
	}
	switch {
	case last.At.IsZero():
		outcome, why, remedy = Warn, "chưa đối chiếu bảng dữ liệu với sổ cái lần nào", "Chạy “saoluu upkeep”."
	case last.Error != "":
		outcome, why = Unknown, fmt.Sprintf("không đối chiếu được bảng dữ liệu với sổ cái ngày %s", vnDate(last.At, e.loc))
		j.since = last.At
	case last.Problems > 0:
		outcome, why = Fail, fmt.Sprintf("đối chiếu ngày %s: %d chỗ không khớp sổ cái", vnDate(last.At, e.loc), last.Problems)
	default:
		days := e.age(last.At)
		outcome = graded(days, c.anchorWarn-1, c.anchorFail, Pass)
		why, remedy = fmt.Sprintf("bảng dữ liệu đối chiếu khớp với sổ cái %s", vnAgo(days)), "Chạy “saoluu upkeep”."
	}
	if severity(outcome) > severity(j.posture) || j.posture == Pass {
		j.remedy = remedy
	}
	j.posture = worse(j.posture, outcome)
	j.why = sentences(j.why, why)
	if !last.At.IsZero() {
		j.evidence = append(j.evidence, fmt.Sprintf("entry:%d", last.Seq))
	}
	return nil
}

// all reads every entry, builds the tree anew and compares its root, now and
// at every checkpoint that was kept on a target.
func (c *chainIntact) all(ctx context.Context, e *evaluation, anchors []catalog.Anchor, j *judgement) error {
	size := e.ledger.Size
	roots := map[int64]tlog.Hash{}
	for _, a := range anchors {
		roots[a.Size] = tlog.Hash{}
	}
	tree := frontier{}
	for entry, err := range e.view.Entries(ctx, 0) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if entry.Seq != tree.size || tree.size == size {
			break
		}
		tree.add(tlog.RecordHash(entry.JSON))
		if _, wanted := roots[tree.size]; wanted {
			roots[tree.size] = tree.root()
		}
	}
	if tree.size != size || tree.root() != e.ledger.Root {
		j.posture, j.why = Fail, fmt.Sprintf("sổ cái không còn nguyên vẹn: băm lại %d/%d mục không khớp", tree.size, size)
		return nil
	}
	j.why = fmt.Sprintf("băm lại đủ %d mục của sổ cái, khớp", size)
	for _, a := range anchors {
		c.compare(e, a, roots[a.Size], j)
	}
	return nil
}

// compare holds a checkpoint that was kept on a target against the ledger's root
// of the same size. Only the first contradiction is told.
func (c *chainIntact) compare(e *evaluation, a catalog.Anchor, root tlog.Hash, j *judgement) {
	if root.String() == a.Root || j.posture == Fail {
		return
	}
	j.posture = Fail
	j.why = sentences(j.why, fmt.Sprintf("sổ cái trái với mốc đã ký ngày %s (%d mục)", vnDate(a.At, e.loc), a.Size))
	j.evidence = append(j.evidence, fmt.Sprintf("entry:%d", a.Seq))
}

// sample proves entries and checkpoints spread evenly over a long ledger.
func (c *chainIntact) sample(ctx context.Context, e *evaluation, anchors []catalog.Anchor, j *judgement) error {
	size := e.ledger.Size
	for _, seq := range spread(size, sampledEntries) {
		entry, err := e.view.Entry(ctx, seq)
		if err != nil {
			return fmt.Errorf("read entry %d of the ledger: %w", seq, err)
		}
		proof, err := e.view.ProveInclusion(ctx, seq, size)
		if err != nil {
			return fmt.Errorf("prove entry %d of the ledger: %w", seq, err)
		}
		if tlog.CheckRecord(proof, size, e.ledger.Root, seq, tlog.RecordHash(entry.JSON)) != nil {
			j.posture, j.why = Fail, fmt.Sprintf("sổ cái không còn nguyên vẹn: mục %d đã bị sửa", seq)
			return nil
		}
	}
	chosen := spread(int64(len(anchors)), sampledAnchors)
	j.why = fmt.Sprintf("sổ cái có %d mục; đã chứng minh %d mục và %d mốc đã ký rải đều, kiểm chứng toàn bộ bằng “saoluu ledger verify”",
		size, sampledEntries, len(chosen))
	for _, i := range chosen {
		a, root := anchors[i], tlog.Hash{}
		if a.Size > 0 && a.Size <= size {
			var err error
			if root, err = e.view.Root(ctx, a.Size); err != nil {
				return fmt.Errorf("read the root of size %d: %w", a.Size, err)
			}
		}
		c.compare(e, a, root, j)
	}
	return nil
}

// spread returns at most most numbers below size, evenly apart, with the first
// and the last.
func spread(size int64, most int64) []int64 {
	var out []int64
	for i := range min(size, most) {
		if size <= most {
			out = append(out, i)
		} else {
			out = append(out, i*(size-1)/(most-1))
		}
	}
	return out
}

// fresh judges the age of the newest checkpoint kept on a target.
func (c *chainIntact) fresh(e *evaluation, anchors []catalog.Anchor, j *judgement) {
	since, what, ago := e.begun(), "chưa gửi mốc sổ cái nào tới nơi lưu, sổ bắt đầu", "%s %s"
	good := Warn // nothing was anchored at all
	if n := len(anchors); n > 0 {
		newest := anchors[n-1]
		since, good, ago = newest.At, Pass, "%s (%s)"
		what = fmt.Sprintf("mốc sổ cái gần nhất gửi tới “%s” ngày %s", newest.Target, vnDate(newest.At, e.loc))
		j.evidence = append(j.evidence, fmt.Sprintf("entry:%d", newest.Seq))
	}
	days := e.age(since)
	outcome := graded(days, c.anchorWarn-1, c.anchorFail, good)
	j.posture = worse(j.posture, outcome)
	j.why = sentences(j.why, fmt.Sprintf(ago, what, vnAgo(days)))
}
