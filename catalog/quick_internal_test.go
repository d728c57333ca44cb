package catalog

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is packed comes back, and is what encoding/json makes of it, whatever the
// names look like.
func TestPackCopies(t *testing.T) {
	for _, copies := range []map[string]copyState{
		nil,
		{"nas": {State: stateComplete, Snapshots: map[string]string{"db": "abc", "globals": "def"}}},
		{"nas": {State: stateComplete, Gone: 5}, "usb": {State: stateIncomplete, Snapshots: map[string]string{"db": "x"}, Seq: 7, At: 9}},
		{`"quoted"`: {State: 3, Snapshots: map[string]string{`back\slash`: "ố", "<b>": "&"}}},
		{"nơi lưu": {State: stateComplete}},
	} {
		text, err := packCopies(copies)
		if err != nil {
			t.Fatal(err)
		}
		back, err := unpackCopies(text)
		if err != nil || !cmp.Equal(back, copies) {
			t.Errorf("%+v came back as %+v, %v", copies, back, err)
		}
		if reference, err := json.Marshal(copies); len(copies) > 0 && (err != nil || string(reference) != text) {
			t.Errorf("packed %s, want %s, %v", text, reference, err)
		}
	}
	for _, text := range []string{"{", `{"nas":{"s":x}}`, `{"nas":{"s":1}}}`, `[]`} {
		if back, err := unpackCopies(text); err == nil {
			t.Errorf("%s was read as %+v", text, back)
		}
	}
}

// A body that is read quickly means what encoding/json makes of it, in the parts
// that are read.
func TestDecodeQuick(t *testing.T) {
	for kind, bodies := range map[string][]string{
		"run-started": {`{"attempt":1,"job":"a","run":"r","trigger":"manual"}`, `{"job":"\"a\\","run":"Văn bản"}`},
		"run-finished": {
			`{"consistent_at":"2026-03-01T00:00:00Z","copies":[{"error":"x\ny","snapshots":{"a\"b":"c"},"state":"complete","target":"nas"},{"snapshots":null,"state":"failed","target":"usb"}],"covers":["2026-02-01T00:00:00Z"],"due":"2026-03-01T00:00:00Z","finished_at":"0001-01-01T00:00:00Z","job":"a","last_attempt":true,"run":"r","state":"complete"}`,
			`{"copies":null,"facts":null,"last_attempt":false}`, `{"facts":{"count":9,"sha256":"","unread":2}}`, `{}`,
		},
		"slots-planned": {`{"slots":[{"action":"backup","due":"2026-03-01T00:00:00Z","job":"a"}],"until":"2026-03-02T00:00:00Z"}`, `{"slots":[]}`},
	} {
		for _, body := range bodies {
			got, err := decodeQuick(kind, []byte(body))
			if err != nil {
				t.Errorf("%s: %v", body, err)
				continue
			}
			want, err := decode(kind, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if started, ok := want.(RunStarted); ok {
				started.Attempt, started.Trigger = 0, "" // not read
				want = started
			}
			if finished, ok := want.(RunFinished); ok && finished.Facts != nil {
				finished.Facts.Count = 0 // not read
			}
			if d := cmp.Diff(want, got, cmp.Transformer("nil", func(s []Slot) []Slot { return append([]Slot(nil), s...) })); d != "" {
				t.Errorf("%s %s", body, d)
			}
		}
	}
	for _, body := range []string{`{`, `{"due":"2026-03-01"}`, `{"due":"2026-03-01T00:00:0xZ"}`, `{"run":1}`, `{"run":"r"} `, `{"copies":[{]}`, `{"run":"`, `{"run":"\x"}`, ``, `{"covers":["2026-03-01T00:00:00Z"}`} {
		got, err := decodeQuick("run-finished", []byte(body))
		if want, reference := decode("run-finished", []byte(body)); (err == nil) != (reference == nil) || err == nil && !cmp.Equal(got, want) {
			t.Errorf("%q: %+v, %v; encoding/json says %v", body, got, err, reference)
		}
	}
}
