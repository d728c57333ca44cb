package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// How a table came to be. TOML lets only some be added to later.
type origin int

const (
	implied origin = iota // by the header of a table inside it
	headed                // by a header of its own
	dotted                // by a dotted key
	inline                // as { … }
)

// A node is a table that was met, and remembers where its keys stood.
type node struct {
	parent *node
	name   string
	shape  shape // table, namedTable or tableList
	layout *layout
	value  reflect.Value // the struct; the map or slice of a namedTable or tableList
	at     place         // where its name stands
	origin origin
	from   *node   // with dotted: the table in which the dotted keys stand
	file   int32   // in which origin holds
	toldIn int32   // the other file for which it was reported as defined twice
	keys   []place // of layout.fields; meaningful where seen says so
	seen   uint64  // bit i: field i was met
	bad    uint64  // bit i: its value could not be used
	nodes  []*node // the tables in it, in the order they were met
	index  map[string]*node
}

// stated is the origin as far as a file is concerned: tables of fixed name are
// merged over files, each of which may define them.
func (n *node) stated(file int32) origin {
	if n.file != file {
		return implied
	}
	return n.origin
}

// inner returns the table of a key in n, or nil.
func (n *node) inner(key string) *node {
	if n == nil {
		return nil
	}
	for _, next := range n.nodes {
		if next.name == key {
			return next
		}
	}
	return nil
}

// good reports whether a key was given a value that could be used.
func (n *node) good(key string) bool {
	if n == nil {
		return false
	}
	i := n.layout.lookup([]byte(key))
	return n.seen&(1<<i) != 0 && n.bad&(1<<i) == 0
}

// place returns where a key stands, or else where its table begins.
func (n *node) place(key string) place {
	if n == nil {
		return place{}
	}
	if i := n.layout.lookup([]byte(key)); i >= 0 && n.seen&(1<<i) != 0 {
		return n.keys[i]
	}
	return n.at
}

// written lists those of the keys that stand in n.
func (n *node) written(keys ...string) []string {
	var there []string
	for _, key := range keys {
		if n.seen&(1<<n.layout.lookup([]byte(key))) != 0 {
			there = append(there, key)
		}
	}
	return there
}

// String returns the table's header as one would write it.
func (n *node) String() string {
	var parts []string
	for ; n.parent != nil; n = n.parent {
		part := n.name
		if strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" || part == "" {
			part = strconv.Quote(part)
		}
		parts = append(parts, part)
	}
	slices.Reverse(parts)
	return "[" + strings.Join(parts, ".") + "]"
}
