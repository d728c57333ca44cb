package compliance

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// vnDate writes a day as it is read in Việt Nam.
func vnDate(t time.Time, loc *time.Location) string { return t.In(loc).Format("02/01/2006") }

// vnTime writes an instant as it is read in Việt Nam.
func vnTime(t time.Time, loc *time.Location) string { return t.In(loc).Format("02/01/2006 15:04") }

// vnMonth writes a month.
func vnMonth(m calendar.Month) string { return fmt.Sprintf("%02d/%04d", m.Month, m.Year) }

// vnSpan writes a length of time with two units at most, rounded to what matters.
func vnSpan(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strings.ReplaceAll(strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0"), ".", ",") + " giây"
	case d < time.Hour:
		return vnPair(int(d/time.Minute), "phút", int(d%time.Minute/time.Second), "giây")
	case d < 48*time.Hour:
		return vnPair(int(d/time.Hour), "giờ", int(d%time.Hour/time.Minute), "phút")
	default:
		return vnPair(int(d/(24*time.Hour)), "ngày", int(d%(24*time.Hour)/time.Hour), "giờ")
	}
}

// vnAgo writes an age in days.
func vnAgo(days int) string {
	if days <= 0 {
		return "hôm nay"
	}
	return fmt.Sprintf("%d ngày trước", days)
}

// vnLevel writes how far a restore test got.
func vnLevel(level string) string {
	switch level {
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
	default:
		return "chưa rõ"
	}
}

func vnPair(a int, unit string, b int, minor string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unit)
	}
	return fmt.Sprintf("%d %s %d %s", a, unit, b, minor)
}

// vnFactor writes how many times a limit was used, rounded up so that a limit
// that was passed never reads as kept.
func vnFactor(f float64) string {
	return strings.ReplaceAll(fmt.Sprintf("%.2f", math.Ceil(f*100)/100), ".", ",")
}

// sentences joins parts with "; ", leaves out empty ones and says nothing twice.
func sentences(parts ...string) string {
	var said []string
	for _, p := range parts {
		for one := range strings.SplitSeq(p, "; ") {
			if one != "" && !slices.Contains(said, one) {
				said = append(said, one)
			}
		}
	}
	return strings.Join(said, "; ")
}

// vnAssertion writes what a restore test asserted. Names that the operator gave
// stay as they are.
func vnAssertion(name string) string {
	fixed := map[string]string{
		"restore": "đọc bản sao từ nơi lưu", "freshness": "độ mới của dữ liệu", "rto": "thời gian phục hồi", "data": "dữ liệu để so sánh",
		"stream": "luồng dữ liệu", "stream digest": "mã băm của luồng dữ liệu", "dump": "bản kết xuất", "load": "nạp bản kết xuất", "database": "cơ sở dữ liệu",
		"roles": "vai trò người dùng", "facts: rows": "số dòng của các bảng", "facts: content": "nội dung các bảng", "facts: schema": "cấu trúc dữ liệu",
		"facts: files": "số tệp", "facts: size": "kích thước tệp", "facts: mode": "quyền truy cập tệp", "facts: integrity": "kiểm tra toàn vẹn",
		"facts: sequence": "giá trị dãy số", "facts: canary": "giá trị cài ngay trước khi sao lưu", tablesSkipped: "số bảng không so sánh được hết",
		"facts: rows at least": "số dòng tối thiểu của các bảng", "facts: identifier": "mã định danh của máy chủ",
		"manifest": "bảng kê mã băm của tệp", "start": "khởi động máy chủ", "amcheck": "kiểm tra bảng và chỉ mục",
	}
	if word, ok := fixed[name]; ok {
		return word
	}
	return name
}

// vnValue writes what an assertion wanted or found, as far as the words are ours.
func vnValue(text string) string {
	fixed := map[string]string{
		"the copy reads back from its target": "đọc được toàn bộ", "damaged": "bị hỏng", "the snapshot is on its target": "bản sao còn trên nơi lưu",
		"not there": "không có", "it can be read": "đọc được", "it opens": "mở được", "the server takes the dump": "máy chủ nhận bản kết xuất",
		"the server takes them": "máy chủ nhận", "refused": "bị từ chối", "every file is as the server sent it": "mọi tệp đúng như máy chủ đã gửi",
		"the server recovers from the copy": "máy chủ khởi động được từ bản sao", "no fault in tables and indexes": "bảng và chỉ mục không có lỗi", "something to assert": "có dữ liệu để so sánh", "no facts and no checks": "không có gì để so sánh",
		"at least 1 row or file": "ít nhất 1 dòng hoặc tệp", "1 file": "1 tệp",
	}
	mariadb := map[string]string{
		"it is whole": "đầy đủ", "cut off": "bị cắt cụt", "CHECK TABLE finds no fault": "CHECK TABLE không thấy lỗi",
		"mariabackup makes a data folder of the copy": "mariabackup dựng được thư mục dữ liệu từ bản sao", "it does not": "không",
		"the copy tells the settings of its files": "bản sao cho biết thiết lập của các tệp",
	}
	if word, ok := mariadb[text]; ok {
		return word
	}
	if word, ok := fixed[text]; ok {
		return word
	}
	var n, of int
	if read, err := fmt.Sscanf(text, "%d of %d", &n, &of); err == nil && read == 2 && text == fmt.Sprintf("%d of %d", n, of) {
		return fmt.Sprintf("%d/%d", n, of)
	}
	if age, ok := strings.CutSuffix(text, " old"); ok {
		most, limit := strings.CutPrefix(age, "at most ")
		if d, err := time.ParseDuration(most); err == nil {
			return map[bool]string{true: "không quá ", false: ""}[limit] + vnSpan(d)
		}
	}
	return text
}
