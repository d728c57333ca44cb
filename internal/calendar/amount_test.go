package calendar_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"saoluu/internal/calendar"
	"saoluu/internal/fault"
)

func TestDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		back string
	}{
		{"0s", 0, "0s"},
		{"90s", 90 * time.Second, "1m30s"},
		{"30m", 30 * time.Minute, "30m"},
		{"24h", 24 * time.Hour, "24h"},
		{"1d", 24 * time.Hour, "24h"},
		{"7d", 7 * 24 * time.Hour, "7d"},
		{"2w", 14 * 24 * time.Hour, "14d"},
		{"1d12h", 36 * time.Hour, "36h"},
		{"250ms", 250 * time.Millisecond, "250ms"},
	}
	for _, tt := range tests {
		var d calendar.Duration
		if err := d.UnmarshalText([]byte(tt.text)); err != nil {
			t.Error(err)
			continue
		}
		if d.Std() != tt.want || d.String() != tt.back {
			t.Errorf("%q: got %v written %q, want %v written %q", tt.text, d.Std(), d, tt.want, tt.back)
		}
	}
}

func TestAmountsRefused(t *testing.T) {
	for _, text := range []string{"", "-1s", "1.5h", "1", "h", "1x", "99999999999999999999s", "200000w", "1h 30m"} {
		var d calendar.Duration
		if err := d.UnmarshalText([]byte(text)); fault.HintOf(err) == "" {
			t.Errorf("duration %q: got %v, error %v", text, d, err)
		}
	}
	for _, text := range []string{"", "-1d", "1.5y", "1", "1m", "400000d", "2000y", "99999999999999999999d"} {
		var p calendar.Period
		if err := p.UnmarshalText([]byte(text)); fault.HintOf(err) == "" {
			t.Errorf("period %q: got %v, error %v", text, p, err)
		}
	}
	for _, text := range []string{"", "-1B", "1.5GiB", "1", "1gib", "9999999999TiB", "99999999999999999999B"} {
		var b calendar.Bytes
		if err := b.UnmarshalText([]byte(text)); fault.HintOf(err) == "" {
			t.Errorf("size %q: got %v, error %v", text, b, err)
		}
	}
}

func TestBytes(t *testing.T) {
	tests := []struct {
		text string
		want calendar.Bytes
	}{
		{"0B", 0}, {"1B", 1}, {"1500B", 1500}, {"500MB", 500_000_000}, {"1GiB", 1 << 30}, {"1 GiB", 1 << 30}, {"3TB", 3_000_000_000_000},
	}
	for _, tt := range tests {
		var b calendar.Bytes
		if err := b.UnmarshalText([]byte(tt.text)); err != nil || b != tt.want {
			t.Errorf("%q: got %d, %v; want %d", tt.text, b, err, tt.want)
		}
	}
}

func TestPeriodAddTo(t *testing.T) {
	hcm := zone(t, "Asia/Ho_Chi_Minh")
	berlin := zone(t, "Europe/Berlin")
	tests := []struct {
		from   time.Time
		period string
		want   time.Time
	}{
		{time.Date(2026, 1, 31, 1, 0, 0, 0, hcm), "1mo", time.Date(2026, 2, 28, 1, 0, 0, 0, hcm)},
		{time.Date(2028, 1, 31, 1, 0, 0, 0, hcm), "1mo", time.Date(2028, 2, 29, 1, 0, 0, 0, hcm)},
		{time.Date(2028, 2, 29, 1, 0, 0, 0, hcm), "1y", time.Date(2029, 2, 28, 1, 0, 0, 0, hcm)},
		{time.Date(2026, 1, 31, 1, 0, 0, 0, hcm), "30d", time.Date(2026, 3, 2, 1, 0, 0, 0, hcm)},
		{time.Date(2026, 1, 31, 1, 0, 0, 0, hcm), "2w", time.Date(2026, 2, 14, 1, 0, 0, 0, hcm)},
		{time.Date(2026, 1, 31, 1, 0, 0, 0, hcm), "1mo1d", time.Date(2026, 3, 1, 1, 0, 0, 0, hcm)},
		// 00:30 in Hà Nội is still the day before in UTC: the site's day counts.
		{time.Date(2026, 3, 1, 0, 30, 0, 0, hcm).UTC(), "1mo", time.Date(2026, 4, 1, 0, 30, 0, 0, hcm)},
		{time.Date(2026, 2, 28, 2, 30, 0, 0, berlin), "29d", time.Date(2026, 3, 29, 3, 0, 0, 0, berlin)},
	}
	for _, tt := range tests {
		var p calendar.Period
		if err := p.UnmarshalText([]byte(tt.period)); err != nil {
			t.Fatal(err)
		}
		if got := p.AddTo(tt.from, tt.want.Location()); !got.Equal(tt.want) {
			t.Errorf("%v + %s: got %v, want %v", tt.from, p, got, tt.want)
		}
	}
}

func TestPeriodCmp(t *testing.T) {
	tests := []struct {
		a, b calendar.Period
		want int
	}{
		{calendar.Period{Months: 12}, calendar.Period{Months: 60}, -1},
		{calendar.Period{Months: 1}, calendar.Period{Days: 30}, 1},
		{calendar.Period{Months: 12}, calendar.Period{Days: 365}, 1},
		{calendar.Period{Days: 30}, calendar.Period{Days: 30}, 0},
	}
	for _, tt := range tests {
		if got := tt.a.Cmp(tt.b); got != tt.want {
			t.Errorf("%s and %s: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// What an amount prints reads back as the same amount.
func TestAmountsRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := calendar.Duration(rapid.Int64Range(0, 3_000_000_000).Draw(r, "milliseconds") * int64(time.Millisecond))
		p := calendar.Period{Months: rapid.IntRange(0, 12_000).Draw(r, "months"), Days: rapid.IntRange(0, 366_000).Draw(r, "days")}
		b := calendar.Bytes(rapid.Int64Range(0, 1<<62).Draw(r, "bytes"))
		var (
			d2 calendar.Duration
			p2 calendar.Period
			b2 calendar.Bytes
		)
		if err := d2.UnmarshalText([]byte(d.String())); err != nil || d2 != d {
			r.Fatalf("duration %s: %v, %v", d, d2, err)
		}
		if err := p2.UnmarshalText([]byte(p.String())); err != nil || p2 != p {
			r.Fatalf("period %s: %v, %v", p, p2, err)
		}
		if err := b2.UnmarshalText([]byte(b.String())); err != nil || b2 != b {
			r.Fatalf("size %s: %v, %v", b, b2, err)
		}
	})
}
