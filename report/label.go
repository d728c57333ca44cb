package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"rsc.io/qr"

	"saoluu/catalog"
)

//go:embed label.html
var labelPage string

// A Label is what is glued to a medium.
type Label struct {
	Agency string
	Site   string // code
	Medium catalog.MediumRegistered
	Day    time.Time // of the registration, in the site's time zone
}

// Code is the text of the label's QR code: enough to find the medium in the
// register, and nothing about what is on it.
func (l Label) Code() string {
	return fmt.Sprintf("saoluu:medium:%s:%s:%.8s", l.Site, l.Medium.Medium, l.Medium.ID)
}

// Secrecy is the medium's secrecy in the words of the law; empty for none.
func (l Label) Secrecy() string { return secrecyWord(l.Medium.Secrecy) }

func secrecyWord(secrecy string) string {
	return map[string]string{"mat": "MẬT", "toi_mat": "TỐI MẬT", "tuyet_mat": "TUYỆT MẬT"}[secrecy]
}

// Capacity is the medium's size as it is sold: powers of ten.
func (l Label) Capacity() string {
	switch gb := l.Medium.Bytes / 1e9; {
	case gb >= 1000:
		return strings.Replace(fmt.Sprintf("%.1f TB", float64(gb)/1000), ".", ",", 1)
	case gb > 0:
		return fmt.Sprintf("%d GB", gb)
	}
	return fmt.Sprintf("%d MB", l.Medium.Bytes/1e6)
}

// WriteLabel writes a page with the label, to be printed at its size. It loads
// nothing.
func WriteLabel(w io.Writer, l Label) error {
	code, err := qr.Encode(l.Code(), qr.M)
	if err != nil {
		return fmt.Errorf("draw the code of medium %q: %w", l.Medium.Medium, err)
	}
	page, err := template.New("label").Parse(labelPage)
	if err != nil {
		return err
	}
	return page.Execute(w, struct {
		Label
		Frame   int // the code and a square around it
		Squares template.HTMLAttr
	}{l, code.Size + 2, template.HTMLAttr(`d="` + squares(code) + `"`)}) //nolint:gosec // digits and letters of ours alone
}

// squares draws the black parts of a code as a path: one rectangle for each run of
// them in a row.
func squares(code *qr.Code) string {
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			n := 0
			for code.Black(x+n, y) {
				n++
			}
			if n > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x, y, n, n)
				x += n
			}
		}
	}
	return path.String()
}
