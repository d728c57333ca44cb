package escrow

import (
	_ "embed"
	htmltemplate "html/template"
	"io"
	"text/template"
)

// A Sheet is what a stranger needs on paper to restore from one target.
type Sheet struct {
	Site       string // the agency
	Target     string // its name in the configuration
	Type       string // local, s3, sftp, rest
	Place      string // for people
	Address    string // as restic takes it, without secrets
	Repository string // its id
	Made       string // when the sheet was made, for people
	Custodians []Holder
	Sealed     string // armored; empty when there are no custodians
	Key        string // the key itself; empty unless asked for
	Reference  string // where the operator keeps the key, when the sheet does not show it
}

// A Holder is a custodian as printed.
type Holder struct{ Name, Title, Fingerprint string }

//go:embed sheet.txt
var textSheet string

//go:embed sheet.html
var htmlSheet string

// Text writes the sheet as plain text, Vietnamese first.
func (s Sheet) Text(w io.Writer) error {
	t, err := template.New("sheet").Parse(textSheet)
	if err != nil {
		return err
	}
	return t.Execute(w, s)
}

// HTML writes the sheet as one page that loads nothing.
func (s Sheet) HTML(w io.Writer) error {
	t, err := htmltemplate.New("sheet").Parse(htmlSheet)
	if err != nil {
		return err
	}
	return t.Execute(w, s)
}
