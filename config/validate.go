package config

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"saoluu/internal/calendar"
)

// A checker looks at what belongs together, after every value has been looked at
// alone. What could not be decoded is left out: it has been reported.
type checker struct {
	*decoder
	packs    []string
	defaults map[string]calendar.Schedule
}

func (c checker) check() {
	c.needed(c.root)
	cfg := c.root.value.Addr().Interface().(*Config)
	c.site(&cfg.Site, c.root.inner("site"))
	c.paths(&cfg.Paths, c.root.inner("paths"))
	c.engine(&cfg.Engine, c.root.inner("engine"))
	for _, n := range c.named("classes") {
		c.class(n.value.Addr().Interface().(*Class), n)
	}
	c.custodians()
	c.targets()
	for _, n := range c.named("jobs") {
		c.job(n.value.Addr().Interface().(*Job), n)
	}
}

// tell reports a problem of a key of n.
func (c checker) tell(n *node, key, text, hint string) { c.problem(n.place(key), text, hint) }

// named lists the tables of one collection in the order they were met.
func (c checker) named(collection string) []*node {
	if n := c.root.inner(collection); n != nil {
		return n.nodes
	}
	return nil
}

// lookup returns the table of one name of a collection, or nil.
func (c checker) lookup(collection, name string) *node {
	if n := c.root.inner(collection); n != nil {
		return n.index[name]
	}
	return nil
}

// needed reports keys that must be there and are not, keys of another type, and
// names that cannot be used.
func (c checker) needed(n *node) {
	for _, next := range n.nodes {
		c.needed(next)
	}
	if n.shape == namedTable {
		c.names(n)
	}
	if n.shape != table {
		return
	}
	kind, known := "", true
	if i := n.layout.lookup([]byte("type")); i >= 0 {
		kind, known = n.value.Field(n.layout.fields[i].index).String(), n.good("type")
	}
	for i := range n.layout.fields {
		f := &n.layout.fields[i]
		seen := n.seen&(1<<i) != 0
		fits := f.of == nil || slices.Contains(f.of, kind)
		switch {
		case seen && known && !fits && n.good(f.key) && n.value.Field(f.index).IsZero(): // says nothing: Show writes such
		case seen && known && !fits:
			c.problem(n.keys[i], fmt.Sprintf("key %q belongs to type %s, not to %q", f.key, strings.Join(f.of, ", "), kind), "remove it, or change type")
		case !seen && known && !fits:
			n.value.Field(f.index).SetZero() // the default of another type
		case !seen && f.needed(kind) && fits && n == c.root:
			c.problem(place{}, fmt.Sprintf("table [%s] is missing", f.key), "\"saoluu config example\" shows one")
		case !seen && f.needed(kind) && fits:
			c.problem(n.at, fmt.Sprintf("key %q is missing in %s", f.key, n), needHint(f))
		}
	}
}

func needHint(f *field) string {
	if f.enum != nil {
		return "choose one of: " + strings.Join(f.enum, ", ")
	}
	return "\"saoluu config example\" shows it"
}

// names become tags, file names and columns, so they are plain; and they are not
// told apart by case, because people and some file systems do not.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

func (c checker) names(n *node) {
	folded := make(map[string]*node, len(n.nodes))
	for _, next := range n.nodes {
		if !plainName.MatchString(next.name) {
			c.problem(next.at, fmt.Sprintf("name %q cannot be used", next.name), "use letters, digits, - and _, beginning with a letter or digit, at most 64")
			continue
		}
		lower := strings.ToLower(next.name)
		if other := folded[lower]; other != nil {
			c.problems = append(c.problems, found{
				at: next.at, text: fmt.Sprintf("names %q and %q differ only by case", other.name, next.name),
				hint: "rename one of the two", also: &other.at,
			})
		}
		folded[lower] = next
	}
}

func (c checker) site(s *Site, n *node) {
	if n.good("name") && strings.TrimSpace(s.Name) == "" {
		c.tell(n, "name", "the agency's name is empty", "write the full name")
	}
	if n.good("code") && !plainName.MatchString(s.Code) {
		c.tell(n, "code", fmt.Sprintf("code %q cannot be used", s.Code), "use letters, digits, - and _, such as \"STP-HD\"")
	}
	loc, err := calendar.Zone(s.Timezone)
	if err != nil {
		c.tell(n, "timezone", fmt.Sprintf("unknown time zone %q", s.Timezone), "use an IANA name such as \"Asia/Ho_Chi_Minh\"")
	}
	s.Location = loc
	if len(c.packs) == 0 || !n.good("packs") {
		return
	}
	for _, pack := range s.Packs {
		if !slices.Contains(c.packs, pack) {
			c.tell(n, "packs", fmt.Sprintf("unknown pack %q", pack), suggest(pack, c.packs))
		}
	}
}

func (c checker) paths(p *Paths, n *node) {
	c.absolute(n, "state", p.State)
	c.absolute(n, "scratch", p.Scratch)
	c.absolute(n, "identity", p.Identity)
	if p.Scratch == "" {
		p.Scratch = filepath.Join(p.State, "scratch")
	}
}

// absolute reports a path that is written and cannot be used.
func (c checker) absolute(n *node, key, path string) {
	if n.good(key) && !isCleanPath(path) {
		c.tell(n, key, fmt.Sprintf("path %q is not absolute and clean", path), "write the whole path from /, without .. and double slashes")
	}
}

func isCleanPath(path string) bool {
	return filepath.IsAbs(path) && (filepath.Clean(path) == path || filepath.Clean(path)+"/" == path)
}

// inside reports whether path is folder or lies in it, by name.
func inside(path, folder string) bool {
	path, folder = filepath.Clean(path), filepath.Clean(folder)
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// isSHA256 reports whether s is one in lower-case hexadecimal.
func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func (c checker) engine(e *Engine, n *node) {
	if e.Restic != "" {
		c.absolute(n, "restic", e.Restic)
	}
	if n.good("sha256") && e.SHA256 != "" && !isSHA256(e.SHA256) {
		c.tell(n, "sha256", fmt.Sprintf("%q is no SHA-256", e.SHA256), "write the 64 digits and letters a to f that \"sha256sum\" prints")
	}
	if n.good("stall_timeout") && e.StallTimeout <= 0 {
		c.tell(n, "stall_timeout", "a run would be ended at once", "write \"30m\", or leave it out")
		return
	}
	if (n.good("total_timeout") || n.good("stall_timeout")) && e.TotalTimeout < e.StallTimeout {
		c.tell(n, "total_timeout", fmt.Sprintf("total_timeout %s is less than stall_timeout %s", e.TotalTimeout, e.StallTimeout), "make it longer")
	}
}

func (c checker) class(class *Class, n *node) {
	if class.Title == "" {
		class.Title = n.name
	}
	keep := n.inner("keep")
	if keep != nil && keep.seen&^keep.bad != 0 && class.Keep == (Keep{}) {
		c.tell(n, "keep", "keep is all zero, so nothing would be kept", "leave keep out to remove nothing")
	}
	if n.good("keep_min") && n.good("keep_max") && class.KeepMin.Cmp(class.KeepMax) > 0 {
		c.tell(n, "keep_max", fmt.Sprintf("keep_max %s is less than keep_min %s", class.KeepMax, class.KeepMin), "make it longer")
	}
	if n.good("reread_every") && (class.RereadEvery.IsZero() || class.RereadEvery.Cmp(calendar.Period{Days: 366}) > 0) {
		c.tell(n, "reread_every", fmt.Sprintf("reread_every %s is not between a day and a year", class.RereadEvery), "write \"31d\", or leave it out")
	}
}

func (c checker) custodians() {
	known := map[string]*node{}
	for _, n := range c.named("custodians") {
		recipient := n.value.Addr().Interface().(*Custodian).Recipient
		if !n.good("recipient") {
			continue
		}
		if strings.HasPrefix(strings.ToUpper(recipient), "AGE-SECRET-KEY") {
			c.tell(n, "recipient", "a private key is written out instead of the public key", "write the public key (age1…), and make a new pair: this one has been seen")
			continue
		}
		if !isRecipient(recipient) {
			c.tell(n, "recipient", "not an age recipient or SSH public key", "write the line that begins with age1 or ssh-ed25519 or ssh-rsa")
			continue
		}
		if other := known[recipient]; other != nil {
			c.problems = append(c.problems, found{
				at: n.place("recipient"), text: fmt.Sprintf("custodians %q and %q have the same key", other.name, n.name),
				hint: "give each custodian a key of their own", also: new(other.place("recipient")),
			})
		}
		known[recipient] = n
	}
}

func isRecipient(text string) bool {
	if strings.HasPrefix(text, "ssh-") {
		_, err := agessh.ParseRecipient(text)
		return err == nil
	}
	recipients, err := age.ParseRecipients(bytes.NewReader([]byte(text)))
	return err == nil && len(recipients) == 1
}

// secret reports a secret that is not a reference, without repeating it.
func (c checker) secret(n *node, key string, s Secret) {
	if why := s.problem(); n.good(key) && why != "" {
		c.tell(n, key, fmt.Sprintf("%q: %s", key, why), secretHint)
	}
}

// known lists the names of a collection in order.
func (c checker) known(collection string) []string {
	if n := c.root.inner(collection); n != nil {
		return slices.Sorted(maps.Keys(n.index))
	}
	return nil
}
