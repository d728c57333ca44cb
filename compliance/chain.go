package compliance

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"saoluu/catalog"
)

// chainIntact is the check of the ledger: nothing in it was changed, and its
// state is kept on another target every day.
type chainIntact struct {
	anchorWarn int // days since a signed checkpoint was put on a target
	anchorFail int
}

func parseChainIntact(s *scope) check {
	c := &chainIntact{}
	t := s.table("anchor")
	c.anchorWarn, c.anchorFail = t.number("warn_from_days", 2, 1, 31), t.number("fail_gt_days", 7, 1, 92)
	if c.anchorWarn > c.anchorFail {
		s.errorf("anchor", "field %q warns later than it fails", "anchor")
	}
	return c
}

// rehashLimit is how many entries are hashed again for a report: about a year of
// twenty jobs, half a second's work. Of a longer ledger sampleSize entries are
// proved, spread evenly, and the finding says so; the whole is for "saoluu ledger
// verify" to prove.
const (
	rehashLimit = 50_000
	sampleSize  = 256
)

func (c *chainIntact) site(ctx context.Context, e *evaluation, _ *Rule) (judgement, error) {
	size := e.ledger.Size
	j := judgement{posture: Pass, remedy: "Chạy “saoluu ledger verify” và “saoluu upkeep”; báo cáo ngay nếu sổ cái bị sửa."}
	if size == 0 {
		j.posture, j.since, j.why = Unknown, e.inv.SetAt, "sổ cái chưa có mục nào"
		return j, nil
	}
	anchors, err := e.view.Anchors(ctx, e.now)
	if err != nil {
		return judgement{}, fmt.Errorf("read the anchored checkpoints: %w", err)
	}
	for _, judge := range []func(context.Context, *evaluation, int64, []catalog.Anchor, *judgement) error{c.hashes, c.roots, c.fresh} {
		if err := judge(ctx, e, size, anchors, &j); err != nil {
			return judgement{}, err
		}
	}
	return j, nil
}

// hashes reads the entries themselves and compares them with the tree.
func (c *chainIntact) hashes(ctx context.Context, e *evaluation, size int64, _ []catalog.Anchor, j *judgement) error {
	root := e.ledger.Root
	if size > rehashLimit {
		return c.sample(ctx, e, size, root, j)
	}
	tree := frontier{}
	for entry, err := range e.view.Entries(ctx, 0) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if entry.Seq != tree.size {
			break
		}
		tree.add(tlog.RecordHash(entry.JSON))
		if tree.size == size {
			break
		}
	}
	if tree.size != size || tree.root() != root {
		j.posture, j.why = Fail, fmt.Sprintf("sổ cái không còn nguyên vẹn: băm lại %d/%d mục không khớp", tree.size, size)
		return nil
	}
	j.why = fmt.Sprintf("băm lại đủ %d mục của sổ cái, khớp", size)
	return nil
}

// sample proves entries spread evenly over a long ledger.
func (c *chainIntact) sample(ctx context.Context, e *evaluation, size int64, root tlog.Hash, j *judgement) error {
	for i := range int64(sampleSize) {
		seq := i * (size - 1) / (sampleSize - 1)
		entry, err := e.view.Entry(ctx, seq)
		if err != nil {
			return fmt.Errorf("read entry %d of the ledger: %w", seq, err)
		}
		proof, err := e.view.ProveInclusion(ctx, seq, size)
		if err != nil {
			return fmt.Errorf("prove entry %d of the ledger: %w", seq, err)
		}
		if tlog.CheckRecord(proof, size, root, seq, tlog.RecordHash(entry.JSON)) != nil {
			j.posture, j.why = Fail, fmt.Sprintf("sổ cái không còn nguyên vẹn: mục %d đã bị sửa", seq)
			return nil
		}
	}
	j.why = fmt.Sprintf("sổ cái có %d mục; đã chứng minh %d mục rải đều và mọi mốc đã ký, kiểm chứng toàn bộ bằng “saoluu ledger verify”", size, sampleSize)
	return nil
}

// roots compares every checkpoint kept on a target with the ledger as it is.
func (c *chainIntact) roots(ctx context.Context, e *evaluation, size int64, anchors []catalog.Anchor, j *judgement) error {
	checked := map[int64]string{}
	for _, a := range anchors {
		root, known := checked[a.Size]
		if !known {
			if a.Size > size || a.Size <= 0 {
				j.posture, j.why = Fail, sentences(j.why, fmt.Sprintf("mốc đã ký ngày %s lớn hơn sổ cái", vnDate(a.At, e.loc)))
				return nil
			}
			hash, err := e.view.Root(ctx, a.Size)
			if err != nil {
				return fmt.Errorf("read the root of size %d: %w", a.Size, err)
			}
			root = hash.String()
			checked[a.Size] = root
		}
		if root != a.Root {
			j.posture, j.why = Fail, sentences(j.why, fmt.Sprintf("sổ cái trái với mốc đã ký ngày %s", vnDate(a.At, e.loc)))
			j.evidence = append(j.evidence, fmt.Sprintf("entry:%d", a.Seq))
			return nil
		}
	}
	return nil
}

// fresh judges the age of the newest checkpoint kept on a target.
func (c *chainIntact) fresh(_ context.Context, e *evaluation, _ int64, anchors []catalog.Anchor, j *judgement) error {
	since, what := e.begun(), "chưa gửi mốc sổ cái nào tới nơi lưu, sổ bắt đầu"
	good := Warn // nothing was anchored at all
	if n := len(anchors); n > 0 {
		newest := anchors[n-1]
		since, good = newest.At, Pass
		what = fmt.Sprintf("mốc sổ cái gần nhất gửi tới “%s” ngày %s", newest.Target, vnDate(newest.At, e.loc))
		j.evidence = append(j.evidence, fmt.Sprintf("entry:%d", newest.Seq))
	}
	days := e.age(since)
	outcome := graded(days, c.anchorWarn-1, c.anchorFail, good)
	j.posture = worse(j.posture, outcome)
	j.why = sentences(j.why, fmt.Sprintf("%s (%s)", what, vnAgo(days)))
	return nil
}
