package compliance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/internal/calendar"
)

// nightly is an asset with a backup every night of the last days up to now.
func nightly(t testing.TB, days int, now string) *scenario {
	t.Helper()
	s := oneAsset(t, "2025-01-01")
	today := calendar.DateOf(at(t, now), hanoi(t))
	for n := days - 1; n >= 0; n-- {
		s.addRun(today.AddDays(-n).Start(hanoi(t)).Add(time.Hour))
	}
	return s
}

// place gives every run of a scenario copies with these separations; nil is not
// measured.
func (s *scenario) place(separations ...*catalog.Separation) {
	s.targets, s.assets[0].Targets = nil, nil
	var copies []catalog.Copy
	for i, sep := range separations {
		name := fmt.Sprintf("noi-%d", i+1)
		s.targets = append(s.targets, catalog.TargetRow{Name: name, Type: "local"})
		s.assets[0].Targets = append(s.assets[0].Targets, name)
		copies = append(copies, catalog.Copy{Target: name, State: catalog.RunComplete, Separation: sep, Encryption: catalog.EncryptionRestic})
	}
	for i := range s.runs {
		s.runs[i].Copies = slices.Clone(copies)
	}
}

func measured(level int) *catalog.Separation { return &catalog.Separation{Level: level} }
func declared(level int) *catalog.Separation {
	return &catalog.Separation{Level: level, Declared: true}
}
func blind() *catalog.Separation { return &catalog.Separation{Unknown: true} }

const now = "2026-05-20 09:00"

// Every cell of the table of separation.
func TestSeparation(t *testing.T) {
	tests := []struct {
		name        string
		places      []*catalog.Separation
		partition   Outcome // 16.2c-1
		independent Outcome // 8.3a-1
	}{
		{"the only copy on the same file system", []*catalog.Separation{measured(0)}, Fail, Fail},
		{"the same file system, and another host", []*catalog.Separation{measured(0), measured(3)}, Warn, Pass},
		{"another partition", []*catalog.Separation{measured(1)}, Pass, Fail},
		{"another disk", []*catalog.Separation{measured(2)}, Pass, Warn},
		{"another host", []*catalog.Separation{measured(3)}, Pass, Pass},
		{"another site", []*catalog.Separation{measured(4)}, Pass, Pass},
		{"offline", []*catalog.Separation{measured(5)}, Pass, Pass},
		{"another host, declared", []*catalog.Separation{declared(3)}, Warn, Warn},
		{"another partition, declared", []*catalog.Separation{declared(1)}, Warn, Fail},
		{"could not be measured", []*catalog.Separation{blind()}, Unknown, Unknown},
		{"nobody measured", []*catalog.Separation{nil}, Unknown, Unknown},
		{"another partition beside one not measured", []*catalog.Separation{measured(1), blind()}, Unknown, Unknown},
		{"another disk beside one not measured", []*catalog.Separation{measured(2), blind()}, Unknown, Warn},
		{"another host beside one not measured", []*catalog.Separation{measured(3), blind()}, Unknown, Pass},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := nightly(t, 20, now)
			s.place(tt.places...)
			for rule, want := range map[string]Outcome{"HD39-16.2c-1": tt.partition, "HD39-8.3a-1": tt.independent} {
				if f := judge(t, s, rule, "2026-05", now); f.Result != want {
					t.Errorf("%s: %s, want %s: %s", rule, f.Result, want, f.Why)
				}
			}
		})
	}
}

func TestSeparationOfOldCopy(t *testing.T) {
	s := nightly(t, 60, now)
	s.place(measured(1), measured(3))
	for i := range s.runs { // the far target got nothing for the last 40 nights
		if i >= 20 {
			s.runs[i].Copies = s.runs[i].Copies[:1]
		}
	}
	if f := judge(t, s, "HD39-8.3a-1", "2026-05", now); f.Result != Warn || !strings.Contains(f.Why, "cũ hơn bản mới nhất 40 ngày") {
		t.Errorf("%s: %s", f.Result, f.Why)
	}
}

// An unknown counts as a failure when it has lasted for over a week, and is
// listed as unknown all the same.
func TestUnknownTurnsToFail(t *testing.T) {
	for days, want := range map[int]Outcome{7: Unknown, 8: Unknown, 9: Fail} {
		s := nightly(t, days, now)
		s.place(blind())
		f := judge(t, s, "HD39-16.2c-1", "2026-05", now)
		if f.Result != Unknown || f.Counted != want {
			t.Errorf("after %d nights: %s, counted %s; want counted %s", days, f.Result, f.Counted, want)
		}
	}
}

// reread adds re-reads of the target's only group, days before now; negative
// days found damage.
func (s *scenario) reread(t testing.TB, target string, days ...int) {
	t.Helper()
	for _, n := range days {
		state := catalog.RunComplete
		if n < 0 {
			n, state = -n, catalog.RunFailed
		}
		when := at(t, now).AddDate(0, 0, -n)
		s.checks = append(s.checks, catalog.Check{At: when, CheckFinished: catalog.CheckFinished{
			Target: target, N: 1, Of: 1, State: state, StartedAt: when, FinishedAt: when,
		}})
	}
}

// Every limit of the re-read of copies.
func TestVerification(t *testing.T) {
	tests := []struct {
		name   string
		nights int
		change func(s *scenario)
		want   Outcome
	}{
		{"read back today", 200, func(s *scenario) { s.reread(t, testTarget, 0) }, Pass},
		{"31 days ago", 200, func(s *scenario) { s.reread(t, testTarget, 31) }, Pass},
		{"32 days ago", 200, func(s *scenario) { s.reread(t, testTarget, 32) }, Warn},
		{"45 days ago", 200, func(s *scenario) { s.reread(t, testTarget, 45) }, Warn},
		{"46 days ago", 200, func(s *scenario) { s.reread(t, testTarget, 46) }, Fail},
		{"never, new", 20, func(*scenario) {}, Pending},
		{"never, 33 days after the first copy", 34, func(*scenario) {}, Warn},
		{"never, 46 days after the first copy", 47, func(*scenario) {}, Fail},
		{"a full restore test reads the newest copy", 60, func(s *scenario) { s.tested(t, 3) }, Pass},
		{"which does not read the older ones", 200, func(s *scenario) { s.tested(t, 3) }, Fail},
		{"a removable disk has until it is plugged in", 200, func(s *scenario) {
			s.targets[0].Type = "removable"
			s.reread(t, testTarget, 186)
		}, Pass},
		{"but not for ever", 300, func(s *scenario) {
			s.targets[0].Type = "removable"
			s.reread(t, testTarget, 187)
		}, Warn},
		{"damage on the only copy", 60, func(s *scenario) { s.reread(t, testTarget, 10, -2) }, Fail},
		{"damage, read whole again", 60, func(s *scenario) { s.reread(t, testTarget, 10, -2, 1) }, Pass},
		{"damage beside another good copy", 60, func(s *scenario) {
			s.place(measured(3), measured(3))
			s.reread(t, "noi-1", 10, -2)
			s.reread(t, "noi-2", 10)
		}, Warn},
		{"the same, not repaired for 8 days", 60, func(s *scenario) {
			s.place(measured(3), measured(3))
			s.reread(t, "noi-1", 10, -8)
			s.reread(t, "noi-2", 10)
		}, Fail},
		{"one of two targets overdue", 200, func(s *scenario) {
			s.place(measured(3), measured(3))
			s.reread(t, "noi-1", 1)
			s.reread(t, "noi-2", 60)
		}, Fail},
		{"another job's restore test got damaged data", 60, func(s *scenario) {
			s.reread(t, testTarget, 2)
			x := s.tested(t, 1)
			fails(x)
			x.Job, x.Blames = "khac", catalog.BlamesCopy
		}, Warn},
		{"and it was read whole since", 60, func(s *scenario) {
			x := s.tested(t, 3)
			fails(x)
			x.Job, x.Blames = "khac", catalog.BlamesCopy
			s.reread(t, testTarget, 2)
		}, Pass},
		{"could not look", 200, func(s *scenario) {
			s.reread(t, testTarget, 40, 1)
			s.checks[1].State = catalog.RunInterrupted
		}, Warn},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := nightly(t, tt.nights, now)
			tt.change(s)
			if f := judge(t, s, "HD39-16.2c-2", "2026-05", now); f.Result != tt.want {
				t.Errorf("%s, want %s: %s", f.Result, tt.want, f.Why)
			}
		})
	}
}

// Groups are whole together only when each was read: the oldest of them counts.
func TestVerificationByGroups(t *testing.T) {
	s := nightly(t, 200, now)
	for n := 1; n <= 28; n++ {
		when := at(t, now).AddDate(0, 0, n-40) // groups 1 to 28, 39 to 12 days ago
		s.checks = append(s.checks, catalog.Check{At: when, CheckFinished: catalog.CheckFinished{
			Target: testTarget, N: n, Of: 28, State: catalog.RunComplete, FinishedAt: when,
		}})
	}
	if f := judge(t, s, "HD39-16.2c-2", "2026-05", now); f.Result != Warn || !strings.Contains(f.Why, "39 ngày trước") {
		t.Errorf("%s: %s", f.Result, f.Why)
	}
	s.checks = s.checks[:27]
	if f := judge(t, s, "HD39-16.2c-2", "2026-05", now); f.Result != Fail || !strings.Contains(f.Why, "31 ngày qua đọc kiểm tra được 66%") {
		t.Errorf("%s: %s", f.Result, f.Why)
	}
}

// A restore test is told as one, never as a re-read of the whole target.
func TestVerificationByRestoreTest(t *testing.T) {
	s := nightly(t, 60, now)
	when := at(t, now).AddDate(0, 0, -1)
	s.checks = []catalog.Check{{At: when, CheckFinished: catalog.CheckFinished{Target: testTarget, N: 1, Of: 28, State: catalog.RunComplete, FinishedAt: when}}}
	s.tested(t, 3)
	f := judge(t, s, "HD39-16.2c-2", "2026-05", now)
	if f.Result != Pass || !strings.Contains(f.Why, "phục hồi thử toàn bộ 3 ngày trước") || !strings.Contains(f.Why, "chưa đọc kiểm tra hết một vòng") || !strings.Contains(f.Why, "đọc kiểm tra được 3%") {
		t.Errorf("%s: %s", f.Result, f.Why)
	}
	s.tests[0].ConsistentAt = s.tests[0].ConsistentAt.AddDate(0, 0, -40)
	if f := judge(t, s, "HD39-16.2c-2", "2026-05", now); f.Result != Fail {
		t.Errorf("the test of an old backup: %s: %s", f.Result, f.Why)
	}
}

// tested adds a passed full test with proof, days before now, of the newest
// backup then, and returns it.
func (s *scenario) tested(t testing.TB, days int) *catalog.Test {
	t.Helper()
	when := at(t, now).AddDate(0, 0, -days).Add(-time.Hour)
	var used time.Time
	for _, r := range s.runs {
		if r.Good(when) {
			used = r.ConsistentAt
		}
	}
	s.tests = append(s.tests, catalog.Test{Seq: int64(1000 + len(s.tests)), TestFinished: catalog.TestFinished{
		Test: fmt.Sprintf("t%d", len(s.tests)), Job: testJob, Source: "files", Target: s.targets[0].Name, ConsistentAt: used,
		StartedAt: when, FinishedAt: when.Add(10 * time.Minute), Verdict: catalog.VerdictPassed, Level: catalog.LevelAsserted, Full: true,
		Assertions: []catalog.Assertion{{Name: "phép 1", Expected: "1", Actual: "1", OK: true}}, RestoreSeconds: 600, Control: "c",
	}})
	return &s.tests[len(s.tests)-1]
}

// fails turns a test into a failed one.
func fails(x *catalog.Test) {
	x.Verdict = catalog.VerdictFailed
	x.Assertions[0].OK, x.Assertions[0].Actual = false, "0"
}

// Every situation of the restore tests, at an interval of three months.
func TestRestoreTests(t *testing.T) {
	quarterly := "quarterly on 5 at 03:00"
	tests := []struct {
		name   string
		nights int
		change func(s *scenario)
		want   Outcome
	}{
		{"passed, within the interval", 200, func(s *scenario) { s.tested(t, 10) }, Pass},
		{"15 days to the next", 200, func(s *scenario) { s.tested(t, 75) }, Pass},
		{"14 days to the next", 200, func(s *scenario) { s.tested(t, 76) }, Warn},
		{"on the last day", 200, func(s *scenario) { s.tested(t, 90) }, Warn},
		{"overdue", 200, func(s *scenario) { s.tested(t, 91) }, Fail},
		{"new, the first test due within 30 days", 31, func(*scenario) {}, Pending},
		{"new, the first test missed", 32, func(*scenario) {}, Fail},
		{"no backup to test", 0, func(s *scenario) { s.set = at(t, "2026-05-10") }, Pending},
		{"no backup to test for over a month", 0, func(s *scenario) { s.set = at(t, "2026-04-10") }, Fail},
		{"an older set only", 200, func(s *scenario) { s.tested(t, 10).ConsistentAt = s.runs[100].ConsistentAt }, Warn},
		{"an older set beside the newest", 200, func(s *scenario) {
			s.tested(t, 20)
			s.tested(t, 10).ConsistentAt = s.runs[100].ConsistentAt
		}, Pass},
		{"the second newest set", 200, func(s *scenario) {
			x := s.tested(t, 10)
			x.ConsistentAt = x.ConsistentAt.AddDate(0, 0, -1)
		}, Pass},
		{"a sample, a full test within the year", 200, func(s *scenario) {
			s.tested(t, 80)
			s.tested(t, 10).Full = false
		}, Pass},
		{"a sample, never a full test", 200, func(s *scenario) { s.tested(t, 10).Full = false }, Warn},
		{"slower than the RTO", 200, func(s *scenario) {
			s.assets[0].RTOSeconds = 599
			s.tested(t, 10)
		}, Warn},
		{"data older than the RPO", 200, func(s *scenario) {
			s.assets[0].RPOSeconds = 3600
			s.tested(t, 10)
		}, Warn},
		{"nothing asserted", 200, func(s *scenario) { s.tested(t, 10).Assertions = nil }, Fail},
		{"nothing asserted after a pass", 200, func(s *scenario) {
			s.tested(t, 20)
			s.tested(t, 10).Assertions = nil
		}, Warn},
		{"only listed", 200, func(s *scenario) { s.tested(t, 10).Level = catalog.LevelReread }, Fail},
		{"could not look, after a pass", 200, func(s *scenario) {
			s.tested(t, 20)
			s.tested(t, 10).Verdict = catalog.VerdictUnknown
		}, Warn},
		{"failed 7 days ago", 200, func(s *scenario) {
			s.tested(t, 20)
			fails(s.tested(t, 7))
		}, Warn},
		{"failed 8 days ago", 200, func(s *scenario) {
			s.tested(t, 20)
			fails(s.tested(t, 8))
		}, Fail},
		{"failing since 8 days, again today", 200, func(s *scenario) {
			s.tested(t, 20)
			fails(s.tested(t, 8))
			fails(s.tested(t, 0))
		}, Fail},
		{"failed today, very important", 200, func(s *scenario) {
			s.assets[0].Importance = "high"
			s.tested(t, 20)
			fails(s.tested(t, 0))
		}, Fail},
		{"failed, then an older backup passed", 200, func(s *scenario) {
			fails(s.tested(t, 9))
			s.tested(t, 8).ConsistentAt = s.runs[100].ConsistentAt
		}, Fail},
		{"failed, then passed", 200, func(s *scenario) {
			fails(s.tested(t, 9))
			s.tested(t, 8)
		}, Pass},
		{"the negative control was not caught", 200, func(s *scenario) {
			s.tested(t, 10)
			s.controls = []catalog.Control{{At: at(t, "2026-05-19"), ControlFinished: catalog.ControlFinished{Source: "files"}}}
		}, Unknown},
		{"no negative control at all", 200, func(s *scenario) { s.tested(t, 10).Control = "" }, Warn},
		{"while the clock was suspect", 200, func(s *scenario) { s.tested(t, 10).ClockSuspect = true }, Warn},
		{"no interval in the inventory: the policy's six months", 200, func(s *scenario) {
			s.assets[0].TestSchedule = ""
			s.tested(t, 150)
		}, Pass},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := nightly(t, tt.nights, now)
			s.assets[0].TestSchedule = quarterly
			tt.change(s)
			if f := judge(t, s, "HD39-16.2c-3", "2026-05", now); f.Result != tt.want {
				t.Errorf("%s, want %s: %s", f.Result, tt.want, f.Why)
			}
		})
	}
}

// A failure of the period stays in the words after a later pass.
func TestFailedThenPassedIsKept(t *testing.T) {
	s := nightly(t, 200, now)
	fails(s.tested(t, 9))
	s.tested(t, 8)
	f := judge(t, s, "HD39-16.2c-3", "2026-05", now)
	if !strings.Contains(f.Why, "trong kỳ có lần không đạt ngày 11/05/2026") || !slices.Contains(f.Evidence, "test:t0") {
		t.Errorf("%s %v", f.Why, f.Evidence)
	}
}

// No interval, however it is written, is longer than a year.
func TestRestoreIntervalIsCapped(t *testing.T) {
	s := nightly(t, 800, now)
	s.assets[0].TestSchedule = "0 3 29 2 *" // every four years
	s.tested(t, 366)
	if f := judge(t, s, "HD39-16.2c-3", "2026-05", now); f.Result != Fail {
		t.Errorf("%s: %s", f.Result, f.Why)
	}
}

func TestObjectives(t *testing.T) {
	hour := int64(3600)
	tests := []struct {
		name   string
		change func(s *scenario)
		want   Outcome
	}{
		{"both kept", func(s *scenario) { s.assets[0].RPOSeconds, s.assets[0].RTOSeconds = 24*hour, hour }, Pass},
		{"data 8 hours old, RPO 6", func(s *scenario) { s.assets[0].RPOSeconds, s.assets[0].RTOSeconds = 6*hour, hour }, Warn},
		{"data 8 hours old, RPO 5", func(s *scenario) { s.assets[0].RPOSeconds, s.assets[0].RTOSeconds = 5*hour, hour }, Fail},
		{"10 minutes, RTO 7", func(s *scenario) { s.assets[0].RPOSeconds, s.assets[0].RTOSeconds = 24*hour, 420 }, Warn},
		{"10 minutes, RTO 6", func(s *scenario) { s.assets[0].RPOSeconds, s.assets[0].RTOSeconds = 24*hour, 360 }, Fail},
		{"no RTO", func(s *scenario) { s.assets[0].RPOSeconds = 24 * hour }, Warn},
		{"no RPO", func(s *scenario) { s.assets[0].RTOSeconds = hour }, Warn},
		{"measured on a sample", func(s *scenario) {
			s.assets[0].RPOSeconds, s.assets[0].RTOSeconds = 24*hour, hour
			s.tests[0].Full = false
		}, Warn},
		{"never measured", func(s *scenario) {
			s.assets[0].RPOSeconds, s.assets[0].RTOSeconds = 24*hour, hour
			s.tests = nil
		}, Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := nightly(t, 200, now)
			s.tested(t, 10)
			tt.change(s)
			if f := judge(t, s, "HD39-16.1b-5", "2026-05", now); f.Result != tt.want {
				t.Errorf("%s, want %s: %s", f.Result, tt.want, f.Why)
			}
		})
	}
}

func TestEncryption(t *testing.T) {
	tests := []struct {
		name   string
		nights int
		change func(s *scenario)
		want   Outcome
	}{
		{"decrypted 92 days ago", 200, func(s *scenario) { s.reread(t, testTarget, 92) }, Pass},
		{"93 days ago", 200, func(s *scenario) { s.reread(t, testTarget, 93) }, Warn},
		{"186 days ago", 200, func(s *scenario) { s.reread(t, testTarget, 186) }, Warn},
		{"187 days ago", 200, func(s *scenario) { s.reread(t, testTarget, 187) }, Fail},
		{"by a restore test", 200, func(s *scenario) { s.tested(t, 90) }, Pass},
		{"never, new", 10, func(*scenario) {}, Warn},
		{"never", 200, func(*scenario) {}, Fail},
		{"in clear", 10, func(s *scenario) {
			s.reread(t, testTarget, 0)
			s.runs[9].Copies[0].Encryption = ""
		}, Fail},
		{"a scheme nobody allowed", 10, func(s *scenario) {
			s.reread(t, testTarget, 0)
			s.runs[9].Copies[0].Encryption = "DES-CBC"
		}, Fail},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := nightly(t, tt.nights, now)
			tt.change(s)
			if f := judge(t, s, "HD39-16.1a-1", "2026-05", now); f.Result != tt.want {
				t.Errorf("%s, want %s: %s", f.Result, tt.want, f.Why)
			}
		})
	}
}

func TestCopies(t *testing.T) {
	tests := []struct {
		name   string
		change func(s *scenario)
		want   Outcome
	}{
		{"two", func(s *scenario) { s.place(measured(3), measured(3)) }, Pass},
		{"one", func(s *scenario) { s.place(measured(3)) }, Warn},
		{"the second on a damaged target", func(s *scenario) {
			s.place(measured(3), measured(3))
			s.reread(t, "noi-2", -1)
		}, Warn},
		{"the second 40 days old", func(s *scenario) {
			s.place(measured(3), measured(3))
			for i := range s.runs {
				if i >= 20 {
					s.runs[i].Copies = s.runs[i].Copies[:1]
				}
			}
		}, Warn},
		{"the second deleted from its target", func(s *scenario) {
			s.place(measured(3), measured(3))
			for i := range s.runs {
				s.runs[i].Gone = map[string]time.Time{"noi-2": at(t, "2026-05-19")}
			}
		}, Warn},
		{"the only one on a damaged target", func(s *scenario) {
			s.place(measured(3))
			s.reread(t, "noi-1", -1)
		}, Fail},
		{"made while the clock was suspect", func(s *scenario) {
			s.place(measured(3), measured(3))
			s.runs[59].ClockSuspect = true
		}, Warn},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := nightly(t, 60, now)
			tt.change(s)
			if f := judge(t, s, "HD39-16.1a-4", "2026-05", now); f.Result != tt.want {
				t.Errorf("%s, want %s: %s", f.Result, tt.want, f.Why)
			}
		})
	}
}
