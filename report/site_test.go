package report_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/catalog/catalogtest"
	"saoluu/internal/calendar"
)

// A story tells one job's year for the reports under test.
type story struct {
	asset  catalog.Asset
	good   func(d calendar.Date) bool // a good backup was made that day
	failed func(d calendar.Date) bool
	level  map[string]int // separation by target
	tests  []told
}

// told is one restore test.
type told struct {
	on      string // day
	verdict string
	minutes float64
	target  string
}

func daily(calendar.Date) bool { return true }
func never(calendar.Date) bool { return false }

func on(days ...int) func(calendar.Date) bool {
	return func(d calendar.Date) bool {
		last := calendar.Month{Year: d.Year, Month: d.Month}.Days()
		for _, n := range days {
			if d.Day == min(n, last) {
				return true
			}
		}
		return false
	}
}

func except(f func(calendar.Date) bool, months ...time.Month) func(calendar.Date) bool {
	return func(d calendar.Date) bool {
		for _, m := range months {
			if d.Month == m && d.Year == 2026 {
				return false
			}
		}
		return f(d)
	}
}

func monthlyTests(target string, minutes float64) []told {
	var all []told
	for m := range 12 {
		d := calendar.Date{Year: 2025, Month: time.July, Day: 5}.AddMonths(m)
		if d.Compare(calendar.Date{Year: 2026, Month: time.June, Day: 1}) < 0 {
			all = append(all, told{d.String(), catalog.VerdictPassed, minutes, target})
		}
	}
	return all
}

// stories are the jobs of an agency with the troubles an agency has.
func stories() []story {
	asset := func(job, title, category, importance, source, schedule string, targets ...string) catalog.Asset {
		return catalog.Asset{
			Job: job, Title: title, System: "Hệ thống một cửa", Category: category, Importance: importance, Secrecy: "none", Label: "noi-bo",
			Owner: "Văn phòng Sở", Class: "nghiep-vu", Source: source, Method: "kết xuất nhất quán", Schedule: schedule,
			TestSchedule: "monthly on 5 at 03:00", Targets: targets, RPOSeconds: 24 * 3600, RTOSeconds: 4 * 3600,
		}
	}
	far := map[string]int{"nas": 3, "dia-roi": 2}
	documents := story{asset: asset("qlvb", "CSDL quản lý văn bản và điều hành", "database", "high", "postgres", "daily at 01:00", "nas", "dia-roi"), good: daily, failed: on(17), level: far, tests: monthlyTests("nas", 12)}
	documents.tests = append(documents.tests, told{"2026-04-20", catalog.VerdictFailed, 11, "dia-roi"}, told{"2026-04-23", catalog.VerdictPassed, 13, "dia-roi"}, told{"2026-05-20", catalog.VerdictPassed, 14, "dia-roi"})
	counter := story{asset: asset("motcua", "CSDL một cửa điện tử", "database", "high", "postgres", "daily at 01:30", "nas"), good: except(daily, time.March), failed: func(d calendar.Date) bool { return d.Month == time.March && d.Year == 2026 && d.Day < 9 }, level: far, tests: monthlyTests("nas", 320)}
	files := story{asset: asset("hoso", "Hồ sơ nghiệp vụ, công chứng và chứng thực dùng chung", "business-data", "normal", "files", "weekly on sun at 02:00", "nas", "dia-roi"), good: on(4, 11, 18, 25), failed: never, level: far, tests: monthlyTests("nas", 45)}
	files.asset.RPOSeconds = 7 * 24 * 3600
	configs := story{asset: asset("cauhinh", "Cấu hình tường lửa, máy chủ", "config", "normal", "config", "monthly on 3 at 02:00", "o-trong"), good: on(3), failed: never, level: map[string]int{"o-trong": 0}, tests: monthlyTests("o-trong", 1)}
	configs.asset.RPOSeconds, configs.asset.Owner, configs.asset.Devices = 31*24*3600, "", 1
	small := story{asset: asset("hopdong", "Sổ hợp đồng <nội bộ> & phụ lục", "database", "normal", "sqlite", "daily at 02:30", "nas"), good: daily, failed: never, level: far}
	small.asset.RTOSeconds, small.asset.Label = 0, ""
	web := story{asset: asset("website", "Trang thông tin điện tử", "business-data", "low", "files", "monthly on 31 at 04:00", "nas"), good: except(on(31), time.February), failed: never, level: far, tests: monthlyTests("nas", 20)}
	web.asset.RPOSeconds, web.asset.Class = 31*24*3600, "cong-khai"
	return []story{documents, counter, files, configs, small, web}
}

// zone is that of the site under test.
func zone(t testing.TB) *time.Location {
	t.Helper()
	loc, err := calendar.Zone("Asia/Ho_Chi_Minh")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// site fills a catalog with the stories from July 2025 up to an instant.
func site(t testing.TB, until time.Time) *catalog.Catalog {
	t.Helper()
	loc := zone(t)
	begin := time.Date(2025, time.July, 1, 8, 0, 0, 0, loc)
	clock := catalogtest.NewClock(begin)
	c, err := catalog.Create(t.Context(), catalog.Options{Path: filepath.Join(t.TempDir(), "catalog.db"), Now: clock.Now, Location: loc, Site: "STP-HD"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w := writer{t: t, c: c, clock: clock, loc: loc}
	all := stories()
	gone := story{asset: catalog.Asset{Job: "cu", Title: "Phần mềm kế toán cũ", Category: "database", Importance: "normal", Secrecy: "none", Label: "noi-bo",
		Owner: "Kế toán", Class: "nghiep-vu", Source: "sqlite", Method: "bản sao tệp", Schedule: "weekly on sat at 01:00", TestSchedule: "monthly on 5 at 03:00",
		Targets: []string{"nas"}}, good: on(7, 14, 21, 28), failed: never, level: map[string]int{"nas": 3}}
	w.add(catalog.SiteOpened{Name: "Sở Tư pháp tỉnh Hải Dương", Code: "STP-HD", Key: signerKey, Version: "test"}, w.inventory(append(all, gone)))
	removal := calendar.Date{Year: 2026, Month: time.April, Day: 20}
	for d := calendar.DateOf(begin, loc); d.Start(loc).Before(until); d = d.AddDays(1) {
		if d == removal {
			clock.Set(d.Start(loc).Add(10 * time.Hour))
			w.add(w.inventory(all))
		}
		w.events = append(w.events, catalog.Beat{}) // written when the first job of the day is
		for i, s := range append(all[:len(all):len(all)], gone) {
			if s.asset.Job == "cu" && d.Compare(removal) >= 0 {
				continue
			}
			w.day(i, s, d)
		}
		w.flush()
		w.upkeep(d)
		w.custody(d)
		w.changed(d)
	}
	return c
}

// signerKey and signerPrint are a verifier key and what ssh-keygen -l prints of it.
const (
	signerKey   = "STP-HD+cd877d82+ARQddsS6wFOP7G9WV/ZCll+c6870HytD1HCMdVa6Uf1O"
	signerPrint = "SHA256:xaNTv2E50xTpf3MT+FcxE/vTpmRUzNCOoFOkyMXt+80"
)

type writer struct {
	t      testing.TB
	c      *catalog.Catalog
	clock  *catalogtest.Clock
	loc    *time.Location
	events []catalog.Event
	runs   map[string]catalog.RunFinished // newest good run of a job
	tests  int
	checks int
}

func (w *writer) add(events ...catalog.Event) {
	w.events = append(w.events, events...)
	w.flush()
}

func (w *writer) flush() {
	w.t.Helper()
	if len(w.events) == 0 {
		return
	}
	if _, err := w.c.Append(w.t.Context(), w.events...); err != nil {
		w.t.Fatal(err)
	}
	w.events = nil
}

func (w *writer) inventory(all []story) catalog.InventorySet {
	set := catalog.InventorySet{
		Site: catalog.SiteInfo{Name: "Sở Tư pháp tỉnh Hải Dương", Code: "STP-HD", Level: 3, Zone: "tslcd", Timezone: "Asia/Ho_Chi_Minh", Packs: []string{"HD39", "policy"}},
		Classes: []catalog.ClassInfo{
			{Name: "nghiep-vu", Title: "Dữ liệu nghiệp vụ", KeepMin: "1y", KeepMax: "5y", Copies: 1},
			{Name: "cong-khai", Title: "Dữ liệu công khai", KeepMin: "3mo", KeepMax: "1y", Copies: 1},
		},
		Targets: []catalog.TargetRow{{Name: "dia-roi", Type: "removable", Medium: "hdd-a", Label: "noi-bo", External: true}, {Name: "nas", Type: "sftp", Site: "Phòng máy tầng 2"}, {Name: "o-trong", Type: "local"}},
	}
	for _, s := range all {
		set.Assets = append(set.Assets, s.asset)
	}
	set.Custodians = []catalog.SealedTo{custodian("pho-giam-doc"), custodian("truong-phong")}
	set.ConfigSHA256 = fmt.Sprint(len(all))
	return set
}

// day tells what one job did on one day.
func (w *writer) day(i int, s story, d calendar.Date) {
	at := d.Start(w.loc).Add(time.Hour + time.Duration(i)*10*time.Minute)
	if w.runs == nil {
		w.runs = map[string]catalog.RunFinished{}
	}
	run := catalog.RunFinished{
		Run: fmt.Sprintf("%s-%s", at.UTC().Format("20060102-150405"), s.asset.Job), Job: s.asset.Job, Class: s.asset.Class, Category: s.asset.Category,
		Trigger: catalog.TriggerSchedule, LastAttempt: true, StartedAt: at.UTC(), FinishedAt: at.Add(4 * time.Minute).UTC(),
		Parts: []catalog.Part{{Name: "data", State: catalog.RunComplete, Bytes: 5 << 30}}, Engine: catalog.Tool{Name: "restic", Version: "0.19.1"},
	}
	if s.failed(d) {
		failed := run
		failed.Run, failed.State, failed.Error = run.Run+"-x", catalog.RunFailed, "dump database: connection refused"
		w.events = append(w.events, failed)
	}
	if s.good(d) {
		run.State, run.ConsistentAt = catalog.RunComplete, at.UTC()
		for _, target := range s.asset.Targets {
			run.Copies = append(run.Copies, catalog.Copy{
				Target: target, State: catalog.RunComplete, Snapshots: map[string]string{"data": run.Run}, Encryption: catalog.EncryptionRestic,
				Separation: &catalog.Separation{Level: s.level[target], How: fmt.Sprintf("source on 8:1, target %q", target)},
			})
		}
		w.events = append(w.events, run)
		w.runs[s.asset.Job] = run
	}
	w.clock.Set(at.Add(5 * time.Minute))
	for _, test := range s.tests {
		if test.on == d.String() {
			w.flush()
			w.test(s, test, d)
		}
	}
}

func (w *writer) test(s story, test told, d calendar.Date) {
	at := d.Start(w.loc).Add(3 * time.Hour)
	run := w.runs[s.asset.Job]
	w.tests++
	end := at.Add(time.Duration(test.minutes * float64(time.Minute)))
	w.clock.Set(end)
	w.add(catalog.TestFinished{
		Test: fmt.Sprintf("test-%04d", w.tests), Job: s.asset.Job, Source: s.asset.Source, Run: run.Run, ConsistentAt: run.ConsistentAt, Target: test.target,
		Trigger: catalog.TriggerSchedule, StartedAt: at.UTC(), FinishedAt: end.UTC(), Verdict: test.verdict, Level: catalog.LevelAsserted, Full: true,
		Assertions:     []catalog.Assertion{{Name: "facts: rows", Expected: "42 of 42", Actual: map[bool]string{true: "42 of 42", false: "41 of 42"}[test.verdict == catalog.VerdictPassed], OK: test.verdict == catalog.VerdictPassed}},
		RestoreSeconds: test.minutes*60 - 3.4, Control: "control-1", Host: "may-chu-1", Pick: "newest good run",
	})
}

// upkeep re-reads a group of every target and anchors the ledger, nightly.
func (w *writer) upkeep(d calendar.Date) {
	at := d.Start(w.loc).Add(3*time.Hour + 30*time.Minute)
	if now := w.clock.Now(); now.After(at) {
		at = now // a long restore test came before
	}
	w.clock.Set(at)
	for _, target := range []string{"nas", "dia-roi", "o-trong"} {
		w.events = append(w.events, catalog.CheckFinished{
			Target: target, N: w.checks%28 + 1, Of: 28, State: catalog.RunComplete, StartedAt: at.UTC(), FinishedAt: at.UTC(),
		})
	}
	w.checks++
	w.add(catalog.Beat{})
	size, err := w.c.TreeSize(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	root, err := w.c.Root(w.t.Context(), size)
	if err != nil {
		w.t.Fatal(err)
	}
	w.add(catalog.CatalogCompared{Entries: size})
	w.add(catalog.CheckpointAnchored{Target: "nas", Size: size, Root: root.String(), Snapshot: "s"})
	powerless := d.Month == time.May && d.Day >= 9 && d.Day <= 11 // a long weekend
	if d.Year == 2026 && d.Month >= time.April && !powerless {
		for h := range 20 {
			if hour := d.Start(w.loc).Add(4*time.Hour + time.Duration(h)*time.Hour); hour.After(at) {
				w.clock.Set(hour)
				w.add(catalog.Beat{})
			}
		}
	}
	if d.Year == 2026 && d.Month >= time.April {
		w.clock.Set(d.AddDays(1).Start(w.loc).Add(30 * time.Minute))
		w.add(catalog.Beat{})
	}
}

// changed tells of a configuration that was changed three times: once with a word, once
// with a word about one file of several, and once without any.
func (w *writer) changed(d calendar.Date) {
	run := w.runs["cauhinh"].Run
	change := catalog.ConfigChanged{Run: run, Job: "cauhinh", Before: "before", Added: 1, Changed: 2}
	explained := catalog.ChangeExplained{Run: run, Job: "cauhinh", Note: "mở cổng cho <phần mềm> mới", Ref: "07/PYC-STP", By: "Phòng CNTT", Asked: "quantri"}
	switch d.String() {
	case "2026-04-03":
		w.add(change)
	case "2026-05-03":
		w.add(change, explained)
	case "2026-06-03":
		explained.Paths = []string{strings.Repeat("ab", 32)}
		w.add(change, explained)
	}
}

func custodian(name string) catalog.SealedTo {
	return catalog.SealedTo{Custodian: name, Fingerprint: "SHA256:" + name}
}

// custody tells of keys: one target's are in order, one's can be opened by somebody
// who has left, one's lies beside the data.
func (w *writer) custody(d calendar.Date) {
	head, deputy, former := custodian("truong-phong"), custodian("pho-giam-doc"), custodian("ke-toan-cu")
	switch d.String() {
	case "2025-07-01":
		for target, level := range map[string]int{"nas": 3, "dia-roi": 2, "o-trong": 0} {
			w.events = append(w.events, catalog.KeyPlaced{Target: target, Repository: "r-" + target, From: catalog.KeyFromState, Separation: &catalog.Separation{Level: level, How: "thử"}})
		}
		slices.SortFunc(w.events, func(a, b catalog.Event) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		w.add(catalog.KeySealed{Target: "nas", Repository: "r-nas", Key: "k1", Recipients: []catalog.SealedTo{head, deputy}, Beside: true},
			catalog.KeySealed{Target: "dia-roi", Repository: "r-dia-roi", Key: "k2", Recipients: []catalog.SealedTo{head, former}},
			catalog.KeySealed{Target: "o-trong", Repository: "r-o-trong", Key: "k3", Sheet: true})
	case "2025-12-20", "2026-05-16":
		var runs []string
		for _, job := range []string{"qlvb", "hoso", "motcua"} {
			runs = append(runs, w.runs[job].Run)
		}
		w.add(catalog.ArchiveWritten{
			Set: d.String() + "-a1b2", Runs: runs, SHA256: strings.Repeat("ab", 32), Discs: 3, Volumes: 3, Bytes: 61_234_567_890, Recipients: []catalog.SealedTo{deputy, head},
			Verified: true, Opened: d.Year == 2026, StartedAt: w.clock.Now().UTC(), FinishedAt: w.clock.Now().UTC(), By: "quantri", Separation: &catalog.Separation{Level: 2, How: "thử", Domain: "disk sdc"},
		})
	case "2025-07-02":
		w.add(catalog.MediumRegistered{Medium: "hdd-a", Target: "dia-roi", ID: "0a1b", Filesystem: "6f3c", Format: "ext4", Type: catalog.MediumHDD, Serial: "WX51-0042", Bytes: 2e12, Label: "noi-bo", Secrecy: "none", Owner: "Văn phòng", By: "quantri"},
			catalog.MediumStaged{Medium: "hdd-a", Stage: catalog.StageInUse, By: "saoluu"}, catalog.MediumSeen{Medium: "hdd-a", Plugged: true, Host: "may-1"},
			catalog.MediumRegistered{Medium: "hdd-b", Target: "dia-roi-2", ID: "0a1c", Filesystem: "6f3d", Format: "ext4", Type: catalog.MediumHDD, Bytes: 2e12, Secrecy: "mat", Owner: "Văn phòng", By: "quantri"})
	case "2026-05-20":
		w.add(catalog.MediumSeen{Medium: "hdd-a", Host: "may-1"}, catalog.MediumRefused{Reason: "not in the register", Filesystem: "1111"},
			catalog.MediumHanded{Medium: "hdd-a", To: "Người giữ kho", Place: "két sắt nhà B", Seal: "0012", By: "quantri"}, catalog.MediumInspected{Medium: "hdd-a", By: "quantri", Place: "két sắt nhà B", Intact: true})
	case "2026-01-15":
		w.add(catalog.EscrowDrilled{Target: "nas", Custodian: "pho-giam-doc", OK: true})
	}
}
