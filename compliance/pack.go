package compliance

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"saoluu/internal/calendar"
	"saoluu/internal/fault"
)

// A Pack is one legal document, or one set of policies, as data.
type Pack struct {
	ID           string
	Version      string // of the pack, not of the document
	Number       string // of the document, for example "39/2024/QĐ-UBND"
	Title        string // Vietnamese
	Issuer       string
	Issued       calendar.Date
	Effective    calendar.Date // zero: from the beginning
	Until        calendar.Date // zero: no end; the day itself is still inside
	Kind         Kind
	Status       string // in_force, check or replaced
	StatusNote   string // Vietnamese
	Territory    []string
	SourceSHA256 string // of the text the pack was read from
	ReadBy       string // who checked the reading
	ReadOn       string
	SHA256       string // of the pack itself
	Rules        []Rule

	tests []packTest
}

// A Rule is one duty of a pack.
type Rule struct {
	ID    string
	Ref   string // the clause
	Title string // Vietnamese
	Text  string // Vietnamese, our paraphrase
	Note  string // Vietnamese; how the clause was read, which figures are policy
	Maps  []string
	Proof []string // what an auditor accepts

	importance  []string // subjects; empty: all
	empty       Outcome  // when there is no subject
	effective   calendar.Date
	until       calendar.Date
	remedy      string
	unknownDays int // from which an unknown outcome counts as failed
	check       check
}

// schemaVersion is the format of packs this program reads.
const schemaVersion = 1

//go:embed packs/*.toml
var embedded embed.FS

// PackIDs returns the ids of the embedded packs. A file is named after the id of
// its pack, so none is parsed: every command asks for the ids, few for the packs.
func PackIDs() ([]string, error) {
	names, err := fs.Glob(embedded, "packs/*.toml")
	if err != nil {
		return nil, fmt.Errorf("list the embedded rule packs: %w", err)
	}
	var ids []string
	for _, name := range names {
		ids = append(ids, strings.TrimSuffix(strings.TrimPrefix(name, "packs/"), ".toml"))
	}
	return ids, nil
}

// Packs returns embedded packs by id, in the order asked for; all of them, by
// file name, when none is named. An id nobody ships is a fault.Usage.
func Packs(ids ...string) ([]*Pack, error) {
	shipped, err := PackIDs()
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		ids = shipped
	}
	var chosen []*Pack
	for _, id := range ids {
		if !slices.Contains(shipped, id) {
			return nil, fault.New(fault.Usage, fmt.Sprintf("rule pack %q", id), errors.New("not shipped with this program"),
				"name one of "+strings.Join(shipped, ", "))
		}
		if slices.ContainsFunc(chosen, func(p *Pack) bool { return p.ID == id }) {
			continue
		}
		p, err := shippedPack(id)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}

func shippedPack(id string) (*Pack, error) {
	text, err := embedded.ReadFile("packs/" + id + ".toml")
	if err != nil {
		return nil, fmt.Errorf("read the embedded rule pack %q: %w", id, err)
	}
	p, err := ParsePack(id+".toml", text)
	if err == nil && p.ID != id {
		err = fmt.Errorf("the embedded rule pack %q calls itself %q", id, p.ID)
	}
	return p, err
}

// ParsePack reads a pack. An unknown key, a wrong type, a check kind that does
// not exist or a missing Vietnamese text refuses the pack as a whole: the error
// is a fault.Usage that lists every problem, one a line, as name:line:column.
func ParsePack(name string, text []byte) (*Pack, error) {
	doc := parseTOML(name, text)
	if err := doc.err(); err != nil {
		return nil, err
	}
	root := doc.scope()
	p := readHead(root)
	sum := sha256.Sum256(text)
	p.SHA256 = hex.EncodeToString(sum[:])
	seen := map[string]bool{}
	for _, s := range root.tables("rule") {
		r := readRule(s, p)
		if seen[r.ID] {
			s.errorf("id", "rule %q is there twice", r.ID)
		}
		seen[r.ID] = true
		p.Rules = append(p.Rules, r)
	}
	if len(p.Rules) == 0 {
		root.missing("rule")
	}
	for _, s := range root.tables("test") {
		t := readTest(s, p)
		if !seen[t.rule] {
			s.errorf("rule", "rule %q is not in this pack", t.rule)
		}
		p.tests = append(p.tests, t)
	}
	doc.unused("", doc.root)
	if err := doc.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// readHead reads [pack].
func readHead(root *scope) *Pack {
	if !root.has("pack") {
		root.missing("pack")
	}
	s := root.table("pack")
	p := &Pack{
		ID: s.text("id"), Version: s.text("version"), Number: s.optional("number"), Issuer: s.optional("issuer"),
		Issued: s.date("issued"), Effective: s.date("effective"), Until: s.date("until"),
		Kind:   Kind(s.word("kind", "", string(Binding), string(Advisory), string(Policy))),
		Status: s.word("status", "check", "in_force", "check", "replaced"), StatusNote: s.optional("status_note"),
		Territory: s.words("territory"), SourceSHA256: s.optional("source_sha256"),
		ReadBy: s.optional("read_by"), ReadOn: s.optional("read_on"), Title: s.vietnamese("title"),
	}
	if s.number("schema", 0, 0, 1<<20) != schemaVersion {
		s.errorf("schema", "field %q must be %d", "schema", schemaVersion)
	}
	if zone := s.optional("timezone"); zone != "" {
		if _, err := calendar.Zone(zone); err != nil {
			s.errorf("timezone", "%v", err)
		}
	}
	if p.Kind == Binding && p.Number == "" {
		s.missing("number")
	}
	if p.Kind == Binding && p.Effective.IsZero() {
		s.missing("effective")
	}
	return p
}

// emptySelection reads what a rule without any subject comes to. Only a policy
// may be silent about it: an empty list must not look like perfect order.
func emptySelection(s *scope, p *Pack) Outcome {
	words := []string{string(Warn), string(Fail)}
	if p.Kind == Policy {
		words = append(words, string(NA))
	}
	return Outcome(s.word("empty_selection", string(Warn), words...))
}

// readRule reads one [[rule]].
func readRule(s *scope, p *Pack) Rule {
	r := Rule{
		ID: s.text("id"), Ref: s.text("ref"), Title: s.vietnamese("title"), Text: s.vietnamese("text"),
		Maps: s.words("maps_to"), Proof: s.words("evidence"), effective: s.date("effective"), until: s.date("until"),
		empty: emptySelection(s, p), unknownDays: s.number("unknown_after_days", 7, 0, 31),
	}
	if s.has("note") {
		r.Note = s.vietnamese("note")
	}
	if s.has("remedy") {
		r.remedy = s.vietnamese("remedy")
	}
	if !regexp.MustCompile(`^[A-Za-z0-9]+(-[A-Za-z0-9.]+)+$`).MatchString(r.ID) {
		s.errorf("id", "field %q must be a prefix and a clause such as HD39-16.1b-2", "id")
	}
	if p.Kind != Policy && !strings.HasPrefix(r.ID, p.ID+"-") {
		s.errorf("id", "rule %q must begin with %q", r.ID, p.ID+"-")
	}
	if r.effective.IsZero() {
		r.effective = p.Effective
	}
	s.word("mode", "auto", "auto")
	s.word("scope", "asset", "asset", "copy", "agency")
	r.importance = s.table("select").words("importance", "rat_quan_trong", "quan_trong", "thuong")
	if !s.has("check") {
		s.missing("check")
		return r
	}
	r.check = parseCheck(s.table("check"))
	return r
}
