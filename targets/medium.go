package targets

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"saoluu/internal/fault"
)

// HeaderName is the file of a medium that says whose it is. People can read it;
// its signature is that of the ledger's key (a signed note of sumdb/note).
const HeaderName = "saoluu-medium.txt"

// headerTitle is the first line of a header; a change of meaning gets a new number.
const headerTitle = "saoluu medium 1"

// A MediumHeader is what a medium says of itself.
type MediumHeader struct {
	Medium     string // its name in the register
	ID         string // random, from its registration
	Site       string // code of the site that owns it
	Agency     string // the site's name
	Filesystem string // UUID
	Label      string
	Secrecy    string
	Registered time.Time
}

// fields lists the lines of a header in their order.
func (h *MediumHeader) fields() []struct {
	key   string
	value *string
} {
	return []struct {
		key   string
		value *string
	}{
		{"medium", &h.Medium}, {"id", &h.ID}, {"site", &h.Site}, {"agency", &h.Agency},
		{"filesystem", &h.Filesystem}, {"label", &h.Label}, {"secrecy", &h.Secrecy},
	}
}

// Sign returns the header as it is written to the medium.
func (h MediumHeader) Sign(signer note.Signer) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintln(&b, headerTitle)
	for _, f := range h.fields() {
		if strings.ContainsAny(*f.value, "\n\r") {
			return nil, fmt.Errorf("sign the header of medium %q: its %s has more than one line", h.Medium, f.key)
		}
		fmt.Fprintf(&b, "%s: %s\n", f.key, *f.value)
	}
	fmt.Fprintf(&b, "registered: %s\n", h.Registered.UTC().Format(time.RFC3339))
	return note.Sign(&note.Note{Text: b.String()}, signer)
}

// OpenHeader returns what a header says once its signature is that of verifierKey.
func OpenHeader(signed []byte, verifierKey string) (MediumHeader, error) {
	bad := func(err error) (MediumHeader, error) {
		return MediumHeader{}, fault.New(fault.WrongTarget, "", fmt.Errorf("its header %s is not one of this site: %w", HeaderName, err),
			"keep the disk aside and find out where it comes from; saoluu neither reads nor writes it")
	}
	verifier, err := note.NewVerifier(verifierKey)
	if err != nil {
		return bad(err)
	}
	opened, err := note.Open(bytes.ReplaceAll(signed, []byte("\r\n"), []byte("\n")), note.VerifierList(verifier))
	if err != nil {
		return bad(err)
	}
	var h MediumHeader
	lines := strings.Split(strings.TrimSuffix(opened.Text, "\n"), "\n")
	fields := h.fields()
	if len(lines) != len(fields)+2 || lines[0] != headerTitle {
		return bad(errors.New("it has another form"))
	}
	for i, f := range fields {
		value, is := strings.CutPrefix(lines[i+1], f.key+": ")
		if !is && lines[i+1] != f.key+":" {
			return bad(fmt.Errorf("line %d is not its %s", i+2, f.key))
		}
		*f.value = value
	}
	h.Registered, err = time.Parse("registered: "+time.RFC3339, lines[len(lines)-1])
	if err != nil {
		return bad(err)
	}
	return h, nil
}
