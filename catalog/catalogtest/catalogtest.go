// Package catalogtest fills catalogs for tests and measurements.
package catalogtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"saoluu/catalog"
)

// A Clock stands still until it is set. Its Now is for catalog.Options.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// NewClock returns a clock that shows t.
func NewClock(t time.Time) *Clock { return &Clock{t: t} }

// Now returns what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Set moves the clock.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

// Add moves the clock by d.
func (c *Clock) Add(d time.Duration) { c.Set(c.Now().Add(d)) }

// perAppend is how many events go into one transaction.
const perAppend = 2000

// JobName returns the name of job i of a filled catalog.
func JobName(i int) string { return fmt.Sprintf("job-%04d", i) }

// Target is the name of the one target of a filled catalog.
const Target = "nas"

// Fill appends an inventory of jobs and daily runs of each, oldest first, until
// there are runs of them in all, ending on the day clock shows; clock must be
// that of the catalog and is moved along. Every run has its slot, one part and
// one copy; one in 50 fails; every job is tested every 30 days, and one test in
// 40 fails and voids its run.
func Fill(ctx context.Context, c *catalog.Catalog, clock *Clock, jobs, runs int) error {
	days := (runs + jobs - 1) / jobs
	end := clock.Now().UTC().Truncate(24 * time.Hour)
	f := filler{c: c, clock: clock, left: runs}
	clock.Set(end.AddDate(0, 0, -days))
	if err := f.add(ctx, inventory(jobs)); err != nil {
		return err
	}
	for d := range days {
		midnight := end.AddDate(0, 0, d-days+1)
		if err := f.day(ctx, midnight, d, jobs); err != nil {
			return err
		}
	}
	return f.flush(ctx)
}

type filler struct {
	c      *catalog.Catalog
	clock  *Clock
	left   int
	events []catalog.Event
}

func (f *filler) add(ctx context.Context, events ...catalog.Event) error {
	f.events = append(f.events, events...)
	if len(f.events) < perAppend {
		return nil
	}
	return f.flush(ctx)
}

func (f *filler) flush(ctx context.Context) error {
	if len(f.events) == 0 {
		return nil
	}
	_, err := f.c.Append(ctx, f.events...)
	f.events = f.events[:0]
	return err
}

// day appends one day: what is due, then every job's run and some tests.
func (f *filler) day(ctx context.Context, midnight time.Time, d, jobs int) error {
	if err := f.flush(ctx); err != nil {
		return err
	}
	f.clock.Set(midnight)
	due := midnight.Add(time.Hour)
	n := min(jobs, f.left)
	f.left -= n
	plan := catalog.SlotsPlanned{Until: midnight.AddDate(0, 0, 1)}
	for i := range n {
		plan.Slots = append(plan.Slots, catalog.Slot{Job: JobName(i), Action: catalog.ActionBackup, Due: due})
	}
	if err := f.add(ctx, plan); err != nil {
		return err
	}
	f.clock.Set(due.Add(time.Minute))
	for i := range n {
		started, finished := run(i, d, due)
		if err := f.add(ctx, started, finished); err != nil {
			return err
		}
		if (i+d)%30 != 0 || finished.State != catalog.RunComplete {
			continue
		}
		if err := f.add(ctx, test(i, d, finished)...); err != nil {
			return err
		}
	}
	return nil
}

func inventory(jobs int) catalog.InventorySet {
	set := catalog.InventorySet{
		Site:    catalog.SiteInfo{Name: "Sở mẫu", Code: "MAU", Level: 2, Zone: "lan", Timezone: "Asia/Ho_Chi_Minh", Packs: []string{"HD39"}},
		Classes: []catalog.ClassInfo{{Name: "nghiep-vu", Title: "Dữ liệu nghiệp vụ", KeepMin: "1y", KeepMax: "5y", Copies: 1}},
		Targets: []catalog.TargetRow{{Name: Target, Type: "local"}},
	}
	for i := range jobs {
		set.Assets = append(set.Assets, catalog.Asset{
			Job: JobName(i), Title: "CSDL mẫu", Category: "database", Importance: "high", Secrecy: "none", Class: "nghiep-vu",
			Source: "postgres", Method: "pg_dump", Schedule: "daily at 08:00", TestSchedule: "monthly on 5 at 03:00", Targets: []string{Target},
		})
	}
	return set
}

// run makes the events of job i on day d.
func run(i, d int, due time.Time) (catalog.RunStarted, catalog.RunFinished) {
	id := fmt.Sprintf("%s-%s", due.Format("20060102T150405Z"), JobName(i))
	snapshot := digest("snapshot", i, d)
	finished := catalog.RunFinished{
		Run: id, Job: JobName(i), Class: "nghiep-vu", Category: "database", Due: &due, LastAttempt: true,
		Trigger: catalog.TriggerSchedule, State: catalog.RunComplete,
		StartedAt: due, ConsistentAt: due.Add(2 * time.Second), FinishedAt: due.Add(40 * time.Second),
		Parts:  []catalog.Part{{Name: "database", State: catalog.RunComplete, Bytes: 1 << 30, SHA256: digest("stream", i, d)}},
		Copies: []catalog.Copy{{Target: Target, State: catalog.RunComplete, Snapshots: map[string]string{"database": snapshot}, AddedBytes: 1 << 20, Encryption: catalog.EncryptionRestic}},
		Engine: catalog.Tool{Name: "restic", Version: "0.19.1"},
	}
	if (i*7+d*13)%50 == 0 {
		finished.State, finished.ConsistentAt, finished.Copies = catalog.RunFailed, time.Time{}, nil
		finished.Parts[0] = catalog.Part{Name: "database", State: catalog.RunFailed, Error: "pg_dump: exit status 1"}
		finished.Error, finished.ErrorKind = `dump database "mau": exit status 1`, "failed"
	}
	return catalog.RunStarted{Run: id, Job: JobName(i), Due: &due, Trigger: catalog.TriggerSchedule, Attempt: 1}, finished
}

// test makes the events of a restore test of a run.
func test(i, d int, r catalog.RunFinished) []catalog.Event {
	finished := catalog.TestFinished{
		Test: "test-" + r.Run, Job: r.Job, Source: "postgres", Run: r.Run, ConsistentAt: r.ConsistentAt, Target: Target,
		Snapshots: []string{digest("snapshot", i, d)}, Trigger: catalog.TriggerSchedule, StartedAt: r.FinishedAt, FinishedAt: r.FinishedAt.Add(15 * time.Second),
		Verdict: catalog.VerdictPassed, Level: catalog.LevelAsserted, Full: true, RestoreSeconds: 12.5, RestoredBytes: 1 << 30, Pick: "newest", Host: "mau",
		Assertions: []catalog.Assertion{{Name: "rows of 12 tables", Expected: "120000", Actual: "120000", OK: true}},
	}
	if (i+d/30)%40 == 0 {
		finished.Verdict, finished.Level = catalog.VerdictFailed, catalog.LevelRestored
		finished.Assertions[0].Actual, finished.Assertions[0].OK = "119999", false
	}
	return []catalog.Event{catalog.TestStarted{Test: finished.Test, Job: r.Job, Run: r.Run, Target: Target, Trigger: finished.Trigger}, finished}
}

// digest makes 64 hexadecimal digits out of what they stand for.
func digest(what string, i, d int) string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte(what), uint64(i)), uint64(d)))
	return hex.EncodeToString(sum[:])
}
