package compliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"saoluu/catalog"
)

// An ArchiveState is a set of offline media with what the ledger says of it.
type ArchiveState struct {
	catalog.Dated[catalog.ArchiveWritten]
	Held []ArchivedRun // its runs, those that are on record
}

// An ArchivedRun is a run that a set of offline media holds.
type ArchivedRun struct {
	Run   string
	Job   string
	Taken time.Time // the instant the data stand for
	Good  bool      // it counted as a good backup at the instant judged
}

// archived reads the sets of offline media, oldest first, once.
func (e *evaluation) archived(ctx context.Context) ([]ArchiveState, error) {
	if e.archivesRead {
		return e.archives, nil
	}
	sets, err := e.view.Archives(ctx, e.now)
	if err != nil {
		return nil, fmt.Errorf("read the sets of offline media: %w", err)
	}
	for _, set := range sets {
		state := ArchiveState{Dated: set}
		for _, id := range set.Event.Runs {
			run, err := e.view.Run(ctx, id)
			if errors.Is(err, catalog.ErrMissing) {
				continue // the ledger was begun anew since
			}
			if err != nil {
				return nil, fmt.Errorf("read run %s of archive %s: %w", id, set.Event.Set, err)
			}
			state.Held = append(state.Held, ArchivedRun{Run: id, Job: run.Job, Taken: run.ConsistentAt, Good: run.Good(e.now)})
		}
		e.archives = append(e.archives, state)
	}
	e.archivesRead = true
	return e.archives, nil
}

// archiveOf returns the set with the newest good run of an asset that was read back
// whole; ok is false when there is none.
func (e *evaluation) archiveOf(ctx context.Context, a *asset) (set ArchiveState, run ArchivedRun, ok bool, err error) {
	sets, err := e.archived(ctx)
	for _, s := range sets {
		for _, held := range s.Held {
			if held.Job == a.Job && held.Good && s.Event.Verified && !held.Taken.Before(run.Taken) {
				set, run, ok = s, held, true
			}
		}
	}
	return set, run, ok, err
}

// addArchive adds the newest set of offline media that holds the asset. It is one
// copy more only where the rule takes such sets, and where what it was written to
// was measured to be another disk than those of the data and of every target. It is
// never one out of reach: nobody recorded that it was taken away.
func (c *copiesCheck) addArchive(ctx context.Context, e *evaluation, a *asset, t *tally) error {
	set, run, ok, err := e.archiveOf(ctx, a)
	if err != nil || !ok {
		return err
	}
	name := fmt.Sprintf("bộ lưu trữ %s", set.Event.Set)
	s := set.Event.Separation
	days := e.age(run.Taken)
	why := ""
	switch {
	case !c.archives:
		why = "không tính là bản sao theo quy tắc này"
	case days > c.maxAge:
		why = fmt.Sprintf("không tính là bản sao vì dữ liệu đã %d ngày", days)
	case s == nil || s.Unknown:
		why = "không tính là bản sao vì không đo được phương tiện"
	case s.Level < levelOtherDisk:
		why = "không tính là bản sao vì ghi cùng ổ đĩa với dữ liệu hoặc nơi lưu"
	}
	t.evidence = append(t.evidence, entry(set.Seq))
	if why != "" {
		t.notes = sentences(t.notes, fmt.Sprintf("%s ngày %s: %s", name, vnDate(set.At, e.loc), why))
		return nil
	}
	domain := "archive " + set.Event.Set
	if s.Domain != "" {
		domain = s.Domain
	}
	t.add(name, "archive", domain)
	t.notes = sentences(t.notes, fmt.Sprintf("%s đã đọc lại ngày %s, không tính là ngoại tuyến vì chưa ghi nhận nơi cất", name, vnDate(set.At, e.loc)))
	return nil
}
