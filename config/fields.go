package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A shape says how the value of a field is written.
type shape int

const (
	leaf       shape = iota // one value
	table                   // a table: a struct, or a pointer to one
	namedTable              // tables by name: a map of structs
	tableList               // an array of tables: a slice of structs
)

// A field is a key that a table may have.
type field struct {
	key      string
	index    int // in the struct
	shape    shape
	elem     reflect.Type // of the tables, unless a leaf
	need     bool
	needOf   []string // the types that need the key, where not all of them do
	scalar   bool
	enum     []string
	only     string
	of       []string
	min, max int64 // both 0: any number
}

// needed reports whether a table of one type must have the key.
func (f *field) needed(kind string) bool {
	return f.need && (f.needOf == nil || slices.Contains(f.needOf, kind))
}

// A layout is the list of keys of one kind of table and its defaults.
type layout struct {
	fields   []field
	defaults reflect.Value
}

// lookup returns the place of a key in fields, or -1.
func (l *layout) lookup(key []byte) int {
	for i := range l.fields {
		if l.fields[i].key == string(key) {
			return i
		}
	}
	return -1
}

// keys lists the keys.
func (l *layout) keys() []string {
	keys := make([]string, len(l.fields))
	for i, f := range l.fields {
		keys[i] = f.key
	}
	return keys
}

// layouts keeps the layouts of one load.
type layouts map[reflect.Type]*layout

// of returns the layout of a struct type. It panics on tags that make no sense,
// which the first load of any configuration shows.
func (ls layouts) of(t reflect.Type) *layout {
	if l, ok := ls[t]; ok {
		return l
	}
	l := &layout{defaults: reflect.New(t).Elem()}
	ls[t] = l
	for i := range t.NumField() {
		sf := t.Field(i)
		key, _, _ := strings.Cut(sf.Tag.Get("toml"), ",")
		if key == "-" {
			continue
		}
		f := field{key: key, index: i, need: sf.Tag.Get("need") != "", scalar: sf.Tag.Get("scalar") != ""}
		if f.need && sf.Tag.Get("need") != "true" {
			f.needOf = list(sf.Tag.Get("need"), "|")
		}
		f.shape, f.elem = shapeOf(sf.Type)
		f.enum, f.only = list(sf.Tag.Get("enum"), "|"), sf.Tag.Get("only")
		f.of = list(sf.Tag.Get("of"), "|")
		f.min, f.max = bounds(sf.Tag.Get("range"))
		switch text := sf.Tag.Get("default"); {
		case text != "":
			setDefault(l.defaults.Field(i), text)
		case f.shape == table && sf.Type == f.elem:
			l.defaults.Field(i).Set(ls.of(f.elem).defaults)
		}
		l.fields = append(l.fields, f)
	}
	return l
}

// shapeOf says how values of a type are written.
func shapeOf(t reflect.Type) (shape, reflect.Type) {
	if isText(t) {
		return leaf, nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return table, t
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Struct && !isText(t.Elem()) {
			return table, t.Elem()
		}
	case reflect.Map:
		return namedTable, t.Elem()
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return tableList, t.Elem()
		}
	}
	return leaf, nil
}

// isText reports whether values of a type are read from text by the type itself.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// list splits a tag.
func list(text, separator string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, separator)
}

// bounds reads "1-5".
func bounds(text string) (low, high int64) {
	if text == "" {
		return 0, 0
	}
	if _, err := fmt.Sscanf(text, "%d-%d", &low, &high); err != nil {
		panic("config: range tag " + text)
	}
	return low, high
}

// setDefault gives a field the value of its default tag.
func setDefault(v reflect.Value, text string) {
	var err error
	switch target := v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		err = target.UnmarshalText([]byte(text))
	case *string:
		*target = text
	case *int:
		*target, err = strconv.Atoi(text)
	case *bool:
		*target, err = strconv.ParseBool(text)
	case *[]string:
		*target = strings.Split(text, ",")
	default:
		err = fmt.Errorf("no default for %s", v.Type())
	}
	if err != nil {
		panic("config: default tag " + text + ": " + err.Error())
	}
}
