package history

import (
	"bytes"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// hidden stands in the place of what is secret.
const hidden = "***"

// What is secret is known by how it is called, how it is written, and how it looks. It is
// better to hide too much: the whole of it is in the backup.
var (
	// named is a word for a secret and what stands after it on the line. The word may be
	// part of a longer one: DB_PASSWORD, snmp-community, wpa2-pre-shared-key.
	named = regexp.MustCompile(`(?i)([\w.-]*(?:pass(?:word|wd|phrase|code)|\b\w*pass|\w*pwd|\w*pw|secret|community|token|default_authtok|[_-]salt|\bjwt|masterauth|mat[_-]?khau|mật[ _-]?khẩu|` +
		`(?:api|private|access|auth|encryption|account|app|des|master|session|signing|cookie|license|shared|wep)[_-]?key|(?-i:[A-Z]_KEY\b)|pre-?shared-?key|(?:\b|_)psk|keystring|key-string|credential|authorization|basic[_-]?auth)[\w.-]*["'\])}]*)` +
		`(\s*(?:=>|:=|[:=,>])\s*|\s+)(\S.*)$`)
	// alone is a word for a secret that has its value on the lines below.
	alone = regexp.MustCompile(`(?i)(?:pass(?:word|wd|phrase)|secret|token|mat[_-]?khau|(?:api|private|access|auth)[_-]?key)s?["']?\s*(?:=>|[:=>])\s*$`)
	// bare is such a word with nothing else on its line.
	bare = regexp.MustCompile(`(?i)^\s*pass(?:word|wd|phrase)\s*$`)
	// below is how YAML and JSON begin a value that stands on the lines below.
	below = regexp.MustCompile(`^(?:[&!]\S+\s*)*(?:[|>][-+0-9]{0,2}|[{\[\\])?\s*$`)
	// passes are words that end like one for a secret and have an address or a switch after them.
	passes = regexp.MustCompile(`(?i)(?:proxy|fastcgi|uwsgi|scgi|grpc|memcached)_pass$|bypass$|compass$`)
	// keyed is how devices give a key to a protocol.
	keyed = regexp.MustCompile(`(?i)\b(key(?:-id)?(?:\s+\d{1,3})?(?:\s+(?:md5|ascii|hex|encrypted))?)\s+("[^"]*"|[^\s/"]\S{3,})`)
	// typed are secrets among the arguments of programs, and beside protocols that devices speak.
	typed = regexp.MustCompile(`(?i)(\bmysql\w*\b.*?\s-p|\bmariadb\S*\b.*?\s-p|\b(?:curl|wget)\b.*?\s(?:-u|--user)[ =]?["']?[^\s:]+:|` +
		`\b(?:auth|priv)\s+(?:md5|sha\d*|3?des|aes)\s+(?:\d+\s+)?|\bsnmp-server\s+host\b.*?\sversion\s+[12]c?\s+|\bauthentication\s+text\s+|\bauth\W{1,3}basic\s+|` +
		`\bredis-cli\b.*?\s-a\s+|\bldap\w+\b.*?\s-w\s*|\b(?:smbclient|rpcclient|net)\b.*?\s-U\s*\S+%|\bopenssl\b.*?\s-k\s+|\b(?:sqlcmd|bcp|ipmitool|zip|unzip)\b.*?\s-P\s*|` +
		`\b(?:mongo\w*|7z\w*)\b.*?\s-p\s*|\bsqlplus\b.*?\s[\w$#]+/|\bstats\s+auth\s+[^\s:]+:|\buser\s+\S+\s+(?:on|off)\b.*?\s>|\btrap-group\s+|` +
		`\b(?:mysqli?_connect|new\s+mysqli|new\s+PDO)\s*\([^,]*,[^,]*,\s*)(["'][^"']*["']|[^\s"']+)`)
	// piped is a user with a password that is handed to a program.
	piped = regexp.MustCompile(`(["'\s][\w.-]+:)[^"'|]+(["']?\s*\|.*\bchpasswd\b)`)
	// crypted are hashes of passwords as crypt(5), Apache, LDAP, FortiOS and Junos write them.
	crypted = regexp.MustCompile(`\$(?:1|2[abxy]?|5|6|7|8|9|y|gy|md5|sha1|apr1|argon2\w*|scrypt|pbkdf2\S{0,12})\$[^\s"';,]+|\{(?:S?SHA\d*|S?MD5|CRYPT|PBKDF2\S{0,12})\}\S+|\bENC \S+|\bmd5[0-9a-f]{32}\b`)
	// inAddress is a password in an address, up to the last @; asUser a token in the place of a name.
	inAddress = regexp.MustCompile(`(://[^\s/:@"']*:)[^\s"']+@`)
	asUser    = regexp.MustCompile(`(\bhttps?://)[^\s/:@"']+@`)
	// token is a run of characters that keys are written in.
	token = regexp.MustCompile(`[A-Za-z0-9+/=_-]{20,}`)
	// identifier is a UUID, which names things and opens nothing.
	identifier = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	// plain are values that are no secrets though they stand after a word for one.
	plain = regexp.MustCompile(`(?i)^["']?(yes|no|on|off|true|false|none|null|0|1|enable|enabled|disable|disabled|without-password|prohibit-password|forced-commands-only|required|requisite|sufficient|optional|files|systemd)["']?[;,]?$`)
	// opens and closes a block of key material (RFC 7468, RFC 4716).
	pemBegin = regexp.MustCompile(`-{4,5} ?BEGIN [A-Z0-9 ]*(PRIVATE KEY|SECRET)[A-Z0-9 ]*-{4,5}`)
	pemEnd   = regexp.MustCompile(`-{4,5} ?END [A-Z0-9 ]*-{4,5}`)
	// kubernetes is a document that is nothing but secrets.
	kubernetes = regexp.MustCompile(`(?m)^\s*"?kind"?:\s*"?Secret"?,?\s*$`)
	// communities opens the section in which FortiOS and RouterOS call an SNMP community a
	// name, leaves closes it.
	communities = regexp.MustCompile(`(?i)^\s*(?:config system snmp|/snmp) community\s*$`)
	leaves      = regexp.MustCompile(`^(?:end|/.*)$`)
	called      = regexp.MustCompile(`(?i)(\bname(?:=|\s+))("[^"]*"|\S+)`)
	member      = regexp.MustCompile(`^(\s+["']?[\w./-]+["']?\s*:\s*)(\S.*)$`)
)

// holders are files that hold secrets and little else: nothing of them is shown.
var holders = regexp.MustCompile(`(?i)^(g?shadow-?|opasswd|.*secrets?(\.\w+)?|.*[^/]passwd|passwd\.\w+|userlist\.txt|.*pgpass.*|[._]?netrc([._-].*)?|\.my\.cnf|debian\.cnf|.*\.(key|jks|p12|pfx|kdb|keytab)|id_(rsa|dsa|ecdsa|ed25519)|.*credentials?(\.\w+)?|.*htpasswd.*|ssh_host_\w+_key)$`)

// withheld reports whether nothing of a file may be shown.
func withheld(file string) bool { return holders.MatchString(path.Base(file)) }

// isText reports whether a content is text that can be compared by lines.
func isText(content []byte) bool {
	return utf8.Valid(content) && !bytes.ContainsRune(content, 0)
}

// Mask returns the lines of a text with what is secret in them hidden.
func Mask(text string) []string {
	m := masker{everything: kubernetes.MatchString(text), deeper: -1}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = m.line(line)
	}
	return lines
}

// A masker goes through a text from top to bottom.
type masker struct {
	everything bool // every value is secret
	pem        bool // inside a block of key material
	deeper     int  // lines indented by more than so much, and items of a list, belong to a secret; -1: none do
	next       bool // the line is a secret
	community  bool // names are those of SNMP communities
}

func (m *masker) line(line string) string {
	switch indent := len(line) - len(strings.TrimLeft(line, " \t")); {
	case m.pem:
		m.pem = !pemEnd.MatchString(line)
		if m.pem {
			return hidden
		}
		return line
	case pemBegin.MatchString(line):
		m.pem = !pemEnd.MatchString(line)
		if m.pem {
			return line
		}
		return hidden
	case m.next && strings.TrimSpace(line) != "":
		m.next = false
		return line[:indent] + hidden
	case m.deeper >= 0 && strings.TrimSpace(line) != "" && (indent > m.deeper || indent == m.deeper && strings.HasPrefix(line[indent:], "- ")):
		return line[:indent] + hidden
	case strings.TrimSpace(line) != "":
		m.deeper = -1
	}
	if m.everything {
		line = member.ReplaceAllString(line, "${1}"+hidden)
	}
	m.next = bare.MatchString(line)
	switch {
	case communities.MatchString(line):
		m.community = true
		return line
	case leaves.MatchString(line):
		m.community = false
	case m.community:
		line = called.ReplaceAllString(line, "${1}"+hidden)
	}
	return m.inside(line)
}

// inside hides what is secret inside one line.
func (m *masker) inside(line string) string {
	line = inAddress.ReplaceAllString(line, "${1}"+hidden+"@")
	line = asUser.ReplaceAllString(line, "${1}"+hidden+"@")
	line = piped.ReplaceAllString(line, "${1}"+hidden+"${2}")
	line = crypted.ReplaceAllString(line, hidden)
	line = m.afterNames(line)
	line = typed.ReplaceAllString(line, "${1}"+hidden)
	line = keyed.ReplaceAllString(line, "${1} "+hidden)
	return token.ReplaceAllStringFunc(line, func(word string) string {
		if looksRandom(word) {
			return hidden
		}
		return word
	})
}

// afterNames hides what stands after a word for a secret. Of a value that is none, such as
// the name of a file, the rest of the line is looked at too.
func (m *masker) afterNames(line string) string {
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	if alone.MatchString(line) {
		m.deeper = indent
	}
	for from := 0; from < len(line); {
		at := named.FindStringSubmatchIndex(line[from:])
		if at == nil {
			break
		}
		name, value := line[from+at[2]:from+at[3]], strings.TrimSpace(line[from+at[6]:])
		first := value
		if end := strings.IndexAny(value, " \t,"); end > 0 {
			first = value[:end]
		}
		switch {
		case passes.MatchString(name), plain.MatchString(first) && plain.MatchString(value), strings.HasPrefix(value, "/"):
			from += at[6] + len(first)
			continue
		case below.MatchString(value):
			m.deeper = indent
		default:
			if strings.Count(value, value[:1])%2 == 1 && strings.ContainsAny(value[:1], `"'`) {
				m.deeper = indent // the string goes on
			}
			line = line[:from+at[6]] + hidden
		}
		break
	}
	return line
}

// Bounds of what is taken for a key: English words have about 3 bits in a character when
// counted so, random base64 of 20 characters over 3.8, and hexadecimal just under 4.
const (
	randomBits = 3.5
	randomHex  = 32 // hexadecimal digits of the shortest key, 128 bits
)

// looksRandom reports whether a word looks like a key and not like a name or a path.
func looksRandom(word string) bool {
	if _, value, named := strings.Cut(word, "="); named && strings.Trim(value, "=") != "" {
		return len(value) >= 20 && looksRandom(value)
	}
	if identifier.MatchString(word) {
		return false
	}
	if strings.Contains(word, "/") && !strings.ContainsAny(word, "+=") {
		return slices.ContainsFunc(strings.Split(word, "/"), func(part string) bool { return len(part) >= 20 && looksRandom(part) })
	}
	var upper, lower, digit, hex int
	counts := map[rune]int{}
	for _, r := range word {
		counts[r]++
		switch {
		case r >= 'A' && r <= 'Z':
			upper++
		case r >= 'a' && r <= 'z':
			lower++
		case r >= '0' && r <= '9':
			digit++
		}
		if strings.ContainsRune("0123456789abcdefABCDEF", r) {
			hex++
		}
	}
	if hex == len(word) {
		return len(word) >= randomHex
	}
	bits := 0.0
	for _, n := range counts {
		p := float64(n) / float64(len(word))
		bits -= p * math.Log2(p)
	}
	return upper > 0 && lower > 0 && digit > 0 && bits >= randomBits
}
