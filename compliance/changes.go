package compliance

import (
	"context"
	"fmt"
	"time"

	"saoluu/catalog"
)

// changeTracked is the check that configurations are collected, and that each change of
// them is explained. It is about jobs whose source is a configuration.
type changeTracked struct {
	collectDays int // between two versions
	failDays    int
	noteDays    int  // from a change to its explanation
	devices     bool // only of network devices
}

func parseChangeTracked(s *scope) check {
	return &changeTracked{
		collectDays: s.number("collect_days", 31, 1, 366), failDays: s.number("fail_days", 62, 1, 732),
		noteDays: s.number("note_days", 7, 0, 366), devices: s.boolean("devices", false),
	}
}

// about implements chooser.
func (c *changeTracked) about(a *asset) bool {
	return a.Source == "config" && (!c.devices || a.Devices > 0)
}

// nobody implements chooser.
func (c *changeTracked) nobody() (why, remedy string) {
	if c.devices {
		return "chưa có mục nào thu thập cấu hình thiết bị mạng nên thay đổi của thiết bị không được lưu lại",
			"Lập mục sao lưu loại config có devices cho các thiết bị mạng, hoặc ghi miễn trừ nếu đơn vị không quản lý thiết bị mạng."
	}
	return "chưa có mục nào lưu cấu hình (nguồn config) nên không có lịch sử thay đổi",
		"Lập mục sao lưu loại config cho cấu hình máy chủ, hệ điều hành, phần mềm."
}

func (c *changeTracked) asset(ctx context.Context, e *evaluation, r *Rule, a *asset) (judgement, error) {
	j := judgement{posture: Pass, remedy: "Chạy sao lưu cấu hình: saoluu backup TÊN-MỤC; giải trình thay đổi: saoluu changes explain TÊN-MỤC."}
	last := a.lastGood()
	if last.IsZero() {
		start, _ := a.start(r, e.loc)
		j.posture, j.why = graded(e.age(start), entryWarnDays, entryFailDays, Pending), "chưa thu thập được phiên bản cấu hình nào"
		return j, nil
	}
	days := e.age(last)
	j.why = fmt.Sprintf("thu thập gần nhất ngày %s (hạn %d ngày)", vnDate(last, e.loc), c.collectDays)
	j.posture = graded(days, c.collectDays, c.failDays, Pass)
	if err := c.unreachable(ctx, e, a, last, &j); err != nil {
		return judgement{}, err
	}
	return j, c.unexplained(ctx, e, a, &j)
}

// unreachable says that the newest attempt got no whole configuration: what it is now,
// nobody knows.
func (c *changeTracked) unreachable(ctx context.Context, e *evaluation, a *asset, last time.Time, j *judgement) error {
	q := catalog.RunQuery{Job: a.Job, From: last, AsOf: e.now, NotGood: true, Limit: 1}
	for run, err := range e.view.Runs(ctx, q) {
		if err != nil {
			return fmt.Errorf("read the runs of %q: %w", a.Job, err)
		}
		if run.FinishedAt.Before(last) {
			continue
		}
		if j.posture != Fail {
			j.posture, j.since = Unknown, run.FinishedAt
		}
		j.why = sentences(j.why, fmt.Sprintf("từ ngày %s không thu thập được đầy đủ (thiết bị không kết nối được hoặc lệnh lỗi)", vnDate(run.FinishedAt, e.loc)))
		j.evidence = append(j.evidence, "run:"+run.Run)
	}
	return nil
}

// unexplained counts the changes that nobody has explained in time.
func (c *changeTracked) unexplained(ctx context.Context, e *evaluation, a *asset, j *judgement) error {
	changes, err := e.changesOf(ctx, a.Job)
	if err != nil {
		return err
	}
	late, waiting, files := 0, 0, 0
	for _, change := range changes {
		open := change.Open()
		switch {
		case open == 0:
		case e.age(change.At) > c.noteDays:
			late, files = late+1, files+open
			j.evidence = append(j.evidence, fmt.Sprintf("entry:%d", change.Seq))
		default:
			waiting++
		}
	}
	switch {
	case late > 0:
		j.posture = worse(j.posture, Warn)
		j.why = sentences(j.why, fmt.Sprintf("%d lần thay đổi (%d tệp) quá %d ngày chưa được giải trình", late, files, c.noteDays))
	case len(changes) == 0:
		j.why = sentences(j.why, "chưa có thay đổi nào")
	case waiting == 0:
		j.why = sentences(j.why, fmt.Sprintf("%d lần thay đổi, tất cả đã được giải trình", len(changes)))
	}
	if waiting > 0 {
		j.why = sentences(j.why, fmt.Sprintf("%d lần thay đổi đang chờ giải trình, còn trong hạn", waiting))
	}
	return nil
}

// changesOf returns the changes of a job's configuration up to the end of what is judged,
// with what has been said about them since.
func (e *evaluation) changesOf(ctx context.Context, job string) ([]catalog.ConfigChange, error) {
	if e.changes == nil {
		all, err := e.view.ConfigChanges(ctx, e.asOf)
		if err != nil {
			return nil, fmt.Errorf("read the changes of configurations: %w", err)
		}
		if all == nil {
			all = map[string][]catalog.ConfigChange{}
		}
		e.changes = all
	}
	var known []catalog.ConfigChange
	for _, c := range e.changes[job] {
		if c.At.Before(e.bound) {
			known = append(known, c)
		}
	}
	return known, nil
}

// history lists the changes of the period, of the jobs in their order.
func (e *evaluation) history(ctx context.Context) ([]catalog.ConfigChange, error) {
	out := []catalog.ConfigChange{}
	for _, a := range e.assets {
		changes, err := e.changesOf(ctx, a.Job)
		if err != nil {
			return nil, err
		}
		for _, c := range changes {
			// An older one that is still open belongs into every report until it is explained.
			if !c.At.Before(e.from) || c.Open() > 0 {
				out = append(out, c)
			}
		}
	}
	return out, nil
}
