package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// maxDepth bounds the nesting of objects and arrays, so that hostile input
// cannot exhaust the stack.
const maxDepth = 64

// Canonical returns v as canonical JSON (see the package comment). v is
// anything encoding/json can marshal; texts that are not UTF-8 get U+FFFD where
// they are not.
func Canonical(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return CanonicalJSON(buf.Bytes())
}

// CanonicalJSON returns the canonical form of the one JSON value in src.
func CanonicalJSON(src []byte) ([]byte, error) {
	c := canonicalizer{src: src, out: make([]byte, 0, len(src))}
	c.space()
	if err := c.value(0); err != nil {
		return nil, fmt.Errorf("offset %d: %w", c.pos, err)
	}
	if c.space(); c.pos != len(src) {
		return nil, fmt.Errorf("offset %d: text after the value", c.pos)
	}
	return c.out, nil
}

// A canonicalizer reads src once and writes its canonical form to out.
type canonicalizer struct {
	src []byte
	pos int
	out []byte
}

var (
	errUnexpectedEnd = errors.New("unexpected end")
	errNotJSON       = errors.New("not JSON")
)

func (c *canonicalizer) space() {
	for c.pos < len(c.src) {
		switch c.src[c.pos] {
		case ' ', '\t', '\r', '\n':
			c.pos++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, 0 at the end.
func (c *canonicalizer) peek() byte {
	c.space()
	if c.pos == len(c.src) {
		return 0
	}
	return c.src[c.pos]
}

func (c *canonicalizer) value(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch b := c.peek(); {
	case b == '{':
		return c.object(depth)
	case b == '[':
		return c.array(depth)
	case b == '"':
		s, err := c.string()
		c.out = appendString(c.out, s)
		return err
	case b == 't':
		return c.word("true")
	case b == 'f':
		return c.word("false")
	case b == 'n':
		return c.word("null")
	case b == '-' || b >= '0' && b <= '9':
		return c.number()
	case b == 0 && c.pos == len(c.src):
		return errUnexpectedEnd
	}
	return errNotJSON
}

func (c *canonicalizer) word(w string) error {
	if !bytes.HasPrefix(c.src[c.pos:], []byte(w)) {
		return errNotJSON
	}
	c.pos += len(w)
	c.out = append(c.out, w...)
	return nil
}

func (c *canonicalizer) array(depth int) error {
	c.pos++
	c.out = append(c.out, '[')
	if c.peek() == ']' {
		c.pos++
		c.out = append(c.out, ']')
		return nil
	}
	for {
		if err := c.value(depth + 1); err != nil {
			return err
		}
		switch c.peek() {
		case ',':
			c.pos++
			c.out = append(c.out, ',')
		case ']':
			c.pos++
			c.out = append(c.out, ']')
			return nil
		default:
			return errNotJSON
		}
	}
}

// A member is a finished "name":value at out[from:to].
type member struct {
	name     string
	from, to int
}

func (c *canonicalizer) object(depth int) error {
	c.pos++
	c.out = append(c.out, '{')
	start := len(c.out)
	if c.peek() == '}' {
		c.pos++
		c.out = append(c.out, '}')
		return nil
	}
	members := make([]member, 0, 24)
	sorted := true
	for {
		m, err := c.member(depth)
		if err != nil {
			return err
		}
		sorted = sorted && (len(members) == 0 || members[len(members)-1].name < m.name)
		members = append(members, m)
		switch c.peek() {
		case ',':
			c.pos++
			c.out = append(c.out, ',')
			continue
		case '}':
			c.pos++
		default:
			return errNotJSON
		}
		break
	}
	if !sorted {
		if err := c.sort(start, members); err != nil {
			return err
		}
	}
	c.out = append(c.out, '}')
	return nil
}

func (c *canonicalizer) member(depth int) (member, error) {
	if c.peek() != '"' {
		return member{}, errNotJSON
	}
	m := member{from: len(c.out)}
	name, err := c.string()
	if err != nil {
		return member{}, err
	}
	m.name = string(name)
	c.out = append(appendString(c.out, name), ':')
	if c.peek() != ':' {
		return member{}, errNotJSON
	}
	c.pos++
	err = c.value(depth + 1)
	m.to = len(c.out)
	return m, err
}

// sort puts the members written from start on in order.
func (c *canonicalizer) sort(start int, members []member) error {
	written := slices.Clone(c.out[start:])
	slices.SortFunc(members, func(a, b member) int {
		switch {
		case a.name < b.name:
			return -1
		case a.name > b.name:
			return 1
		}
		return 0
	})
	c.out = c.out[:start]
	for i, m := range members {
		if i > 0 {
			if members[i-1].name == m.name {
				return fmt.Errorf("member %q occurs twice", m.name)
			}
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, written[m.from-start:m.to-start]...)
	}
	return nil
}
