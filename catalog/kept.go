package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// job returns the kept state of a job, a new one when there is none.
func (p *projection) job(ctx context.Context, name string) (*jobRow, error) {
	p.usedJobs[name] = true
	if j, ok := p.jobs[name]; ok {
		return j, nil
	}
	id, err := p.name(ctx, name)
	if err != nil {
		return nil, err
	}
	j := &jobRow{JobState: JobState{Job: name}, id: id, dirty: true}
	if !p.bulk {
		row, err := p.w.row(ctx, `SELECT `+jobColumns+` FROM job_state s WHERE s.job=?`, id)
		if err != nil {
			return nil, err
		}
		err = scanJob(row, &j.JobState)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		j.dirty = err != nil // a job heard of for the first time gets its row
	}
	p.jobs[name] = j
	return j, nil
}

// target is the same for a target.
func (p *projection) target(ctx context.Context, name string) (*targetRow, error) {
	p.usedTargets[name] = true
	if t, ok := p.targets[name]; ok {
		return t, nil
	}
	id, err := p.name(ctx, name)
	if err != nil {
		return nil, err
	}
	t := &targetRow{TargetState: TargetState{Target: name}, id: id, dirty: true}
	if !p.bulk {
		row, err := p.w.row(ctx, `SELECT `+targetColumns+` FROM target_state s WHERE s.target=?`, id)
		if err != nil {
			return nil, err
		}
		err = scanTarget(row, &t.TargetState)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		t.dirty = err != nil
	}
	p.targets[name] = t
	return t, nil
}

const jobColumns = `s.in_inventory, s.last_run, s.last_state, s.last_finished, s.last_error, s.last_good_run, s.last_good_at,
	s.failing_since, s.failures, s.last_test, s.last_verdict, s.last_level, s.last_test_at, s.last_passed_at, s.last_passed_run, s.last_unread, s.last_uncompared`

const targetColumns = `s.in_inventory, s.id, s.repository, s.last_copy_at, s.last_error, s.last_check_at, s.last_check,
	s.damaged, s.last_prune_at, s.anchored_at, s.anchored_size`

// A scanner is a row.
type scanner interface{ Scan(dest ...any) error }

func scanJob(row scanner, j *JobState, more ...any) error {
	var finished, good, failing, tested, passed int64
	err := row.Scan(append(more, &j.InInventory, &j.LastRun, &j.LastState, &finished, &j.LastError, &j.LastGoodRun, &good,
		&failing, &j.Failures, &j.LastTest, &j.LastVerdict, &j.LastLevel, &tested, &passed, &j.LastPassedRun, &j.LastUnread, &j.LastUncompared)...)
	j.LastFinished, j.LastGoodAt, j.FailingSince = instant(finished), instant(good), instant(failing)
	j.LastTestAt, j.LastPassedAt = instant(tested), instant(passed)
	return err
}

func scanTarget(row scanner, t *TargetState, more ...any) error {
	var copied, checked, pruned, anchored int64
	var damaged string
	err := row.Scan(append(more, &t.InInventory, &t.ID, &t.Repository, &copied, &t.LastError, &checked, &t.LastCheck,
		&damaged, &pruned, &anchored, &t.AnchoredSize)...)
	t.LastCopyAt, t.LastCheckAt, t.LastPruneAt, t.AnchoredAt = instant(copied), instant(checked), instant(pruned), instant(anchored)
	if err == nil && damaged != "" {
		err = json.Unmarshal([]byte(damaged), &t.Damaged)
	}
	return err
}

// flush writes the kept state that changed, and in bulk all that waited.
func (p *projection) flush(ctx context.Context) error {
	for _, name := range sortedKeys(p.usedJobs) {
		if j := p.jobs[name]; j.dirty {
			if err := p.putJob(ctx, j); err != nil {
				return err
			}
		}
	}
	for _, name := range sortedKeys(p.usedTargets) {
		if t := p.targets[name]; t.dirty {
			if err := p.putTarget(ctx, t); err != nil {
				return err
			}
		}
	}
	for _, name := range sortedKeys(p.kept) {
		if err := p.w.exec(ctx, `INSERT INTO kept(name, value) VALUES(?,?) ON CONFLICT DO UPDATE SET value=excluded.value`, name, p.kept[name]); err != nil {
			return err
		}
	}
	clear(p.usedJobs)
	clear(p.usedTargets)
	clear(p.kept)
	if !p.bulk {
		return nil
	}
	defer clear(p.goods)
	for _, id := range sortedKeys(p.runs) {
		if err := p.putRun(ctx, p.runs[id]); err != nil {
			return err
		}
	}
	if err := p.writeSlots(ctx); err != nil {
		return err
	}
	if err := p.writeBatches(ctx); err != nil {
		return err
	}
	for key, at := range p.slots {
		if err := p.planSlot(ctx, key, at); err != nil {
			return err
		}
	}
	return nil
}

func (p *projection) putJob(ctx context.Context, j *jobRow) error {
	j.dirty = false
	return p.w.exec(ctx, `INSERT OR REPLACE INTO job_state(job, in_inventory, last_run, last_state, last_finished, last_error, last_good_run, last_good_at,
		failing_since, failures, last_test, last_verdict, last_level, last_test_at, last_passed_at, last_passed_run, last_unread, last_uncompared) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		j.id, j.InInventory, j.LastRun, j.LastState, unix(j.LastFinished), j.LastError, j.LastGoodRun, unix(j.LastGoodAt),
		unix(j.FailingSince), j.Failures, j.LastTest, j.LastVerdict, j.LastLevel, unix(j.LastTestAt), unix(j.LastPassedAt), j.LastPassedRun, j.LastUnread, j.LastUncompared)
}

func (p *projection) putTarget(ctx context.Context, t *targetRow) error {
	t.dirty = false
	damaged := ""
	if len(t.Damaged) > 0 {
		damaged = strings.ReplaceAll(fmt.Sprint(t.Damaged), " ", ",")
	}
	return p.w.exec(ctx, `INSERT OR REPLACE INTO target_state(target, in_inventory, id, repository, last_copy_at, last_error, last_check_at, last_check,
		damaged, last_prune_at, anchored_at, anchored_size) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)`,
		t.id, t.InInventory, t.ID, t.Repository, unix(t.LastCopyAt), t.LastError, unix(t.LastCheckAt), t.LastCheck,
		damaged, unix(t.LastPruneAt), unix(t.AnchoredAt), t.AnchoredSize)
}
