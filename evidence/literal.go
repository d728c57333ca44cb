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
