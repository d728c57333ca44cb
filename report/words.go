package report

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/compliance"
	"saoluu/internal/calendar"
)

// words are the functions of the template.
func words(loc *time.Location) template.FuncMap {
	if loc == nil {
		loc = time.UTC
	}
	return template.FuncMap{
		"day":     func(t time.Time) string { return stamp(t, loc, "02/01/2006") },
		"time":    func(t time.Time) string { return stamp(t, loc, "02/01/2006 15:04") },
		"result":  outcomeWord,
		"verdict": verdictWord,
		"level":   levelWord,
		"beyond":  beyondWord,
		"secret":  secrecyWord,
		"seconds": secondsText,
		"month":   monthText,
		"kind":    kindWord,
		"status":  statusWord,
		"refs":    func(all []string) string { return strings.Join(all, " ") },
		"short":   func(s string) string { return s[:min(len(s), 16)] },
		"period":  amountText,
		"type":    typeWord,
		"bytes":   bytesText,
		"names":   func(all []string) string { return strings.Join(all, ", ") },
		"hours":   func(s int64) string { return secondsText(float64(s)) },
		"add":     func(a, b int) int { return a + b },
		"sub":     func(a, b int) int { return a - b },
		"half":    func(a int) int { return a / 2 },
		"importance": func(s string) string {
			return map[string]string{"high": "rất quan trọng", "normal": "quan trọng", "low": "thường"}[s]
		},
	}
}

func stamp(t time.Time, loc *time.Location, layout string) string {
	if t.IsZero() {
		return "–"
	}
	return t.In(loc).Format(layout)
}

// outcomeWord is the fixed Vietnamese word of a result.
func outcomeWord(o compliance.Outcome) string {
	switch o {
	case compliance.Pass:
		return "đạt"
	case compliance.Warn:
		return "cần lưu ý"
	case compliance.Fail:
		return "không đạt"
	case compliance.Pending:
		return "chưa đến hạn"
	case compliance.NA:
		return "không áp dụng"
	case compliance.Waived:
		return "miễn, có xác nhận"
	case compliance.Unknown:
		return "thiếu dữ liệu"
	default:
		return string(o)
	}
}

func verdictWord(v string) string {
	switch v {
	case catalog.VerdictPassed:
		return "đạt"
	case catalog.VerdictFailed:
		return "không đạt"
	case catalog.VerdictUnknown:
		return "không kết luận được"
	case catalog.VerdictNotConfigured:
		return "chưa có phép so sánh"
	default:
		return v
	}
}

func levelWord(l string) string {
	switch l {
	case catalog.LevelListed:
		return "liệt kê"
	case catalog.LevelStructure:
		return "cấu trúc"
	case catalog.LevelReread:
		return "đọc lại"
	case catalog.LevelRestored:
		return "đã phục hồi"
	case catalog.LevelAsserted:
		return "đã so sánh"
	case catalog.LevelBooted:
		return "đã khởi động"
	case "":
		return "–"
	default:
		return l
	}
}

func kindWord(k compliance.Kind) string {
	switch k {
	case compliance.Binding:
		return "văn bản bắt buộc"
	case compliance.Advisory:
		return "văn bản khuyến nghị"
	default:
		return "chính sách, không phải yêu cầu pháp lý"
	}
}

func statusWord(s string) string {
	switch s {
	case "in_force":
		return "đang áp dụng"
	case "replaced":
		return "đã bị thay thế"
	default:
		return "cần kiểm tra hiệu lực"
	}
}

func typeWord(t string) string {
	switch t {
	case "local":
		return "thư mục, ổ đĩa"
	case "removable":
		return "phương tiện rời"
	case "s3":
		return "kho đối tượng S3"
	case "sftp":
		return "máy chủ SFTP"
	case "rest":
		return "máy chủ REST"
	default:
		return t
	}
}

// secondsText writes a measured time; nothing was measured when it is zero.
func secondsText(s float64) string {
	pair := func(a int, unit string, b int, minor string) string {
		if b == 0 {
			return fmt.Sprintf("%d %s", a, unit)
		}
		return fmt.Sprintf("%d %s %02d %s", a, unit, b, minor)
	}
	switch {
	case s <= 0:
		return "–"
	case s < 60:
		return strings.Replace(strings.TrimSuffix(fmt.Sprintf("%.1f", s), ".0"), ".", ",", 1) + " giây"
	case s < 3600:
		return pair(int(s)/60, "phút", int(s)%60, "giây")
	default:
		return pair(int(s)/3600, "giờ", int(s)%3600/60, "phút")
	}
}

// amountText writes an amount of calendar time such as "1y6mo".
func amountText(text string) string {
	var p calendar.Period
	if err := p.UnmarshalText([]byte(text)); err != nil {
		return text
	}
	var parts []string
	for _, part := range []struct {
		n    int
		unit string
	}{{p.Months / 12, "năm"}, {p.Months % 12, "tháng"}, {p.Days, "ngày"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.unit))
		}
	}
	return strings.Join(parts, " ")
}

// monthText writes "2026-05" as it is read in Việt Nam.
func monthText(text string) string {
	m, err := calendar.ParseMonth(text)
	if err != nil {
		return text
	}
	return fmt.Sprintf("%02d/%d", m.Month, m.Year)
}

func periodText(text string) string {
	p, err := calendar.ParseReportPeriod(text)
	if err != nil {
		return text
	}
	switch p.Count {
	case 1:
		return fmt.Sprintf("tháng %02d năm %d", p.First.Month, p.First.Year)
	case 3:
		return fmt.Sprintf("quý %d năm %d", (int(p.First.Month)+2)/3, p.First.Year)
	case 6:
		return fmt.Sprintf("sáu tháng %s năm %d", map[bool]string{true: "đầu", false: "cuối"}[p.First.Month == time.January], p.First.Year)
	default:
		return fmt.Sprintf("năm %d", p.First.Year)
	}
}
