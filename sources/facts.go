package sources

import (
	"cmp"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Modes of taking facts. Which of them a kind knows, and which is its default,
// is said at its FactsMode.
const (
	ModeSampled = "sampled" // some, chosen by a recorded seed
	ModeFull    = "full"    // the content of everything
	ModeCounts  = "counts"  // how much there is of everything
)

// A FactsPlan says which facts of a database are taken, and how long that may take.
type FactsPlan struct {
	// Mode is ModeFull (the default) or ModeCounts.
	Mode string
	// Limit is how long it may take; 0 means until all are taken. Rows are counted
	// first, then contents are read, those of small tables before those of large ones.
	// What is left when time is up has a FactUnread in its place.
	Limit time.Duration
	// Now is the clock for Limit.
	Now func() time.Time
	// Contents are the tables whose contents are read; nil means as Mode says.
	Contents map[string]bool
	// Canaries are the facts of values that are looked for.
	Canaries []Fact
}

// PlanFor returns how facts of a part are taken to be held against want: the contents of
// those tables are read whose contents are known.
func PlanFor(want []Fact, part string) FactsPlan {
	plan := FactsPlan{Mode: ModeCounts, Contents: map[string]bool{}}
	for _, f := range want {
		switch {
		case f.Part != part:
		case f.Kind == FactContent:
			plan.Mode, plan.Contents[f.Of] = ModeFull, true
		case f.Kind == FactCanary:
			plan.Canaries = append(plan.Canaries, f)
		}
	}
	return plan
}

// within returns the plan for one database, when its tables are named with it.
func (p FactsPlan) within(database string) FactsPlan {
	if p.Contents == nil {
		return p
	}
	contents := map[string]bool{}
	for of := range p.Contents {
		if table, ok := strings.CutPrefix(of, database+"."); ok {
			contents[table] = true
		}
	}
	p.Contents = contents
	return p
}

// wants reports whether the contents of a table are read.
func (p FactsPlan) wants(table string) bool {
	return p.Mode != ModeCounts && (p.Contents == nil || p.Contents[table])
}

// start starts the plan's clock.
func (p FactsPlan) start() factsClock {
	c := factsClock{limit: p.Limit, now: p.Now}
	if c.limited() {
		c.until = c.now().Add(c.limit)
	}
	return c
}

// A factsClock knows how much time is left for facts.
type factsClock struct {
	limit time.Duration
	until time.Time
	now   func() time.Time
}

func (c factsClock) limited() bool { return c.limit > 0 }
func (c factsClock) up() bool      { return c.limited() && c.left() == 0 }

// left is what a limited clock has left.
func (c factsClock) left() time.Duration {
	if !c.limited() {
		return 0
	}
	return max(c.until.Sub(c.now()), 0)
}

// share is how long one table of several may take: one that is slower than its size
// tells must not use up the time of all. The last one may take all that is left.
func (c factsClock) share(last bool) time.Duration {
	if last {
		return c.left()
	}
	return c.left() * 3 / 4
}

// reason is why a fact is skipped that there was no time for.
func (c factsClock) reason() string {
	if c.up() {
		return fmt.Sprintf("the time for facts, %s, was up", c.limit)
	}
	return fmt.Sprintf("it took more than its share of the time for facts, %s", c.limit)
}

// skippedLocked is why a fact is skipped of a table that somebody has for himself.
const skippedLocked = "somebody had the table locked"

// A Tally is how the facts of one kind fared in a comparison.
type Tally struct {
	Kind   string
	Held   int
	Of     int
	Broken []Difference // the facts that did not hold
}

// A Difference is a fact that does not hold. It may name tables and files of the
// user's: it is for the operator, never for evidence.
type Difference struct {
	Fact    Fact
	Found   string
	Missing bool // nothing was found in its place; Found is empty
}

// Compare holds what was found in restored data against what was true of the
// source, one fact at a time, and returns a tally for every kind that says
// something about the data, in the order of their names. Values must be equal
// byte by byte, except:
//
//   - files, sequence, rows at least: the copy must hold at least as much, because
//     they go on growing while the backup is made;
//   - extension: it must be there; the version is the sandbox's own;
//   - integrity: it must be "ok", whatever was true of the source.
//
// What was found beyond the facts is ignored.
func Compare(want, got []Fact) []Tally {
	type key struct{ part, kind, of string }
	found := make(map[key]string, len(got))
	for _, f := range got {
		found[key{f.Part, f.Kind, f.Of}] = f.Value
	}
	byKind := map[string]*Tally{}
	for _, f := range want {
		if !comparable(f.Kind) {
			continue
		}
		t := byKind[f.Kind]
		if t == nil {
			t = &Tally{Kind: f.Kind}
			byKind[f.Kind] = t
		}
		t.Of++
		value, there := found[key{f.Part, f.Kind, f.Of}]
		if there && holds(f, value) {
			t.Held++
			continue
		}
		t.Broken = append(t.Broken, Difference{Fact: f, Found: value, Missing: !there})
	}
	var all []Tally
	for _, t := range byKind {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Tally) int { return cmp.Compare(a.Kind, b.Kind) })
	return all
}

// Unread returns of how many tables, or files, not all facts could be taken.
func Unread(facts []Fact) int {
	of := map[[2]string]bool{}
	for _, f := range facts {
		if f.Kind == FactUnread {
			of[[2]string{f.Part, f.Of}] = true
		}
	}
	return len(of)
}

// comparable reports whether a kind of fact can be held against restored data.
func comparable(kind string) bool {
	return !slices.Contains([]string{FactSkipped, FactUnread, FactSample, FactConsistency, FactRest, FactSettled}, kind)
}

func holds(f Fact, found string) bool {
	switch f.Kind {
	case FactFiles, FactSequence, FactLeast:
		return atLeast(f.Value, found)
	case FactExtension:
		return true
	case FactIntegrity:
		return found == integrityOK
	default:
		return f.Value == found
	}
}

// integrityOK is what an engine's own check says of data without a fault.
const integrityOK = "ok"

// atLeast compares decimal numbers of any length. "descending" before the wanted
// number turns the direction around.
func atLeast(want, found string) bool {
	want, down := strings.CutPrefix(want, descending)
	found, _ = strings.CutPrefix(found, descending)
	w, ok1 := new(big.Int).SetString(want, 10)
	f, ok2 := new(big.Int).SetString(found, 10)
	if !ok1 || !ok2 {
		return false
	}
	if down {
		w, f = f, w
	}
	return f.Cmp(w) >= 0
}

// descending marks the value of a sequence that counts down.
const descending = "descending "

// pathName turns a path into a fact's Of. A path that is not valid UTF-8 is
// quoted: it then starts with a quotation mark, which no absolute path does.
func pathName(path string) string {
	if utf8.ValidString(path) {
		return path
	}
	return strconv.QuoteToASCII(path)
}

// FactPath returns the absolute path that a fact about a file speaks of.
func FactPath(f Fact) (string, bool) {
	path := f.Of
	if strings.HasPrefix(path, `"`) {
		var err error
		if path, err = strconv.Unquote(path); err != nil {
			return "", false
		}
	}
	return path, filepath.IsAbs(path) && filepath.Clean(path) == path
}

// ofPart returns facts with their part set.
func ofPart(part string, facts []Fact) []Fact {
	for i := range facts {
		facts[i].Part = part
	}
	return facts
}
