package compliance

import (
	"context"
	"fmt"
	"strings"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// fieldsPresent is the check that the inventory's columns are filled with
// values that mean something.
type fieldsPresent struct {
	required []string
	advised  []string
	source   string // kind of source it is about; empty: all
	media    bool   // labels are held against those of the media that hold copies
}

// columns are the inventory's fields a rule can ask for, with the name of the
// column on the printed list.
func columns() [][2]string {
	return [][2]string{
		{"name", "tên dữ liệu, phần mềm"}, {"retention_class", "thời gian lưu trữ"}, {"schedule", "thời gian sao lưu"},
		{"method", "phương pháp sao lưu"}, {"restore_test_every", "thời gian kiểm tra phục hồi"},
		{"system", "thuộc hệ thống"}, {"category", "loại dữ liệu"}, {"label", "nhãn"}, {"secrecy", "độ mật"},
		{"importance", "mức quan trọng"}, {"owner", "đơn vị chủ quản"}, {"targets", "nơi lưu bản sao"},
		{"rpo", "RPO"}, {"rto", "RTO"}, {"classification", "quyết định về độ mật"},
	}
}

func parseFieldsPresent(s *scope) check {
	var known []string
	for _, c := range columns() {
		known = append(known, c[0])
	}
	c := &fieldsPresent{required: s.words("required", known...), advised: s.words("advised", known...), media: s.boolean("media_labels", false), source: s.optional("source")}
	if len(c.required) == 0 {
		s.missing("required")
	}
	return c
}

// about implements chooser.
func (c *fieldsPresent) about(a *asset) bool { return c.source == "" || a.Source == c.source }

// nobody implements chooser.
func (c *fieldsPresent) nobody() (why, remedy string) {
	if c.source == "" {
		return "", ""
	}
	return fmt.Sprintf("không có mục nào có nguồn “%s”", c.source), "Kiểm tra danh mục đã đủ các mục thuộc phạm vi của điều khoản."
}

func (c *fieldsPresent) asset(_ context.Context, e *evaluation, _ *Rule, a *asset) (judgement, error) {
	missing, advised := e.empty(a, c.required), e.empty(a, c.advised)
	j := judgement{posture: Pass, why: fmt.Sprintf("đủ %d cột bắt buộc", len(c.required))}
	if len(advised) > 0 {
		j.posture = Warn
		j.why = sentences(j.why, "chưa có cột nên có: "+strings.Join(advised, ", "))
		j.remedy = "Bổ sung trong danh mục: " + strings.Join(advised, ", ") + "."
	}
	if len(missing) > 0 {
		j.posture = Fail
		j.why = "thiếu hoặc sai cột bắt buộc: " + strings.Join(missing, ", ")
		j.remedy = "Điền trong danh mục: " + strings.Join(missing, ", ") + "."
	}
	if class, ok := e.class(a.Class); ok && class.Copies > len(a.Targets) {
		j.posture = worse(j.posture, Warn)
		j.why = sentences(j.why, fmt.Sprintf("nhóm “%s” cần %d bản sao nhưng mục chỉ có %d nơi lưu", class.Name, class.Copies, len(a.Targets)))
	}
	if c.media {
		j.mislabelled(e, a)
	}
	return j, nil
}

// mislabelled warns of copies on media that bear another label, or none: whoever
// holds one must see what is on it (39/2024/QĐ-UBND, Điều 8 khoản 3 điểm a).
func (j *judgement) mislabelled(e *evaluation, a *asset) {
	for _, name := range a.Targets {
		row := e.targetRow(name)
		if row.Medium == "" || row.Label == a.Label {
			continue
		}
		j.posture = worse(j.posture, Warn)
		if row.Label == "" {
			j.why = sentences(j.why, fmt.Sprintf("phương tiện “%s” chưa có nhãn", row.Medium))
		} else {
			j.why = sentences(j.why, fmt.Sprintf("phương tiện “%s” mang nhãn “%s”, mục mang nhãn “%s”", row.Medium, row.Label, a.Label))
		}
		if j.remedy == "" {
			j.remedy = "Dùng phương tiện riêng cho từng nhãn, hoặc dán lại nhãn cho đúng."
		}
	}
}

// empty lists the columns among names that are not filled with a valid value.
func (e *evaluation) empty(a *asset, names []string) []string {
	var out []string
	for _, name := range names {
		if e.filled(a, name) {
			continue
		}
		for _, c := range columns() {
			if c[0] == name {
				out = append(out, c[1])
			}
		}
	}
	return out
}

func (e *evaluation) filled(a *asset, name string) bool {
	switch name {
	case "classification":
		return a.Classification != nil
	case "name":
		return strings.TrimSpace(a.Title) != ""
	case "retention_class":
		class, ok := e.class(a.Class)
		return ok && class.KeepMin != "" && class.KeepMax != ""
	case "schedule":
		return !a.schedule.IsZero()
	case "restore_test_every":
		s, err := calendar.ParseSchedule(a.TestSchedule)
		return err == nil && !s.IsZero()
	case "targets":
		return len(a.Targets) > 0
	case "rpo":
		return a.RPOSeconds > 0
	case "rto":
		return a.RTOSeconds > 0
	case "importance":
		return importanceWord(a.Importance) != a.Importance
	default:
		texts := map[string]string{
			"method": a.Method, "system": a.System, "category": a.Category, "label": a.Label, "secrecy": a.Secrecy, "owner": a.Owner,
		}
		return strings.TrimSpace(texts[name]) != ""
	}
}

func (e *evaluation) class(name string) (catalog.ClassInfo, bool) {
	for _, c := range e.inv.Classes {
		if c.Name == name {
			return c, true
		}
	}
	return catalog.ClassInfo{}, false
}
