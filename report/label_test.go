package report_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"saoluu/catalog"
	"saoluu/report"
)

func TestLabel(t *testing.T) {
	l := report.Label{
		Agency: "Sở Tư pháp <tỉnh>", Site: "STP-HD", Day: time.Date(2026, 5, 31, 0, 0, 0, 0, time.UTC),
		Medium: catalog.MediumRegistered{Medium: "usb-a", ID: "0123456789abcdef", Bytes: 2_000_398_934_016, Label: "noi-bo", Secrecy: "mat", Owner: "Văn phòng"},
	}
	var page bytes.Buffer
	if err := report.WriteLabel(&page, l); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Sở Tư pháp &lt;tỉnh&gt;", "usb-a", "saoluu:medium:STP-HD:usb-a:01234567", "MẬT", "2,0 TB", "31/05/2026", `d="M0 0h7v1h-7z`} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the label does not show %q:\n%s", want, page.String())
		}
	}
	for _, never := range []string{"0123456789abcdef", "http", "ZgotmplZ"} {
		if strings.Contains(page.String(), never) {
			t.Errorf("the label shows %q", never)
		}
	}
}
