package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"saoluu/internal/calendar"
)

// An entry is what the comment of a field says.
type entry struct {
	text    string
	example string // a line of TOML; "" for tables
}

// A manual holds the comments of these files: of types by their name, of fields by
// "Type.Field".
type manual map[string]entry

func readManual(t *testing.T) manual {
	t.Helper()
	m := manual{}
	for _, name := range []string{"config.go", "job.go", "restoretest.go", "target.go", "configuration.go", "guest.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		m.add(file)
	}
	return m
}

// add takes the comments of one file.
func (m manual) add(file *ast.File) {
	for _, decl := range file.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			typ, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			m[typ.Name.Name] = entryOf(general.Doc.Text())
			for _, f := range typ.Type.(*ast.StructType).Fields.List {
				for _, name := range f.Names {
					m[typ.Name.Name+"."+name.Name] = entryOf(f.Doc.Text())
				}
			}
		}
	}
}

// entryOf takes the line "Example: …" out of a comment.
func entryOf(comment string) entry {
	var e entry
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSpace(comment), "\n") {
		if example, ok := strings.CutPrefix(line, "Example: "); ok {
			e.example = example
			continue
		}
		lines = append(lines, line)
	}
	e.text = strings.Join(lines, "\n")
	return e
}

// eachTable calls visit for every kind of table, in the order of the manual,
// with its header.
func eachTable(visit func(header string, t reflect.Type)) {
	var walk func(header string, t reflect.Type)
	walk = func(header string, t reflect.Type) {
		visit(header, t)
		for i := range t.NumField() {
			key, _, _ := strings.Cut(t.Field(i).Tag.Get("toml"), ",")
			shape, elem := shapeOf(t.Field(i).Type)
			path := strings.TrimPrefix(header+"."+key, ".")
			switch {
			case key == "-" || shape == leaf:
			case shape == namedTable:
				walk(path+".NAME", elem)
			default:
				walk(path, elem)
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
}

// Every key has a meaning and an example, and the example is true.
func TestEveryFieldIsExplained(t *testing.T) {
	m := readManual(t)
	eachTable(func(header string, typ reflect.Type) {
		for i := range typ.NumField() {
			sf := typ.Field(i)
			e := m[typ.Name()+"."+sf.Name]
			key, _, _ := strings.Cut(sf.Tag.Get("toml"), ",")
			if e.text == "" {
				t.Errorf("%s.%s has no comment", typ.Name(), sf.Name)
			}
			if shape, _ := shapeOf(sf.Type); key == "-" || shape != leaf {
				continue
			}
			if !strings.HasPrefix(e.example, key+" = ") {
				t.Errorf("%s.%s: the example is %q", typ.Name(), sf.Name, e.example)
				continue
			}
			text := brackets(header) + "\n" + e.example
			if list, _, ok := strings.Cut(header, ".checks."); ok {
				text = brackets(list+".checks") + "\n" + text
			}
			d := newDecoder([]source{{"example", []byte(text)}})
			d.read()
			for _, p := range d.problems {
				t.Errorf("%s.%s: %s: %s", typ.Name(), sf.Name, e.example, p.text)
			}
		}
	})
}

// brackets writes the header of a table as it stands in a file.
func brackets(header string) string {
	if strings.HasSuffix(header, ".checks") || strings.HasSuffix(header, ".commands") || strings.HasSuffix(header, ".devices") {
		return "[[" + header + "]]"
	}
	return "[" + header + "]"
}

// describeType says in words what a key takes.
func describeType(sf reflect.StructField) string {
	t := sf.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if sf.Tag.Get("scalar") != "" {
		return "text, number or boolean"
	}
	switch t {
	case reflect.TypeFor[calendar.Duration]():
		return "duration"
	case reflect.TypeFor[calendar.Period]():
		return "period"
	case reflect.TypeFor[calendar.Bytes]():
		return "size"
	case reflect.TypeFor[calendar.Schedule]():
		return "schedule"
	case reflect.TypeFor[Secret]():
		return "secret reference"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true or false"
	default:
		return "list of texts"
	}
}

const manualIntro = `<!-- Made from the comments in the config package by "go test ./config -update". -->

# Configuration reference

The configuration is ` + "`/etc/saoluu/saoluu.toml`" + ` and every ` + "`conf.d/*.toml`" + ` beside it, in
[TOML](https://toml.io). Tables of fixed name may be continued in another file; a
job, target, class or custodian belongs to one file, and no name may be used twice,
not even in different case. Unknown keys, wrong types and references to what is not
there are errors; ` + "`saoluu config check`" + ` tells all of them at once.
` + "`saoluu config example`" + ` prints a file with every key, ` + "`saoluu config schema`" + ` a JSON
Schema for editors.

## Values

| value | written | notes |
|---|---|---|
| duration | ` + "`\"90s\"` `\"30m\"` `\"24h\"` `\"7d\"` `\"2w\"` `\"1h30m\"`" + ` | a day is 24 hours |
| period | ` + "`\"30d\"` `\"2w\"` `\"3mo\"` `\"1y\"` `\"1y6mo\"`" + ` | by the calendar: one month after 31 January is the last day of February |
| size | ` + "`\"500MB\"` `\"1GiB\"`" + ` | decimal or binary units |
| schedule | ` + "`\"hourly at :15\"` `\"every 15m\"` `\"daily at 01:00,13:00\"` `\"weekly on mon,thu at 02:00\"` `\"monthly on 31 at 02:00\"` `\"quarterly on 1 at 03:00\"` `\"half-yearly on 1 at 03:00\"` `\"yearly on 12-31 at 03:00\"` `\"30 2 * * 1-5\"`" + ` | by the clock of the site; a day that a month does not have is its last day, except in cron lines, which skip it |
| secret reference | ` + "`\"file:/path\"` `\"credential:name\"` `\"age:/path.age\"`" + ` | a file that only its owner can read; a credential passed by systemd; a file encrypted to the key in ` + "`paths.identity`" + `. One newline at the end is not part of the secret |
`

// The reference page says what the code does, because it is made from it.
func TestReferenceIsCurrent(t *testing.T) {
	m := readManual(t)
	var b strings.Builder
	b.WriteString(manualIntro)
	eachTable(func(header string, typ reflect.Type) {
		if header == "" {
			return
		}
		fmt.Fprintf(&b, "\n## `%s`\n\n%s\n", brackets(header), m[typ.Name()].text)
		for i := range typ.NumField() {
			sf := typ.Field(i)
			if shape, _ := shapeOf(sf.Type); shape == leaf && sf.Tag.Get("toml") != "-" {
				b.WriteString(fieldText(sf, m[typ.Name()+"."+sf.Name]))
			}
		}
	})
	golden(t, "../docs/reference/config.md", []byte(b.String()))
}

// fieldText is the section of one key.
func fieldText(sf reflect.StructField, e entry) string {
	key, _, _ := strings.Cut(sf.Tag.Get("toml"), ",")
	facts := []string{describeType(sf)}
	if r := sf.Tag.Get("range"); r != "" {
		facts[0] += ", " + strings.Replace(r, "-", " to ", 1)
	}
	if of := sf.Tag.Get("of"); of != "" {
		facts = append(facts, "only for type "+of)
	}
	switch text := sf.Tag.Get("default"); {
	case sf.Tag.Get("need") == "true":
		facts = append(facts, "required")
	case sf.Tag.Get("need") != "":
		facts = append(facts, "required for type "+sf.Tag.Get("need"))
	case text != "":
		facts = append(facts, "default `"+text+"`")
	default:
		facts = append(facts, "optional")
	}
	text := fmt.Sprintf("\n### `%s`\n\n*%s*\n\n%s\n", key, strings.Join(facts, " · "), e.text)
	if enum := sf.Tag.Get("enum"); enum != "" {
		text += "\nOne of `" + strings.ReplaceAll(enum, "|", "`, `") + "`.\n"
	}
	return text + "\n```toml\n" + e.example + "\n```\n"
}

// The schema that editors use says what the code does, because it is made from
// the same types and tags.
func TestSchemaIsCurrent(t *testing.T) {
	m := readManual(t)
	reflector := jsonschema.Reflector{
		FieldNameTag: "toml",
		Anonymous:    true,
		Mapper: func(typ reflect.Type) *jsonschema.Schema {
			if isText(typ) || typ == reflect.TypeFor[Secret]() {
				return &jsonschema.Schema{Type: "string"}
			}
			return nil
		},
	}
	s := reflector.Reflect(&Config{})
	s.Title = "saoluu configuration"
	eachTable(func(_ string, typ reflect.Type) { complete(s.Definitions[typ.Name()], typ, m) })
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", append(text, '\n'))
	if !*update && !bytes.Equal(Schema(), append(text, '\n')) {
		t.Error("Schema returns something else")
	}
}

// complete adds to the schema of a table what the tags and comments say.
func complete(s *jsonschema.Schema, typ reflect.Type, m manual) {
	s.Description = m[typ.Name()].text
	s.Required = nil
	kinds := map[string]*jsonschema.Schema{}
	for i := range typ.NumField() {
		sf := typ.Field(i)
		key, _, _ := strings.Cut(sf.Tag.Get("toml"), ",")
		p, ok := s.Properties.Get(key)
		if !ok {
			continue
		}
		if p.Ref != "" { // a reference may have no neighbours in older editors
			p = &jsonschema.Schema{AllOf: []*jsonschema.Schema{{Ref: p.Ref}}}
			s.Properties.Set(key, p)
		}
		e := m[typ.Name()+"."+sf.Name]
		p.Description = e.text
		describeValue(p, sf, e)
		of := list(sf.Tag.Get("of"), "|")
		if sf.Tag.Get("need") != "" && of == nil {
			s.Required = append(s.Required, key)
		}
		if key == "type" {
			for _, kind := range list(sf.Tag.Get("enum"), "|") {
				kinds[kind] = &jsonschema.Schema{Properties: jsonschema.NewProperties()}
				s.AllOf = append(s.AllOf, &jsonschema.Schema{If: onlyType(kind), Then: kinds[kind]})
			}
		}
		for kind, then := range kinds {
			switch {
			case of == nil:
			case !slices.Contains(of, kind):
				then.Properties.Set(key, jsonschema.FalseSchema)
			case sf.Tag.Get("need") == "true", slices.Contains(list(sf.Tag.Get("need"), "|"), kind):
				then.Required = append(then.Required, key)
			}
		}
	}
}

// onlyType matches tables of one type.
func onlyType(kind string) *jsonschema.Schema {
	p := jsonschema.NewProperties()
	p.Set("type", &jsonschema.Schema{Const: kind})
	return &jsonschema.Schema{Properties: p, Required: []string{"type"}}
}

// describeValue adds bounds, choices, default and example of one value.
func describeValue(p *jsonschema.Schema, sf reflect.StructField, e entry) {
	if sf.Tag.Get("scalar") != "" {
		p.Type, p.OneOf = "", []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}
	}
	for _, value := range list(sf.Tag.Get("enum"), "|") {
		p.Enum = append(p.Enum, value)
	}
	if low, high, ok := strings.Cut(sf.Tag.Get("range"), "-"); ok {
		p.Minimum, p.Maximum = json.Number(low), json.Number(high)
	}
	if sf.Type == reflect.TypeFor[Secret]() {
		p.Pattern = "^(file|credential|age):.+$"
	}
	if text := sf.Tag.Get("default"); text != "" {
		v := reflect.New(sf.Type).Elem()
		setDefault(v, text)
		p.Default = v.Interface()
	}
	if _, value, ok := strings.Cut(e.example, " = "); ok {
		var example any
		if json.Unmarshal([]byte(value), &example) == nil {
			p.Examples = []any{example}
		}
	}
}
