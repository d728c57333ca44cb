package retention

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/calendar"
)

func schedule(t *testing.T, text string) calendar.Schedule {
	t.Helper()
	if text == "" {
		return calendar.Schedule{}
	}
	s, err := calendar.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSimulate(t *testing.T) {
	type row struct {
		Month                           string
		Taken, Removed, Left, Approvals int
		Oldest                          string
	}
	tests := []struct {
		name            string
		rules           Rules
		start           []Backup
		schedule, tests string
		days            int
		want            []row
	}{
		{"nothing is ever deleted", Rules{}, nil, "daily at 01:00", "", 45, []row{
			{"2026-01", 31, 0, 31, 0, "2026-01-01"}, {"2026-02", 14, 0, 45, 0, "2026-01-01"},
		}},
		{"a week of days", Rules{Daily: 7}, nil, "daily at 01:00", "", 59, []row{
			{"2026-01", 31, 24, 7, 0, "2026-01-25"}, {"2026-02", 28, 28, 7, 0, "2026-02-22"},
		}},
		{"days and months", Rules{Daily: 2, Monthly: 3}, nil, "daily at 01:00", "", 150, []row{
			{"2026-01", 31, 29, 2, 29, "2026-01-30"}, {"2026-02", 28, 27, 3, 1, "2026-01-31"}, {"2026-03", 31, 30, 4, 0, "2026-01-31"},
			{"2026-04", 30, 30, 4, 1, "2026-02-28"}, {"2026-05", 30, 30, 4, 1, "2026-03-31"},
		}},
		{"the newest tested stays", Rules{Last: 2}, nil, "daily at 01:00", "monthly on 5 at 03:00", 59, []row{
			{"2026-01", 31, 28, 3, 4, "2026-01-05"}, {"2026-02", 28, 28, 3, 2, "2026-02-05"},
		}},
		{"from what is there", Rules{Monthly: 2}, good(t, "2025-11-30 01:00", "2025-12-30 01:00", "2025-12-31 01:00"), "monthly on 31 at 01:00", "", 59, []row{
			{"2026-01", 1, 2, 2, 2, "2025-12-31"}, {"2026-02", 1, 1, 2, 1, "2026-01-31"},
		}},
		{"no backups", Rules{Last: 1}, nil, "", "", 31, []row{{"2026-01", 0, 0, 0, 0, "0001-01-01"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []row
			for _, m := range Simulate(Simulation{
				Rules: tt.rules, Start: tt.start, Schedule: schedule(t, tt.schedule), Tests: schedule(t, tt.tests), Upkeep: schedule(t, "daily at 05:30"),
				From: at(t, "2026-01-01 00:30"), Days: tt.days, Location: hanoi(t),
			}) {
				oldest := m.Oldest
				if !oldest.IsZero() {
					oldest = oldest.In(hanoi(t))
				}
				got = append(got, row{m.Month.String(), m.Taken, m.Removed, m.Left, m.Approvals, oldest.Format(time.DateOnly)})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("months (-want +got):\n%s", diff)
			}
		})
	}
}
