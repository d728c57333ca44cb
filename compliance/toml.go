package compliance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"saoluu/internal/fault"
)

// A problem is one thing wrong with a pack and where.
type problem struct {
	line, column int
	text         string
}

// A document is a parsed TOML text that knows where each key stands and which
// keys were asked for. What nobody asked for is an unknown field.
type document struct {
	name     string
	root     map[string]any
	at       map[string]unstable.Position // by dotted path; array elements by number
	used     map[string]bool
	problems []problem
}

// parseTOML reads the text; a syntax error is the only problem it can find.
func parseTOML(name string, text []byte) *document {
	d := &document{name: name, root: map[string]any{}, at: map[string]unstable.Position{}, used: map[string]bool{}}
	if err := toml.Unmarshal(text, &d.root); err != nil {
		p := problem{line: 1, column: 1, text: err.Error()}
		var bad *toml.DecodeError
		if errors.As(err, &bad) {
			p.line, p.column = bad.Position()
			p.text = strings.TrimPrefix(bad.Error(), "toml: ")
		}
		d.problems = append(d.problems, p)
		return d
	}
	d.locate(text)
	return d
}

// locate fills at by walking the syntax tree.
func (d *document) locate(text []byte) {
	var p unstable.Parser
	p.Reset(text)
	arrays := map[string]int{}
	base := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			base = d.header(&p, e, arrays)
		case unstable.KeyValue:
			d.keyValue(&p, e, base)
		}
	}
}

// header resolves a table header to its path: the last element of each array of
// tables on the way.
func (d *document) header(p *unstable.Parser, e *unstable.Node, arrays map[string]int) string {
	path := ""
	it := e.Key()
	for it.Next() {
		key := it.Node()
		path = join(path, string(key.Data))
		if e.Kind == unstable.ArrayTable && it.IsLast() {
			arrays[path]++
		}
		if _, seen := d.at[path]; !seen {
			d.at[path] = p.Shape(key.Raw).Start
		}
		if n := arrays[path]; n > 0 {
			path = join(path, strconv.Itoa(n-1))
			if _, seen := d.at[path]; !seen {
				d.at[path] = p.Shape(key.Raw).Start
			}
		}
	}
	return path
}

func (d *document) keyValue(p *unstable.Parser, e *unstable.Node, base string) {
	path := base
	var start unstable.Position
	for it := e.Key(); it.Next(); {
		key := it.Node()
		path = join(path, string(key.Data))
		start = p.Shape(key.Raw).Start
		if _, seen := d.at[path]; !seen {
			d.at[path] = start
		}
	}
	d.value(p, e.Value(), path, start)
}

func (d *document) value(p *unstable.Parser, v *unstable.Node, path string, near unstable.Position) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			d.keyValue(p, it.Node(), path)
		}
	case unstable.Array:
		n := 0
		for it := v.Children(); it.Next(); {
			element := it.Node()
			if element.Kind == unstable.Comment {
				continue
			}
			inner := join(path, strconv.Itoa(n))
			if element.Raw.Length > 0 {
				near = p.Shape(element.Raw).Start
			}
			d.at[inner] = near
			d.value(p, element, inner, near)
			n++
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "\x00" + key
}

// errorf records a problem at a path, or at the nearest path above it that has
// a place in the text.
func (d *document) errorf(path, format string, args ...any) {
	place, found := d.at[path]
	for !found && path != "" {
		path = path[:max(0, strings.LastIndex(path, "\x00"))]
		place, found = d.at[path]
	}
	d.problems = append(d.problems, problem{max(1, place.Line), max(1, place.Column), fmt.Sprintf(format, args...)})
}

// err returns all problems as one error, in the order of the text.
func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	lines := make([]string, 0, len(d.problems))
	for _, p := range d.problems {
		lines = append(lines, fmt.Sprintf("%s:%d:%d: %s", d.name, p.line, p.column, p.text))
	}
	return fault.New(fault.Usage, "rule pack", errors.New(strings.Join(lines, "\n")), "correct the pack; a pack is used as a whole or not at all")
}

// scope returns the whole document as a table.
func (d *document) scope() *scope { return &scope{doc: d, keys: d.root} }

// unused reports every key of a table that nobody asked for.
func (d *document) unused(path string, keys map[string]any) {
	for key, value := range keys {
		inner := join(path, key)
		if !d.used[inner] {
			d.errorf(inner, "unknown field %q", key)
			continue
		}
		if table, ok := value.(map[string]any); ok {
			d.unused(inner, table)
		}
		if list, ok := value.([]any); ok {
			for i, element := range list {
				if table, ok := element.(map[string]any); ok {
					d.unused(join(inner, strconv.Itoa(i)), table)
				}
			}
		}
	}
}
