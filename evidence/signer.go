package evidence

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"

	"saoluu/internal/durable"
	"saoluu/internal/fault"
)

// Origin is the first line of a site's checkpoints and the name of its key.
func Origin(code string) string { return "saoluu/" + code }

// A Signer holds a site's Ed25519 key. It signs checkpoints (it is a
// note.Signer) and bundles. Its text form is one line of the sumdb/note
// package, "PRIVATE+KEY+name+hash+key".
type Signer struct {
	name     string
	hash     uint32
	verifier string
	key      ed25519.PrivateKey
}

var _ note.Signer = (*Signer)(nil)

// NewSigner makes a new key for the site with this code. A code is made of
// letters, digits, dot, hyphen and underscore: it stands in commands people copy.
func NewSigner(code string) (*Signer, error) {
	plain := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r) }
	if code == "" || strings.IndexFunc(code, func(r rune) bool { return !plain(r) }) >= 0 {
		return nil, fault.New(fault.Usage, fmt.Sprintf("make a signing key for site code %q", code),
			errors.New("a code is made of letters, digits, dot, hyphen and underscore"), "choose another site.code")
	}
	text, _, err := note.GenerateKey(rand.Reader, Origin(code))
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return parseSigner(text)
}

// CreateSigner makes a new key for the site and writes it to path, readable by
// its owner alone. It refuses to replace a file.
func CreateSigner(path, code string) (*Signer, error) {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return nil, fault.New(fault.Refused, fmt.Sprintf("make signing key %q", path), fs.ErrExist, "")
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	s, err := NewSigner(code)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return s, durable.WriteFile(path, []byte(s.text()+"\n"), 0o600)
}

// LoadSigner reads a key that CreateSigner wrote. A file that others can read
// is refused.
func LoadSigner(path string) (*Signer, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.MissingState, fmt.Sprintf("read signing key %q", path), errors.New("the file is missing"), `run "saoluu init"`)
	}
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.Refused, fmt.Sprintf("read signing key %q", path),
			fmt.Errorf("others may read it: mode %04o", info.Mode().Perm()), fmt.Sprintf("chmod 600 %q", path))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	s, err := parseSigner(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fault.New(fault.Damaged, fmt.Sprintf("read signing key %q", path), err, "restore the file from its sealed copy")
	}
	return s, nil
}

// parseSigner lets the note package judge the text and then takes the seed, for
// which that package has no accessor. Its errors carry nothing of the key.
func parseSigner(text string) (*Signer, error) {
	judged, err := note.NewSigner(text)
	if err != nil {
		return nil, err
	}
	_, after, _ := strings.Cut(strings.TrimPrefix(text, "PRIVATE+KEY+"+judged.Name()+"+"), "+")
	raw, err := base64.StdEncoding.DecodeString(after)
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, errors.New("malformed key")
	}
	key := ed25519.NewKeyFromSeed(raw[1:])
	verifier, err := note.NewEd25519VerifierKey(judged.Name(), key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return &Signer{name: judged.Name(), hash: judged.KeyHash(), verifier: verifier, key: key}, nil
}

func (s *Signer) text() string {
	raw := append([]byte{1}, s.key.Seed()...) // 1 is Ed25519 in signed notes
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", s.name, s.hash, base64.StdEncoding.EncodeToString(raw))
}

// Name returns the origin the key signs for.
func (s *Signer) Name() string { return s.name }

// KeyHash returns the short hash that signed notes carry.
func (s *Signer) KeyHash() uint32 { return s.hash }

// Sign returns the Ed25519 signature of msg.
func (s *Signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// VerifierKey returns the public key as text, "name+hash+key" of the sumdb/note
// package. It is what SiteOpened records.
func (s *Signer) VerifierKey() string { return s.verifier }

// Public returns the bare public key.
func (s *Signer) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// PublicLine returns the public key as SSH writes it, with the origin as comment
// and a line end: what bundles carry as signer.pub.
func (s *Signer) PublicLine() string { return publicLine(s.Public(), s.name) }

// Fingerprint returns what "ssh-keygen -l" prints of the key.
func (s *Signer) Fingerprint() string { return fingerprint(s.Public()) }

// publicOf returns the bare public key of a verifier key, after the note
// package has judged it.
func publicOf(verifierKey string) (note.Verifier, ed25519.PublicKey, error) {
	v, err := note.NewVerifier(verifierKey)
	if err != nil {
		return nil, nil, fault.New(fault.Verification, "read the verifier key", err, "")
	}
	_, after, _ := strings.Cut(strings.TrimPrefix(verifierKey, v.Name()+"+"), "+")
	raw, err := base64.StdEncoding.DecodeString(after)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != 1 {
		return nil, nil, fault.New(fault.Verification, "read the verifier key", errors.New("it is not an Ed25519 key"), "")
	}
	return v, raw[1:], nil
}

// sshString is a string of the SSH wire format (RFC 4251 section 5).
func sshString(dst []byte, s []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}
