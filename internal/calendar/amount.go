package calendar

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Duration is a length of time, written "90s", "30m", "24h", "7d", "2w" or as
// a sum such as "1h30m". A day is always 24 hours here; amounts that follow the
// calendar are Periods.
type Duration time.Duration

const day = 24 * time.Hour

// durationUnits are tried longest name first, so that "ms" is not read as "m".
var durationUnits = []unit{
	{"ms", int64(time.Millisecond)}, {"s", int64(time.Second)}, {"m", int64(time.Minute)},
	{"h", int64(time.Hour)}, {"d", int64(day)}, {"w", int64(7 * day)},
}

// A unit is a suffix and what it multiplies by.
type unit struct {
	name string
	size int64
}

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns a text that UnmarshalText reads back as the same value.
func (d Duration) String() string {
	switch {
	case d > Duration(day) && d%Duration(day) == 0:
		return strconv.FormatInt(int64(d/Duration(day)), 10) + "d"
	case d%Duration(time.Second) != 0:
		return strconv.FormatInt(d.Std().Milliseconds(), 10) + "ms"
	}
	text := ""
	rest := d.Std()
	for _, u := range []unit{{"h", int64(time.Hour)}, {"m", int64(time.Minute)}, {"s", int64(time.Second)}} {
		if n := int64(rest) / u.size; n > 0 {
			text += strconv.FormatInt(n, 10) + u.name
			rest -= time.Duration(n * u.size)
		}
	}
	if text == "" {
		return "0s"
	}
	return text
}

// MarshalText returns the text of String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads one of the written forms. It refuses signs, fractions and
// amounts over 100 years.
func (d *Duration) UnmarshalText(text []byte) error {
	hint := `write it as "90s", "30m", "24h", "7d" or "2w"`
	total := int64(0)
	err := eachAmount(string(text), func(n int64, name string) bool {
		for _, u := range durationUnits {
			if u.name == name && n <= (int64(36525*day)-total)/u.size {
				total += n * u.size
				return true
			}
		}
		return false
	})
	if err != "" {
		return invalid("duration", string(text), err, hint)
	}
	*d = Duration(total)
	return nil
}

// A Period is an amount of calendar time, written "30d", "2w", "3mo", "1y" or
// as a sum such as "1y6mo". Months and years follow the calendar: one month
// after 31 January is the last day of February.
type Period struct {
	Months int
	Days   int
}

// IsZero reports whether p is no time at all.
func (p Period) IsZero() bool { return p == Period{} }

// AddTo returns the instant p after t by the clock of loc: first the months,
// clamped to the last day of a shorter month, then the days. The clock reading
// stays the same.
func (p Period) AddTo(t time.Time, loc *time.Location) time.Time {
	w := wallOf(t, loc)
	date := DateOf(w, time.UTC).AddMonths(p.Months).AddDays(p.Days)
	sinceMidnight := w.Sub(DateOf(w, time.UTC).Start(time.UTC))
	return instantOf(date.Start(time.UTC).Add(sinceMidnight), loc)
}

// Cmp compares by the average length of a month (365.2425/12 days): it is exact
// between periods of the same unit and right for any pair an operator would
// write as a minimum and a maximum.
func (p Period) Cmp(other Period) int {
	length := func(p Period) float64 { return float64(p.Months)*365.2425/12 + float64(p.Days) }
	switch a, b := length(p), length(other); {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// String returns a text that UnmarshalText reads back as the same value.
func (p Period) String() string {
	text := ""
	switch {
	case p.Months == 0:
	case p.Months%12 == 0:
		text = strconv.Itoa(p.Months/12) + "y"
	default:
		text = strconv.Itoa(p.Months) + "mo"
	}
	if p.Days != 0 || text == "" {
		text += strconv.Itoa(p.Days) + "d"
	}
	return text
}

// MarshalText returns the text of String.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads one of the written forms. It refuses signs, fractions and
// amounts over 1000 years.
func (p *Period) UnmarshalText(text []byte) error {
	hint := `write it as "30d", "2w", "3mo" or "1y"`
	var total Period
	err := eachAmount(string(text), func(n int64, name string) bool {
		if n > 366_000 {
			return false
		}
		switch name {
		case "d":
			total.Days += int(n)
		case "w":
			total.Days += 7 * int(n)
		case "mo":
			total.Months += int(n)
		case "y":
			total.Months += 12 * int(n)
		default:
			return false
		}
		return total.Days <= 366_000 && total.Months <= 12_000
	})
	if err != "" {
		return invalid("period", string(text), err, hint)
	}
	*p = total
	return nil
}

// Bytes is an amount of storage in bytes, written "500MB", "1GiB" or "0B": a
// whole number and a unit, decimal (kB, MB, GB, TB) or binary (KiB, MiB, GiB,
// TiB).
type Bytes int64

// byteUnits are ordered so that String finds the shortest exact text first.
var byteUnits = []unit{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9},
	{"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"B", 1},
}

// String returns a text that UnmarshalText reads back as the same value.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return "0B"
}

// MarshalText returns the text of String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads a whole number and a unit. It refuses signs, fractions and
// amounts that do not fit 63 bits.
func (b *Bytes) UnmarshalText(text []byte) error {
	hint := `write it as "1GiB" or "500MB"`
	number, name := leadingDigits(string(text))
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return invalid("size", string(text), "does not start with a whole number", hint)
	}
	for _, u := range byteUnits {
		if u.name != strings.TrimSpace(name) {
			continue
		}
		if n > math.MaxInt64/u.size {
			return invalid("size", string(text), "too large", hint)
		}
		*b = Bytes(n * u.size)
		return nil
	}
	return invalid("size", string(text), fmt.Sprintf("unknown unit %q", name), hint)
}

// eachAmount calls take for every number and unit of text and returns why the
// text cannot be read, or "". take returns false for a unit it does not know
// and for an amount that is too large.
func eachAmount(text string, take func(n int64, unit string) bool) string {
	rest := text
	if rest == "" {
		return "empty"
	}
	for rest != "" {
		number, tail := leadingDigits(rest)
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return "not a whole number with a unit"
		}
		end := strings.IndexAny(tail, "0123456789")
		if end < 0 {
			end = len(tail)
		}
		if !take(n, tail[:end]) {
			return fmt.Sprintf("%q has an unknown unit or is too large", number+tail[:end])
		}
		rest = tail[end:]
	}
	return ""
}

// leadingDigits splits text after its leading decimal digits.
func leadingDigits(text string) (digits, rest string) {
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	return text[:end], text[end:]
}
