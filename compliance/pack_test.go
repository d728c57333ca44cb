package compliance

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"saoluu/internal/fault"
)

// Every shipped pack parses, every rule of it has a test, and the tests hold.
func TestShippedPacks(t *testing.T) {
	names, err := fs.Glob(embedded, "packs/*.toml")
	if err != nil || len(names) < 2 {
		t.Fatalf("packs: %v, %v", names, err)
	}
	for _, name := range names {
		text, err := embedded.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := Lint(t.Context(), name, text); err != nil {
			t.Error(err)
		}
	}
}

func TestPacks(t *testing.T) {
	packs, err := Packs("policy", "HD39", "policy")
	if err != nil {
		t.Fatal(err)
	}
	if len(packs) != 2 || packs[0].ID != "policy" || packs[1].ID != "HD39" {
		t.Fatalf("got %v", packs)
	}
	if ids, err := PackIDs(); err != nil || !slices.Equal(ids, []string{"HD39", "QBTP", "policy"}) {
		t.Errorf("ids %v, %v", ids, err)
	}
	if packs[1].Kind != Binding || packs[0].Kind != Policy || len(packs[1].SHA256) != 64 {
		t.Errorf("kinds %q, %q, digest %q", packs[1].Kind, packs[0].Kind, packs[1].SHA256)
	}
	if _, err := Packs("XYZ"); fault.KindOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "HD39") {
		t.Errorf("an unknown pack: %v, hint %q", err, fault.HintOf(err))
	}
	for _, want := range []string{"16.1b-2", "16.1b-5", "16.1a-1", "16.1a-2", "16.1a-4", "16.2b-1", "16.2c-1", "16.2c-2", "16.2c-3", "8.3a-1", "8.3a-2", "8.3b", "7.4", "14.1"} {
		if !slices.ContainsFunc(packs[1].Rules, func(r Rule) bool { return r.ID == "HD39-"+want }) {
			t.Errorf("HD39 lacks the rule %s", want)
		}
	}
}

// small is the smallest pack that parses.
const small = `[pack]
id = "THU"
version = "1"
schema = 1
number = "1/2026"
kind = "binding"
effective = 2026-01-01
title = { vi = "Quy chế thử" }

[[rule]]
id = "THU-1"
ref = "Điều 1"
title = { vi = "Hằng tháng" }
text = { vi = "Mỗi tháng một lần." }
[rule.check]
kind = "calendar_coverage"
event = "good_backup"
unit = "month"
`

func TestSmallestPack(t *testing.T) {
	p, err := ParsePack("thu.toml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != "THU" || len(p.Rules) != 1 || p.Rules[0].Title != "Hằng tháng" || p.Rules[0].effective != p.Effective {
		t.Errorf("read as %+v", p)
	}
	if err := Lint(t.Context(), "thu.toml", []byte(small)); err == nil || !strings.Contains(err.Error(), `rule "THU-1" has no test`) {
		t.Errorf("a rule without a test: %v", err)
	}
}

// What is wrong is refused with its place.
func TestParsePackRefuses(t *testing.T) {
	tests := []struct {
		name, from, to string
		want           []string
	}{
		{"a syntax error", `id = "THU"`, `id = `, []string{"thu.toml:2:6: "}},
		{"an unknown key", `version = "1"`, "version = \"1\"\ncolour = \"red\"", []string{`thu.toml:4:1: unknown field "colour"`}},
		{"an unknown table", `[[rule]]`, "[params]\nx = 1\n\n[[rule]]", []string{`thu.toml:10:2: unknown field "params"`}},
		{"an unknown key in a check", `unit = "month"`, "unit = \"month\"\nwindow = 3", []string{`thu.toml:19:1: unknown field "window"`}},
		{"an unknown key in an inline table", `title = { vi = "Hằng tháng" }`, `title = { vi = "Hằng tháng", fr = "x" }`, []string{`thu.toml:13:33: unknown field "fr"`}},
		{"an unknown check kind", `kind = "calendar_coverage"`, `kind = "magic"`, []string{`thu.toml:16:1: unknown check kind "magic"`}},
		{"a wrong type", `schema = 1`, `schema = "1"`, []string{`thu.toml:4:1: field "schema" must be a whole number`}},
		{"a wrong type of a text", `id = "THU-1"`, `id = 7`, []string{`thu.toml:11:1: field "id" must be a text`}},
		{"no Vietnamese title", `title = { vi = "Hằng tháng" }`, `title = { en = "Monthly" }`, []string{`thu.toml:13:1: missing field "vi"`}},
		{"an empty Vietnamese text", `text = { vi = "Mỗi tháng một lần." }`, `text = { vi = " " }`, []string{`thu.toml:14:10: field "vi" is empty`}},
		{"no text at all", `text = { vi = "Mỗi tháng một lần." }`, ``, []string{`thu.toml:10:3: missing field "text"`}},
		{"another unit", `unit = "month"`, `unit = "moon"`, []string{`thu.toml:18:1: field "unit" is "moon", must be one of month`}},
		{"a limit out of range", `unit = "month"`, "unit = \"month\"\nmin_per_unit = 0", []string{`thu.toml:19:1: field "min_per_unit" is 0, must be 1 to 31`}},
		{"limits the wrong way round", `unit = "month"`, "unit = \"month\"\nmax_age = { warn_gt_days = 62, fail_gt_days = 31 }", []string{`thu.toml:19:1: field "max_age" warns later than it fails`}},
		{"a rule that would pass by default", `ref = "Điều 1"`, "ref = \"Điều 1\"\nempty_selection = \"pass\"", []string{`thu.toml:13:1: field "empty_selection" is "pass"`}},
		{"a silent empty list in a legal pack", `ref = "Điều 1"`, "ref = \"Điều 1\"\nempty_selection = \"na\"", []string{`field "empty_selection" is "na"`}},
		{"another importance", `ref = "Điều 1"`, "ref = \"Điều 1\"\nselect = { importance = [\"cao\"] }", []string{`thu.toml:13:26: field "importance" has "cao"`}},
		{"a rule of another document", `id = "THU-1"`, `id = "BP29-1"`, []string{`thu.toml:11:1: rule "BP29-1" must begin with "THU-"`}},
		{"a test of no rule", `[[rule]]`, "[[test]]\nrule = \"THU-9\"\nnow = 2026-05-01T00:00:00+07:00\ngiven = { asset_since = 2026-01-01 }\nexpect = { posture = \"pass\" }\n\n[[rule]]",
			[]string{`thu.toml:11:1: rule "THU-9" is not in this pack`}},
		{"a binding pack without a number", `number = "1/2026"`, ``, []string{`thu.toml:1:2: missing field "number"`}},
		{"a schema of the future", `schema = 1`, `schema = 2`, []string{`thu.toml:4:1: field "schema" must be 1`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(small, tt.from, tt.to, 1)
			if text == small {
				t.Fatalf("%q is not in the pack", tt.from)
			}
			_, err := ParsePack("thu.toml", []byte(text))
			if fault.KindOf(err) != fault.Usage {
				t.Fatalf("error %v of kind %q", err, fault.KindOf(err))
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error:\n%v\nlacks %q", err, want)
				}
			}
		})
	}
}

// All problems are listed at once, in the order of the text.
func TestParsePackListsAll(t *testing.T) {
	text := strings.NewReplacer(`version = "1"`, "colour = 1", `unit = "month"`, `unit = "moon"`, `ref = "Điều 1"`, "").Replace(small)
	_, err := ParsePack("thu.toml", []byte(text))
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 4 || !slices.IsSortedFunc(lines[1:], func(a, b string) int { return strings.Compare(lineNumber(a), lineNumber(b)) }) {
		t.Errorf("got:\n%v", err)
	}
}

func lineNumber(problem string) string {
	_, rest, _ := strings.Cut(problem, "thu.toml:")
	number, _, _ := strings.Cut(rest, ":")
	return strings.Repeat("0", 4-len(number)) + number
}

// A test that does not hold is named with its place and what was found.
func TestLintRunsTests(t *testing.T) {
	text := small + `
[[test]]
rule = "THU-1"
now = 2026-03-05T09:00:00+07:00
given = { asset_since = 2026-01-01, good_backups = [2026-01-03] }
expect = { posture = "pass" }
`
	err := Lint(t.Context(), "thu.toml", []byte(text))
	if err == nil || !strings.Contains(err.Error(), `thu.toml:20:3: test of rule "THU-1": posture is fail, expected pass`) {
		t.Errorf("got %v", err)
	}
}

func FuzzParsePack(f *testing.F) {
	f.Add([]byte(small))
	names, err := fs.Glob(embedded, "packs/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		text, err := embedded.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePack("fuzz.toml", text)
		if (p == nil) == (err == nil) {
			t.Errorf("pack %v and error %v", p, err)
		}
		if err != nil && !strings.Contains(err.Error(), "fuzz.toml:") {
			t.Errorf("no place in %v", err)
		}
	})
}
