package config

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"

	"saoluu/internal/fault"
)

// A Secret says where a secret is; it never is one. The forms are
//
//	file:/path        a file that only its owner can read
//	credential:name   a credential that systemd passed to the service
//	age:/path.age     a file encrypted with age, opened with the identity file
//
// The secret is the content without one newline at its end. It is not empty, is
// one line, and has at most 64 KiB.
type Secret string

// Secrets says where references lead on this machine.
type Secrets struct {
	Identity       string // file with the private key for "age:"; paths.identity
	CredentialsDir string // folder of "credential:"; $CREDENTIALS_DIRECTORY
}

const (
	maxSecretBytes = 64 << 10
	secretHint     = `write "file:/path", "credential:name" or "age:/path.age" and keep the secret there`
)

var credentialName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// String returns the reference. What is not a reference is not shown, because it
// may be the secret itself.
func (s Secret) String() string {
	if s != "" && s.problem() != "" {
		return "(not a reference)"
	}
	return string(s)
}

// GoString returns the quoted text of String.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// MarshalText returns the text of String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// problem says what is wrong with the reference, or "". It never repeats what
// was written.
func (s Secret) problem() string {
	scheme, rest, _ := strings.Cut(string(s), ":")
	switch {
	case scheme != "file" && scheme != "age" && scheme != "credential":
		return "a secret is written out instead of a reference to it"
	case scheme == "credential" && !credentialName.MatchString(rest):
		return "the credential's name may have letters, digits, dots, - and _"
	case scheme != "credential" && !isCleanPath(rest):
		return "the secret's path is not absolute and clean"
	default:
		return ""
	}
}

// Resolve reads the secret. The error never contains it. A file that others can
// read is refused (Kind Refused), one that is missing is a Usage fault.
func (s Secret) Resolve(where Secrets) (string, error) {
	content, err := s.content(where)
	if err != nil {
		return "", err
	}
	return oneLine(s.op(), content)
}

// ResolveKey reads a secret of several lines, such as a private key in PEM.
func (s Secret) ResolveKey(where Secrets) ([]byte, error) {
	content, err := s.content(where)
	if err == nil && (len(content) == 0 || len(content) > maxSecretBytes) {
		err = fault.New(fault.Usage, s.op(), errors.New("empty, or larger than 64 KiB"), "check that the reference names the right file")
	}
	return content, err
}

func (s Secret) op() string { return fmt.Sprintf("secret %q", s.String()) }

func (s Secret) content(where Secrets) ([]byte, error) {
	op := s.op()
	if why := s.problem(); why != "" {
		return nil, fault.New(fault.Usage, op, errors.New(why), secretHint)
	}
	scheme, rest, _ := strings.Cut(string(s), ":")
	switch scheme {
	case "credential":
		return readCredential(op, where.CredentialsDir, rest)
	case "age":
		return decrypt(op, rest, where.Identity)
	}
	return readPrivate(op, rest)
}

// oneLine takes one newline off the end and refuses what cannot be a password.
func oneLine(op string, content []byte) (string, error) {
	text := strings.TrimSuffix(string(content), "\n")
	text = strings.TrimSuffix(text, "\r")
	switch {
	case len(content) > maxSecretBytes:
		return "", fault.New(fault.Usage, op, errors.New("larger than 64 KiB"), "check that the reference names the right file")
	case text == "":
		return "", fault.New(fault.Usage, op, errors.New("empty"), "write the secret into it")
	case strings.ContainsAny(text, "\n\x00"):
		return "", fault.New(fault.Usage, op, errors.New("more than one line"), "keep one secret in one line")
	}
	return text, nil
}

// readPrivate reads a regular file that only its owner can read. The mode is
// taken from the open file, so that it cannot be swapped in between.
func readPrivate(op, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(op, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(op, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(fault.Usage, op, fmt.Errorf("%s is not a regular file", path), "name a file")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fault.New(fault.Refused, op, fmt.Errorf("%s has mode %04o, so that others than its owner can use it", path, mode),
			fmt.Sprintf("run: chmod 600 %s", path))
	}
	return readUpTo(op, f)
}

// readCredential reads what systemd passed. Its folder is private to the
// service, so the file's own mode is not looked at.
func readCredential(op, dir, name string) ([]byte, error) {
	if dir == "" {
		return nil, fault.New(fault.Usage, op, errors.New("no credentials were passed to this process"),
			fmt.Sprintf("run the command as the service does, with LoadCredential=%s:/path in its unit", name))
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, fault.New(fault.Usage, op, err, fmt.Sprintf("add LoadCredential=%s:/path to the unit", name))
	}
	defer f.Close()
	return readUpTo(op, f)
}

// decrypt opens an age file, armored or not.
func decrypt(op, path, identityFile string) ([]byte, error) {
	if identityFile == "" {
		return nil, fault.New(fault.Usage, op, errors.New("no identity file is configured"), "set identity in [paths]")
	}
	identities, err := readIdentities(op, identityFile)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(op, err)
	}
	defer f.Close()
	buffered := bufio.NewReader(f)
	var source io.Reader = buffered
	if start, _ := buffered.Peek(len(armor.Header)); string(start) == armor.Header {
		source = armor.NewReader(buffered)
	}
	plain, err := age.Decrypt(source, identities...)
	if err != nil {
		return nil, fault.New(fault.WrongKey, op, err, fmt.Sprintf("encrypt %s to the public key of %s", path, identityFile))
	}
	return readUpTo(op, plain)
}

// Identity reads the private key file of a person, age or SSH. It is not a part
// of the configuration; the rules for it are the same. It returns the content too.
func Identity(path string) ([]age.Identity, []byte, error) {
	op := fmt.Sprintf("identity %q", path)
	content, err := readPrivate(op, path)
	if err != nil {
		return nil, nil, err
	}
	identities, err := parseIdentities(op, path, content)
	return identities, content, err
}

// readIdentities reads age private keys or one SSH private key.
func readIdentities(op, path string) ([]age.Identity, error) {
	content, err := readPrivate(op, path)
	if err != nil {
		return nil, err
	}
	return parseIdentities(op, path, content)
}

func parseIdentities(op, path string, content []byte) ([]age.Identity, error) {
	hint := "put an age private key or an SSH private key without a passphrase into " + path
	if bytes.HasPrefix(content, []byte("-----BEGIN")) {
		identity, err := agessh.ParseIdentity(content)
		if err != nil {
			return nil, fault.New(fault.Usage, op, fmt.Errorf("identity file %s: not an SSH private key that can be used", path), hint)
		}
		return []age.Identity{identity}, nil
	}
	// The parser's own error may quote a line of the key file.
	identities, err := age.ParseIdentities(bytes.NewReader(content))
	if err != nil {
		return nil, fault.New(fault.Usage, op, fmt.Errorf("identity file %s: no usable age private key", path), hint)
	}
	return identities, nil
}

// readUpTo reads one byte more than a secret may have, so that oneLine sees when
// it is too large.
func readUpTo(op string, r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxSecretBytes+1))
	if err != nil {
		return nil, fault.New(fault.Failed, op, err, "")
	}
	return content, nil
}

func unreadable(op string, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fault.New(fault.Denied, op, err, "let the user that runs saoluu own the file")
	}
	return fault.New(fault.Usage, op, err, "create the file, readable by its owner only")
}
