package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A decoder walks over the expressions of TOML files and fills a Config. The
// library's parser settles what the text says. What it means is settled here
// and not by the library's decoder, because that one stops at the first problem,
// forgets where values stood, and knows only one file.
type decoder struct {
	sources  []source
	file     int32 // the source being read
	parser   unstable.Parser
	layouts  layouts
	root     *node
	problems []found
	broken   bool // a file ended early, so missing keys mean nothing
	words    map[string]string
	parsed   map[parsedKey]reflect.Value
}

// A parsedKey is a text and the type it was parsed as.
type parsedKey struct {
	kind reflect.Type
	text string
}

func newDecoder(sources []source) *decoder {
	d := &decoder{
		sources: sources, layouts: layouts{},
		words: map[string]string{}, parsed: map[parsedKey]reflect.Value{},
	}
	d.root = d.newTable(nil, "", reflect.New(reflect.TypeFor[Config]()).Elem())
	return d
}

// newTable makes a node for a struct and gives the struct its defaults.
func (d *decoder) newTable(parent *node, name string, value reflect.Value) *node {
	l := d.layouts.of(value.Type())
	value.Set(l.defaults)
	return &node{
		parent: parent, name: name, shape: table, layout: l, value: value,
		file: d.file, keys: make([]place, len(l.fields)),
	}
}

// read decodes all sources.
func (d *decoder) read() {
	for i := range d.sources {
		d.file = int32(i)
		d.parser.Reset(slices.Clip(d.sources[i].text))
		current := d.root
		for d.parser.NextExpression() {
			switch e := d.parser.Expression(); e.Kind {
			case unstable.Table, unstable.ArrayTable:
				current = d.header(e)
			case unstable.KeyValue:
				if current != nil {
					d.assign(current, e)
				}
			}
		}
		if err := d.parser.Error(); err != nil {
			d.syntax(err)
		}
	}
	d.collect(d.root)
}

// syntax reports where a file stops being TOML.
func (d *decoder) syntax(err error) {
	d.broken = true
	at := place{d.file, int32(len(d.sources[d.file].text))}
	var perr *unstable.ParserError
	if errors.As(err, &perr) && len(perr.Highlight) > 0 {
		at.offset = int32(d.parser.Range(perr.Highlight).Offset)
	}
	d.problem(at, "not TOML: "+err.Error(), "the rest of this file was not read; run \"saoluu config check\" again when this is mended")
}

func (d *decoder) problem(at place, text, hint string) {
	d.problems = append(d.problems, found{at: at, text: text, hint: hint})
}

func (d *decoder) twice(at place, text string, also place) {
	d.problems = append(d.problems, found{at: at, text: text, hint: "remove one of the two", also: &also})
}

func (d *decoder) placeOf(n *unstable.Node) place { return place{d.file, int32(n.Raw.Offset)} }

// header finds or makes the table of [a.b] or the next element of [[a.b]]. It
// returns nil, after telling why, if the keys below it have no place to go.
func (d *decoder) header(e *unstable.Node) *node {
	n := d.root
	it := e.Key()
	for it.Next() {
		key := it.Node()
		if n.shape == tableList && len(n.nodes) > 0 {
			n = n.nodes[len(n.nodes)-1]
		}
		next, made := d.child(n, key)
		if next == nil {
			return nil
		}
		n = next
		if key.Next() != nil {
			continue
		}
		if e.Kind == unstable.ArrayTable {
			return d.nextElement(n, made, key)
		}
		if n.shape == tableList {
			d.problem(d.placeOf(key), fmt.Sprintf("%s is a list of tables", n), fmt.Sprintf("write [%s]", n))
			return nil
		}
		if !made && n.stated(d.file) != implied {
			d.twice(d.placeOf(key), fmt.Sprintf("%s is defined twice", n), n.at)
			return nil
		}
		n.origin, n.file, n.at = headed, d.file, d.placeOf(key)
	}
	return n
}

// nextElement adds an element to a list of tables for [[name]].
func (d *decoder) nextElement(n *node, made bool, key *unstable.Node) *node {
	if n.shape != tableList {
		d.problem(d.placeOf(key), fmt.Sprintf("%s is one table, not a list of them", n), fmt.Sprintf("write %s", n))
		return nil
	}
	if !made && n.stated(d.file) != headed {
		d.twice(d.placeOf(key), fmt.Sprintf("%s is defined twice", n), n.at)
		return nil
	}
	n.origin, n.file = headed, d.file
	return d.addElement(n, d.placeOf(key))
}

// child finds or makes the table of a key inside n. It returns nil, after
// telling why, if there can be none.
func (d *decoder) child(n *node, key *unstable.Node) (next *node, made bool) {
	at := d.placeOf(key)
	if n.stated(d.file) == inline {
		d.problem(at, fmt.Sprintf("%s is complete where it is written in braces", n), "write all its keys in one place")
		return nil, false
	}
	if n.shape == namedTable {
		return d.namedChild(n, key)
	}
	if n.shape == tableList {
		d.problem(at, fmt.Sprintf("%s is a list of tables", n), "write it as one array, or with [[ ]]")
		return nil, false
	}
	i := n.layout.lookup(key.Data)
	if i < 0 {
		d.unknown(n, key)
		return nil, false
	}
	f := &n.layout.fields[i]
	if f.shape == leaf {
		d.problem(at, fmt.Sprintf("%q in %s is one value, not a table", f.key, n), fmt.Sprintf("write %s = …", f.key))
		return nil, false
	}
	for _, known := range n.nodes {
		if known.name == f.key {
			return known, false
		}
	}
	return d.fieldChild(n, i, at), true
}

// fieldChild makes the table of field i of n.
func (d *decoder) fieldChild(n *node, i int, at place) *node {
	f := &n.layout.fields[i]
	v := n.value.Field(f.index)
	var next *node
	if f.shape == table {
		if v.Kind() == reflect.Pointer {
			v.Set(reflect.New(f.elem))
			v = v.Elem()
		}
		next = d.newTable(n, f.key, v)
	} else {
		next = &node{parent: n, name: f.key, shape: f.shape, value: v, file: d.file}
		if f.shape == namedTable {
			next.index = map[string]*node{}
		}
	}
	next.at = at
	n.nodes = append(n.nodes, next)
	n.seen |= 1 << i
	n.keys[i] = at
	return next
}

// namedChild finds or makes the table of a job, target, class or custodian. One
// name belongs to one file.
func (d *decoder) namedChild(n *node, key *unstable.Node) (next *node, made bool) {
	at := d.placeOf(key)
	if known := n.index[string(key.Data)]; known != nil {
		if known.file == d.file {
			return known, false
		}
		if known.toldIn != d.file {
			d.twice(at, fmt.Sprintf("%s is defined twice", known), known.at)
		}
		known.toldIn = d.file
		return nil, false
	}
	next = d.newTable(n, string(key.Data), reflect.New(n.value.Type().Elem()).Elem())
	next.at = at
	n.index[next.name] = next
	n.nodes = append(n.nodes, next)
	return next, true
}

// addElement appends a table to a list of tables.
func (d *decoder) addElement(n *node, at place) *node {
	name := strconv.Itoa(len(n.nodes) + 1)
	next := d.newTable(n, name, reflect.New(n.value.Type().Elem()).Elem())
	next.at, next.origin = at, headed
	n.nodes = append(n.nodes, next)
	return next
}

// assign gives the value of a possibly dotted key to its field below n.
func (d *decoder) assign(n *node, e *unstable.Node) {
	owner := n
	it := e.Key()
	for it.Next() {
		key := it.Node()
		if key.Next() == nil {
			d.set(n, key, e.Value())
			return
		}
		next, made := d.child(n, key)
		if next == nil {
			return
		}
		if made || next.file != d.file {
			next.origin, next.from, next.file = dotted, owner, d.file
		} else if next.stated(d.file) != dotted || next.from != owner {
			d.twice(d.placeOf(key), fmt.Sprintf("%s is defined elsewhere and cannot be added to here", next), next.at)
			return
		}
		n = next
	}
}

// set gives a value to one key of n.
func (d *decoder) set(n *node, key, value *unstable.Node) {
	at := d.placeOf(key)
	i := -1
	if n.shape == table {
		if i = n.layout.lookup(key.Data); i < 0 {
			d.unknown(n, key)
			return
		}
		if f := &n.layout.fields[i]; f.shape == leaf {
			d.setLeaf(n, i, key, value)
			return
		}
	}
	next, made := d.child(n, key)
	switch {
	case next == nil:
	case !made:
		d.twice(at, fmt.Sprintf("%s is defined twice", next), next.at)
	case next.shape == tableList:
		d.setList(next, at, value)
	case value.Kind != unstable.InlineTable:
		d.problem(at, fmt.Sprintf("%q is a table, not %s", next.name, describe(value.Kind)), fmt.Sprintf("write %s", next))
		if i >= 0 {
			n.bad |= 1 << i
		}
		next.origin = inline
	default:
		d.setInline(next, value)
	}
}

// setInline fills a table from { … }.
func (d *decoder) setInline(n *node, value *unstable.Node) {
	n.origin, n.file = headed, d.file
	it := value.Children()
	for it.Next() {
		d.assign(n, it.Node())
	}
	n.origin = inline
}

// setList fills a list of tables from [{ … }, { … }].
func (d *decoder) setList(n *node, at place, value *unstable.Node) {
	n.origin, n.file = inline, d.file
	hint := fmt.Sprintf("write %s = [ { … }, { … } ]", n.name)
	if value.Kind != unstable.Array {
		d.problem(at, fmt.Sprintf("%q is a list of tables, not %s", n.name, describe(value.Kind)), hint)
		return
	}
	it := value.Children()
	for it.Next() {
		if it.Node().Kind != unstable.InlineTable {
			d.problem(at, fmt.Sprintf("%q has tables as elements, not %s", n.name, describe(it.Node().Kind)), hint)
			continue
		}
		d.setInline(d.addElement(n, d.placeOf(it.Node())), it.Node())
	}
}

// unknown reports a key that a table does not have.
func (d *decoder) unknown(n *node, key *unstable.Node) {
	where := "at the top"
	if n != d.root {
		where = "in " + n.String()
	}
	d.problem(d.placeOf(key), fmt.Sprintf("unknown key %q %s", key.Data, where), suggest(string(key.Data), n.layout.keys()))
}

// collect puts the tables of lists into their slices. The maps are filled last,
// by publish, because what they hold cannot be changed any more.
func (d *decoder) collect(n *node) {
	for _, next := range n.nodes {
		d.collect(next)
	}
	if n.shape == tableList {
		for _, next := range n.nodes {
			n.value.Set(reflect.Append(n.value, next.value))
		}
	}
}

// publish returns the Config with its maps filled.
func (d *decoder) publish() *Config {
	for _, n := range d.root.nodes {
		if n.shape != namedTable {
			continue
		}
		n.value.Set(reflect.MakeMapWithSize(n.value.Type(), len(n.nodes)))
		for _, next := range n.nodes {
			n.value.SetMapIndex(reflect.ValueOf(next.name), next.value)
		}
	}
	return d.root.value.Addr().Interface().(*Config)
}
