package calendar

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/adhocore/gronx"
)

// scheduleHint shows the forms most people need.
const scheduleHint = `write it as "daily at 01:00", "weekly on sun at 02:00", "monthly on 31 at 02:00", "every 15m" or a cron line`

// weekdays are the names in texts, in the order of time.Weekday.
var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// fullName holds the long names that are taken too.
var fullName = map[string]string{
	"sun": "sunday", "mon": "monday", "tue": "tuesday", "wed": "wednesday",
	"thu": "thursday", "fri": "friday", "sat": "saturday",
}

// ParseSchedule reads one of these forms; case and extra spaces do not matter,
// lists take commas without spaces, times are of the 24-hour clock:
//
//	hourly
//	hourly at :15
//	every 15m                            a step of at least 1s that divides the day, counted from midnight
//	daily at 01:00                       also several times: 01:00,13:00
//	weekly on sun at 02:00               also several days: mon,thu
//	monthly on 31 at 02:00               the last day of shorter months; also several days, and "last"
//	quarterly on 1 at 03:00              in January, April, July and October
//	half-yearly on 1 at 03:00            in January and July
//	yearly on 12-31 at 03:00             month and day; also several
//	30 2 * * 1-5                         five cron fields: minute, hour, day, month, weekday
//
// In cron text a day that a month does not have is skipped, as cron does it.
func ParseSchedule(text string) (Schedule, error) {
	fields := strings.Fields(strings.ToLower(text))
	rule, canonical, problem := parseRule(fields)
	if problem != "" {
		return Schedule{}, invalid("schedule", text, problem, scheduleHint)
	}
	return Schedule{rule, canonical}, nil
}

// parseRule returns the rule and its canonical text, or what is wrong.
func parseRule(fields []string) (r rule, canonical, problem string) {
	if len(fields) == 0 {
		return nil, "", "empty"
	}
	switch fields[0] {
	case "hourly":
		return parseHourly(fields[1:])
	case "every":
		return parseEvery(fields[1:])
	case "daily", "weekly", "monthly", "quarterly", "half-yearly", "yearly":
		return parseDays(fields[0], fields[1:])
	}
	if len(fields) == 5 {
		return parseCron(fields)
	}
	return nil, "", fmt.Sprintf("does not start with a known word: %q", fields[0])
}

func parseHourly(fields []string) (rule, string, string) {
	if len(fields) == 0 {
		return every{step: time.Hour}, "hourly", ""
	}
	if len(fields) == 2 && fields[0] == "at" {
		if minute, ok := strings.CutPrefix(fields[1], ":"); ok && len(minute) == 2 {
			if n, ok := number(minute, 0, 59); ok {
				return every{time.Hour, time.Duration(n) * time.Minute}, "hourly at :" + minute, ""
			}
		}
	}
	return nil, "", `after "hourly" comes nothing or "at :15"`
}

func parseEvery(fields []string) (rule, string, string) {
	var step Duration
	if len(fields) != 1 || step.UnmarshalText([]byte(fields[0])) != nil {
		return nil, "", `after "every" comes one duration such as "15m"`
	}
	if step.Std() < time.Second || step.Std() > day || day%step.Std() != 0 {
		return nil, "", fmt.Sprintf("the day cannot be divided into steps of %s", fields[0])
	}
	return every{step: step.Std()}, "every " + step.String(), ""
}

// parseDays reads what follows the words daily to yearly: "on DAYS" except for
// daily, then "at TIMES".
func parseDays(word string, fields []string) (rule, string, string) {
	days := ""
	if word != "daily" {
		if len(fields) < 2 || fields[0] != "on" {
			return nil, "", fmt.Sprintf(`after %q comes "on" and the days`, word)
		}
		days, fields = fields[1], fields[2:]
	}
	if len(fields) != 2 || fields[0] != "at" {
		return nil, "", `the time of day is missing: it ends with "at 01:00"`
	}
	times, timesText, problem := parseTimes(fields[1])
	if problem != "" {
		return nil, "", problem
	}
	switch word {
	case "daily":
		return weekly{0x7f, times}, "daily at " + timesText, ""
	case "weekly":
		mask, text, problem := parseWeekdays(days)
		return weekly{mask, times}, "weekly on " + text + " at " + timesText, problem
	case "yearly":
		masks, text, problem := parseDates(days)
		return yearly{masks, times}, "yearly on " + text + " at " + timesText, problem
	}
	mask, text, problem := parseMonthDays(days)
	every := map[string]int{"monthly": 1, "quarterly": 3, "half-yearly": 6}[word]
	r := yearly{times: times}
	for m := 0; m < 12; m += every {
		r.days[m] = mask
	}
	return r, word + " on " + text + " at " + timesText, problem
}

// parseTimes reads "01:00,13:00" into sorted times since midnight.
func parseTimes(text string) (times []time.Duration, canonical, problem string) {
	for item := range strings.SplitSeq(text, ",") {
		hour, minute, _ := strings.Cut(item, ":")
		h, okHour := number(hour, 0, 23)
		m, okMinute := number(minute, 0, 59)
		if !okHour || !okMinute || len(minute) != 2 {
			return nil, "", fmt.Sprintf("%q is not a time of day from 00:00 to 23:59", item)
		}
		times = append(times, time.Duration(h)*time.Hour+time.Duration(m)*time.Minute)
	}
	slices.Sort(times)
	times = slices.Compact(times)
	var texts []string
	for _, t := range times {
		texts = append(texts, time.Time{}.Add(t).Format("15:04"))
	}
	return times, strings.Join(texts, ","), ""
}

// parseWeekdays reads "mon,thu"; full English names are known too.
func parseWeekdays(text string) (mask uint8, canonical, problem string) {
	for item := range strings.SplitSeq(text, ",") {
		n := slices.IndexFunc(weekdays[:], func(short string) bool { return item == short || item == fullName[short] })
		if n < 0 {
			return 0, "", fmt.Sprintf("%q is not a day of the week (sun mon tue wed thu fri sat)", item)
		}
		mask |= 1 << n
	}
	var names []string
	for i := range 7 { // weeks are written from Monday
		if n := (i + 1) % 7; mask&(1<<n) != 0 {
			names = append(names, weekdays[n])
		}
	}
	return mask, strings.Join(names, ","), ""
}

// parseMonthDays reads "1,15" and "last", which is day 31.
func parseMonthDays(text string) (mask uint32, canonical, problem string) {
	for item := range strings.SplitSeq(text, ",") {
		n, ok := number(item, 1, 31)
		if item == "last" {
			n, ok = 31, true
		}
		if !ok {
			return 0, "", fmt.Sprintf("%q is not a day of the month (1 to 31, or last)", item)
		}
		mask |= 1 << n
	}
	var names []string
	for n := 1; n <= 31; n++ {
		if mask&(1<<n) != 0 {
			names = append(names, strconv.Itoa(n))
		}
	}
	return mask, strings.Join(names, ","), ""
}

// parseDates reads "06-30,12-31".
func parseDates(text string) (masks [12]uint32, canonical, problem string) {
	for item := range strings.SplitSeq(text, ",") {
		// 2024 is a leap year: 02-29 is a date, and the 28th in other years.
		d, err := time.Parse(time.DateOnly, "2024-"+item)
		if err != nil {
			return masks, "", fmt.Sprintf("%q is not a month and day such as 12-31", item)
		}
		masks[d.Month()-1] |= 1 << d.Day()
	}
	var names []string
	for m, mask := range masks {
		for n := 1; n <= 31; n++ {
			if mask&(1<<n) != 0 {
				names = append(names, fmt.Sprintf("%02d-%02d", m+1, n))
			}
		}
	}
	return masks, strings.Join(names, ","), ""
}

// cronFields are the names and bounds of the five fields.
var cronFields = [...]struct {
	name     string
	min, max int
	words    []string // names of the values from min on
}{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"weekday", 0, 7, weekdays[:]},
}

// parseCron checks each field itself, because gronx looks at a value only when
// the ones before it do not match, and lets some misspellings pass.
func parseCron(fields []string) (rule, string, string) {
	for i, f := range cronFields {
		for item := range strings.SplitSeq(fields[i], ",") {
			if !cronItemOK(item, f.min, f.max, f.words) && !(f.name == "day" && item == "l") {
				return nil, "", fmt.Sprintf("%q cannot stand in the cron field %s (%d to %d)", item, f.name, f.min, f.max)
			}
		}
	}
	text := strings.ToUpper(strings.Join(fields, " "))
	if !gronx.IsValid(text) {
		return nil, "", "not a cron line"
	}
	r := cron(text)
	if _, ok := r.next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)); !ok {
		return nil, "", "never due"
	}
	return r, text, ""
}

// cronItemOK reports whether item is *, a value, a range, or one of these with a
// step.
func cronItemOK(item string, low, high int, words []string) bool {
	span, step, hasStep := strings.Cut(item, "/")
	if _, ok := number(step, 1, high); hasStep && !ok {
		return false
	}
	if span == "*" {
		return true
	}
	value := func(text string) (int, bool) {
		if n := slices.Index(words, text); n >= 0 {
			return low + n, true
		}
		return number(text, low, high)
	}
	first, last, isRange := strings.Cut(span, "-")
	a, okFirst := value(first)
	if !isRange {
		// A value with a step means "from here on" to some and nothing to others.
		return okFirst && !hasStep
	}
	b, okLast := value(last)
	return okFirst && okLast && a <= b
}

// number reads a decimal number of at most two digits within bounds.
func number(text string, low, high int) (int, bool) {
	digits, rest := leadingDigits(text)
	if rest != "" || len(digits) == 0 || len(digits) > 2 {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= low && n <= high
}
