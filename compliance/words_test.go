package compliance

import (
	"strings"
	"testing"
	"time"

	"saoluu/catalog"
)

// What a test asserted is told in Vietnamese, the operator's own names as they are.
func TestBrokenAssertionReads(t *testing.T) {
	for _, tt := range []struct {
		is   catalog.Assertion
		want string
	}{
		{catalog.Assertion{Name: "restore", Expected: "the copy reads back from its target", Actual: "damaged"}, "đọc bản sao từ nơi lưu: cần đọc được toàn bộ, thấy bị hỏng"},
		{catalog.Assertion{Name: "facts: rows", Expected: "42 of 42", Actual: "41 of 42"}, "số dòng của các bảng: cần 42/42, thấy 41/42"},
		{catalog.Assertion{Name: "freshness", Expected: "at most 24h0m0s old", Actual: "30h0m0s old"}, "độ mới của dữ liệu: cần không quá 24 giờ, thấy 30 giờ"},
		{catalog.Assertion{Name: "đủ hồ sơ", Expected: "at least 5", Actual: "3"}, "đủ hồ sơ: cần at least 5, thấy 3"},
	} {
		if got := brokenAssertion(catalog.Test{TestFinished: catalog.TestFinished{Assertions: []catalog.Assertion{tt.is}}}); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
	if got := vnSpan(19 * time.Second); got != "19 giây" {
		t.Error(got)
	}
}

// What a rule leaves out is told by the importance it asks for, and a ledger that
// only lacks its anchor is not called changed.
func TestWordsOfRules(t *testing.T) {
	s := nightly(t, 100, now)
	for _, f := range evaluate(t, s, "2026-05", now, "policy").Findings {
		if f.Rule == "policy-test-3mo" && f.Subject == testJob && !strings.Contains(f.Why, "chỉ áp dụng cho dữ liệu mức “rất quan trọng”") {
			t.Errorf("%s: %s", f.Result, f.Why)
		}
	}
	s.entries = []catalog.Entry{{JSON: []byte(`{}`), At: at(t, "2026-05-01")}}
	if f := judge(t, s, "HD39-14.1", "2026-05", now); strings.Contains(f.Remedy, "verify") || f.Remedy == "" {
		t.Errorf("%s: %s: %s", f.Result, f.Why, f.Remedy)
	}
}
