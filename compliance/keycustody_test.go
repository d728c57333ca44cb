package compliance

import (
	"fmt"
	"strings"
	"testing"

	"saoluu/catalog"
	"saoluu/evidence"
)

// enrol puts a repository on the scenario's target.
func (s *scenario) enrol(t testing.TB, repository, when string) {
	t.Helper()
	body := fmt.Sprintf(`{"id":"i","repository":%q,"target":%q,"type":"local"}`, repository, testTarget)
	e := catalog.Entry{Seq: int64(len(s.enrolments)), At: at(t, when), Kind: catalog.TargetEnrolled{}.Kind()}
	e.JSON = evidence.FormatEntry(e.Seq, e.At, e.Kind, []byte(body))
	s.enrolments = append(s.enrolments, e)
}

// keyed gives the scenario's target a key that is in order.
func (s *scenario) keyed(t testing.TB, repository string) {
	t.Helper()
	s.custodians = []catalog.SealedTo{{Custodian: "truong", Fingerprint: "SHA256:a"}, {Custodian: "pho", Fingerprint: "SHA256:b"}}
	add := func(when string, e catalog.Event) {
		s.keys = append(s.keys, keyEvent{testTarget, int64(100 + len(s.keys)), at(t, when), e})
	}
	add("2026-01-01 08:00", catalog.KeyPlaced{Target: testTarget, Repository: repository, From: catalog.KeyFromState, Separation: measured(3)})
	add("2026-01-01 08:01", catalog.KeySealed{Target: testTarget, Repository: repository, Key: "k", Recipients: s.custodians})
	add("2026-04-01 08:00", catalog.EscrowDrilled{Target: testTarget, Custodian: "pho", OK: true})
}

// What was sealed and measured counts for the repository it was about.
func TestKeyOfAnotherRepository(t *testing.T) {
	s := nightly(t, 20, now)
	s.keyed(t, "one")
	s.enrol(t, "one", "2026-01-01 07:00")
	good := judge(t, s, "HD39-16.1a-2", "2026-05", now)
	if good.Result != Pass || strings.Join(good.Evidence, " ") != "entry:101 entry:100 entry:102" {
		t.Fatalf("%s %v: %s", good.Result, good.Evidence, good.Why)
	}
	s.enrol(t, "two", "2026-05-01 07:00")
	if f := judge(t, s, "HD39-16.1a-2", "2026-05", now); f.Result != Fail || !strings.Contains(f.Why, "kho lưu cũ") {
		t.Errorf("%s: %s", f.Result, f.Why)
	}
}

// Two names of one key are one custodian.
func TestOneKeyUnderTwoNames(t *testing.T) {
	s := nightly(t, 20, now)
	s.keyed(t, "one")
	s.custodians[1].Fingerprint = s.custodians[0].Fingerprint // the sealed list is the same one
	if f := judge(t, s, "HD39-16.1a-2", "2026-05", now); f.Result != Warn || !strings.Contains(f.Why, "mới có 1 người") {
		t.Errorf("%s: %s", f.Result, f.Why)
	}
}

// A copy is no more from the second its keys were destroyed, and was one before.
func TestDestroyedCopies(t *testing.T) {
	s := nightly(t, 60, now)
	s.keyed(t, "one")
	s.keys = append(s.keys, keyEvent{testTarget, 200, at(t, "2026-05-10 12:00"), catalog.KeyShredded{Target: testTarget, Repository: "one", State: catalog.RunComplete}})
	for month, want := range map[string]Outcome{"2026-04": Pass, "2026-05": Pass} {
		if f := judge(t, s, "HD39-16.1a-2", month, now); f.Result != want {
			t.Errorf("%s: %s, want %s: %s", month, f.Result, want, f.Why)
		}
	}
	s.runs = s.runs[:len(s.runs)-12] // nothing was saved after it
	f := judge(t, s, "HD39-16.1a-4", "2026-05", now)
	if f.Result != Fail || !strings.Contains(f.Why, "đã hủy mọi khóa ngày 10/05/2026") || f.Evidence[0] != "entry:200" {
		t.Errorf("%s %v: %s", f.Result, f.Evidence, f.Why)
	}
	s.keys[len(s.keys)-1].event = catalog.KeyShredded{Target: testTarget, Repository: "one", State: catalog.RunIncomplete, Kept: []catalog.KeptKey{{Key: "x"}}}
	if f := judge(t, s, "HD39-16.1a-4", "2026-05", now); f.Result != Fail || !strings.Contains(f.Why, "chưa hủy hẳn") {
		t.Errorf("kept by the storage: %s: %s", f.Result, f.Why)
	}
	if f := judge(t, s, "HD39-16.1b-2", "2026-05", now); f.Result == Fail {
		t.Errorf("what was saved in the month stays on record: %s: %s", f.Result, f.Why)
	}
}

// Old keys that the storage did not let go warn until somebody saw that they are gone.
func TestOldKeysRemain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []catalog.Event
		want   Outcome
		why    string
	}{
		{"kept as versions", []catalog.Event{catalog.KeyRotated{Target: testTarget, Repository: "one", Added: "k", Kept: []catalog.KeptKey{{Key: "x"}}}}, Warn, "1 khóa cũ đã xóa nhưng nơi lưu còn giữ"},
		{"open it", []catalog.Event{catalog.KeyRotated{Target: testTarget, Repository: "one", Added: "k", Left: []string{"x", "y"}}}, Warn, "2 khóa cũ vẫn mở được"},
		{"gone since", []catalog.Event{
			catalog.KeyRotated{Target: testTarget, Repository: "one", Added: "k", Left: []string{"x"}},
			catalog.OldKeysChecked{Target: testTarget, Repository: "one", Removed: []string{"x"}},
		}, Pass, ""},
	} {
		s := nightly(t, 20, now)
		s.keyed(t, "one")
		for i, e := range tt.events {
			s.keys = append(s.keys, keyEvent{testTarget, int64(200 + i), at(t, "2026-05-10 12:00"), e})
		}
		if f := judge(t, s, "HD39-16.1a-2", "2026-05", now); f.Result != tt.want || !strings.Contains(f.Why, tt.why) {
			t.Errorf("%s: %s: %s", tt.name, f.Result, f.Why)
		}
	}
}
