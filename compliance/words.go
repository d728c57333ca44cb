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
		return strings.ReplaceAll(fmt.Sprintf("%.1f giây", d.Seconds()), ".", ",")
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
		return "trong ngày"
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
