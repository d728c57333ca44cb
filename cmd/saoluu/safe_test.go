package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"saoluu/internal/fault"
)

func TestSafe(t *testing.T) {
	for text, want := range map[string]string{
		"Sở Tư pháp – “hồ sơ” a\u0302\u0301": "Sở Tư pháp – “hồ sơ” a\u0302\u0301",
		"a\x1b[2J\nb\r\t\x00\x7f":            `a\x1b[2J\nb\r\t\x00\x7f`,
		"\u009b31m\u202egnp.exe\xff\ufffd":   `\u009b31m\u202egnp.exe\xff` + "\ufffd",
		`C:\new "quoted"`:                    `C:\new "quoted"`,
	} {
		if got := safe(text); got != want {
			t.Errorf("%q is shown as %q, not %q", text, got, want)
		}
	}
}

func TestNothingRawIsPrinted(t *testing.T) {
	evil := "x\x1b]0;owned\a\nsaoluu: error: forged"
	var b bytes.Buffer
	printError(&b, errors.Join(
		fault.New(fault.Failed, "read", errors.Join(errors.New(evil), errors.New("second")), "look at "+evil),
		errors.New("third"), errors.New(strings.Repeat("dài ", 1000))))
	tab := &table{}
	tab.row(evil, "Tư pháp")
	tab.print(&b)
	logger := consoleLogTo(&b)
	logger.Warn().Err(errors.New(evil)).Str("file", evil).Msg(evil)
	if i := strings.IndexFunc(b.String(), func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 {
		t.Errorf("a control character at %d of %q", i, b.String())
	}
	if n := strings.Count(b.String(), "\n"); n != 6 {
		t.Errorf("%d lines: %s", n, b.String())
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if len([]rune(line)) > longestLine+100 {
			t.Errorf("a line of %d characters", len([]rune(line)))
		}
	}
	want := `saoluu: error: read: x\x1b]0;owned\a\nsaoluu: error: forged; second`
	if diff := cmp.Diff(want, strings.SplitN(b.String(), "\n", 2)[0]); diff != "" {
		t.Error(diff)
	}
}
