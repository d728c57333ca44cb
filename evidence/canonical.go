package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
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

// string reads a string literal and returns its text.
func (c *canonicalizer) string() ([]byte, error) {
	c.pos++
	begin := c.pos
	for c.pos < len(c.src) {
		switch b := c.src[c.pos]; {
		case b == '"':
			s := c.src[begin:c.pos]
			if !utf8.Valid(s) {
				return nil, errors.New("text is not UTF-8")
			}
			c.pos++
			return s, nil
		case b == '\\':
			return c.escapedString(begin)
		case b < 0x20:
			return nil, errors.New("control character in a string")
		}
		c.pos++
	}
	return nil, errUnexpectedEnd
}

// escapedString reads on after the first escape of a string that began at begin.
func (c *canonicalizer) escapedString(begin int) ([]byte, error) {
	s := slices.Clone(c.src[begin:c.pos])
	for c.pos < len(c.src) {
		b := c.src[c.pos]
		switch {
		case b == '"':
			if !utf8.Valid(s) {
				return nil, errors.New("text is not UTF-8")
			}
			c.pos++
			return s, nil
		case b < 0x20:
			return nil, errors.New("control character in a string")
		case b != '\\':
			s = append(s, b)
			c.pos++
			continue
		}
		r, err := c.escape()
		if err != nil {
			return nil, err
		}
		s = utf8.AppendRune(s, r)
	}
	return nil, errUnexpectedEnd
}

// escape reads one escape sequence, two when they are a surrogate pair.
func (c *canonicalizer) escape() (rune, error) {
	c.pos++
	if c.pos == len(c.src) {
		return 0, errUnexpectedEnd
	}
	b := c.src[c.pos]
	c.pos++
	switch b {
	case '"', '\\', '/':
		return rune(b), nil
	case 'b':
		return '\b', nil
	case 't':
		return '\t', nil
	case 'n':
		return '\n', nil
	case 'f':
		return '\f', nil
	case 'r':
		return '\r', nil
	case 'u':
		return c.unicode()
	}
	return 0, errors.New("unknown escape in a string")
}

func (c *canonicalizer) unicode() (rune, error) {
	r, err := c.hex()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if !bytes.HasPrefix(c.src[c.pos:], []byte(`\u`)) {
		return 0, errors.New("half a surrogate pair in a string")
	}
	c.pos += 2
	low, err := c.hex()
	if err != nil {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, errors.New("half a surrogate pair in a string")
	}
	return r, nil
}

func (c *canonicalizer) hex() (rune, error) {
	if c.pos+4 > len(c.src) {
		return 0, errUnexpectedEnd
	}
	n, err := strconv.ParseUint(string(c.src[c.pos:c.pos+4]), 16, 16)
	if err != nil {
		return 0, errors.New("not four hexadecimal digits after \\u")
	}
	c.pos += 4
	return rune(n), nil
}

// number reads a number token, whose shape json.Number's rules decide.
func (c *canonicalizer) number() error {
	begin, whole := c.pos, true
	for c.pos < len(c.src) {
		b := c.src[c.pos]
		if b == '.' || b == 'e' || b == 'E' {
			whole = false
		} else if b != '-' && b != '+' && (b < '0' || b > '9') {
			break
		}
		c.pos++
	}
	token := c.src[begin:c.pos]
	if !json.Valid(token) {
		return errNotJSON
	}
	if whole && string(token) != "-0" {
		if _, err := strconv.ParseInt(string(token), 10, 64); err != nil {
			return fmt.Errorf("number %s does not fit 64 bits", token)
		}
		c.out = append(c.out, token...)
		return nil
	}
	f, err := strconv.ParseFloat(string(token), 64)
	if err != nil {
		return fmt.Errorf("number %s does not fit a double", token)
	}
	if abs := math.Abs(f); abs >= 1<<63 && abs < 1e21 {
		return fmt.Errorf("number %s does not fit 64 bits", token) // it would print as a whole number
	}
	c.out = appendFloat(c.out, f)
	return nil
}

// appendFloat prints f as ECMAScript does, which is how encoding/json does.
func appendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // also for -0
	}
	abs := math.Abs(f)
	if abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-09 to e-9
		dst = dst[:n-1]
	}
	return dst
}

func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	begin := 0
	for i, b := range s {
		if b >= 0x20 && b != '"' && b != '\\' {
			continue
		}
		dst = append(dst, s[begin:i]...)
		begin = i + 1
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\b':
			dst = append(dst, `\b`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\r':
			dst = append(dst, `\r`...)
		default:
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[b>>4], digits[b&15])
		}
	}
	return append(append(dst, s[begin:]...), '"')
}
