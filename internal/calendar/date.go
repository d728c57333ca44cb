package calendar

import (
	"fmt"
	"time"
)

// A Date is a day of the Gregorian calendar, without a time zone.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf returns the day that the calendar of loc shows at t.
func DateOf(t time.Time, loc *time.Location) Date {
	year, month, day := t.In(loc).Date()
	return Date{year, month, day}
}

// ParseDate reads "2006-01-02".
func ParseDate(text string) (Date, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return Date{}, invalid("date", text, "not a day of the calendar", `write it as "2026-05-31"`)
	}
	return DateOf(t, time.UTC), nil
}

// IsZero reports whether d is the zero value, which is no day.
func (d Date) IsZero() bool { return d == Date{} }

// Start returns the first instant of d in loc.
func (d Date) Start(loc *time.Location) time.Time {
	return instantOf(time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC), loc)
}

// AddDays returns the day n days later, or earlier if n is negative.
func (d Date) AddDays(n int) Date {
	return DateOf(time.Date(d.Year, d.Month, d.Day+n, 0, 0, 0, 0, time.UTC), time.UTC)
}

// AddMonths returns the same day n months later, or the last day of that month
// if it is shorter: 31 January and one month is 28 or 29 February.
func (d Date) AddMonths(n int) Date {
	m := Month{d.Year, d.Month}.Add(n)
	return Date{m.Year, m.Month, min(d.Day, m.Days())}
}

// DaysSince returns the number of days from earlier to d.
func (d Date) DaysSince(earlier Date) int {
	return int(d.Start(time.UTC).Sub(earlier.Start(time.UTC)) / day)
}

// Compare returns -1, 0 or +1 as d is before, the same as or after other.
func (d Date) Compare(other Date) int { return d.Start(time.UTC).Compare(other.Start(time.UTC)) }

// String returns "2006-01-02".
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// MarshalText returns the text of String.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDate reads.
func (d *Date) UnmarshalText(text []byte) error {
	parsed, err := ParseDate(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// AgeDays returns the difference of the local dates of then and now in days.
// Ages are counted so, and not in hours, so that a backup that ran a few
// minutes earlier or later does not flip a result at midnight.
func AgeDays(then, now time.Time, loc *time.Location) int {
	return DateOf(now, loc).DaysSince(DateOf(then, loc))
}

// AddMonths returns t moved by n calendar months in loc, clamped to the last day
// of a shorter month, with the same clock reading.
func AddMonths(t time.Time, n int, loc *time.Location) time.Time {
	return Period{Months: n}.AddTo(t, loc)
}

// A Month is one month of one year.
type Month struct {
	Year  int
	Month time.Month
}

// MonthOf returns the month that the calendar of loc shows at t.
func MonthOf(t time.Time, loc *time.Location) Month {
	year, month, _ := t.In(loc).Date()
	return Month{year, month}
}

// ParseMonth reads "2026-05".
func ParseMonth(text string) (Month, error) {
	t, err := time.Parse("2006-01", text)
	if err != nil {
		return Month{}, invalid("month", text, "not a month", `write it as "2026-05"`)
	}
	return MonthOf(t, time.UTC), nil
}

// Start returns the first instant of m in loc.
func (m Month) Start(loc *time.Location) time.Time { return Date{m.Year, m.Month, 1}.Start(loc) }

// End returns the first instant after m in loc, which m does not contain.
func (m Month) End(loc *time.Location) time.Time { return m.Next().Start(loc) }

// Contains reports whether t lies in m by the calendar of loc.
func (m Month) Contains(t time.Time, loc *time.Location) bool { return MonthOf(t, loc) == m }

// Days returns the number of days of m, 28 to 31.
func (m Month) Days() int {
	return time.Date(m.Year, m.Month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// Add returns the month n months later, or earlier if n is negative.
func (m Month) Add(n int) Month {
	return MonthOf(time.Date(m.Year, m.Month+time.Month(n), 1, 0, 0, 0, 0, time.UTC), time.UTC)
}

// Next returns the month after m.
func (m Month) Next() Month { return m.Add(1) }

// Compare returns -1, 0 or +1 as m is before, the same as or after other.
func (m Month) Compare(other Month) int {
	return m.Start(time.UTC).Compare(other.Start(time.UTC))
}

// String returns "2026-05".
func (m Month) String() string { return fmt.Sprintf("%04d-%02d", m.Year, m.Month) }

// MarshalText returns the text of String.
func (m Month) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMonth reads.
func (m *Month) UnmarshalText(text []byte) error {
	parsed, err := ParseMonth(string(text))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}

// A ReportPeriod is a run of whole months that a report is about.
type ReportPeriod struct {
	First Month // the first month of the period
	Count int   // number of months: 1, 3, 6 or 12
}

// ParseReportPeriod reads "2026-05", "2026-Q2", "2026-H1" or "2026".
func ParseReportPeriod(text string) (ReportPeriod, error) {
	hint := `write it as "2026-05", "2026-Q2", "2026-H1" or "2026"`
	if m, err := ParseMonth(text); err == nil {
		return ReportPeriod{m, 1}, nil
	}
	if len(text) >= 4 {
		if year, err := ParseMonth(text[:4] + "-01"); err == nil {
			for _, p := range year.periodsOfYear() {
				if p.String() == text {
					return p, nil
				}
			}
		}
	}
	return ReportPeriod{}, invalid("report period", text, "not a month, quarter, half-year or year", hint)
}

// periodsOfYear lists the periods longer than a month of the year that begins
// with m.
func (m Month) periodsOfYear() []ReportPeriod {
	return []ReportPeriod{
		{m, 12}, {m, 6}, {m.Add(6), 6},
		{m, 3}, {m.Add(3), 3}, {m.Add(6), 3}, {m.Add(9), 3},
	}
}

// Bounds returns the first instant of p in loc and the first instant after it.
func (p ReportPeriod) Bounds(loc *time.Location) (from, to time.Time) {
	return p.First.Start(loc), p.First.Add(p.Count).Start(loc)
}

// Months lists the months of p in order.
func (p ReportPeriod) Months() []Month {
	months := make([]Month, 0, p.Count)
	for i := range p.Count {
		months = append(months, p.First.Add(i))
	}
	return months
}

// String returns the text that ParseReportPeriod reads.
func (p ReportPeriod) String() string {
	switch p.Count {
	case 12:
		return fmt.Sprintf("%04d", p.First.Year)
	case 6:
		return fmt.Sprintf("%04d-H%d", p.First.Year, (p.First.Month+5)/6)
	case 3:
		return fmt.Sprintf("%04d-Q%d", p.First.Year, (p.First.Month+2)/3)
	default:
		return p.First.String()
	}
}
