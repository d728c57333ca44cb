// Package history tells what changed between two versions of a configuration: which
// files came, went or are others now, by the facts that were taken of both, and how, by
// their contents, with what is secret in them masked.
//
// It reads nothing itself and keeps nothing. The contents stay in the backups, encrypted;
// here they pass through memory.
package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"saoluu/sources"
)

// What became of a file.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// A Change is one file that differs between two versions.
type Change struct {
	Part   string   `json:"part"`
	Path   string   `json:"path"`
	Kind   string   `json:"change"`           // one of the words above
	What   []string `json:"what,omitempty"`   // with Changed: content, mode, owner, link
	How    []string `json:"how,omitempty"`    // of mode, owner and link: what it was and is
	Before string   `json:"before,omitempty"` // SHA-256 of the content; empty: there was none, or it is not known
	After  string   `json:"after,omitempty"`
}

// Content reports whether the contents differ, or may.
func (c Change) Content() bool { return c.Kind != Changed || slices.Contains(c.What, "content") }

// A version is what is known of one file at one time.
type version struct {
	sum, settled, mode, owner, link string
	unread                          bool // it was written meanwhile: its content is not known
}

// folder reports whether it is one: folders come and go with what is in them.
func (v version) folder() bool { return strings.HasPrefix(v.mode, "d") }

// Compare returns what differs between two versions of a configuration, by their facts,
// in the order of parts and paths. A file whose content is not known in one of them
// counts as changed: nobody can say that it was not.
func Compare(before, after []sources.Fact) []Change {
	was, is := versions(before), versions(after)
	var all []Change
	for at, old := range was {
		now, there := is[at]
		switch {
		case !there && !old.folder():
			all = append(all, Change{Part: at.part, Path: at.path, Kind: Removed, Before: old.sum})
		case there:
			if what, how := differs(old, now); len(what) > 0 {
				all = append(all, Change{Part: at.part, Path: at.path, Kind: Changed, What: what, How: how, Before: old.sum, After: now.sum})
			}
		}
	}
	for at, now := range is {
		if _, there := was[at]; !there && !now.folder() {
			all = append(all, Change{Part: at.part, Path: at.path, Kind: Added, How: now.leads(), After: now.sum})
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Path, b.Path)) })
	return all
}

// leads says where a link leads to.
func (v version) leads() []string {
	if v.link == "" {
		return nil
	}
	return []string{"link " + v.link}
}

type place struct{ part, path string }

func versions(facts []sources.Fact) map[place]version {
	all := map[place]version{}
	for _, f := range facts {
		path, ok := sources.FactPath(f)
		if !ok {
			continue
		}
		at := place{f.Part, path}
		v := all[at]
		switch f.Kind {
		case sources.FactSHA256:
			v.sum = f.Value
		case sources.FactSettled:
			v.settled = f.Value
		case sources.FactMode:
			v.mode = f.Value
		case sources.FactOwner:
			v.owner = f.Value
		case sources.FactLink:
			v.link = f.Value
		case sources.FactUnread:
			v.unread = true
		default:
			continue
		}
		all[at] = v
	}
	return all
}

// differs names what is another now, and says how. What is known of one of the two alone is no
// difference, but for the content.
func differs(old, now version) (what, how []string) {
	content := old.sum != now.sum
	if old.settled != "" && now.settled != "" {
		content = old.settled != now.settled
	}
	if content || old.unread && old.sum == "" || now.unread && now.sum == "" {
		what = append(what, "content")
	}
	for _, one := range []struct{ name, old, now string }{{"mode", old.mode, now.mode}, {"owner", old.owner, now.owner}, {"link", old.link, now.link}} {
		if one.old != one.now && one.old != "" && one.now != "" {
			what = append(what, one.name)
			how = append(how, fmt.Sprintf("%s %s -> %s", one.name, one.old, one.now))
		}
	}
	return what, how
}
