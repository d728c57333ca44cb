package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"time"

	"saoluu/catalog"
	"saoluu/config"
	"saoluu/escrow"
)

// methods are the words of the inventory's column "method" (39/2024/QĐ-UBND,
// Điều 16 khoản 2 điểm b) for each kind of source.
var methods = map[string]string{
	"files":               "sao lưu gia tăng ở mức tệp, khử trùng lặp",
	"config":              "sao lưu cấu hình: tệp, kết quả lệnh chỉ đọc, cấu hình thiết bị mạng qua SSH; lưu mọi phiên bản khác nhau",
	"command":             "chương trình kết xuất của đơn vị",
	"image":               "ảnh đĩa theo khối cố định 64 KiB, bỏ vùng trống của hệ thống tệp",
	"image system-tree":   "sao lưu toàn bộ hệ thống ở mức tệp, kèm sơ đồ đĩa và mã khởi động để dựng lại đĩa",
	"sqlite":              "bản sao nhất quán của tệp CSDL",
	"mariadb mariabackup": "bản sao vật lý toàn bộ máy chủ bằng mariabackup",
	"mariadb":             "kết xuất logic bằng mariadb-dump trong một ảnh chụp nhất quán",
	"postgres basebackup": "bản sao vật lý toàn bộ máy chủ bằng pg_basebackup, kèm bảng kê mã băm",
	"redis":               "bản kết xuất RDB qua luồng nhân bản, tại một thời điểm",
	"mongodb":             "kết xuất bằng mongodump",
	"oracle datapump":     "kết xuất logic bằng Oracle Data Pump tại một thời điểm nhất quán",
	"oracle rman":         "bản sao vật lý toàn bộ CSDL bằng Oracle RMAN, kèm nhật ký lưu trữ",
	"sqlserver":           "bản sao đầy đủ do SQL Server tự ghi (BACKUP DATABASE, COPY_ONLY), có kiểm tra mã tổng",
	"postgres":            "kết xuất logic bằng pg_dump trong một ảnh chụp nhất quán",
}

// SetInventory records the configuration's jobs when they differ from the last
// ones recorded, drops the open slots of schedules that are gone, and plans the
// new ones, so that every job has its slots from the moment it is known.
func (r *Runner) SetInventory(ctx context.Context) error {
	next := inventory(r.Config)
	now := r.Now().UTC()
	known, err := r.Catalog.InventoryDigest(ctx, now)
	if err != nil || known == next.ConfigSHA256 {
		return err
	}
	last, err := r.Catalog.Inventory(ctx, now)
	if err != nil {
		return err
	}
	events := []catalog.Event{next}
	until, err := r.Catalog.PlannedUntil(ctx)
	if err != nil {
		return err
	}
	dropped, err := r.dropped(ctx, last.InventorySet, next)
	if err != nil {
		return err
	}
	if len(dropped) > 0 {
		events = append(events, catalog.SlotsClosed{State: catalog.SlotDropped, Reason: "its schedule is no longer in the configuration", Slots: dropped})
	}
	if until.After(now) {
		slots, err := r.unspent(ctx, plan(r.changed(last.InventorySet), now, until, r.Config.Site.Location))
		if err != nil {
			return err
		}
		if len(slots) > 0 {
			events = append(events, catalog.SlotsPlanned{Until: until, Slots: slots})
		}
	}
	_, err = r.Catalog.Append(ctx, events...)
	return err
}

// inventory translates a configuration; its digest covers all that is recorded.
func inventory(c *config.Config) catalog.InventorySet {
	set := catalog.InventorySet{Site: catalog.SiteInfo{
		Name: c.Site.Name, Code: c.Site.Code, Level: c.Site.Level, Zone: c.Site.Zone,
		Timezone: c.Site.Timezone, Packs: c.Site.Packs,
	}}
	for _, name := range slices.Sorted(maps.Keys(c.Classes)) {
		k := c.Classes[name]
		set.Classes = append(set.Classes, catalog.ClassInfo{
			Name: name, Title: k.Title, KeepMin: k.KeepMin.String(), KeepMax: k.KeepMax.String(), Copies: k.Copies,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
		t := c.Targets[name]
		row := catalog.TargetRow{Name: name, Type: t.Type, Site: t.Site, External: t.External, Prune: t.PruneEvery.String(),
			Keeps: t.ObjectLock > 0 || t.AppendOnly, LockDays: int(t.ObjectLock.Std() / (24 * time.Hour)), Reread: c.RereadEvery(name).String(), Window: t.Window.String(),
			Egress: int64(t.EgressPerMonth)}
		if t.Type == "removable" {
			row.Medium, row.Label, row.Rotation, row.DueBack, row.DueOut = t.Medium, t.Label, t.Rotation, t.DueBack.String(), t.DueOut.String()
		}
		set.Targets = append(set.Targets, row)
	}
	for _, to := range custodians(c) {
		set.Custodians = append(set.Custodians, catalog.SealedTo{Custodian: to.Name, Fingerprint: escrow.Fingerprint(to.Recipient)})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Jobs)) {
		set.Assets = append(set.Assets, asset(name, c.Jobs[name]))
	}
	set.ConfigSHA256 = digest(set)
	return set
}

func asset(name string, j config.Job) catalog.Asset {
	return catalog.Asset{
		Classification: classification(j),
		Job:            name, Title: j.Title, System: j.System, Category: j.Category, Importance: j.Importance,
		Secrecy: j.Secrecy, Label: j.Label, Owner: j.Owner, Class: j.Class, Source: j.Source.Type,
		Method: cmp.Or(methods[j.Source.Type+" "+j.Source.Method], methods[j.Source.Type]), Schedule: j.Schedule.String(), TestSchedule: j.Test.Schedule.String(),
		Targets: j.Targets, RPOSeconds: int64(j.RPO.Std() / time.Second), RTOSeconds: int64(j.RTO.Std() / time.Second),
		InService: j.InService, Devices: len(j.Source.Devices),
		SourceSHA256: settingsDigest(j.Source), ChecksSHA256: settingsDigest(j.Test.Checks), Checks: len(j.Test.Checks),
	}
}

// settingsDigest is the SHA-256 of settings with what is not set left out, so that
// a key which a later version knows changes no digest; empty when nothing is set.
// Secrets are in settings as references only.
func settingsDigest(settings any) string {
	text, err := json.Marshal(settings)
	var set any
	if err == nil {
		err = json.Unmarshal(text, &set)
	}
	if err == nil {
		if set = given(set); set == nil {
			return ""
		}
		text, err = json.Marshal(set)
	}
	if err != nil {
		panic("settings cannot be encoded: " + err.Error()) // plain texts, numbers and truths only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// given drops the members of objects that are not set; nil for nothing at all.
func given(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if member = given(member); member == nil {
				delete(v, key)
			} else {
				v[key] = member
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			v[i] = given(v[i])
		}
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

func digest(set catalog.InventorySet) string {
	text, err := json.Marshal(set)
	if err != nil {
		panic("inventory cannot be encoded: " + err.Error()) // plain strings and numbers only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// schedules maps (job, action) to its schedule text.
func schedules(set catalog.InventorySet) map[[2]string]string {
	all := map[[2]string]string{}
	for _, a := range set.Assets {
		all[[2]string{a.Job, catalog.ActionBackup}] = a.Schedule
		all[[2]string{a.Job, catalog.ActionTest}] = a.TestSchedule
	}
	for _, t := range set.Targets {
		all[[2]string{t.Name, catalog.ActionUpkeep}] = upkeepAt(t.Window)
	}
	return all
}

// dropped returns open slots whose schedule changed or went: those still to come
// for a changed schedule, all of them for a job that left.
func (r *Runner) dropped(ctx context.Context, last, next catalog.InventorySet) ([]catalog.Slot, error) {
	before, after := schedules(last), schedules(next)
	if reflect.DeepEqual(before, after) {
		return nil, nil
	}
	now := r.Now()
	var gone []catalog.Slot
	for row, err := range r.Catalog.Slots(ctx, catalog.SlotQuery{State: catalog.SlotOpen}) {
		if err != nil {
			return nil, err
		}
		key := [2]string{row.Job, row.Action}
		if schedule, stays := after[key]; !stays || (schedule != before[key] && row.Due.After(now)) {
			gone = append(gone, row.Slot)
		}
	}
	return gone, nil
}

// changed lists the duties whose schedule is new or different.
func (r *Runner) changed(last catalog.InventorySet) []duty {
	before := schedules(last)
	return slices.DeleteFunc(duties(r.Config), func(d duty) bool {
		return before[[2]string{d.job, d.action}] == d.schedule.String()
	})
}

// Plan makes the slots up to planAhead from now that are not made yet. Slots of
// the time nobody was there are made too: they are due, and missing them is on
// record. A plan that reaches far beyond that was made by a clock that was ahead;
// it is begun again from now.
func (r *Runner) Plan(ctx context.Context) error {
	until, err := r.Catalog.PlannedUntil(ctx)
	if err != nil {
		return err
	}
	now := r.Now().UTC()
	target := now.Add(planAhead)
	if until.After(target.Add(planSlack)) {
		if _, err := r.Catalog.Append(ctx, catalog.ClockJumped{Before: until, After: now}); err != nil {
			return err
		}
		until = now
	}
	if until.IsZero() {
		until = now
	}
	for until.Before(target) {
		step := until.Add(planStep)
		if step.After(target) {
			step = target
		}
		slots, err := r.unspent(ctx, plan(duties(r.Config), until, step, r.Config.Site.Location))
		if err != nil {
			return err
		}
		if _, err := r.Catalog.Append(ctx, catalog.SlotsPlanned{Until: step, Slots: slots}); err != nil {
			return err
		}
		until = step
	}
	return nil
}

const (
	planStep  = 7 * 24 * time.Hour // bounds the size of one planning entry after a long absence
	planSlack = time.Hour          // how far beyond its reach a plan may lie before the clock is doubted
)

// unspent moves slots that a clock running ahead has used up: they were closed at
// a time that is still to come, and would never be run. They are made anew a
// second later each, for a slot is unique for ever.
func (r *Runner) unspent(ctx context.Context, slots []catalog.Slot) ([]catalog.Slot, error) {
	if len(slots) == 0 {
		return slots, nil
	}
	spent := map[catalog.Slot]bool{}
	query := catalog.SlotQuery{DueFrom: slots[0].Due, DueTo: slots[len(slots)-1].Due.Add(time.Minute)}
	for row, err := range r.Catalog.Slots(ctx, query) {
		if err != nil {
			return nil, err
		}
		if row.Closed.After(r.Now()) {
			spent[catalog.Slot{Job: row.Job, Action: row.Action, Due: row.Due.UTC()}] = true
		}
	}
	for i := range slots {
		for spent[slots[i]] {
			slots[i].Due = slots[i].Due.Add(time.Second)
		}
	}
	return slots, nil
}
