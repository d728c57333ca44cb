package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"saoluu/internal/fault"
)

// setLeaf gives one value to field i of n.
func (d *decoder) setLeaf(n *node, i int, key, value *unstable.Node) {
	f := &n.layout.fields[i]
	if n.seen&(1<<i) != 0 {
		d.twice(d.placeOf(key), fmt.Sprintf("key %q is set twice in %s", f.key, n), n.keys[i])
		return
	}
	n.seen |= 1 << i
	n.keys[i] = d.placeOf(key)
	text, hint := d.decode(n.value.Field(f.index), f, value)
	if text == "" {
		return
	}
	n.bad |= 1 << i
	at := d.placeOf(value)
	if value.Kind == unstable.Array || value.Kind == unstable.InlineTable {
		at = n.keys[i] // the parser gives arrays no place
	}
	d.problem(at, fmt.Sprintf("%q: %s", f.key, text), hint)
}

// decode stores a value, or says what is wrong with it.
func (d *decoder) decode(v reflect.Value, f *field, value *unstable.Node) (problem, hint string) {
	if v.Kind() == reflect.Pointer {
		target := reflect.New(v.Type().Elem())
		problem, hint = d.decode(target.Elem(), f, value)
		v.Set(target)
		return problem, hint
	}
	if f.scalar && value.Kind != unstable.String {
		return decodeScalar(v, value)
	}
	if isText(v.Type()) {
		return d.decodeText(v, value)
	}
	switch v.Kind() {
	case reflect.String:
		return d.decodeString(v, f, value)
	case reflect.Bool:
		if value.Kind != unstable.Bool {
			return wrong("true or false", value, "write it without quotes")
		}
		v.SetBool(string(value.Data) == "true")
	case reflect.Int:
		return decodeInt(v, f, value)
	case reflect.Float64:
		return decodeFloat(v, value)
	case reflect.Slice:
		return d.decodeStrings(v, value)
	}
	return "", ""
}

// decodeText stores a value that its type reads itself. Jobs repeat each other's
// schedules and limits, so what was parsed once is kept.
func (d *decoder) decodeText(v reflect.Value, value *unstable.Node) (problem, hint string) {
	if value.Kind != unstable.String {
		return wrong("text in quotes", value, "put it in quotes")
	}
	key := parsedKey{v.Type(), d.word(value.Data)}
	if known, ok := d.parsed[key]; ok {
		v.Set(known)
		return "", ""
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(value.Data); err != nil {
		cause := err
		var f *fault.Error
		if errors.As(err, &f) && f.Err != nil {
			cause = f.Err
		}
		return fmt.Sprintf("cannot use %q: %v", value.Data, cause), fault.HintOf(err)
	}
	parsed := reflect.New(v.Type()).Elem()
	parsed.Set(v)
	d.parsed[key] = parsed
	return "", ""
}

func (d *decoder) decodeString(v reflect.Value, f *field, value *unstable.Node) (problem, hint string) {
	if value.Kind != unstable.String {
		return wrong("text in quotes", value, "put it in quotes")
	}
	text := d.word(value.Data)
	if f.enum != nil && !slices.Contains(f.enum, text) {
		hint := f.only
		if hint == "" {
			hint = suggest(text, f.enum)
		}
		return fmt.Sprintf("%q is not one of its values", text), hint
	}
	if strings.ContainsRune(text, 0) {
		return "contains a NUL character", "remove it"
	}
	v.SetString(text)
	return "", ""
}

func (d *decoder) decodeStrings(v reflect.Value, value *unstable.Node) (problem, hint string) {
	hint = `write it as ["one", "two"]`
	if value.Kind != unstable.Array {
		return wrong("a list of texts", value, hint)
	}
	texts := []string{}
	it := value.Children()
	for it.Next() {
		if it.Node().Kind != unstable.String {
			return wrong("a list of texts", it.Node(), hint)
		}
		text := d.word(it.Node().Data)
		if text == "" || strings.ContainsRune(text, 0) {
			return "has an element that is empty or contains a NUL character", "remove it"
		}
		if slices.Contains(texts, text) {
			return fmt.Sprintf("names %q twice", text), "remove one of the two"
		}
		texts = append(texts, text)
	}
	v.Set(reflect.ValueOf(slices.Clip(texts)))
	return "", ""
}

func decodeInt(v reflect.Value, f *field, value *unstable.Node) (problem, hint string) {
	if value.Kind != unstable.Integer {
		return wrong("a whole number", value, "write digits only, without quotes")
	}
	n, err := strconv.ParseInt(string(value.Data), 0, strconv.IntSize)
	if err != nil {
		return "number out of range", "choose a smaller one"
	}
	if (f.min != 0 || f.max != 0) && (n < f.min || n > f.max) {
		return fmt.Sprintf("%d is not from %d to %d", n, f.min, f.max), "write a number between the two"
	}
	v.SetInt(n)
	return "", ""
}

// decodeFloat takes finite numbers only: every comparison with NaN is false, so
// that an assertion with it could not fail.
func decodeFloat(v reflect.Value, value *unstable.Node) (problem, hint string) {
	if value.Kind != unstable.Integer && value.Kind != unstable.Float {
		return wrong("a number", value, "write it without quotes")
	}
	if value.Kind == unstable.Integer {
		n, err := strconv.ParseInt(string(value.Data), 0, 64)
		v.SetFloat(float64(n))
		if err != nil {
			return "number out of range", "choose a smaller one"
		}
		return "", ""
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(string(value.Data), "_", ""), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return "not a finite number", "write a number to compare with"
	}
	v.SetFloat(n)
	return "", ""
}

// decodeScalar stores a number or a boolean as the text a database would print.
func decodeScalar(v reflect.Value, value *unstable.Node) (problem, hint string) {
	text := string(value.Data)
	switch value.Kind {
	case unstable.Bool:
	case unstable.Integer:
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return "number out of range", "write it as text in quotes"
		}
		text = strconv.FormatInt(n, 10)
	case unstable.Float:
		text = strings.ReplaceAll(text, "_", "")
	default:
		return wrong("text or a number", value, "put it in quotes")
	}
	v.SetString(text)
	return "", ""
}

// wrong says that a value has the wrong type. The value itself is not shown: it
// may be a secret in the wrong place.
func wrong(want string, value *unstable.Node, hint string) (string, string) {
	return fmt.Sprintf("wants %s, not %s", want, describe(value.Kind)), hint
}

func describe(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "text in quotes"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a number"
	case unstable.Float:
		return "a number with a fraction"
	case unstable.Array:
		return "a list"
	case unstable.InlineTable:
		return "a table"
	default:
		return "a bare date or time"
	}
}

// word returns one string for equal texts, so that ten thousand jobs of one
// owner hold the name once.
func (d *decoder) word(text []byte) string {
	if s, ok := d.words[string(text)]; ok {
		return s
	}
	s := string(text)
	if len(s) <= 24 { // longer ones are mostly titles, each its own
		d.words[s] = s
	}
	return s
}
