package calendar_test

import (
	"testing"
	"time"

	"saoluu/internal/calendar"
	"saoluu/internal/fault"
)

func TestWindowOpen(t *testing.T) {
	hcm, berlin := zone(t, "Asia/Ho_Chi_Minh"), zone(t, "Europe/Berlin")
	at := func(loc *time.Location, text string) time.Time {
		t.Helper()
		when, err := time.ParseInLocation("2006-01-02 15:04", text, loc)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	tests := []struct {
		window string
		loc    *time.Location
		at     string
		open   bool
		until  string
	}{
		{"20:00-06:00", hcm, "2026-12-01 19:59", false, "2026-12-01 20:00"},
		{"20:00-06:00", hcm, "2026-12-01 20:00", true, "2026-12-02 06:00"},
		{"20:00-06:00", hcm, "2026-12-02 00:00", true, "2026-12-02 06:00"},
		{"20:00-06:00", hcm, "2026-12-02 05:59", true, "2026-12-02 06:00"},
		{"20:00-06:00", hcm, "2026-12-02 06:00", false, "2026-12-02 20:00"},
		{"09:00-17:30", hcm, "2026-12-31 17:30", false, "2027-01-01 09:00"},
		{"09:00-17:30", hcm, "2026-12-31 09:00", true, "2026-12-31 17:30"},
		{"18:00-00:00", hcm, "2026-12-31 23:59", true, "2027-01-01 00:00"},
		{"00:00-04:00", hcm, "2026-12-31 23:59", false, "2027-01-01 00:00"},
		// The clock jumps from 2 to 3 on 29 March, and shows 2 to 3 twice on 25 October.
		{"02:30-05:00", berlin, "2026-03-29 01:59", false, "2026-03-29 03:00"},
		{"20:00-02:30", berlin, "2026-03-29 01:00", true, "2026-03-29 03:00"},
		{"20:00-06:00", berlin, "2026-10-25 01:00", true, "2026-10-25 06:00"},
	}
	for _, tt := range tests {
		var w calendar.Window
		if err := w.UnmarshalText([]byte(tt.window)); err != nil {
			t.Fatal(err)
		}
		open, until := w.Open(at(tt.loc, tt.at).UTC(), tt.loc)
		if open != tt.open || !until.Equal(at(tt.loc, tt.until)) {
			t.Errorf("%s at %s: %v until %s, want %v until %s", w, tt.at, open, until.In(tt.loc), tt.open, tt.until)
		}
	}
	var whole calendar.Window
	if open, until := whole.Open(time.Now(), hcm); !open || !until.IsZero() {
		t.Errorf("the whole day: %v until %v", open, until)
	}
}

func TestWindowText(t *testing.T) {
	for _, text := range []string{"20:00-06:00", "00:00-23:59", ""} {
		var w calendar.Window
		if err := w.UnmarshalText([]byte(text)); err != nil || w.String() != text {
			t.Errorf("%q: got %q, %v", text, w, err)
		}
	}
	for _, text := range []string{"20:00", "20-06", "20:00-20:00", "24:00-06:00", "20:00-06:60", "a-b", "20:00–06:00"} {
		var w calendar.Window
		if err := w.UnmarshalText([]byte(text)); fault.HintOf(err) == "" {
			t.Errorf("%q: got %q, %v", text, w, err)
		}
	}
}
